//! Amazon's event stream encoding (`application/vnd.amazon.eventstream`, Smithy 2.0, "Amazon Event
//! Stream Specification"), read as its bytes pass, cut anywhere.
//!
//! ```text
//! total length, headers' length, CRC-32 of these │ headers │ payload │ CRC-32 of all before it
//! ```

mod headers;

use std::fmt;

use flate2::Crc;

use super::frames::Event;

/// One message of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Event {
        name: &'a str,
        payload: &'a [u8],
    },
    /// An exception or an error, after which nothing follows, by its name.
    Fault(&'a str),
}

/// Cuts a stream into messages. Holds at most one message, up to `limit` bytes. One that lies whole
/// in one slice is handed out from there, without a copy.
pub(super) struct Parser {
    limit: usize,
    /// The beginning of a message whose end has not come.
    kept: Vec<u8>,
    /// Bytes that follow of a message that is passed over.
    skipped: usize,
    broken: bool,
}

/// What a message begins with.
struct Prelude {
    /// Of the whole message, in bytes.
    length: usize,
    headers: usize,
}

/// The bytes are not what the encoding says that they are.
#[derive(Debug)]
struct Broken;

impl Parser {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, kept: Vec::new(), skipped: 0, broken: false }
    }

    /// More of the stream: `on_event` is called for each message that ends in it.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut on_event: impl FnMut(Event<'_>)) {
        while !bytes.is_empty() && !self.broken {
            if self.skipped > 0 {
                let (skipped, rest) = bytes.split_at(self.skipped.min(bytes.len()));
                self.skipped -= skipped.len();
                bytes = rest;
            } else if let Err(Broken) = self.step(&mut bytes, &mut on_event) {
                self.broken = true;
                self.kept = Vec::new();
                on_event(Event::Broken);
            }
        }
    }

    /// Reads a message, or keeps what there is of it.
    fn step(
        &mut self,
        bytes: &mut &[u8],
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        if self.kept.is_empty()
            && let Some(prelude) = bytes.first_chunk()
        {
            let prelude = Prelude::read(prelude)?;
            if prelude.length <= self.limit
                && let Some((message, rest)) = bytes.split_at_checked(prelude.length)
            {
                *bytes = rest;
                on_event(Event::Message(prelude.message(message)?));
                return Ok(());
            }
        }
        if !self.keep(bytes, PRELUDE) {
            return Ok(());
        }
        let prelude = Prelude::read(self.kept.first_chunk().ok_or(Broken)?)?;
        if prelude.length > self.limit {
            self.skipped = prelude.length - PRELUDE;
            self.forget();
            on_event(Event::TooLarge);
        } else if self.keep(bytes, prelude.length) {
            on_event(Event::Message(prelude.message(&self.kept)?));
            self.forget();
        }
        Ok(())
    }

    /// Keeps as many bytes as there are, until it has so many; whether it has.
    fn keep(&mut self, bytes: &mut &[u8], length: usize) -> bool {
        let missing = length.saturating_sub(self.kept.len());
        let (kept, rest) = bytes.split_at(missing.min(bytes.len()));
        self.kept.extend_from_slice(kept);
        *bytes = rest;
        self.kept.len() >= length
    }

    fn forget(&mut self) {
        const RETAINED_BYTES: usize = 8 * 1024;
        self.kept.clear();
        self.kept.shrink_to(RETAINED_BYTES);
    }
}

impl Prelude {
    fn read(bytes: &[u8; PRELUDE]) -> Result<Self, Broken> {
        let ([length, headers, crc], _) = bytes.as_chunks::<4>() else { return Err(Broken) };
        let number = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
        let (length, headers) = (number(length).ok_or(Broken)?, number(headers).ok_or(Broken)?);
        let fits = length >= PRELUDE + CRC && headers <= length - PRELUDE - CRC;
        if fits && crc32(&bytes[..PRELUDE - CRC]).to_be_bytes() == *crc {
            Ok(Self { length, headers })
        } else {
            Err(Broken)
        }
    }

    /// The message, of which all bytes are there.
    fn message<'a>(&self, bytes: &'a [u8]) -> Result<Message<'a>, Broken> {
        let (bytes, crc) = bytes.split_last_chunk().ok_or(Broken)?;
        if crc32(bytes).to_be_bytes() != *crc {
            return Err(Broken);
        }
        let rest = bytes.get(PRELUDE..).ok_or(Broken)?;
        let (headers, payload) = rest.split_at_checked(self.headers).ok_or(Broken)?;
        headers::read(headers, payload)
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Its size only: streams are private.
impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("kept", &self.kept.len())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// Bytes of a prelude, its checksum included.
const PRELUDE: usize = 12;
/// Bytes of a checksum.
const CRC: usize = 4;

#[cfg(test)]
mod tests;
