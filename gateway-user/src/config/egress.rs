//! `[[egress]]`: what may leave an agent unread, and what may not leave it at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Size;
use crate::{
    call::Glob,
    policy::{
        Network,
        egress::{Action, Host, Ports, Protocol, Rule},
    },
};

/// One rule. The first that fits a connection decides; what none fits is denied in enforce mode and
/// let through in audit mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub struct EgressRule(Written);

impl EgressRule {
    #[must_use]
    pub fn rule(&self) -> Rule {
        let Written { matches, decision, opaque_bytes } = self.0.clone();
        let Match { agent, host, cidr: net, port: ports, protocol } = matches;
        let action = match decision {
            Decision::Allow => Action::Allow { opaque_bytes: opaque_bytes.map(|size| size.0) },
            Decision::Deny => Action::Deny,
        };
        Rule { agent, host, net, ports, protocol: protocol.unwrap_or_default(), action }
    }

    /// How many port ranges of UDP it opens.
    pub(super) fn udp_ranges(&self) -> usize {
        let Match { port, protocol, .. } = &self.0.matches;
        let ports = port.as_ref().filter(|_| *protocol == Some(Protocol::Udp));
        ports.map_or(0, |ports| ports.ranges().len())
    }
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// What the rule is for; `{}` is everything.
    #[serde(rename = "match")]
    matches: Match,
    decision: Decision,
    /// How much each connection that stays unread may carry, both ways together. At that, it is
    /// reset. Absent: any amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opaque_bytes: Option<Size>,
}

/// What a connection must be. What is left out fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Match {
    /// The agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Glob>,
    /// The name that the client asks for (TLS server name, CONNECT), confirmed by the agent's own
    /// DNS answers; where the client asks for none, the names that those gave to the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Host>,
    /// The network that the destination is in, or its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    cidr: Option<Network>,
    /// The destination's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<Ports>,
    /// TCP if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<Protocol>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Decision {
    /// It may leave, unread.
    Allow,
    /// It is reset, read or not.
    Deny,
}

/// The rule can't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum RuleError {
    #[error(
        "opaque_bytes says how much may leave, so it needs decision = \"allow\"; leave one of them \
         out"
    )]
    BytesWithoutAllow,
    #[error("opaque_bytes of 0 allows nothing; write decision = \"deny\"")]
    NoBytes,
    #[error("UDP has no connections whose bytes could be counted; leave opaque_bytes out")]
    UdpBytes,
    #[error("UDP passes by the gateway, where no host is known; write cidr instead of host")]
    UdpHost,
    #[error("a rule for UDP needs both cidr and port, such as cidr = \"192.0.2.123\", port = 123")]
    UdpEverywhere,
    #[error(
        "UDP leaves an enforced agent only where a rule allows it, so there is nothing to deny; \
         leave the rule out"
    )]
    UdpDeny,
    #[error("the kernel's rules can't tell this network from IPv4; write cidr = \"2000::/3\"")]
    UdpMapped,
}

impl TryFrom<Written> for EgressRule {
    type Error = RuleError;

    fn try_from(written: Written) -> Result<Self, RuleError> {
        let Written { matches, decision, opaque_bytes } = &written;
        let udp = matches.protocol == Some(Protocol::Udp);
        match (decision, opaque_bytes) {
            (Decision::Deny, Some(_)) => return Err(RuleError::BytesWithoutAllow),
            (_, Some(Size(0))) => return Err(RuleError::NoBytes),
            (_, Some(_)) if udp => return Err(RuleError::UdpBytes),
            (Decision::Deny, _) if udp => return Err(RuleError::UdpDeny),
            _ => {}
        }
        match matches {
            _ if !udp => {}
            Match { host: Some(_), .. } => return Err(RuleError::UdpHost),
            Match { cidr: None, .. } | Match { port: None, .. } => {
                return Err(RuleError::UdpEverywhere);
            }
            Match { cidr: Some(net), .. } if net.holds_mapped() => {
                return Err(RuleError::UdpMapped);
            }
            _ => {}
        }
        Ok(Self(written))
    }
}

impl From<EgressRule> for Written {
    fn from(rule: EgressRule) -> Self {
        rule.0
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn rules(text: &str) -> Vec<String> {
        let config = Config::parse(text).expect("valid");
        config.egress.iter().map(|rule| rule.rule().to_string()).collect()
    }

    #[test]
    fn rules_are_read_as_they_are_documented_and_in_their_order() {
        let text = r#"
            [[egress]]
            match = { host = "github.com", port = 443 }
            decision = "allow"
            opaque_bytes = "100MiB"
            [[egress]]
            match = { agent = "research-*", cidr = "10.0.0.0/8", port = [22, "8000-8999"] }
            decision = "allow"
            [[egress]]
            match = { cidr = "192.0.2.123", port = 123, protocol = "udp" }
            decision = "allow"
            [[egress]]
            match = {}
            decision = "deny"
        "#;
        let wanted = [
            "allow host=github.com port=443 opaque_bytes=104857600",
            "allow agent=research-* cidr=10.0.0.0/8 port=22,8000-8999",
            "allow cidr=192.0.2.123 port=123 protocol=udp",
            "deny",
        ];
        assert_eq!(rules(text), wanted);
        let shown = toml::to_string(&Config::parse(text).expect("valid")).expect("shows");
        assert_eq!(rules(&shown), wanted, "{shown}");
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_what_to_do() {
        for (rule, line, hint) in [
            ("decision = \"allow\"", 1, "missing field `match`"),
            ("match = {}", 1, "missing field `decision`"),
            ("match = {}\ndecision = \"maybe\"", 3, "`allow` or `deny`"),
            ("match = { hots = \"a\" }\ndecision = \"deny\"", 2, "unknown field `hots`"),
            ("match = { host = \"a:1\" }\ndecision = \"deny\"", 2, "without scheme, port"),
            ("match = { host = \"10.0.0.1\" }\ndecision = \"deny\"", 2, "cidr ="),
            ("match = { agent = \"\" }\ndecision = \"deny\"", 2, "an empty pattern"),
            ("match = { cidr = \"10.0.0/8\" }\ndecision = \"deny\"", 2, "10.0.0.0/8"),
            ("match = { cidr = \"10.1.0.0/8\" }\ndecision = \"deny\"", 2, "is 10.0.0.0/8"),
            ("match = { port = 70000 }\ndecision = \"deny\"", 2, "is not a port"),
            ("match = { port = \"9-8\" }\ndecision = \"deny\"", 2, "is not a port"),
            ("match = { protocol = \"icmp\" }\ndecision = \"deny\"", 2, "`tcp` or `udp`"),
            ("match = {}\ndecision = \"deny\"\nopaque_bytes = \"1MiB\"", 1, "needs decision"),
            ("match = {}\ndecision = \"allow\"\nopaque_bytes = \"0B\"", 1, "\"deny\""),
            ("match = {}\ndecision = \"allow\"\nopaque_bytes = 5", 4, "a size"),
            ("match = {}\ndecision = \"allow\"\nopaque_bytes = \"5MB\"", 4, "MiB"),
            (
                "match = { host = \"a\", protocol = \"udp\" }\ndecision = \"allow\"",
                1,
                "cidr instead of host",
            ),
            (
                "match = { cidr = \"10.0.0.1\", protocol = \"udp\" }\ndecision = \"allow\"",
                1,
                "both cidr and port",
            ),
            (
                "match = { cidr = \"::/0\", port = 1, protocol = \"udp\" }\ndecision = \"allow\"",
                1,
                "2000::/3",
            ),
            ("match = { port = 1, protocol = \"udp\" }\ndecision = \"deny\"", 1, "nothing to deny"),
            (
                "match = { port = 1, protocol = \"udp\" }\ndecision = \"allow\"\nopaque_bytes = \"1B\"",
                1,
                "leave opaque_bytes out",
            ),
        ] {
            let problems = Config::parse(&format!("[[egress]]\n{rule}\n")).expect_err("not valid");
            let [problem] = &problems[..] else { panic!("{rule}: {problems:?}") };
            assert_eq!(problem.line, line, "{rule}: {problem}");
            assert!(problem.text.contains(hint), "{rule}: {problem}");
        }
    }
}
