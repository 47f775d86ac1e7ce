//! Telling a connection's protocol by its first bytes.

use super::tls::{HelloReader, NotAHello};
use crate::limits;

/// What a client's first bytes begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2,
    /// TLS, with the name that the client asks for (RFC 6066, section 3), if it names one.
    Tls {
        server_name: Option<Box<str>>,
    },
    Unknown,
}

/// Looks at a client's first bytes until they tell. The bytes have long gone on: this only looks.
#[derive(Debug, Default)]
pub(super) struct Sniffer {
    seen: Vec<u8>,
    hello: HelloReader,
}

/// RFC 9113, section 3.4.
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longer than any method in use, so that a line of another protocol is soon told apart.
const MAX_METHOD: usize = 32;

impl Sniffer {
    /// Looks at the next bytes. When they tell the protocol, gives it together with everything
    /// seen so far.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Option<(Protocol, Vec<u8>)> {
        self.seen.extend_from_slice(bytes);
        let protocol = self
            .classify()
            .or_else(|| (self.seen.len() >= limits::SNIFFED_BYTES).then_some(Protocol::Unknown))?;
        Some((protocol, std::mem::take(&mut self.seen)))
    }

    /// Gives up: what has been seen.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.seen)
    }

    /// Whether nothing has been seen yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn classify(&mut self) -> Option<Protocol> {
        /// The content type of a TLS handshake record (RFC 8446, section 5.1).
        const HANDSHAKE: u8 = 22;

        let seen = self.seen.as_slice();
        if *seen.first()? == HANDSHAKE {
            return match self.hello.look(seen) {
                Ok(Some(hello)) => Some(Protocol::Tls { server_name: hello.server_name }),
                Ok(None) => None,
                Err(NotAHello::Record | NotAHello::Message) => Some(Protocol::Unknown),
                // TLS to look at, but not TLS that can be read.
                Err(_) => Some(Protocol::Tls { server_name: None }),
            };
        }
        let preface = seen.len().min(HTTP2_PREFACE.len());
        if seen[..preface] == HTTP2_PREFACE[..preface] {
            return (preface == HTTP2_PREFACE.len()).then_some(Protocol::Http2);
        }
        // Empty lines before a request are legal (RFC 9112, section 2.2).
        let line = seen.iter().position(|b| !matches!(b, b'\r' | b'\n')).map(|at| &seen[at..])?;
        match line.iter().take(MAX_METHOD).position(|b| !is_of_method(*b)) {
            Some(at) if at > 0 && line[at] == b' ' => Some(Protocol::Http1),
            None if line.len() < MAX_METHOD => None,
            _ => Some(Protocol::Unknown),
        }
    }
}

/// What the registered methods are made of (RFC 9110, section 16.1). Others may be, but then this is
/// more likely another protocol: git's begins with `003egit-upload-pack /`.
fn is_of_method(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(bytes: &[u8]) -> Option<Protocol> {
        Sniffer::default().look(bytes).map(|(protocol, _)| protocol)
    }

    #[test]
    fn protocols_are_told_by_their_first_bytes() {
        assert_eq!(look(b"GET / HTTP/1.1\r\n"), Some(Protocol::Http1));
        assert_eq!(look(b"\r\nPOST /v1/chat/completions "), Some(Protocol::Http1));
        assert_eq!(look(b"M-SEARCH * HTTP/1.1\r\n"), Some(Protocol::Http1));
        assert_eq!(look(HTTP2_PREFACE), Some(Protocol::Http2));
        assert_eq!(look(b"SSH-2.0-OpenSSH_9.2\r\n"), Some(Protocol::Unknown));
        let git = b"003egit-upload-pack /repository\0host=192.0.2.1\0";
        assert_eq!(look(git), Some(Protocol::Unknown));
        assert_eq!(look(b"\0\0\0\x08\x04\xd2\x16\x2f"), Some(Protocol::Unknown));
        assert_eq!(look(&[b'A'; MAX_METHOD]), Some(Protocol::Unknown));
    }

    #[test]
    fn too_few_bytes_tell_nothing_yet() {
        for bytes in [&b""[..], b"G", b"GET", b"PRI * HTTP/2.0\r\n", b"\r\n", b"\x16\x03\x01"] {
            assert_eq!(look(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn bytes_that_tell_nothing_are_looked_at_only_so_far() {
        let mut sniffer = Sniffer::default();
        let blank = [b'\n'; 1024];
        let looks = limits::SNIFFED_BYTES / blank.len();
        assert!((1..looks).all(|_| sniffer.look(&blank).is_none()));
        assert!(sniffer.look(&blank).is_some());
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_are_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            method in "(GET|POST|PRI|SSH|\u{16}\u{3})?",
        ) {
            let bytes = [method.as_bytes(), &bytes].concat();
            let mut sniffer = Sniffer::default();
            let one_by_one = bytes.chunks(1).find_map(|byte| sniffer.look(byte));
            prop_assert_eq!(one_by_one.map(|(protocol, _)| protocol), look(&bytes));
        }
    }
}
