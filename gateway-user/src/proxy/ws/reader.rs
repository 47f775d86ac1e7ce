//! The messages of one direction.

use super::{
    Content, Deflate, Fault, Kind, Message, Messages, Peer,
    frame::{Frame, Frames, Opcode, Payload, Piece},
    inflate::Inflater,
};
use crate::limits;

/// Puts messages together from frames. Control frames may come between those of a message
/// (RFC 6455, section 5.4); they are checked and passed over.
#[derive(Debug)]
pub(super) struct Reader {
    by: Peer,
    frames: Frames,
    /// Present if the two agreed to compress.
    inflater: Option<Inflater>,
    message: Option<Assembly>,
    frame: Option<Frame>,
    closed: bool,
}

/// A message that is under way.
#[derive(Debug)]
struct Assembly {
    kind: Kind,
    compressed: bool,
    bytes: Vec<u8>,
    size: u64,
}

impl Reader {
    pub(super) fn new(by: Peer, deflate: Option<Deflate>) -> Self {
        let inflater = deflate.map(|deflate| {
            Inflater::new(match by {
                Peer::Client => deflate.client_takeover,
                Peer::Server => deflate.server_takeover,
            })
        });
        Self { by, frames: Frames::new(by), inflater, message: None, frame: None, closed: false }
    }

    pub(super) fn read(&mut self, bytes: &[u8], messages: &mut impl Messages) -> Result<(), Fault> {
        let mut rest = bytes;
        loop {
            let (taken, piece) = self.frames.next(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            match piece {
                None => return Ok(()),
                Some(Piece::Begin(frame)) => self.begin(frame)?,
                Some(Piece::Payload(payload)) => self.payload(payload)?,
                Some(Piece::End) => self.end(messages)?,
            }
        }
    }

    fn begin(&mut self, frame: Frame) -> Result<(), Fault> {
        if self.closed {
            return Err(Fault::AfterClose);
        }
        let kind = match frame.opcode {
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            Opcode::Continuation | Opcode::Close | Opcode::Beat => None,
        };
        // RFC 7692, section 6: only the first frame of a message says that it is compressed.
        if frame.compressed && (kind.is_none() || self.inflater.is_none()) {
            return Err(Fault::ReservedBit);
        }
        match (kind, &self.message) {
            (Some(kind), None) => self.message = Some(Assembly::new(kind, frame.compressed)),
            (Some(_), Some(_)) => return Err(Fault::Sequence),
            (None, None) if frame.opcode == Opcode::Continuation => return Err(Fault::Sequence),
            (None, _) => {}
        }
        self.closed = frame.opcode == Opcode::Close;
        self.frame = Some(frame);
        Ok(())
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), Fault> {
        /// Bytes that are unmasked at a time before they are inflated.
        const CHUNK: usize = 4096;

        let (Some(message), true) = (&mut self.message, self.frame.is_some_and(Frame::is_data))
        else {
            return Ok(());
        };
        let Some(inflater) = self.inflater.as_mut().filter(|_| message.compressed) else {
            message.add(payload.len(), |bytes| payload.append_to(bytes));
            return Ok(());
        };
        let mut plain = Vec::with_capacity(CHUNK.min(payload.len()));
        for chunk in payload.chunks(CHUNK) {
            plain.clear();
            chunk.append_to(&mut plain);
            inflater.push(&plain, |bytes| message.add_bytes(bytes))?;
        }
        Ok(())
    }

    fn end(&mut self, messages: &mut impl Messages) -> Result<(), Fault> {
        let Some(frame) = self.frame.take() else { return Ok(()) };
        if !(frame.is_data() && frame.last) {
            return Ok(());
        }
        let Some(mut message) = self.message.take() else { return Ok(()) };
        if let Some(inflater) = self.inflater.as_mut().filter(|_| message.compressed) {
            inflater.end(|bytes| message.add_bytes(bytes))?;
        }
        let content = message.content();
        messages.message(Message { by: self.by, kind: message.kind, content });
        Ok(())
    }
}

impl Frame {
    const fn is_data(self) -> bool {
        matches!(self.opcode, Opcode::Continuation | Opcode::Text | Opcode::Binary)
    }
}

impl Assembly {
    const fn new(kind: Kind, compressed: bool) -> Self {
        Self { kind, compressed, bytes: Vec::new(), size: 0 }
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len(), |kept| kept.extend_from_slice(bytes));
    }

    /// So many bytes more, which `append` appends if they are to be kept.
    fn add(&mut self, count: usize, append: impl FnOnce(&mut Vec<u8>)) {
        self.size += count as u64;
        if self.is_kept() {
            append(&mut self.bytes);
        } else {
            self.bytes = Vec::new();
        }
    }

    fn content(&self) -> Content<'_> {
        if self.is_kept() { Content::Whole(&self.bytes) } else { Content::TooLarge(self.size) }
    }

    const fn is_kept(&self) -> bool {
        self.size <= limits::WS_MESSAGE_BYTES as u64
    }
}
