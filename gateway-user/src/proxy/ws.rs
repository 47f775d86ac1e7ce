//! WebSocket (RFC 6455), as a passive observer: which messages pass, in either direction.
//!
//! The proxy forwards the bytes exactly as they came. It also feeds them here, cut anywhere, and
//! whole messages come out: frames put together, unmasked and, where the two sides agreed on
//! permessage-deflate (RFC 7692), inflated on a copy.
//!
//! ```text
//! bytes ─▶ Frames ─▶ Reader ─▶ (Inflater) ─▶ Messages::message
//! ```
//!
//! Where the proxy asks first, it gets from here what goes on: messages that are held until they are
//! whole go on as they came, with another content, or not at all, and messages of its own go
//! between those of the other side. Control frames are held by nothing.
//!
//! What breaks the protocol is a [`Breach`]: after it nothing can be said of either direction, and
//! the observer stays failed. What is only too large to be kept is told by its size, and the frames
//! after it are read on.

mod error;
mod extension;
mod frame;
mod inflate;
mod reader;

pub use error::{Breach, Fault};
pub use extension::{Deflate, UnknownExtension};

use frame::Opcode;
use reader::{Outlet, Reader};

/// The messages of one connection that has switched to WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    client: Reader,
    server: Reader,
    failed: Option<Breach>,
}

/// Takes the messages of a connection, each as its last byte passes.
pub trait Messages {
    fn message(&mut self, message: Message<'_>);

    /// Whether a message of that side, whose frames have so many bytes so far, is held until it is
    /// whole.
    fn holds(&mut self, _by: Peer, _bytes: usize) -> bool {
        false
    }

    /// A message that is held is whole, or too large to be held any longer.
    fn decide(&mut self, message: Message<'_>) -> Fate {
        self.message(message);
        Fate::Pass
    }

    /// Frames of our own that go on now, between the messages of that side.
    fn interject(&mut self, _by: Peer) -> Vec<u8> {
        Vec::new()
    }
}

/// What becomes of a message that was held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fate {
    Pass,
    /// It goes on with this content. One that was too large to be held does not.
    Instead(Vec<u8>),
    Drop,
}

/// A whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub by: Peer,
    pub kind: Kind,
    /// Its bytes, uncompressed. A text's are not checked to be UTF-8.
    pub content: Content<'a>,
}

/// What there is of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Whole(&'a [u8]),
    /// So many bytes, which were more than [`limits::WS_MESSAGE_BYTES`] and were not kept.
    ///
    /// [`limits::WS_MESSAGE_BYTES`]: crate::limits::WS_MESSAGE_BYTES
    TooLarge(u64),
}

/// What a message is (RFC 6455, section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Client,
    Server,
}

impl WebSocket {
    /// A connection just after the head of its 101 (Switching Protocols).
    #[must_use]
    pub fn new(deflate: Option<Deflate>) -> Self {
        Self {
            client: Reader::new(Peer::Client, deflate),
            server: Reader::new(Peer::Server, deflate),
            failed: None,
        }
    }

    /// Reads the next bytes of one side, which have gone on, and gives the messages that end in them.
    pub fn sent(
        &mut self,
        by: Peer,
        bytes: &[u8],
        messages: &mut impl Messages,
    ) -> Result<(), Breach> {
        self.read(by, bytes, messages, &mut Outlet(None))
    }

    /// The same of bytes that have not gone on: what does is put into `out`.
    pub fn pass(
        &mut self,
        by: Peer,
        bytes: &[u8],
        messages: &mut impl Messages,
        out: &mut Vec<u8>,
    ) -> Result<(), Breach> {
        self.read(by, bytes, messages, &mut Outlet(Some(out)))
    }

    fn read(
        &mut self,
        by: Peer,
        bytes: &[u8],
        messages: &mut impl Messages,
        out: &mut Outlet<'_>,
    ) -> Result<(), Breach> {
        if let Some(breach) = self.failed {
            return Err(breach);
        }
        let reader = match by {
            Peer::Client => &mut self.client,
            Peer::Server => &mut self.server,
        };
        reader.read(bytes, messages, out).map_err(|fault| {
            let breach = Breach { by, fault };
            self.failed = Some(breach);
            breach
        })
    }

    /// Whether the client may be sent a message of our own now, given whether every byte of the
    /// server's has gone on, or whole frames of it only.
    #[must_use]
    pub const fn may_tell_client(&self, bytewise: bool) -> bool {
        let server = &self.server;
        let free = if bytewise { server.is_between_frames() } else { server.is_between_messages() };
        free && self.failed.is_none()
    }
}

/// A text to the client, in a frame.
#[must_use]
pub fn text(content: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 10);
    frame::write(Opcode::TEXT, content.as_bytes(), None, &mut out);
    out
}

/// The frame that ends a connection, to the client (RFC 6455, section 5.5.1): a status and why, of
/// which as much is said as a control frame has room for.
#[must_use]
pub fn close(status: u16, why: &str) -> Vec<u8> {
    const ROOM: usize = 123;

    let end = (0..=why.len().min(ROOM)).rev().find(|&end| why.is_char_boundary(end));
    let why = why.get(..end.unwrap_or_default()).unwrap_or_default();
    let mut out = Vec::new();
    frame::write(Opcode::CLOSE, &[&status.to_be_bytes(), why.as_bytes()].concat(), None, &mut out);
    out
}

impl Content<'_> {
    /// In bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::TooLarge(size) => *size,
        }
    }
}

#[cfg(test)]
mod tests;
