//! A message's body: its bytes without their framing, and its end.

use super::{
    Fault, Framing,
    head::frames,
    scan::{Section, diagnose},
};
use crate::limits;

/// What is left of a message's body.
#[derive(Debug)]
pub(super) enum Body {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// What of a body went on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All that was read.
    All,
    /// All but what is undecided.
    Decided,
    /// Its content, in whole chunks of our own; or nothing of the chunk that comes next.
    Reframed,
    /// Some of what was read: so many bytes of the chunk that it ends in have not.
    Short(u64),
}

/// A chunk (RFC 9112, section 7.1); nothing for no bytes, which would be the last chunk.
#[must_use]
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// What the next bytes of a body were.
#[derive(Debug)]
pub(super) enum Step<'a> {
    Data(&'a [u8]),
    /// The body has ended.
    End,
    /// All the input was framing, or there was none.
    More,
}

impl From<Framing> for Body {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(bytes) => Self::Length(bytes),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

impl Body {
    /// How many bytes of the input were taken, and what they were. `section` is where trailers
    /// are put together.
    pub(super) fn next<'a>(
        &mut self,
        section: &mut Section,
        input: &'a [u8],
    ) -> Result<(usize, Step<'a>), Fault> {
        match self {
            Self::Length(0) => Ok((0, Step::End)),
            _ if input.is_empty() => Ok((0, Step::More)),
            Self::Length(left) => {
                let data = take(input, left);
                Ok((data.len(), Step::Data(data)))
            }
            Self::UntilClose => Ok((input.len(), Step::Data(input))),
            Self::Chunked(chunked) => chunked.next(section, input),
        }
    }

    /// What ends the body here with these words, so that it is whole. A chunk that has begun is
    /// filled up with `filler` where the words are too short for it. `None`: it can't be ended.
    pub(super) fn end_with(&self, words: &[u8], filler: Option<u8>, sent: Sent) -> Option<Vec<u8>> {
        match self {
            Self::Length(_) => None,
            Self::UntilClose => Some(words.to_vec()),
            Self::Chunked(chunked) => chunked.end_with(words, filler, sent),
        }
    }

    /// Whether more may go on here, in a chunk of its own where there are chunks.
    pub(super) const fn can_add(&self) -> bool {
        match self {
            Self::Length(_) => false,
            Self::UntilClose => true,
            Self::Chunked(chunked) => {
                matches!(chunked.state, ChunkState::Size) && chunked.line == 0
            }
        }
    }

    /// What of it has gone on if all that was read has, but for what is undecided and the last so many
    /// bytes of content, which are those of the chunk that was read last.
    pub(super) const fn gone_but(&self, rest: usize) -> Sent {
        match self {
            Self::Chunked(chunked) => match chunked.state {
                ChunkState::Data => Sent::Short(chunked.left.saturating_add(rest as u64)),
                ChunkState::DataCr | ChunkState::DataLf => Sent::Short(rest as u64),
                ChunkState::Trailers => Sent::Decided,
                _ => Sent::Reframed,
            },
            Self::Length(_) | Self::UntilClose => Sent::Decided,
        }
    }

    /// How many of the last bytes belong to a line between chunks that is not complete. Trailers
    /// are in the section.
    pub(super) const fn undecided(&self) -> usize {
        match self {
            Self::Chunked(chunked) => chunked.undecided(),
            Self::Length(_) | Self::UntilClose => 0,
        }
    }
}

/// The chunked coding (RFC 9112, section 7.1).
///
/// ```text
/// Size ─ws─► Padding ─;─► Extension ◄─"─► Quoted ◄─\─► Escaped     (Size ─;─► Extension as well)
///   │                         │
///   └────────────CR───────────┴──► SizeLf ─LF, size 0─► Trailers ─empty line─► end
///   ▲                                 │
///   └─LF─ DataLf ◄─CR─ DataCr ◄─ Data ◄─LF, size > 0
/// ```
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: ChunkState,
    /// The chunk's size while it is read, then how many of its bytes are still to come.
    left: u64,
    digits: u32,
    /// Bytes of the size's line so far.
    line: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    Padding,
    Extension,
    /// In a quoted string of an extension (RFC 9110, section 5.6.4).
    Quoted,
    Escaped,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

impl Chunked {
    fn next<'a>(
        &mut self,
        section: &mut Section,
        input: &'a [u8],
    ) -> Result<(usize, Step<'a>), Fault> {
        let mut rest = input;
        while let Some((&byte, after)) = rest.split_first() {
            match self.state {
                ChunkState::Data => {
                    let data = take(rest, &mut self.left);
                    if self.left == 0 {
                        self.state = ChunkState::DataCr;
                    }
                    return Ok((input.len() - rest.len() + data.len(), Step::Data(data)));
                }
                ChunkState::Trailers => {
                    let (taken, trailers) = section.take(rest)?;
                    let step = match trailers {
                        None => Step::More,
                        Some(trailers) => {
                            check_trailers(trailers)?;
                            section.clear();
                            Step::End
                        }
                    };
                    return Ok((input.len() - rest.len() + taken, step));
                }
                ChunkState::DataCr | ChunkState::DataLf => self.data_end(byte)?,
                _ => self.size_line(byte)?,
            }
            rest = after;
        }
        Ok((input.len(), Step::More))
    }

    fn end_with(&self, words: &[u8], filler: Option<u8>, sent: Sent) -> Option<Vec<u8>> {
        let mut rest = words;
        let mut ended = match (self.state, sent) {
            (_, Sent::Reframed) => Vec::new(),
            (ChunkState::Trailers, Sent::All | Sent::Decided) => return None,
            (ChunkState::Data, _) | (_, Sent::Short(_)) => {
                let left = if let Sent::Short(left) = sent { left } else { self.left };
                let left = usize::try_from(left).ok()?;
                let missing = left.saturating_sub(words.len());
                if missing > limits::FILLED_BYTES || missing > 0 && filler.is_none() {
                    return None;
                }
                let (first, after) = words.split_at(left.min(words.len()));
                rest = after;
                let mut data = first.to_vec();
                data.resize(left, filler.unwrap_or_default());
                data.extend_from_slice(b"\r\n");
                data
            }
            (ChunkState::DataCr, _) | (ChunkState::DataLf, Sent::Decided) => b"\r\n".to_vec(),
            (ChunkState::DataLf, Sent::All) => b"\n".to_vec(),
            // Half a line has gone on.
            (_, Sent::All) if self.line > 0 => return None,
            (_, Sent::All | Sent::Decided) => Vec::new(),
        };
        ended.extend(chunk(rest));
        ended.extend_from_slice(LAST_CHUNK);
        Some(ended)
    }

    const fn undecided(&self) -> usize {
        match self.state {
            ChunkState::DataLf => 1,
            ChunkState::Data | ChunkState::DataCr | ChunkState::Trailers => 0,
            _ => self.line,
        }
    }

    /// One byte of `chunk-size [ chunk-ext ] CRLF`. A quoted string in an extension can't hold CR
    /// or LF (RFC 9110, section 5.6.4); some that find one go on to its closing quote.
    fn size_line(&mut self, byte: u8) -> Result<(), Fault> {
        use ChunkState::{Data, Escaped, Extension, Padding, Quoted, Size, SizeLf, Trailers};

        self.line += 1;
        if self.line > limits::CHUNK_LINE_BYTES {
            return Err(Fault::ChunkLineTooLong);
        }
        self.state = match (self.state, byte) {
            (Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => return self.digit(byte),
            (Size, _) if self.digits == 0 => return Err(Fault::ChunkSize),
            (Size | Padding, b' ' | b'\t') => Padding,
            (Extension, b'"') => Quoted,
            (Size | Padding, b';') | (Extension, b'\t' | b' '..=b'~' | 0x80..) | (Quoted, b'"') => {
                Extension
            }
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, b'\t' | b' '..=b'~' | 0x80..) => Quoted,
            (Size | Extension, b'\r') => SizeLf,
            (Size | Padding | Extension | Quoted | Escaped, b'\n') => return Err(Fault::BareLf),
            (Extension | Quoted | Escaped, _) => return Err(Fault::ChunkExtension),
            (SizeLf, b'\n') if self.left == 0 => Trailers,
            (SizeLf, b'\n') => Data,
            (SizeLf, _) => return Err(Fault::BareCr),
            _ => return Err(Fault::ChunkSize),
        };
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<(), Fault> {
        self.digits += 1;
        if self.digits > u64::BITS / 4 {
            return Err(Fault::ChunkSizeTooLong);
        }
        let digit = char::from(byte).to_digit(16).ok_or(Fault::ChunkSize)?;
        self.left = self.left << 4 | u64::from(digit);
        // No one sends larger ones, and to some they are a small number.
        if self.left > limits::CHUNK_BYTES { Err(Fault::ChunkTooLarge) } else { Ok(()) }
    }

    /// One byte of the CRLF after a chunk's data.
    fn data_end(&mut self, byte: u8) -> Result<(), Fault> {
        match (self.state, byte) {
            (ChunkState::DataCr, b'\r') => self.state = ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => *self = Self::default(),
            _ => return Err(Fault::ChunkEnd),
        }
        Ok(())
    }
}

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// As much of the input as is left to come.
fn take<'a>(input: &'a [u8], left: &mut u64) -> &'a [u8] {
    let data = usize::try_from(*left).ok().and_then(|left| input.get(..left)).unwrap_or(input);
    *left -= data.len() as u64;
    data
}

/// Trailers are fields like any others (RFC 9112, section 7.1.2): some take them for the head's.
fn check_trailers(trailers: &[u8]) -> Result<(), Fault> {
    if trailers == b"\r\n" {
        return Ok(());
    }
    let mut fields = [httparse::EMPTY_HEADER; limits::HEAD_FIELDS];
    match httparse::parse_headers(trailers, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => {
            let framing = fields.iter().any(|field| frames(field.name));
            if framing { Err(Fault::Trailer) } else { Ok(()) }
        }
        Ok(httparse::Status::Partial) => Err(Fault::FieldName),
        Err(error) => Err(diagnose_trailers(trailers, error)),
    }
}

/// Trailers have no start line, so none must be skipped to find the fault.
#[cold]
fn diagnose_trailers(trailers: &[u8], error: httparse::Error) -> Fault {
    diagnose(&[b"\r\n", trailers].concat(), error)
}
