//! What a TLS client says first (RFC 8446, section 4.1.2).

mod fields;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use self::fields::Fields;
use crate::limits;

/// What is read of a `ClientHello`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The host that the client wants (RFC 6066, section 3), as it wrote it.
    pub server_name: Option<Box<str>>,
    /// The protocols that it would speak inside (RFC 7301, section 3.1), the one that it likes best
    /// first.
    pub alpn: Vec<Box<[u8]>>,
    pub versions: Versions,
    /// Whether there may be another one inside, encrypted (RFC 9849, section 5). Many clients
    /// pretend that there is.
    pub encrypted: bool,
}

/// The versions that a client would speak, of those that are known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    pub tls12: bool,
    pub tls13: bool,
}

/// What began like a TLS handshake is none that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAHello {
    #[error("no record of a handshake")]
    Record,
    #[error("the first message is no ClientHello")]
    Message,
    #[error("a ClientHello too large")]
    TooLarge,
    #[error("a malformed ClientHello")]
    Malformed,
}

/// Collects a `ClientHello` out of the records that it comes in (RFC 8446, section 5.1). Holds at
/// most [`limits::HELLO_BYTES`].
#[derive(Debug, Default)]
pub struct HelloReader {
    /// How much of what was seen is read: whole records.
    read: usize,
    message: Vec<u8>,
}

impl HelloReader {
    /// Reads on. `seen` is everything that the client has sent so far. None until all of the message
    /// is there.
    pub fn look(&mut self, seen: &[u8]) -> Result<Option<ClientHello>, NotAHello> {
        while let Some((fragment, end)) = record(seen, self.read)? {
            self.message.extend_from_slice(fragment);
            self.read = end;
            let Some(length) = message_bytes(&self.message)? else { continue };
            if let Some(body) = self.message.get(HEAD_BYTES..HEAD_BYTES + length) {
                return read(body).ok_or(NotAHello::Malformed).map(Some);
            }
        }
        Ok(None)
    }
}

/// The fragment of the record that begins there, and where it ends, once all of it was seen.
fn record(seen: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, NotAHello> {
    let head = seen.get(at..).unwrap_or_default();
    if !can_begin(head) {
        return Err(NotAHello::Record);
    }
    let Some(&[_, _, _, l0, l1]) = head.first_chunk() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if !(1..=MAX_FRAGMENT).contains(&length) {
        return Err(NotAHello::Record);
    }
    let end = at + RECORD_HEAD_BYTES + length;
    Ok(seen.get(at + RECORD_HEAD_BYTES..end).map(|fragment| (fragment, end)))
}

/// Whether bytes can be the beginning of a record that holds a handshake. The minor version varies,
/// and means nothing (RFC 8446, section 5.1).
pub(in crate::proxy) fn can_begin(bytes: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    const MAJOR_VERSION: u8 = 3;

    bytes.iter().zip([HANDSHAKE, MAJOR_VERSION]).all(|(byte, expected)| *byte == expected)
}

/// How long the message is, once that can be said.
fn message_bytes(message: &[u8]) -> Result<Option<usize>, NotAHello> {
    const CLIENT_HELLO: u8 = 1;

    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(NotAHello::Message);
    }
    let Some(&[_, l0, l1, l2]) = message.first_chunk() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).unwrap_or(usize::MAX);
    if length > limits::HELLO_BYTES { Err(NotAHello::TooLarge) } else { Ok(Some(length)) }
}

/// Reads the message's body. None if it is malformed.
fn read(body: &[u8]) -> Option<ClientHello> {
    const RANDOM_BYTES: usize = 32;

    let mut fields = Fields(body);
    let legacy_version = fields.u16()?;
    fields.take(RANDOM_BYTES)?;
    let _session_id = fields.vector8()?;
    let _cipher_suites = fields.vector16()?;
    let _compression_methods = fields.vector8()?;
    let mut hello = ClientHello { versions: Versions::up_to(legacy_version), ..<_>::default() };
    if fields.is_empty() {
        return Some(hello);
    }
    let mut extensions = fields.vector16()?;
    if !fields.is_empty() {
        return None;
    }
    let mut known = Vec::new();
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        let data = extensions.vector16()?;
        match kind {
            SERVER_NAME => {
                let name = server_name(data)?;
                // An address is not allowed there; clients that send one mean what having no name
                // means.
                hello.server_name = name.parse::<IpAddr>().is_err().then(|| name.into());
            }
            ALPN => hello.alpn = protocols(data)?,
            SUPPORTED_VERSIONS => hello.versions = versions(data)?,
            ENCRYPTED_CLIENT_HELLO => hello.encrypted = true,
            _ => continue,
        }
        // Two of a kind could be read in two ways; they are forbidden (RFC 8446, section 4.2).
        if known.contains(&kind) {
            return None;
        }
        known.push(kind);
    }
    Some(hello)
}

/// RFC 6066, section 3: at most one name of each kind, and host names are the only kind.
fn server_name(mut data: Fields<'_>) -> Option<&str> {
    const HOST_NAME: u8 = 0;

    let mut list = data.vector16()?;
    let (kind, name) = (list.u8()?, list.vector16()?);
    if kind != HOST_NAME || !list.is_empty() || !data.is_empty() || name.is_empty() {
        return None;
    }
    std::str::from_utf8(name.0).ok().filter(|name| name.is_ascii())
}

fn protocols(mut data: Fields<'_>) -> Option<Vec<Box<[u8]>>> {
    let mut list = data.vector16()?;
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let protocol = list.vector8().filter(|protocol| !protocol.is_empty())?;
        // More is nothing that any server here would choose from.
        if protocols.len() < limits::HELLO_PROTOCOLS {
            protocols.push(protocol.0.into());
        }
    }
    data.is_empty().then_some(protocols)
}

/// RFC 8446, section 4.2.1.
fn versions(mut data: Fields<'_>) -> Option<Versions> {
    let mut list = data.vector8()?;
    let mut versions = Versions::default();
    while !list.is_empty() {
        match list.u16()? {
            TLS12 => versions.tls12 = true,
            TLS13 => versions.tls13 = true,
            _ => {}
        }
    }
    data.is_empty().then_some(versions)
}

impl Versions {
    /// What a client speaks that names only the latest: TLS 1.3 can't be named so.
    const fn up_to(legacy: u16) -> Self {
        Self { tls12: legacy >= TLS12, tls13: false }
    }
}

const RECORD_HEAD_BYTES: usize = 5;
/// RFC 8446, section 5.1.
const MAX_FRAGMENT: usize = 1 << 14;
/// A handshake message's type and length.
const HEAD_BYTES: usize = 4;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
