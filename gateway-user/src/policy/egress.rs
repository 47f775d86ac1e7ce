//! Egress rules: what may leave an agent unread, and what may not leave it at all.

mod host;
mod ports;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::host::normal;
pub use self::{
    host::{Host, HostError},
    ports::{Ports, PortsError},
};
use super::Network;
use crate::call::Glob;

/// The rules, in their order: the first that fits decides.
///
/// A connection is decided on twice: before it is dialled, by its address, and once it is known
/// whether it can be read, with the host that the client asks for. What is read needs no rule, and
/// is stopped only by one that denies it; what stays unread needs one that allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress(Vec<Rule>);

/// One rule. What it does not say fits everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub agent: Option<Glob>,
    pub host: Option<Host>,
    pub net: Option<Network>,
    pub ports: Option<Ports>,
    pub protocol: Protocol,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    /// Left to the kernel: no gateway carries it.
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow {
        /// How much each connection that stays unread may carry, both ways together.
        opaque_bytes: Option<u64>,
    },
    Deny,
}

/// A TCP connection of an agent, as far as the kernel and DNS tell.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    pub agent: &'a str,
    pub to: SocketAddr,
    /// What the agent's resolvers called the address.
    pub names: &'a [Box<str>],
    /// Whether they would be known. Where an agent's resolvers are not believed, names that clients
    /// claim can't be confirmed.
    pub names_are_learnt: bool,
}

/// What the rules say of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allowed {
        /// Counted from zero, in the order of the rules.
        rule: usize,
        opaque_bytes: Option<u64>,
    },
    Denied {
        rule: usize,
    },
    /// No rule fits.
    Unlisted {
        /// The rule that would allow it, if the agent's resolvers had given the name that the client
        /// claims to this address.
        unconfirmed: Option<usize>,
    },
}

/// What is known of whether a rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// It depends on the name that the client will ask for.
    Open,
    /// It fits the name that is claimed, and nothing confirms the claim.
    Claimed,
}

impl Egress {
    #[must_use]
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// Before a connection is dialled: the rule that denies it, whatever host it will ask for.
    #[must_use]
    pub fn denied_at_connect(&self, flow: &Flow<'_>) -> Option<usize> {
        for (number, rule) in self.0.iter().enumerate() {
            match (rule.fits_before(flow), rule.action) {
                (Fit::No, _) | (Fit::Open | Fit::Claimed, Action::Deny) => {}
                (Fit::Yes, Action::Deny) => return Some(number),
                (_, Action::Allow { .. }) => return None,
            }
        }
        None
    }

    /// Once the client has said which host it wants, or that it won't: the name of a TLS server
    /// (RFC 6066, section 3), of a CONNECT request, or of a Host field.
    ///
    /// A claimed name is no proof. It counts for a rule that allows only if one of the agent's own
    /// resolvers gave it to this address, if the rule names the network too, or if nobody can know.
    /// Without a claim, and for rules that deny, the address counts by each name that it was given.
    #[must_use]
    pub fn decide(&self, flow: &Flow<'_>, claim: Option<&str>) -> Decision {
        let claim = claim.map(normal);
        let mut unconfirmed = None;
        for (number, rule) in self.0.iter().enumerate() {
            match (rule.fits(flow, claim.as_deref()), rule.action) {
                (Fit::Yes, Action::Allow { opaque_bytes }) => {
                    return Decision::Allowed { rule: number, opaque_bytes };
                }
                (Fit::Yes, Action::Deny) => return Decision::Denied { rule: number },
                (Fit::Claimed, _) => unconfirmed = unconfirmed.or(Some(number)),
                (Fit::No | Fit::Open, _) => {}
            }
        }
        Decision::Unlisted { unconfirmed }
    }

    /// What an agent may send by UDP, past the gateway.
    pub fn udp(&self, agent: &str) -> impl Iterator<Item = &Rule> {
        let allows = |rule: &&Rule| matches!(rule.action, Action::Allow { .. });
        let udp = self.0.iter().filter(|rule| rule.protocol == Protocol::Udp).filter(allows);
        udp.filter(move |rule| rule.is_for(agent))
    }
}

impl Rule {
    fn is_for(&self, agent: &str) -> bool {
        self.agent.as_ref().is_none_or(|glob| glob.matches(agent))
    }

    fn fits_address(&self, flow: &Flow<'_>) -> bool {
        self.protocol == Protocol::Tcp
            && self.is_for(flow.agent)
            && self.net.is_none_or(|net| net.contains(flow.to.ip()))
            && self.ports.as_ref().is_none_or(|ports| ports.contains(flow.to.port()))
    }

    fn fits_before(&self, flow: &Flow<'_>) -> Fit {
        if !self.fits_address(flow) {
            return Fit::No;
        }
        let Some(host) = &self.host else { return Fit::Yes };
        if !flow.names.is_empty() && flow.names.iter().all(|name| host.matches(name)) {
            Fit::Yes
        } else {
            Fit::Open
        }
    }

    fn fits(&self, flow: &Flow<'_>, claim: Option<&str>) -> Fit {
        if !self.fits_address(flow) {
            return Fit::No;
        }
        let Some(host) = &self.host else { return Fit::Yes };
        let is_called = || flow.names.iter().any(|name| host.matches(name));
        let Some(claim) = claim else { return if is_called() { Fit::Yes } else { Fit::No } };
        let confirmed = flow.names.iter().any(|name| **name == *claim);
        let fits = host.matches(claim);
        match self.action {
            Action::Deny if fits || (!confirmed && is_called()) => Fit::Yes,
            Action::Deny => Fit::No,
            Action::Allow { .. } if !fits => Fit::No,
            Action::Allow { .. } if confirmed || self.net.is_some() || !flow.names_are_learnt => {
                Fit::Yes
            }
            Action::Allow { .. } => Fit::Claimed,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (decision, opaque_bytes) = match self.action {
            Action::Allow { opaque_bytes } => ("allow", opaque_bytes),
            Action::Deny => ("deny", None),
        };
        f.write_str(decision)?;
        if let Some(agent) = &self.agent {
            write!(f, " agent={agent}")?;
        }
        if let Some(host) = &self.host {
            write!(f, " host={host}")?;
        }
        if let Some(net) = &self.net {
            write!(f, " cidr={net}")?;
        }
        if let Some(ports) = &self.ports {
            write!(f, " port={ports}")?;
        }
        if self.protocol == Protocol::Udp {
            f.write_str(" protocol=udp")?;
        }
        opaque_bytes.map_or(Ok(()), |bytes| write!(f, " opaque_bytes={bytes}"))
    }
}

/// The rule that would allow a connection, as it is written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The host that the client asked for, or the name of the address.
    host: Option<Box<str>>,
    ip: IpAddr,
    port: u16,
}

impl Wanted {
    /// For a connection whose client claims to go to a host, if it does.
    #[must_use]
    pub fn of(flow: &Flow<'_>, claim: Option<&str>) -> Self {
        let claim = claim.map(normal).map(String::into_boxed_str);
        let confirmed = claim.as_ref().is_none_or(|claim| flow.names.contains(claim));
        let host = if confirmed || !flow.names_are_learnt {
            claim.or_else(|| flow.names.first().cloned())
        } else {
            None
        };
        // What the client made up is not to break out of its quotes.
        let host = host.filter(|host| host.parse::<Host>().is_ok());
        Self { host, ip: flow.to.ip().to_canonical(), port: flow.to.port() }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Some(host) => write!(f, "match = {{ host = \"{host}\", port = {port} }}")?,
            None => write!(f, "match = {{ cidr = \"{}\", port = {port} }}", self.ip)?,
        }
        f.write_str(", decision = \"allow\"")
    }
}

#[cfg(test)]
mod tests;
