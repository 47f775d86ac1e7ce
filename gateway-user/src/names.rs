//! Which names an agent's addresses go by, as its DNS answers had them. A hint, never an authority:
//! who is at the other end is for TLS to say.

mod answer;
mod directory;

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

pub use self::{
    answer::{Hint, Malformed, read},
    directory::{Directory, Heard},
};
use crate::{
    call::{Micros, Timestamp},
    limits,
};

/// Whose DNS answers are believed of one agent. An agent may be hostile, and whoever can make its
/// gateway take an address for another name gets past rules that go by names. So an answer counts
/// only if
/// - it comes from a resolver that the agent had when it was attached;
/// - it did not come over the loopback, where any process can bind any address, or send packets that
///   it made itself;
/// - its socket lives in the network namespace that the agent was attached in: in one of its own
///   making a process is root, and has whom it likes at a resolver's address.
///
/// What remains: whoever has `CAP_NET_ADMIN` in the agent's own namespace can lay a cable there, and
/// a neighbour on the same link can take the resolver's address. And a name's owner chooses its
/// addresses: an attacker's own name may point anywhere, but nobody else's name points to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pub resolvers: Vec<IpAddr>,
    /// The cookie of the network namespace that the agent was attached in.
    pub netns: u64,
    /// Believe answers over the loopback too: an audited agent is not refused anything, and many
    /// containers have their resolver there.
    pub loopback: bool,
}

impl Trust {
    /// Whether what came from there may be learnt from.
    #[must_use]
    pub fn accepts(&self, from: IpAddr, netns: u64, over_loopback: bool) -> bool {
        self.resolvers.contains(&from.to_canonical())
            && netns == self.netns
            && (self.loopback || !over_loopback)
    }

    /// Whether anything can be learnt: some answers are believed. It does not depend on what the
    /// agent does or leaves.
    #[must_use]
    pub fn can_learn(&self) -> bool {
        self.resolvers.iter().any(|ip| self.loopback || !ip.to_canonical().is_loopback())
    }
}

/// The names of one agent's addresses, for as long as they are believed.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_address: HashMap<IpAddr, Vec<Named>>,
    /// What was learnt, oldest first. Learning something again does not move it.
    order: VecDeque<(IpAddr, Box<str>)>,
    forgotten: u64,
}

#[derive(Clone, Debug)]
struct Named {
    name: Box<str>,
    until: Timestamp,
}

impl Names {
    /// Remembers what an answer said. Bounded: the oldest makes room.
    pub fn learn(&mut self, hint: Hint, now: Timestamp) {
        let age = hint.ttl.clamp(limits::NAME_AGE_MIN, limits::NAME_AGE_MAX);
        let until = now.after(Micros::from(age));
        let ip = hint.ip.to_canonical();
        let named = self.by_address.entry(ip).or_default();
        if let Some(known) = named.iter_mut().find(|known| *known.name == *hint.name) {
            known.until = known.until.max(until);
            return;
        }
        let crowded = named.len() >= limits::NAMES_PER_ADDRESS;
        let oldest = crowded.then(|| named[0].name.clone());
        named.push(Named { name: hint.name.clone(), until });
        self.order.push_back((ip, hint.name));
        if let Some(name) = oldest {
            // As many as there are, once for each that is crowded out: bounded, and rare.
            self.order.retain(|(other, known)| *other != ip || *known != name);
            self.forget(ip, &name, now);
        }
        while self.order.len() > limits::NAMES_PER_AGENT {
            let Some((ip, name)) = self.order.pop_front() else { return };
            self.forget(ip, &name, now);
        }
    }

    /// What the address is called now, latest learnt first.
    pub fn of(&self, ip: IpAddr, now: Timestamp) -> impl Iterator<Item = &str> {
        let named = self.by_address.get(&ip.to_canonical()).into_iter().flatten().rev();
        named.filter(move |known| known.until >= now).map(|known| &*known.name)
    }

    /// Names that had to make room while they were still believed.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget(&mut self, ip: IpAddr, name: &str, now: Timestamp) {
        let Some(named) = self.by_address.get_mut(&ip) else { return };
        if let Some(place) = named.iter().position(|known| *known.name == *name) {
            let known = named.remove(place);
            self.forgotten += u64::from(known.until >= now);
        }
        if named.is_empty() {
            self.by_address.remove(&ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    const START: Timestamp = Timestamp(1_000_000);

    fn hint(ip: u32, name: &str, ttl: u64) -> Hint {
        let (ip, ttl) = (IpAddr::V4(Ipv4Addr::from_bits(ip)), Duration::from_secs(ttl));
        Hint { name: name.into(), ip, ttl }
    }

    fn of(names: &Names, ip: u32, now: Timestamp) -> Vec<String> {
        names.of(IpAddr::V4(Ipv4Addr::from_bits(ip)), now).map(str::to_owned).collect()
    }

    fn later(span: Duration) -> Timestamp {
        START.after(Micros::from(span))
    }

    #[test]
    fn an_address_goes_by_every_name_that_it_was_given_latest_first() {
        let mut names = Names::default();
        names.learn(hint(1, "a.example", 300), START);
        names.learn(hint(1, "b.example", 300), START);
        names.learn(hint(2, "c.example", 300), START);
        assert_eq!(of(&names, 1, START), ["b.example", "a.example"]);
        assert_eq!(of(&names, 2, START), ["c.example"]);
        let mapped = IpAddr::V6(Ipv4Addr::from_bits(2).to_ipv6_mapped());
        assert_eq!(names.of(mapped, START).collect::<Vec<_>>(), ["c.example"]);
    }

    #[test]
    fn a_name_is_believed_for_its_time_within_bounds() {
        let mut names = Names::default();
        for (ip, ttl) in [(1, 0), (2, 600), (3, u64::from(u32::MAX))] {
            names.learn(hint(ip, "a.example", ttl), START);
        }
        for (ip, age) in
            [(1, limits::NAME_AGE_MIN), (2, Duration::from_mins(10)), (3, limits::NAME_AGE_MAX)]
        {
            assert_eq!(of(&names, ip, later(age)).len(), 1);
            assert!(of(&names, ip, later(age + Duration::from_secs(1))).is_empty());
        }
        let again = later(Duration::from_secs(500));
        names.learn(hint(2, "a.example", 600), again);
        assert_eq!(of(&names, 2, later(Duration::from_secs(1000))).len(), 1);
    }

    #[test]
    fn there_is_room_for_so_many_names_and_the_oldest_goes_first() {
        let mut names = Names::default();
        let room = u32::try_from(limits::NAMES_PER_AGENT).expect("small");
        for ip in 0..room + 10 {
            names.learn(hint(ip, "a.example", 300), START);
        }
        assert_eq!(names.order.len(), limits::NAMES_PER_AGENT);
        assert_eq!(names.by_address.len(), limits::NAMES_PER_AGENT);
        assert_eq!(names.forgotten(), 10);
        assert!(of(&names, 9, START).is_empty());
        assert_eq!(of(&names, 10, START), ["a.example"]);
    }

    #[test]
    fn one_address_has_only_so_many_names() {
        let mut names = Names::default();
        for number in 0..limits::NAMES_PER_ADDRESS + 3 {
            names.learn(hint(1, &format!("{number}.example"), 300), START);
        }
        let found = of(&names, 1, START);
        assert_eq!(found.len(), limits::NAMES_PER_ADDRESS);
        assert_eq!(names.order.len(), limits::NAMES_PER_ADDRESS);
        assert_eq!(names.forgotten(), 3);
        assert!(!found.contains(&"2.example".to_owned()));
    }

    #[test]
    fn only_answers_of_the_agents_own_resolvers_are_believed() {
        let (resolver, other) = (IpAddr::from([10, 0, 0, 53]), IpAddr::from([10, 0, 0, 54]));
        let trust = Trust { resolvers: vec![resolver], netns: 7, loopback: false };
        assert!(trust.accepts(resolver, 7, false));
        assert!(!trust.accepts(other, 7, false), "another server");
        assert!(!trust.accepts(resolver, 7, true), "made up on the loopback");
        assert!(!trust.accepts(resolver, 8, false), "made up in another namespace");
        assert!(Trust { loopback: true, ..trust }.accepts(resolver, 7, true));
    }
}
