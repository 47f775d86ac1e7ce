//! How calls go to which upstream.

use std::{net::IpAddr, sync::Arc};

use super::hosts::HostList;

/// What holds for the servers of models.
///
/// Asked for one answer, a server of one's own may be asked for a stream, which can be counted, cut
/// and stopped: one that answers in one piece often goes on when nobody waits for it any more. Public
/// APIs are left alone unless a rule says otherwise; some refuse streams to some accounts.
#[derive(Clone, Debug, Default)]
pub struct Upstreams {
    rules: Vec<UpstreamRule>,
    /// Hosts that are public whatever their address.
    public: Arc<HostList>,
}

/// What holds for some of them.
#[derive(Clone, Debug)]
pub struct UpstreamRule {
    pub hosts: HostList,
    pub stream: bool,
}

impl Upstreams {
    /// Of several rules the first that fits holds. Without one, it is for servers whose address is not
    /// public, and which no public host is.
    #[must_use]
    pub const fn new(rules: Vec<UpstreamRule>, public: Arc<HostList>) -> Self {
        Self { rules, public }
    }

    /// Whether calls to that host, as a request names it, are to be answered in streams. The address is
    /// absent where only a proxy knows it.
    #[must_use]
    pub fn stream(&self, host: Option<&str>, address: Option<IpAddr>) -> bool {
        let name = host.map(without_port);
        let is_in = |list: &HostList| {
            name.is_some_and(|name| match name.parse() {
                Ok(address) => list.contains_address(address),
                Err(_) => list.contains(name),
            }) || address.is_some_and(|address| list.contains_address(address))
        };
        match self.rules.iter().find(|rule| is_in(&rule.hosts)) {
            Some(rule) => rule.stream,
            None => address.is_some_and(is_own) && !is_in(&self.public),
        }
    }
}

/// A host as RFC 9110, section 7.2, writes it, without its port and brackets.
fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

/// Whether an address is of a network of one's own: loopback, private (RFC 1918, RFC 4193), shared
/// (RFC 6598, where clouds and overlays put their machines), link-local.
fn is_own(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(hosts: &[&str]) -> HostList {
        HostList::parse(hosts).expect("they are hosts")
    }

    fn at(address: &str) -> IpAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn servers_of_ones_own_are_told_by_address_and_public_ones_by_name_too() {
        let upstreams = Upstreams::new(Vec::new(), Arc::new(list(&["api.example.com"])));
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.20.0.1",
            "100.64.9.9",
            "169.254.1.1",
            "::1",
            "fd00::7",
            "::ffff:10.0.0.1",
        ] {
            assert!(upstreams.stream(Some("llm:8000"), Some(at(address))), "{address}");
            assert!(upstreams.stream(None, Some(at(address))), "{address}");
            assert!(!upstreams.stream(Some("API.example.com:443"), Some(at(address))), "{address}");
        }
        for address in ["203.0.113.7", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(!upstreams.stream(Some("llm"), Some(at(address))), "{address}");
        }
        assert!(!upstreams.stream(Some("llm"), None), "behind a proxy");
    }

    #[test]
    fn the_first_rule_that_fits_holds() {
        let rules = vec![
            UpstreamRule { hosts: list(&["no.example.com", "10.0.0.9"]), stream: false },
            UpstreamRule {
                hosts: list(&["*.example.com", "203.0.113.7", "2001:db8::1"]),
                stream: true,
            },
        ];
        let upstreams = Upstreams::new(rules, Arc::default());
        assert!(upstreams.stream(Some("yes.example.com"), None));
        assert!(upstreams.stream(Some("llm:1"), Some(at("203.0.113.7"))));
        assert!(upstreams.stream(Some("[2001:db8::1]:8000"), None));
        assert!(!upstreams.stream(Some("no.example.com:8000"), Some(at("10.0.0.1"))));
        assert!(!upstreams.stream(Some("llm"), Some(at("10.0.0.9"))));
        assert!(upstreams.stream(Some("llm"), Some(at("10.0.0.8"))), "of one's own, with no rule");
    }
}
