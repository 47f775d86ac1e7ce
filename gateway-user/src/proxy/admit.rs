//! Connect admission: the right to dial a destination.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use gateway_common::Origin;

use super::{
    agent::{Agent, Agents, Place},
    countermand::Errands,
    egress::{Denied, Whither},
    exchange::Connection,
    h1::Authority,
    origin::{is_default_loopback, socket_addr},
};
use crate::limits::Bound;

/// The right to dial one destination for one connection. Nothing else opens an upstream socket,
/// and only [`ConnectAdmission::decide`] makes one.
#[derive(Debug)]
#[must_use = "a connection that is admitted waits to be dialled"]
pub(super) struct ConnectAdmission {
    agent: Arc<Agent>,
    origin: Origin,
    admitted: Admitted,
    /// Where it leads to, through a proxy that it has been dialled to already.
    through: Option<Authority>,
    /// In how many tunnels, one in another.
    depth: usize,
    place: Arc<Place>,
}

/// Where an admission leads, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    destination: SocketAddr,
    /// The address to dial from, where the client chose one.
    source: Option<IpAddr>,
}

/// The right to dial where a connection was admitted to, and nowhere else, for requests of the gateway's
/// own: it outlasts a kill of the agent, which makes none of them.
#[derive(Clone, Debug)]
pub(super) struct Redial {
    admitted: Admitted,
    errands: Errands,
}

/// Why a connection is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("its agent is not attached")]
    NoAgent,
    #[error("it leads back to the gateway")]
    Loop,
    #[error("its agent is killed")]
    Killed,
    #[error("there are too many connections: {}", .0.name())]
    OverBound(Bound),
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl ConnectAdmission {
    /// Decides on a connection from `client`, accepted by `listener`, that was going to `origin`. What is
    /// to be done about it besides is among the `errands`.
    pub(super) fn decide(
        agents: &Agents,
        origin: Origin,
        (client, listener): (SocketAddr, SocketAddr),
        errands: &Errands,
    ) -> Result<Self, Refused> {
        let agent = agents.get(origin.agent).ok_or(Refused::NoAgent)?;
        let destination = socket_addr(&origin.dst);
        if agent.is_killed().is_some() {
            agent.coverage.refused();
            return Err(Refused::Killed);
        }
        if leads_back(destination, listener) {
            agent.coverage.refused();
            return Err(Refused::Loop);
        }
        let place = agent.take_place().map_err(|bound| {
            agent.coverage.over_bound();
            Refused::OverBound(bound)
        })?;
        agent.may_connect(&Whither { to: destination, proxied: None })?;
        // A socket that was bound to an address of its own keeps it.
        let source = Some(client.ip()).filter(|ip| !is_default_loopback(*ip));
        let admitted = Admitted { destination, source };
        Ok(Self {
            agent,
            origin,
            admitted,
            through: None,
            depth: 0,
            place: Arc::new(place.returning(Redial { admitted, errands: errands.clone() })),
        })
    }

    /// Of a tunnel through a connection that was admitted and dialled.
    pub(super) fn of_tunnel(connection: &Connection, to: Authority) -> Self {
        let (origin, place) = connection.admitted();
        Self {
            agent: Arc::clone(&connection.agent),
            origin,
            admitted: Admitted { destination: connection.destination, source: None },
            through: Some(to),
            depth: connection.depth + 1,
            place,
        }
    }

    /// Where it leads to, if that is not its destination.
    pub(super) const fn through(&self) -> Option<&Authority> {
        self.through.as_ref()
    }

    /// The address and port that it is for in the end. An address that only the proxy knows is
    /// unspecified here.
    pub(super) fn leads_to(&self) -> (IpAddr, u16) {
        match &self.through {
            None => (self.destination().ip(), self.destination().port()),
            Some(to) => {
                let address = to.host().parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                (address, to.port())
            }
        }
    }

    /// The same, as egress rules take it.
    pub(super) fn whither(&self) -> Whither {
        let proxied = self.through.as_ref().map(|to| to.host().into());
        Whither { to: self.leads_to().into(), proxied }
    }

    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    pub(super) const fn destination(&self) -> SocketAddr {
        self.admitted.destination
    }

    pub(super) const fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    pub(super) const fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The admission is used up: the connection is dialled.
    pub(super) fn into_parts(self) -> (Arc<Agent>, Origin, SocketAddr, Arc<Place>) {
        (self.agent, self.origin, self.admitted.destination, self.place)
    }
}

impl Admitted {
    pub(super) const fn destination(&self) -> SocketAddr {
        self.destination
    }

    pub(super) const fn source(&self) -> Option<IpAddr> {
        self.source
    }
}

impl Redial {
    pub(super) const fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// Where it is to be done.
    pub(super) const fn errands(&self) -> &Errands {
        &self.errands
    }
}

/// Whether dialling the destination would reach the listener again.
fn leads_back(destination: SocketAddr, listener: SocketAddr) -> bool {
    let ip = destination.ip();
    destination.port() == listener.port() && (ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{call::AgentRef, limits, proxy::origin::endpoint};

    fn agents() -> Agents {
        holding(|agent| agent)
    }

    fn holding(prepare: impl FnOnce(Agent) -> Agent) -> Agents {
        let agents = Agents::default();
        let reference =
            AgentRef { name: "a".into(), cgroup: "/a".into(), container_id: None, pod: None };
        agents.insert(Arc::new(prepare(Agent::new(7, reference, 1))));
        agents
    }

    fn decide(agents: &Agents, agent: u64, destination: &str) -> Result<ConnectAdmission, Refused> {
        let dst = endpoint(destination.parse().expect("an address"));
        let origin = Origin { dst, tgid: 1, agent, cgroup: agent, cookie: 1, at_ns: 1 };
        let listener = "127.0.0.1:4000".parse().expect("an address");
        let client = "127.0.0.1:9".parse().expect("one");
        ConnectAdmission::decide(agents, origin, (client, listener), &Errands::default())
    }

    /// Of an agent of its own.
    pub(in crate::proxy) fn admission(destination: SocketAddr) -> ConnectAdmission {
        admission_of(|agent| agent, destination)
    }

    /// Of an agent that is made ready first.
    pub(in crate::proxy) fn admission_of(
        prepare: impl FnOnce(Agent) -> Agent,
        destination: SocketAddr,
    ) -> ConnectAdmission {
        decide(&holding(prepare), 7, &destination.to_string()).expect("nothing speaks against it")
    }

    #[test]
    fn a_connection_back_to_the_gateway_is_refused() {
        let agents = agents();
        for destination in ["127.0.0.1:4000", "127.9.9.9:4000", "0.0.0.0:4000", "[::1]:4000"] {
            assert_eq!(decide(&agents, 7, destination).err(), Some(Refused::Loop), "{destination}");
        }
        assert!(decide(&agents, 7, "127.0.0.1:4001").is_ok());
        assert!(decide(&agents, 7, "192.0.2.1:4000").is_ok());
    }

    #[test]
    fn a_connection_of_no_agent_is_refused() {
        assert_eq!(decide(&agents(), 8, "192.0.2.1:80").err(), Some(Refused::NoAgent));
    }

    #[test]
    fn the_bound_on_connections_is_counted_and_room_comes_back() {
        let agents = agents();
        let mut held: Vec<_> = (0..limits::CONNECTIONS_PER_AGENT)
            .map(|_| decide(&agents, 7, "192.0.2.1:80").expect("room"))
            .collect();
        let full = Some(Refused::OverBound(Bound::ConnectionsPerAgent));
        assert_eq!(decide(&agents, 7, "192.0.2.1:80").err(), full);
        held.pop();
        assert!(decide(&agents, 7, "192.0.2.1:80").is_ok());
        let coverage = agents.get(7).expect("it is there").coverage.snapshot();
        assert_eq!(coverage.reasons.get("reset_over_bound"), Some(&1));
    }
}
