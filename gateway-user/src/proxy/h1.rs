//! HTTP/1.1 framing (RFC 9112), as a passive observer: where each message begins and ends.
//!
//! The proxy forwards a connection's bytes exactly as they came. It also feeds them here, cut
//! anywhere, to one framer for each direction, and learns of heads, body bytes and message ends.
//! No body byte is copied; a head is copied only when it arrives in several pieces.
//!
//! The heads are parsed by `httparse`, under stricter rules of our own: whatever two
//! implementations could frame differently is a [`FramingError`], so that the proxy never judges
//! one request while the server answers another. After an error a framer stays failed.
//!
//! ```text
//! client ──► RequestFramer ── RequestPiece::Head ──► ResponseFramer::push(Awaited)
//! server ──► ResponseFramer ── ResponsePiece::Tunnel ──► RequestFramer::tunnel()
//! ```
//!
//! A request is pushed before its bytes go upstream, so that no answer can come first.
//!
//! What follows a request that asks for an upgrade, or a CONNECT, is HTTP only if the server
//! declines. It is framed as HTTP until the server has switched: a client must wait for that
//! (RFC 9110, sections 7.8 and 9.3.6), and one that does not is read as a server that declines
//! would read it, or fails the framing.

mod authority;
mod body;
mod error;
mod head;
mod request;
mod response;
mod scan;

pub use authority::{Authority, Misaddressed};
pub use body::{LAST_CHUNK, Sent, chunk};
pub use error::{Fault, FramingError};
pub use head::{
    Framing, Method, RequestHead, ResponseHead, Version, printable, with_field, with_length,
    without_field,
};
pub use request::{RequestFramer, RequestPiece};
pub use response::{Awaited, ResponseFramer, ResponsePiece};

/// What the end of the stream means to the message that was being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eof {
    /// The stream ended between two messages, or after HTTP had ended on it.
    Clean,
    /// The end of the stream is the end of the message: its body went on until the close.
    Complete,
    /// The stream ended inside a message.
    Truncated,
}

#[cfg(test)]
mod tests;
