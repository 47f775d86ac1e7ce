//! Lists of hosts, as configurations have them.

use std::{collections::HashSet, net::IpAddr};

/// Hosts by their names or addresses, in no order.
///
/// `api.example.com` is that name alone, `*.example.com` is every name below it, at any depth, and
/// not the name itself. Names are compared as DNS does, without regard to case (RFC 4343); one that
/// is not ASCII is listed by its A-labels (RFC 5890, section 2.3.2.1), as it comes on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostList {
    names: HashSet<Box<str>>,
    /// What comes after the `*.`.
    parents: HashSet<Box<str>>,
    addresses: HashSet<IpAddr>,
}

/// A host can't be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no host: write a name (api.example.com), all names below one (*.example.com) or an \
     address; names that are not ASCII by their A-labels (xn--…)"
)]
pub struct NotAHost(String);

impl HostList {
    /// Reads a list. Fails with the first that is no host.
    pub fn parse<S: AsRef<str>>(hosts: impl IntoIterator<Item = S>) -> Result<Self, NotAHost> {
        let mut list = Self::default();
        for host in hosts {
            list.add(host.as_ref())?;
        }
        Ok(list)
    }

    fn add(&mut self, host: &str) -> Result<(), NotAHost> {
        if let Ok(address) = host.parse::<IpAddr>() {
            self.addresses.insert(address.to_canonical());
            return Ok(());
        }
        let (set, name) = match host.strip_prefix("*.") {
            Some(parent) => (&mut self.parents, parent),
            None => (&mut self.names, host),
        };
        let name = canonical(name).filter(|name| is_name(name));
        set.insert(name.ok_or_else(|| NotAHost(host.to_owned()))?.into());
        Ok(())
    }

    /// Whether a name is listed, or below one that is with all below it.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let Some(name) = canonical(name) else { return false };
        if self.names.contains(name.as_str()) {
            return true;
        }
        let dots = name.bytes().enumerate().filter(|(at, byte)| *byte == b'.' && *at > 0);
        let mut parents = dots.map(|(at, _)| &name[at + 1..]);
        parents.any(|parent| self.parents.contains(parent))
    }

    /// Whether an address is listed as such.
    #[must_use]
    pub fn contains_address(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }
}

/// Lower case, without the dot that stands for the root. Longer than a name can be is none.
fn canonical(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    (name.len() <= MAX_NAME).then(|| name.to_ascii_lowercase())
}

/// RFC 1123, section 2.1, and the underscores that are in use.
fn is_name(name: &str) -> bool {
    name.split('.').all(|label| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    })
}

/// RFC 1035, section 2.3.4: in text, without the root's dot.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(hosts: &[&str]) -> HostList {
        HostList::parse(hosts).expect("they are hosts")
    }

    #[test]
    fn a_name_is_itself_and_a_star_is_all_below() {
        let list = list(&["api.example.com", "*.internal", "xn--bcher-kva.example"]);
        for name in ["api.example.com", "API.Example.COM", "api.example.com.", "a.internal"] {
            assert!(list.contains(name), "{name}");
        }
        assert!(list.contains("a.b.INTERNAL"));
        assert!(list.contains("xn--bcher-kva.example"));
        for name in ["internal", ".internal", "x.api.example.com", "api.example.com..", "", "."] {
            assert!(!list.contains(name), "{name}");
        }
        assert!(!list.contains("ainternal"));
        assert!(!list.contains(&format!("{}.internal", "a".repeat(300))));
    }

    #[test]
    fn an_address_is_listed_in_any_notation() {
        let list = list(&["192.0.2.7", "2001:DB8::1"]);
        for address in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8:0::1"] {
            assert!(list.contains_address(address.parse().expect("one")), "{address}");
        }
        assert!(!list.contains_address("192.0.2.8".parse().expect("one")));
        assert!(!list.contains("192.0.2.7"), "an address is no name");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in
            ["", "*", "*.", "a..b", "*.*.a", "a.*", "bücher.example", "a b", "https://a", "a:1"]
        {
            assert_eq!(HostList::parse([host]), Err(NotAHost(host.to_owned())), "{host}");
        }
    }

    proptest! {
        #[test]
        fn case_does_not_matter_and_a_star_is_not_its_parent(name in "[a-z0-9_-]{1,9}(\\.[a-z]{1,9}){0,3}") {
            let (exact, star) = (list(&[&name]), list(&[&format!("*.{name}")]));
            let upper = name.to_ascii_uppercase();
            prop_assert!(exact.contains(&upper) && !star.contains(&upper));
            let below = format!("x.{upper}");
            prop_assert!(star.contains(&below) && !exact.contains(&below));
            let beside = format!("x{upper}");
            prop_assert!(!star.contains(&beside) && !exact.contains(&beside));
        }

        #[test]
        fn nothing_makes_it_panic(host: String, name: String) {
            if let Ok(list) = HostList::parse([host]) {
                let _ = list.contains(&name);
            }
        }
    }
}
