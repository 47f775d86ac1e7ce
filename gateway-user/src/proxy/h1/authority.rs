//! To whom a request goes: what its target and its Host say, and whether they say the same.

use std::{fmt, str::FromStr};

use super::{Method, RequestHead, Version};

/// A host and its port, as a CONNECT names them (RFC 9110, section 9.3.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: Box<str>,
    port: u16,
}

/// Why it can't be said for whom a request is. The sections are those of RFC 9112.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Misaddressed {
    #[error("it has no Host (section 3.2)")]
    NoHost,
    #[error("its target and its Host name different hosts (section 3.2.2)")]
    HostsDiffer,
    #[error("its target has none of the four forms (section 3.2)")]
    Target,
}

impl Authority {
    /// A name, or an address without brackets.
    #[must_use]
    pub const fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Authority {
    type Err = Misaddressed;

    fn from_str(text: &str) -> Result<Self, Misaddressed> {
        let (host, port) = text.rsplit_once(':').ok_or(Misaddressed::Target)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = Some(port).filter(|_| is_port && is_host).and_then(|port| port.parse().ok());
        let host = bracketed.unwrap_or(host).into();
        Ok(Self { host, port: port.filter(|port| *port != 0).ok_or(Misaddressed::Target)? })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl RequestHead {
    /// The host that the request is for, with a port if one is named: what its target says, where
    /// that is an absolute URI or an authority, goes before the Host (RFC 9112, section 3.2.2).
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        match (&self.method, absolute(&self.target)) {
            (Method::Connect, _) => Some(&self.target),
            (_, Some(authority)) => authority.rsplit('@').next(),
            (_, None) => self.host.as_deref(),
        }
    }

    /// Whether all that read the request would find it to be for the same host.
    pub fn check_authority(&self) -> Result<(), Misaddressed> {
        let absolute = absolute(&self.target);
        let named = match &self.method {
            Method::Connect => Some(self.target.parse::<Authority>().map(|_| &*self.target)?),
            Method::Options if self.target == "*" => None,
            _ if self.target.starts_with('/') => None,
            _ => Some(absolute.filter(|it| is_authority(it)).ok_or(Misaddressed::Target)?),
        };
        match (named, self.host.as_deref()) {
            (_, None) if self.version == Version::Http11 => Err(Misaddressed::NoHost),
            (Some(named), Some(host)) if !self.is_same(named, host) => {
                Err(Misaddressed::HostsDiffer)
            }
            _ => Ok(()),
        }
    }

    /// Whether two name the same host and port, where a port may be left out that goes without
    /// saying.
    fn is_same(&self, named: &str, host: &str) -> bool {
        let default = match self.target.get(..8) {
            _ if self.method == Method::Connect => None,
            Some(scheme) if scheme.eq_ignore_ascii_case("https://") => Some("443"),
            _ => Some("80"),
        };
        let (named, host) = (split(named), split(host));
        let same_port = match (named.1, host.1) {
            // Many clients leave the port of a CONNECT out of its Host.
            (_, None) if default.is_none() => true,
            (named, host) => named.or(default) == host.or(default),
        };
        named.0.eq_ignore_ascii_case(host.0) && same_port
    }
}

/// The host of an authority, brackets included, and its port.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, Some(port).filter(|port| !port.is_empty()))
        }
        _ => (authority, None),
    }
}

/// The authority of an absolute HTTP URI (RFC 9110, section 4.2), as it is written.
fn absolute(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    rest.split(['/', '?', '#']).next().filter(|_| is_http)
}

/// Whether it is a host, with or without a port. Whatever stands before an `@` is none (RFC 9110,
/// section 4.2.4).
fn is_authority(text: &str) -> bool {
    match split(text).0.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => is_name(split(text).0),
    }
}

/// A registered name or an IPv4 address, without the percent-encoding that nobody uses in one.
fn is_name(host: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::request_head, *};

    fn check(head: &str) -> Result<(), Misaddressed> {
        request_head(&format!("{head}\r\n\r\n")).check_authority()
    }

    #[test]
    fn a_target_goes_before_the_host() {
        let of = |head: &str| request_head(head).authority().map(str::to_owned);
        let cases = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some("a")),
            ("GET / HTTP/1.0\r\n\r\n", None),
            ("GET http://b:8080/p?q HTTP/1.1\r\nHost: a\r\n\r\n", Some("b:8080")),
            ("GET HTTP://b?q HTTP/1.1\r\nHost: a\r\n\r\n", Some("b")),
            ("GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", Some("b")),
            ("GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Some("a")),
            ("GET /http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Some("a")),
            ("CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", Some("b:443")),
        ];
        for (head, authority) in cases {
            assert_eq!(of(head).as_deref(), authority, "{head:?}");
        }
    }

    #[test]
    fn requests_for_one_host_pass() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.0",
            "OPTIONS * HTTP/1.1\r\nHost: a",
            "GET http://A/ HTTP/1.1\r\nHost: a",
            "GET http://a:80/ HTTP/1.1\r\nHost: a",
            "GET https://a/ HTTP/1.1\r\nHost: a:443",
            "GET http://[::1]:8080/ HTTP/1.1\r\nHost: [::1]:8080",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443",
            "CONNECT a:443 HTTP/1.1\r\nHost: a",
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443",
        ] {
            assert_eq!(check(head), Ok(()), "{head:?}");
        }
    }

    #[test]
    fn requests_for_nobody_or_for_two_are_told() {
        use Misaddressed::{HostsDiffer, NoHost, Target};
        for (head, reason) in [
            ("GET / HTTP/1.1", NoHost),
            ("GET http://a/ HTTP/1.1\r\nHost: b", HostsDiffer),
            ("GET http://a/ HTTP/1.1\r\nHost: a:8080", HostsDiffer),
            ("GET https://a/ HTTP/1.1\r\nHost: a:80", HostsDiffer),
            ("GET http://a/ HTTP/1.1\r\nHost:", HostsDiffer),
            ("CONNECT a:443 HTTP/1.1\r\nHost: b:443", HostsDiffer),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:80", HostsDiffer),
            ("GET a HTTP/1.1\r\nHost: a", Target),
            ("GET * HTTP/1.1\r\nHost: a", Target),
            ("GET http:/a/ HTTP/1.1\r\nHost: a", Target),
            ("GET http:///a HTTP/1.1\r\nHost: a", Target),
            ("GET http://u@a/ HTTP/1.1\r\nHost: a", Target),
            ("GET http://b\\@a/ HTTP/1.1\r\nHost: a", Target),
            ("CONNECT a HTTP/1.1\r\nHost: a", Target),
            ("CONNECT a:0 HTTP/1.1\r\nHost: a", Target),
            ("CONNECT a:65536 HTTP/1.1\r\nHost: a", Target),
            ("CONNECT a:+1 HTTP/1.1\r\nHost: a", Target),
            ("CONNECT http://a/ HTTP/1.1\r\nHost: a", Target),
        ] {
            assert_eq!(check(head), Err(reason), "{head:?}");
        }
    }
}
