//! Permessage-deflate (RFC 7692, section 7.2.2), on a copy of what passes.

use flate2::{Decompress, FlushDecompress, Status};

use super::Fault;
use crate::limits;

/// Inflates the messages of one direction. It holds a window only while a message is under way, or
/// for good where messages refer to those before them.
#[derive(Debug)]
pub(super) struct Inflater {
    takeover: bool,
    stream: Option<Box<Decompress>>,
    /// Bytes that went in, over all messages.
    deflated: u64,
    /// Bytes that came out.
    inflated: u64,
}

impl Inflater {
    pub(super) const fn new(takeover: bool) -> Self {
        Self { takeover, stream: None, deflated: 0, inflated: 0 }
    }

    /// Inflates a piece of a message. Fails where it grows too much: a few bytes can ask for a
    /// thousand times as much work.
    pub(super) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), Fault> {
        let stream = self.stream.get_or_insert_with(|| Box::new(Decompress::new(false)));
        self.deflated += bytes.len() as u64;
        let most = self.deflated.saturating_mul(limits::WS_INFLATE_RATIO)
            + limits::WS_MESSAGE_BYTES as u64;
        let mut out = [0; 8192];
        let mut rest = bytes;
        loop {
            let before = (stream.total_in(), stream.total_out());
            let status = stream.decompress(rest, &mut out, FlushDecompress::Sync);
            let status = status.map_err(|_| Fault::Deflate)?;
            let taken = usize::try_from(stream.total_in() - before.0).unwrap_or(usize::MAX);
            let made = usize::try_from(stream.total_out() - before.1).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            self.inflated += made as u64;
            if self.inflated > most {
                return Err(Fault::Bomb);
            }
            take(out.get(..made).unwrap_or_default());
            match status {
                // A sender may end its stream within a message (RFC 7692, section 7.2.3.4).
                Status::StreamEnd => stream.reset(false),
                _ if rest.is_empty() && made < out.len() => return Ok(()),
                _ if taken == 0 && made == 0 => return Err(Fault::Deflate),
                _ => {}
            }
        }
    }

    /// The message has ended.
    pub(super) fn end(&mut self, take: impl FnMut(&[u8])) -> Result<(), Fault> {
        /// What the sender took away (RFC 7692, section 7.2.1): the end of an empty block.
        const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

        self.push(&TAIL, take)?;
        if !self.takeover {
            self.stream = None;
        }
        Ok(())
    }
}
