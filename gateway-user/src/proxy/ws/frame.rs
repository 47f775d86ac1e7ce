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
    pub(super) head: Head,
}

/// The bytes of a frame before its payload, as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    bytes: [u8; MAX_HEAD],
    len: usize,
    masked: bool,
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

    /// Whether nothing of the next frame has come.
    pub(super) const fn is_at_start(&self) -> bool {
        matches!(self.state, State::Head { len: 0, .. })
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
                        let head =
                            Head { bytes: *bytes, len: *len, masked: bytes[1] & MASKED != 0 };
                        let (frame, left, key) = parse(head, self.by)?;
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

impl Head {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The key that masks the frame's payload, if it is masked.
    pub(super) fn key(&self) -> Option<[u8; 4]> {
        self.bytes().last_chunk().copied().filter(|_| self.masked)
    }
}

impl Opcode {
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;

    fn parse(bits: u8) -> Result<Self, Fault> {
        match bits {
            0 => Ok(Self::Continuation),
            Self::TEXT => Ok(Self::Text),
            Self::BINARY => Ok(Self::Binary),
            Self::CLOSE => Ok(Self::Close),
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

    /// The bytes as they came.
    pub(super) const fn raw(&self) -> &'a [u8] {
        self.bytes
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
        LENGTH_OF_TWO => 2,
        LENGTH_OF_EIGHT => 8,
        _ => 0,
    };
    let key = if bytes[1] & MASKED == 0 { 0 } else { 4 };
    2 + length + key
}

/// Reads a whole head: the frame, its payload's length and its masking key.
fn parse(head: Head, by: Peer) -> Result<(Frame, u64, [u8; 4]), Fault> {
    const RESERVED_1: u8 = 0x40;
    const RESERVED_2_AND_3: u8 = 0x30;

    let [first, second, rest @ ..] = head.bytes() else { return Err(Fault::Length) };
    let opcode = Opcode::parse(first & 0x0f)?;
    let (last, compressed) = (first & LAST != 0, first & RESERVED_1 != 0);
    let frame = Frame { opcode, last, compressed, head };
    if first & RESERVED_2_AND_3 != 0 {
        return Err(Fault::ReservedBit);
    }
    if (second & MASKED != 0) != (by == Peer::Client) {
        return Err(Fault::Mask);
    }
    let (length, key) = match (second & LENGTH, rest) {
        (LENGTH_OF_TWO, [a, b, key @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), key),
        (LENGTH_OF_EIGHT, rest) => {
            let (length, key) = rest.split_first_chunk().ok_or(Fault::Length)?;
            (u64::from_be_bytes(*length), key)
        }
        (short, key) => (u64::from(short), key),
    };
    let shortest = match second & LENGTH {
        LENGTH_OF_TWO => length > 125,
        LENGTH_OF_EIGHT => length > u64::from(u16::MAX) && length <= u64::MAX >> 1,
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

/// Writes a frame that is a whole message, masked with the key if there is one.
pub(super) fn write(opcode: u8, payload: &[u8], key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let masked = if key.is_some() { MASKED } else { 0 };
    out.push(LAST | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..=125), _) => out.push(masked | short),
        (_, Ok(long)) => {
            out.push(masked | LENGTH_OF_TWO);
            out.extend(long.to_be_bytes());
        }
        _ => {
            out.push(masked | LENGTH_OF_EIGHT);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(key.iter().flatten());
    Payload { bytes: payload, key: key.unwrap_or_default() }.append_to(out);
}

const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// The length follows, in so many bytes.
const LENGTH_OF_TWO: u8 = 0x7e;
const LENGTH_OF_EIGHT: u8 = 0x7f;
