//! The names of every agent's addresses.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gateway_common::AgentId;

use super::{Names, Trust, answer};
use crate::call::Timestamp;

/// Shared by who learns and who looks up. Each holds it for a moment only.
#[derive(Debug, Default)]
pub struct Directory(Mutex<HashMap<AgentId, Known>>);

#[derive(Debug)]
struct Known {
    trust: Trust,
    names: Names,
}

/// A DNS answer, and how it came to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard<'a> {
    pub agent: AgentId,
    pub from: IpAddr,
    /// The cookie of the network namespace that the asking socket lives in.
    pub netns: u64,
    pub over_loopback: bool,
    pub message: &'a [u8],
}

impl Directory {
    /// Begins to learn of an agent.
    pub fn enter(&self, agent: AgentId, trust: Trust) {
        self.lock().insert(agent, Known { trust, names: Names::default() });
    }

    /// Forgets an agent.
    pub fn remove(&self, agent: AgentId) {
        self.lock().remove(&agent);
    }

    /// Learns from an answer, if it is to be believed. How many addresses it named.
    pub fn learn(&self, heard: &Heard<'_>, now: Timestamp) -> usize {
        let mut agents = self.lock();
        let Some(known) = agents.get_mut(&heard.agent) else { return 0 };
        if !known.trust.accepts(heard.from, heard.netns, heard.over_loopback) {
            return 0;
        }
        // What can't be read names nothing: hints are all that is lost.
        let hints = answer::read(heard.message).unwrap_or_default();
        let count = hints.len();
        for hint in hints {
            known.names.learn(hint, now);
        }
        count
    }

    /// What an address of an agent is called now, latest learnt first.
    #[must_use]
    pub fn of(&self, agent: AgentId, ip: IpAddr, now: Timestamp) -> Vec<Box<str>> {
        let agents = self.lock();
        let known = agents.get(&agent).into_iter();
        known.flat_map(|known| known.names.of(ip, now)).map(Into::into).collect()
    }

    /// Whether an agent's resolvers are known and believed, so that what they did not say counts too.
    #[must_use]
    pub fn learns(&self, agent: AgentId) -> bool {
        self.lock().get(&agent).is_some_and(|known| known.trust.can_learn())
    }

    /// Names of all agents that had to make room while they were still believed.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.lock().values().map(|known| known.names.forgotten()).sum()
    }

    /// What a panic left there is whole enough: names are hints.
    fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 53));
    const NOW: Timestamp = Timestamp(1);
    /// `a.example` is 192.0.2.7.
    const ANSWER: &[u8] = b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x07example\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\xc0\0\x02\x07";

    fn heard() -> Heard<'static> {
        Heard { agent: 1, from: RESOLVER, netns: 7, over_loopback: false, message: ANSWER }
    }

    fn directory() -> Directory {
        let directory = Directory::default();
        for agent in [1, 2] {
            let trust = Trust { resolvers: vec![RESOLVER], netns: 7, loopback: false };
            directory.enter(agent, trust);
        }
        directory
    }

    #[test]
    fn what_one_agent_learns_no_other_is_told() {
        let (directory, ip) = (directory(), IpAddr::from([192, 0, 2, 7]));
        assert_eq!(directory.learn(&heard(), NOW), 1);
        assert_eq!(directory.of(1, ip, NOW), ["a.example".into()]);
        assert!(directory.of(2, ip, NOW).is_empty());
        assert!(directory.learns(2) && !directory.learns(3));
        directory.remove(1);
        assert!(directory.of(1, ip, NOW).is_empty());
        assert_eq!(directory.learn(&heard(), NOW), 0, "nobody is there to learn");
    }

    #[test]
    fn what_is_not_believed_or_not_read_teaches_nothing() {
        let directory = directory();
        for heard in [
            Heard { over_loopback: true, ..heard() },
            Heard { netns: 8, ..heard() },
            Heard { from: IpAddr::from([10, 0, 0, 54]), ..heard() },
            Heard { message: &ANSWER[..20], ..heard() },
        ] {
            assert_eq!(directory.learn(&heard, NOW), 0, "{heard:?}");
        }
    }
}
