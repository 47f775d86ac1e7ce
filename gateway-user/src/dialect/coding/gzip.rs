//! `gzip` (RFC 1952): members, one after the other.

use flate2::{Crc, Decompress};

use super::{Broken, Step, deflate::inflate};

/// Reads members. What is not data is read byte by byte.
#[derive(Default)]
pub(super) struct Gzip {
    part: Part,
    /// The head's flags of those parts that are still to come.
    flags: u8,
    /// Absent before the first member's data.
    stream: Option<Box<Decompress>>,
    /// Of the member's data.
    crc: Crc,
}

/// The part of a member that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The head's ten bytes, of which so many were read.
    Head(usize),
    ExtraLength(Option<u8>),
    Extra(u16),
    Name,
    Comment,
    /// The head's checksum, of which so many bytes were read. It is not checked: nothing in the head
    /// matters.
    HeadCrc(usize),
    Data,
    /// The data's checksum and length, as far as they were read.
    Tail(usize, [u8; 8]),
}

impl Default for Part {
    fn default() -> Self {
        Self::Head(0)
    }
}

/// The head's flags (RFC 1952, section 2.3.1).
const HEAD_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

impl Gzip {
    pub(super) fn step(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Step, Broken> {
        let mut taken = 0;
        while self.part != Part::Data {
            let Some(&byte) = bytes.get(taken) else { return Ok(Step { taken, made: 0 }) };
            self.part = self.byte(byte)?;
            taken += 1;
        }
        let stream = self.stream.get_or_insert_with(|| Box::new(Decompress::new(false)));
        let (step, ended) = inflate(stream, bytes.get(taken..).unwrap_or_default(), out)?;
        self.crc.update(out.get(..step.made).unwrap_or_default());
        if ended {
            stream.reset(false);
            self.part = Part::Tail(0, [0; 8]);
        }
        Ok(Step { taken: taken + step.taken, made: step.made })
    }

    /// Whether a member has ended and no other has begun.
    pub(super) fn is_whole(&self) -> bool {
        self.part == Part::Head(0)
    }

    /// A byte that is not data: which part the next one belongs to.
    fn byte(&mut self, byte: u8) -> Result<Part, Broken> {
        Ok(match self.part {
            Part::Head(at) => {
                match at {
                    0 if byte != 0x1f => return Err(Broken),
                    1 if byte != 0x8b => return Err(Broken),
                    // The only method: DEFLATE.
                    2 if byte != 8 => return Err(Broken),
                    3 if byte & RESERVED != 0 => return Err(Broken),
                    3 => self.flags = byte,
                    _ => {}
                }
                if at < 9 { Part::Head(at + 1) } else { self.next() }
            }
            Part::ExtraLength(None) => Part::ExtraLength(Some(byte)),
            Part::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.next(),
                length => Part::Extra(length),
            },
            Part::Extra(1) => self.next(),
            Part::Extra(left) => Part::Extra(left - 1),
            Part::Name | Part::Comment if byte == 0 => self.next(),
            Part::HeadCrc(0) => Part::HeadCrc(1),
            Part::HeadCrc(_) => self.next(),
            Part::Tail(at, mut tail) => {
                tail[at] = byte;
                if at < 7 { Part::Tail(at + 1, tail) } else { self.end(tail)? }
            }
            part @ (Part::Name | Part::Comment | Part::Data) => part,
        })
    }

    /// The part after one of the head.
    fn next(&mut self) -> Part {
        let parts = [
            (EXTRA, Part::ExtraLength(None)),
            (NAME, Part::Name),
            (COMMENT, Part::Comment),
            (HEAD_CRC, Part::HeadCrc(0)),
        ];
        for (flag, part) in parts {
            if self.flags & flag != 0 {
                self.flags &= !flag;
                return part;
            }
        }
        Part::Data
    }

    fn end(&mut self, tail: [u8; 8]) -> Result<Part, Broken> {
        let ours = [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat();
        self.crc.reset();
        if tail[..] == ours[..] { Ok(Part::default()) } else { Err(Broken) }
    }
}
