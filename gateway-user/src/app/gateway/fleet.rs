//! Attaching and detaching, step by step. Whatever fails half-way is taken back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use gateway_common::{Counter, MODE_AUDIT, MODE_ENFORCE};

use super::{
    Gateway, GatewayError,
    everywhere::Everywhere,
    health::{Health, Shown},
    trust::{self, Trust as Trusted},
};
use crate::{
    app::{
        agents::{self, Candidate, namespaces},
        netns::Threads,
    },
    attach::{
        cgroup::Cgroup,
        direct::DirectRules,
        ebpf::{Links, remove_agent_pins},
        netns::{Netns, NetnsId},
        pins::{HeldAgent, StateFile},
    },
    call::AgentRef,
    config::{Decrypt, Existing, Mode},
    limits,
    names::Trust,
    proxy,
};

/// The agents, and the threads that serve them.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) threads: Threads,
    pub(super) members: BTreeMap<String, Member>,
    /// An earlier gateway's, which could not be taken over yet. They are listed with the others, and
    /// what is pinned of them stays pinned.
    pub(super) waiting: Vec<HeldAgent>,
    /// The gateway is ending: nothing is attached or detached any more.
    over: bool,
}

/// One agent.
#[derive(Debug)]
pub(super) struct Member {
    held: HeldAgent,
    pub(super) cgroup: Cgroup,
    proxy: Arc<proxy::Agent>,
    pub(super) health: Arc<Health>,
    pub(super) namespaces: BTreeSet<NetnsId>,
    /// `None` before they are attached, and once they are detached.
    links: Option<Links>,
    /// Connects that found no listener, when that was last looked into.
    missed: u64,
    /// `None` where nothing is decrypted.
    trust: Option<Arc<Trusted>>,
}

/// How an agent is to be held.
#[derive(Clone, Debug)]
pub(in crate::app) struct Terms {
    pub(in crate::app) mode: Mode,
    /// What becomes of the sockets that it has, as [`super::older::policy`] allows it.
    pub(in crate::app) existing: Existing,
    pub(in crate::app) decrypt: Decrypt,
    /// The certificates by which upstream is verified, if not those of the agent itself.
    pub(in crate::app) bundle: Option<PathBuf>,
}

impl Fleet {
    pub(super) fn new(threads: Threads) -> Self {
        Self { threads, members: BTreeMap::new(), waiting: Vec::new(), over: false }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Those that are attached, and those that wait to be.
    pub(super) fn held(&self) -> Vec<HeldAgent> {
        let attached = self.members.values().map(|member| &member.held);
        attached.chain(self.still_waiting()).cloned().collect()
    }

    /// Without the one that is just being taken over.
    fn still_waiting(&self) -> impl Iterator<Item = &HeldAgent> {
        self.waiting.iter().filter(|agent| !self.members.contains_key(&agent.name))
    }

    /// Whether something of an agent is pinned.
    fn pins(&self) -> bool {
        self.members.values().map(|m| &m.held).chain(&self.waiting).any(|held| held.pinned)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.members.iter()
    }

    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        let attached = self.members.values().map(Member::shown);
        let waiting = self.still_waiting().map(|agent| Shown {
            held: agent.clone(),
            proxy: None,
            health: Arc::default(),
            trust: None,
        });
        attached.chain(waiting).collect()
    }

    pub(super) fn trusts(&self) -> impl Iterator<Item = Arc<Trusted>> {
        self.members.values().filter_map(|member| member.trust.clone())
    }

    /// Agents whose cgroup is gone.
    pub(super) fn orphans(&self) -> Vec<String> {
        let members = self.members.iter();
        members.filter(|(_, m)| !m.cgroup.is_alive()).map(|(name, _)| name.clone()).collect()
    }
}

impl Member {
    fn shown(&self) -> Shown {
        Shown {
            held: self.held.clone(),
            proxy: Some(Arc::clone(&self.proxy)),
            health: Arc::clone(&self.health),
            trust: self.trust.clone(),
        }
    }
}

impl Gateway {
    /// Attaches an agent for the process `caller`. `here` are namespaces that it will live in, beside
    /// those that its processes live in already.
    pub(in crate::app) async fn enlist(
        &self,
        caller: u32,
        candidate: Candidate,
        terms: Terms,
        here: Vec<Netns>,
    ) -> Result<Shown, GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        if fleet.over {
            return Err(GatewayError::Ending);
        }
        let _lock = self.0.instance.lock()?;
        let held = fleet.held();
        let own: Vec<&str> = held.iter().map(|agent| agent.name.as_str()).collect();
        let Everywhere { cgroups, gateways } = self.everywhere()?;
        candidate.check(caller, &gateways, &own, &cgroups)?;
        let resolvers = agents::resolvers(&candidate.cgroup, caller).await;
        let joined = self.join(&mut fleet, candidate, terms, here, resolvers).await;
        if let Err((name, _)) = &joined
            && let Err(further) = self.expel(&mut fleet, name).await
        {
            tracing::error!(agent = name, error = %further, "can't take an attach back");
        }
        joined.map_err(|(_, error)| error)
    }

    /// Makes it a member and attaches it. If that fails it stays a member, half attached, for the
    /// caller to take back.
    pub(super) async fn join(
        &self,
        fleet: &mut Fleet,
        candidate: Candidate,
        terms: Terms,
        here: Vec<Netns>,
        resolvers: Vec<IpAddr>,
    ) -> Result<Shown, (String, GatewayError)> {
        let Candidate { name, cgroup, container } = candidate;
        let Terms { mode, existing, decrypt, bundle } = terms;
        let name = name.as_str().to_owned();
        let held = HeldAgent {
            name: name.clone(),
            mode,
            cgroup: cgroup.path().as_str().into(),
            cgroup_id: cgroup.id(),
            container_id: container.as_ref().map(|container| container.id.clone()),
            pod: container.and_then(|container| container.pod),
            decrypt,
            bundle: bundle.clone(),
            attached_at: self.0.context.recording.clock.now(),
            pinned: mode == Mode::Enforce,
            settled: false,
            resolvers,
        };
        let proxy = proxy::Agent::new(cgroup.id(), reference(&held), self.seed(&held));
        let mut proxy = proxy.in_mode(mode);
        let trust = (decrypt == Decrypt::On).then(|| Trusted::of(cgroup.id(), &cgroup));
        if let Some(trust) = &trust {
            let decryption = trust.decryption(&self.0.decrypting, bundle.as_deref()).await;
            proxy = proxy.decrypting(decryption);
        }
        let proxy = Arc::new(proxy);
        if let Some(trust) = &trust {
            trust.serves(&proxy);
        }
        let member = Member {
            held: held.clone(),
            cgroup,
            proxy: Arc::clone(&proxy),
            health: Arc::default(),
            namespaces: BTreeSet::new(),
            links: None,
            missed: 0,
            trust,
        };
        let shown = member.shown();
        self.0.context.agents.insert(proxy);
        fleet.members.insert(name.clone(), member);
        // Written down before anything is pinned: whatever is pinned is listed.
        let joined = match self.publish(fleet) {
            Ok(()) => self.establish(fleet, &name, existing, here).await,
            Err(error) => Err(error.into()),
        };
        let joined = joined.and_then(|()| {
            if let Some(member) = fleet.members.get_mut(&name) {
                member.held.settled = true;
            }
            Ok(self.publish(fleet)?)
        });
        if let Err(error) = joined {
            return Err((name, error));
        }
        tracing::info!(agent = name, cgroup = held.cgroup, %mode, "attached");
        Ok(shown)
    }

    async fn establish(
        &self,
        fleet: &mut Fleet,
        name: &str,
        existing: Existing,
        here: Vec<Netns>,
    ) -> Result<(), GatewayError> {
        self.listen(fleet, name, here).await?;
        // Written down by now: what is covered is found again. Before anything is decrypted.
        if let Some(trust) = fleet.members.get(name).and_then(|member| member.trust.clone()) {
            trust.cover(self.anchors()).await;
        }
        let Some(member) = fleet.members.get_mut(name) else { return Ok(()) };
        let (id, mode) = (member.cgroup.id(), member.held.mode);
        if let Some(netns) = agents::home(&member.cgroup).or(member.namespaces.first().copied())
            && let Some(netns) = fleet.threads.cookie(netns)
        {
            let (resolvers, loopback) = (member.held.resolvers.clone(), mode == Mode::Audit);
            self.0.names.enter(id, Trust { resolvers, netns, loopback });
        }
        // Before anything is dropped.
        self.0.hooks.set_direct(id, &DirectRules::to_resolvers(&member.held.resolvers))?;
        self.0.hooks.set_agent(id, kernel_mode(mode))?;
        if member.held.pinned {
            self.0.instance.prepare_pins()?;
            if let Some(adopted) = self.0.hooks.adopt(id)? {
                member.links = Some(adopted);
                if fleet.waiting.iter().any(|agent| agent.cgroup_id == id && agent.settled) {
                    // It was never let go since, so there is nothing older.
                    member.health.set_older(Some(BTreeSet::new()));
                    return Ok(());
                }
                return self.settle(fleet, name, existing).await;
            }
        }
        let links = self.0.hooks.attach(member.cgroup.handle()?)?;
        member.links = Some(if member.held.pinned { self.0.hooks.pin(id, links)? } else { links });
        // Only now: until here they kept the agent closed.
        if self.0.instance.remove_pins_of_others(id)? {
            tracing::info!(agent = name, "hooks of another version of turnpike are replaced");
        }
        self.settle(fleet, name, existing).await
    }

    /// Listens in every namespace that the agent's processes live in, and in those given; in the
    /// gateway's own if there are none. Stops listening where they have left.
    async fn listen(
        &self,
        fleet: &mut Fleet,
        name: &str,
        here: Vec<Netns>,
    ) -> Result<(), GatewayError> {
        let Some(member) = fleet.members.get_mut(name) else { return Ok(()) };
        let mut wanted = namespaces(&member.cgroup);
        wanted.extend(here);
        if wanted.is_empty() && member.namespaces.is_empty() {
            wanted.push(Netns::current().map_err(GatewayError::Listen)?);
        }
        if wanted.len() > limits::NAMESPACES_PER_AGENT {
            tracing::warn!(agent = name, count = wanted.len(), "too many network namespaces");
            wanted.truncate(limits::NAMESPACES_PER_AGENT);
        }
        let mut entered = BTreeSet::new();
        for netns in wanted {
            let id = netns.id();
            let (cookie, listener) = fleet.threads.ensure(netns).map_err(GatewayError::Listen)?;
            entered.insert(id);
            self.0.hooks.set_listener(cookie, listener)?;
        }
        if entered.is_empty() {
            return Ok(());
        }
        let left: Vec<NetnsId> = member.namespaces.difference(&entered).copied().collect();
        member.namespaces = entered;
        for netns in left {
            self.leave(fleet, netns).await?;
        }
        Ok(())
    }

    /// Stops listening in a namespace, unless another agent lives there. Whether it did.
    async fn leave(&self, fleet: &mut Fleet, netns: NetnsId) -> Result<bool, GatewayError> {
        if fleet.members.values().any(|member| member.namespaces.contains(&netns)) {
            return Ok(false);
        }
        if let Some(cookie) = fleet.threads.cookie(netns) {
            self.0.hooks.remove_listener(cookie)?;
        }
        fleet.threads.close(netns).await;
        Ok(true)
    }

    /// Looks again where the agent's processes live, if a connect found no listener, if one of its
    /// threads has ended, or `anyway`.
    pub(super) async fn follow(
        &self,
        fleet: &mut Fleet,
        name: &str,
        anyway: bool,
    ) -> Result<(), GatewayError> {
        let Some(member) = fleet.members.get_mut(name) else { return Ok(()) };
        let Some(counters) = self.0.hooks.counters(member.cgroup.id()) else { return Ok(()) };
        let missed = counters[Counter::LeftNoListener as usize]
            + counters[Counter::DeniedNoListener as usize];
        let served = member.namespaces.iter().all(|netns| fleet.threads.serves(*netns));
        let moved = anyway
            && member.namespaces.len() < limits::NAMESPACES_PER_AGENT
            && namespaces(&member.cgroup).iter().any(|n| !member.namespaces.contains(&n.id()));
        if missed == member.missed && served && !moved {
            return Ok(());
        }
        member.missed = missed;
        self.listen(fleet, name, Vec::new()).await
    }

    /// Detaches an agent on request.
    pub(super) async fn dismiss(&self, name: &str) -> Result<(), GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        if fleet.over {
            return Err(GatewayError::Ending);
        }
        self.dismiss_from(&mut fleet, name).await
    }

    pub(super) async fn dismiss_from(
        &self,
        fleet: &mut Fleet,
        name: &str,
    ) -> Result<(), GatewayError> {
        let _lock = self.0.instance.lock()?;
        if let Some(place) = fleet.waiting.iter().position(|agent| agent.name == name) {
            let agent = fleet.waiting.remove(place);
            self.forget(&agent)?;
            trust::uncover(&agent).await;
            return self.tidy(fleet);
        }
        self.expel(fleet, name).await
    }

    /// Detaches an agent, with the runtime directory locked: its new connections go out directly,
    /// those it has go on through us.
    async fn expel(&self, fleet: &mut Fleet, name: &str) -> Result<(), GatewayError> {
        let Some(member) = fleet.members.get_mut(name) else {
            return Err(GatewayError::NoAgent(name.into()));
        };
        if let Some(links) = member.links.take() {
            links.detach()?;
        }
        let (held, trust) = (member.held.clone(), member.trust.take());
        if let Some(trust) = &trust {
            trust.end().await;
        }
        let mut shared = false;
        for netns in std::mem::take(&mut member.namespaces) {
            shared |= !self.leave(fleet, netns).await?;
        }
        if shared {
            // What was redirected before the hooks were detached is yet to be accepted, by a
            // thread that stays.
            tokio::time::sleep(proxy::LAST_CALL).await;
        }
        self.0.context.agents.remove(held.cgroup_id);
        self.forget(&held)?;
        fleet.members.remove(name);
        self.tidy(fleet)?;
        if trust.is_some() {
            // Files that it shared with another agent are bare now.
            self.refresh_trust(fleet, true);
        }
        tracing::info!(agent = name, "detached");
        Ok(())
    }

    /// Removes what the kernel keeps of an agent.
    pub(super) fn forget(&self, held: &HeldAgent) -> Result<(), GatewayError> {
        self.0.names.remove(held.cgroup_id);
        if held.pinned {
            remove_agent_pins(&self.0.instance.pins(), held.cgroup_id)?;
            self.0.instance.remove_pins_of_others(held.cgroup_id)?;
        }
        Ok(self.0.hooks.remove_agent(held.cgroup_id)?)
    }

    /// After a change: removes the pinned maps if nothing needs them, and writes down what is held.
    pub(super) fn tidy(&self, fleet: &Fleet) -> Result<(), GatewayError> {
        if !fleet.pins() {
            self.0.instance.remove_pins()?;
        }
        Ok(self.publish(fleet)?)
    }

    /// Ends everything: agents are let go, connections drained within the deadline. Enforced agents
    /// of the daemon stay closed, as they would with a dead one: ending it is no way out for them.
    /// They and the others are written down for the next daemon.
    pub(in crate::app) async fn stop(&self, deadline: Duration) -> Result<(), GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        fleet.over = true;
        let lock = self.0.instance.lock()?;
        let mut remembered = if self.0.embedded { Vec::new() } else { fleet.held() };
        remembered.retain(|agent| Cgroup::open(agent.cgroup.as_ref()).is_ok_and(|c| c.is_alive()));
        // Written first: if this takes too long and is killed, nothing is forgotten.
        self.0.instance.write(&StateFile { agents: remembered.clone(), ..StateFile::own() })?;
        let mut left = Vec::new();
        for (name, member) in std::mem::take(&mut fleet.members) {
            if let Some(trust) = &member.trust {
                trust.end().await;
            }
            let stays = member.held.pinned && remembered.iter().any(|a| a.name == name);
            if stays {
                tracing::warn!(
                    agent = name,
                    "stays closed without the gateway; to open it: turnpike detach {name} --force"
                );
            } else if let Some(links) = member.links {
                if let Err(error) = links.detach() {
                    tracing::error!(agent = name, %error, "can't be detached");
                }
                left.push(member.held);
            }
        }
        drop(lock);
        // Dead before it stops listening: its ports may be another's a moment later.
        self.0.heartbeat.stop();
        fleet.threads.end(deadline).await;
        let _lock = self.0.instance.lock()?;
        left.iter().try_for_each(|held| self.forget(held))?;
        if remembered.is_empty() {
            self.0.instance.remove()?;
        } else if !remembered.iter().any(|agent| agent.pinned) {
            self.0.instance.remove_pins()?;
        }
        Ok(())
    }

    /// Ids differ between agents and between starts of the gateway.
    fn seed(&self, held: &HeldAgent) -> u64 {
        u64::from_ne_bytes(self.0.boot) ^ held.cgroup_id.rotate_left(32) ^ held.attached_at.0
    }
}

const fn kernel_mode(mode: Mode) -> u32 {
    match mode {
        Mode::Audit => MODE_AUDIT,
        Mode::Enforce => MODE_ENFORCE,
    }
}

fn reference(held: &HeldAgent) -> AgentRef {
    AgentRef {
        name: held.name.clone(),
        cgroup: held.cgroup.clone(),
        container_id: held.container_id.clone(),
        pod: held.pod.clone(),
    }
}
