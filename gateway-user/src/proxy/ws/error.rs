//! Why frames can't be read any further.

use super::Peer;
use crate::limits;

/// The connection can't be followed any further, and whose bytes are to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {}'s frames can't be read: {fault}", match by { Peer::Client => "client", Peer::Server => "server" })]
pub struct Breach {
    pub by: Peer,
    pub fault: Fault,
}

/// What breaks the protocol. The sections are those of RFC 6455 unless they name another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    #[error("a reserved bit is set that no extension gave a meaning (section 5.2)")]
    ReservedBit,
    #[error("an opcode is reserved (section 5.2)")]
    Opcode,
    #[error("a client's frame is not masked, or a server's is (section 5.1)")]
    Mask,
    #[error("a payload length is not in its shortest form, or exceeds 2^63 (section 5.2)")]
    Length,
    #[error("a control frame is fragmented, or longer than 125 bytes (section 5.5)")]
    Control,
    #[error("a continuation of nothing, or a message within another (section 5.4)")]
    Sequence,
    #[error("a frame after the closing one (section 5.5.1)")]
    AfterClose,
    #[error("compressed data is malformed (RFC 7692, section 7.2.2)")]
    Deflate,
    #[error("compressed data grows more than {} times", limits::WS_INFLATE_RATIO)]
    Bomb,
}
