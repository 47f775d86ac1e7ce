//! Patterns of host names.

use std::{fmt, net::IpAddr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::Glob;

/// A pattern of host names, in any case: `*.example.com` is every name below that one, at any
/// depth, and not that one itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Host(Glob);

/// Why a text is no pattern of host names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error(
        "a host is a name or a pattern of names, without scheme, port and path: github.com or \
         *.github.com"
    )]
    NoName,
    #[error("a host is a name; an address is written as cidr = \"192.0.2.7\"")]
    Address,
}

/// RFC 1035, section 2.3.4.
const NAME_BYTES: usize = 253;

impl Host {
    /// Whether a name fits; a dot at its end does not count.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(&normal(name))
    }
}

/// A name as DNS answers have them here.
pub(super) fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(HostError::Address);
        }
        let name = normal(text);
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.*?".contains(&b);
        let odd = name.len() > NAME_BYTES || name.contains("..") || name.starts_with('.');
        if odd || !name.bytes().all(legal) {
            return Err(HostError::NoName);
        }
        name.parse().map(Self).map_err(|_| HostError::NoName)
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0.into()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_in_any_case_and_nothing_else() {
        let hosts: Host = "*.GitHub.com.".parse().expect("a pattern");
        assert_eq!(hosts.to_string(), "*.github.com");
        for (name, fits) in [
            ("api.github.com", true),
            ("API.GitHub.COM.", true),
            ("a.b.github.com", true),
            ("github.com", false),
            ("github.com.evil.example", false),
        ] {
            assert_eq!(hosts.matches(name), fits, "{name}");
        }
        for (text, error) in [
            ("", HostError::NoName),
            ("https://github.com", HostError::NoName),
            ("github.com:443", HostError::NoName),
            ("a..b", HostError::NoName),
            ("192.0.2.7", HostError::Address),
            ("[::1]", HostError::Address),
            ("::1", HostError::Address),
        ] {
            assert_eq!(text.parse::<Host>(), Err(error), "{text}");
        }
    }
}
