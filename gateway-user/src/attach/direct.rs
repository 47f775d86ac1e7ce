//! Direct rules: what of an enforced agent may pass by the gateway. All else has to go through it, or
//! does not leave.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
};

use gateway_common::{
    ANY_PROTOCOL, DIRECT_RULES, DIRECTION_IN, DIRECTION_OUT, DirectRule, DirectTable,
};

use crate::{
    limits,
    policy::{Network, egress::Egress},
};

/// One rule. A TCP connection that it allows is redirected all the same, where a hook can: it is
/// what the rule says of UDP, of TCP sockets older than the attach, and of accepted connections
/// that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub direction: Direction,
    pub protocol: Protocol,
    /// Where the peer is.
    pub net: Network,
    /// The peer's ports for [`Direction::Out`], the agent's own for [`Direction::In`].
    pub ports: RangeInclusive<u16>,
}

/// Who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The agent sends to the peer.
    Out,
    /// The agent answers the peer. UDP has no beginning: there it may send from its own port.
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP and UDP.
    Any,
    Tcp,
    Udp,
}

/// Of one agent, in the order in which they were added; each allows more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectRules(Vec<Rule>);

/// Why there can't be such a rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectError {
    #[error("an agent can have at most {DIRECT_RULES} direct rules; write fewer and wider ones")]
    TooMany,
}

impl DirectRules {
    /// DNS to these resolvers. Those on the loopback need no rule.
    #[must_use]
    pub fn to_resolvers(resolvers: &[IpAddr]) -> Self {
        let beyond = resolvers.iter().filter(|ip| !ip.to_canonical().is_loopback());
        let rule = |ip: &IpAddr| Rule {
            direction: Direction::Out,
            protocol: Protocol::Any,
            net: Network::of(*ip),
            ports: DNS..=DNS,
        };
        // The rest is for what is configured.
        Self(beyond.take(DIRECT_RULES - limits::UDP_RANGES).map(rule).collect())
    }

    /// And UDP, where egress rules allow it to an agent.
    pub fn and_udp(mut self, egress: &Egress, agent: &str) -> Result<Self, DirectError> {
        for rule in egress.udp(agent) {
            // The configuration has no rule without them.
            let (Some(net), Some(ports)) = (rule.net, &rule.ports) else { continue };
            for ports in ports.ranges() {
                self.add(Rule {
                    direction: Direction::Out,
                    protocol: Protocol::Udp,
                    net,
                    ports: ports.clone(),
                })?;
            }
        }
        Ok(self)
    }

    pub fn add(&mut self, rule: Rule) -> Result<(), DirectError> {
        if self.0.len() >= DIRECT_RULES {
            return Err(DirectError::TooMany);
        }
        self.0.push(rule);
        Ok(())
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const DNS: u16 = 53;

impl From<&DirectRules> for DirectTable {
    fn from(rules: &DirectRules) -> Self {
        let mut table = Self::EMPTY;
        for (place, rule) in table.rules.iter_mut().zip(&rules.0) {
            *place = rule.into();
            table.count += 1;
        }
        table
    }
}

impl From<&Rule> for DirectRule {
    fn from(rule: &Rule) -> Self {
        let (net, mask) = rule.net.mapped();
        Self {
            net: words(net),
            mask: words(mask),
            first_port: *rule.ports.start(),
            last_port: *rule.ports.end(),
            protocol: match rule.protocol {
                Protocol::Any => ANY_PROTOCOL,
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
            },
            direction: match rule.direction {
                Direction::Out => DIRECTION_OUT,
                Direction::In => DIRECTION_IN,
            },
            reserved: 0,
        }
    }
}

/// As the kernel has addresses: four words in memory order.
fn words(bits: u128) -> [u32; 4] {
    let bytes = Ipv6Addr::from_bits(bits).octets();
    let (words, _) = bytes.as_chunks::<4>();
    [0, 1, 2, 3].map(|place| u32::from_ne_bytes(words[place]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rules: &DirectRules) -> Vec<DirectRule> {
        let table = DirectTable::from(rules);
        table.rules[..table.count as usize].to_vec()
    }

    fn rule(net: Network) -> Rule {
        Rule { direction: Direction::In, protocol: Protocol::Udp, net, ports: 1..=2 }
    }

    #[test]
    fn an_ipv4_network_is_mapped_and_its_prefix_counts_from_there() {
        let net = Network::new("10.1.2.3".parse().expect("an address"), 8).expect("it is one");
        let row = DirectRule::from(&rule(net));
        assert_eq!(row.net, [0, 0, 0xffff_u32.to_be(), 0x0a00_0000_u32.to_be()]);
        assert_eq!(row.mask, [u32::MAX, u32::MAX, u32::MAX, 0xff00_0000_u32.to_be()]);
        assert_eq!((row.direction, row.protocol), (DIRECTION_IN, 17));
        assert_eq!((row.first_port, row.last_port), (1, 2));
    }

    #[test]
    fn resolvers_get_a_rule_each_unless_they_are_on_the_loopback() {
        let ips = ["10.0.0.53", "127.0.0.11", "::1", "fd00::53"]
            .map(|text| text.parse().expect("an address"));
        let rows = table(&DirectRules::to_resolvers(&ips));
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_eq!((row.first_port, row.last_port, row.direction), (53, 53, DIRECTION_OUT));
            assert_eq!(row.protocol, ANY_PROTOCOL);
        }
    }

    #[test]
    fn udp_rules_of_the_agent_come_after_its_resolvers() {
        use crate::policy::egress::{Action, Protocol, Rule as Written};
        let rule = |agent: &str, port: &str, protocol| Written {
            agent: Some(agent.parse().expect("a pattern")),
            host: None,
            net: Some("192.0.2.0/24".parse().expect("a network")),
            ports: Some(port.parse().expect("a port")),
            protocol,
            action: Action::Allow { opaque_bytes: None },
        };
        let egress = Egress::new(vec![
            rule("other", "1", Protocol::Udp),
            rule("a*", "22", Protocol::Tcp),
            rule("a*", "123", Protocol::Udp),
            rule("*", "8000-8010", Protocol::Udp),
        ]);
        let resolvers = ["10.0.0.53".parse().expect("an address")];
        let rules = DirectRules::to_resolvers(&resolvers).and_udp(&egress, "agent");
        let rows = table(&rules.expect("there is room"));
        let ports: Vec<_> = rows.iter().map(|row| (row.first_port, row.last_port)).collect();
        assert_eq!(ports, [(53, 53), (123, 123), (8000, 8010)]);
        assert!(rows[1..].iter().all(|row| row.protocol == 17 && row.direction == DIRECTION_OUT));
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let mut rules = DirectRules::default();
        let one = rule(Network::of("10.0.0.1".parse().expect("an address")));
        for _ in 0..DIRECT_RULES {
            rules.add(one.clone()).expect("there is room");
        }
        assert_eq!(rules.add(one), Err(DirectError::TooMany));
        assert_eq!(table(&rules).len(), DIRECT_RULES);
    }
}
