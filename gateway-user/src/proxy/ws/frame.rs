//! Frames (RFC 6455, section 5.2): where each begins and ends.

use super::{Fault, Peer};

/// Reads the frames of one direction.
///
/// ```text
/// Head ─Piece::Begin─► Payload ─Piece::End─► Head
/// ```
#[derive(Debug)]
pub(super) struct Frames {
    by: Peer,
    state: State,
}

/// A part of a frame, in order: one beginning, any number of payload pieces, one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Begin(Frame),
    /// Never empty.
    Payload(Payload<'a>),
    End,
}

/// What a frame's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    /// Whether it is the last, or only, one of its message.
    pub(super) last: bool,
    /// Whether the first reserved bit is set: that of permessage-deflate.
    pub(super) compressed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    /// A ping or a pong.
    Beat,
}

/// A piece of payload as it came, and the key that unmasks it from its first byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    bytes: &'a [u8],
    key: [u8; 4],
}

#[derive(Debug)]
enum State {
    Head { bytes: [u8; MAX_HEAD], len: usize },
    Payload { left: u64, key: [u8; 4] },
}

/// Two bytes, a length of eight and a masking key of four.
const MAX_HEAD: usize = 14;

impl State {
    const START: Self = Self::Head { bytes: [0; MAX_HEAD], len: 0 };
}

impl Frames {
    pub(super) const fn new(by: Peer) -> Self {
        Self { by, state: State::START }
    }

    /// Reads the next piece off `input`: how many bytes were taken for it, and the piece. Without
    /// a piece all of `input` was taken, and more is needed.
    pub(super) fn next<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<Piece<'a>>), Fault> {
        match &mut self.state {
            State::Head { bytes, len } => {
                for (at, &byte) in input.iter().enumerate() {
                    bytes[*len] = byte;
                    *len += 1;
                    if *len == head_len(bytes, *len) {
                        let (frame, left, key) = parse(&bytes[..*len], self.by)?;
                        self.state = State::Payload { left, key };
                        return Ok((at + 1, Some(Piece::Begin(frame))));
                    }
                }
                Ok((input.len(), None))
            }
            State::Payload { left: 0, .. } => {
                self.state = State::START;
                Ok((0, Some(Piece::End)))
            }
            State::Payload { .. } if input.is_empty() => Ok((0, None)),
            State::Payload { left, key } => {
                let here = usize::try_from(*left).ok().and_then(|left| input.get(..left));
                let bytes = here.unwrap_or(input);
                let payload = Payload { bytes, key: *key };
                *left -= bytes.len() as u64;
                let ahead = bytes.len() % key.len();
                key.rotate_left(ahead);
                Ok((bytes.len(), Some(Piece::Payload(payload))))
            }
        }
    }
}

impl Opcode {
    fn parse(bits: u8) -> Result<Self, Fault> {
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 | 10 => Ok(Self::Beat),
            _ => Err(Fault::Opcode),
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Beat)
    }
}

impl<'a> Payload<'a> {
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the unmasked bytes.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.bytes);
        if self.key != [0; 4] {
            let bytes = out.get_mut(start..).unwrap_or_default();
            bytes.iter_mut().zip(self.key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
    }

    /// In pieces of at most so many bytes, a multiple of the key's length.
    pub(super) fn chunks(self, bytes: usize) -> impl Iterator<Item = Payload<'a>> {
        let bytes = bytes.next_multiple_of(self.key.len());
        self.bytes.chunks(bytes).map(move |bytes| Payload { bytes, key: self.key })
    }
}

/// How long the head is that begins with these bytes, as far as they tell: at least one more than
/// there are, if they don't.
fn head_len(bytes: &[u8; MAX_HEAD], len: usize) -> usize {
    if len < 2 {
        return 2;
    }
    let length = match bytes[1] & LENGTH {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let key = if bytes[1] & MASKED == 0 { 0 } else { 4 };
    2 + length + key
}

/// Reads a whole head: the frame, its payload's length and its masking key.
fn parse(head: &[u8], by: Peer) -> Result<(Frame, u64, [u8; 4]), Fault> {
    const LAST: u8 = 0x80;
    const RESERVED_1: u8 = 0x40;
    const RESERVED_2_AND_3: u8 = 0x30;

    let [first, second, rest @ ..] = head else { return Err(Fault::Length) };
    let opcode = Opcode::parse(first & 0x0f)?;
    let frame = Frame { opcode, last: first & LAST != 0, compressed: first & RESERVED_1 != 0 };
    if first & RESERVED_2_AND_3 != 0 {
        return Err(Fault::ReservedBit);
    }
    if (second & MASKED != 0) != (by == Peer::Client) {
        return Err(Fault::Mask);
    }
    let (length, key) = match (second & LENGTH, rest) {
        (126, [a, b, key @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), key),
        (127, [a, b, c, d, e, f, g, h, key @ ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), key)
        }
        (short, key) => (u64::from(short), key),
    };
    let shortest = match second & LENGTH {
        126 => length > 125,
        127 => length > u64::from(u16::MAX) && length <= u64::MAX >> 1,
        _ => true,
    };
    if !shortest {
        return Err(Fault::Length);
    }
    if opcode.is_control() && (!frame.last || length > 125) {
        return Err(Fault::Control);
    }
    Ok((frame, length, key.try_into().unwrap_or_default()))
}

const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
