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

use reader::Reader;

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

    /// Reads the next bytes of one side, and gives the messages that end in them.
    pub fn sent(
        &mut self,
        by: Peer,
        bytes: &[u8],
        messages: &mut impl Messages,
    ) -> Result<(), Breach> {
        if let Some(breach) = self.failed {
            return Err(breach);
        }
        let reader = match by {
            Peer::Client => &mut self.client,
            Peer::Server => &mut self.server,
        };
        reader.read(bytes, messages).map_err(|fault| {
            let breach = Breach { by, fault };
            self.failed = Some(breach);
            breach
        })
    }
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
