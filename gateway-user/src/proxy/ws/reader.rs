//! The messages of one direction.

use super::{
    Content, Deflate, Fate, Fault, Kind, Message, Messages, Peer,
    frame::{self, Frame, Frames, Opcode, Payload, Piece},
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
    course: Course,
}

/// What becomes of a message's frames.
///
/// ```text
///          whole, or too large to be held
///   Held ─────────────────────────────────► Passed, Dropped
/// ```
#[derive(Debug)]
enum Course {
    /// They wait for their end. The key is that of the first.
    Held { frames: Vec<u8>, key: Option<[u8; 4]> },
    /// They go on as they come.
    Passed,
    /// It was decided before its end that they go on as they come, or don't.
    Decided { pass: bool },
}

/// Where what goes on is written to; nowhere if it has gone on already.
#[derive(Debug)]
pub(super) struct Outlet<'a>(pub(super) Option<&'a mut Vec<u8>>);

impl Outlet<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(out) = &mut self.0 {
            out.extend_from_slice(bytes);
        }
    }
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

    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        messages: &mut impl Messages,
        out: &mut Outlet<'_>,
    ) -> Result<(), Fault> {
        let mut rest = bytes;
        loop {
            let (taken, piece) = self.frames.next(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            match piece {
                None => return Ok(()),
                Some(Piece::Begin(frame)) => {
                    self.begin(frame, messages)?;
                    self.carry(frame.head.bytes(), messages, out);
                }
                Some(Piece::Payload(payload)) => {
                    self.payload(payload)?;
                    self.carry(payload.raw(), messages, out);
                }
                Some(Piece::End) => {
                    self.end(messages, out)?;
                    if self.is_between_messages() {
                        out.put(&messages.interject(self.by));
                    }
                }
            }
        }
    }

    /// Whether a message of our own may come next, if what was read of a frame's head has not gone
    /// on.
    pub(super) const fn is_between_messages(&self) -> bool {
        self.message.is_none() && self.frame.is_none() && !self.closed
    }

    /// The same, if all has gone on.
    pub(super) const fn is_between_frames(&self) -> bool {
        self.is_between_messages() && self.frames.is_at_start()
    }

    fn begin(&mut self, frame: Frame, messages: &mut impl Messages) -> Result<(), Fault> {
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
            (Some(kind), None) => {
                let course = if messages.holds(self.by, 0) {
                    Course::Held { frames: Vec::new(), key: frame.head.key() }
                } else {
                    Course::Passed
                };
                self.message = Some(Assembly::new(kind, frame.compressed, course));
            }
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

    fn end(&mut self, messages: &mut impl Messages, out: &mut Outlet<'_>) -> Result<(), Fault> {
        let Some(frame) = self.frame.take() else { return Ok(()) };
        if !(frame.is_data() && frame.last) {
            return Ok(());
        }
        let Some(mut message) = self.message.take() else { return Ok(()) };
        if let Some(inflater) = self.inflater.as_mut().filter(|_| message.compressed) {
            inflater.end(|bytes| message.add_bytes(bytes))?;
        }
        let told = message.told(self.by);
        match &message.course {
            Course::Passed => messages.message(told),
            Course::Decided { .. } => {}
            Course::Held { frames, key } => match messages.decide(told) {
                Fate::Pass => out.put(frames),
                Fate::Drop => {}
                Fate::Instead(content) => {
                    let opcode = match message.kind {
                        Kind::Text => Opcode::TEXT,
                        Kind::Binary => Opcode::BINARY,
                    };
                    let mut instead = Vec::with_capacity(content.len() + 14);
                    // The key was chosen by the client, for no others to foretell (section 5.3).
                    frame::write(opcode, &content, *key, &mut instead);
                    out.put(&instead);
                }
            },
        }
        Ok(())
    }

    /// Bytes of the frame that is under way have been read.
    fn carry(&mut self, bytes: &[u8], messages: &mut impl Messages, out: &mut Outlet<'_>) {
        let of_message = self.frame.is_some_and(Frame::is_data);
        match self.message.as_mut().filter(|_| of_message).map(|message| &mut message.course) {
            Some(Course::Held { frames, .. }) => {
                frames.extend_from_slice(bytes);
                self.check_room(messages, out);
            }
            Some(Course::Decided { pass: false }) => {}
            Some(Course::Passed | Course::Decided { pass: true }) | None => out.put(bytes),
        }
    }

    /// Decides on a message that is too large to be held to its end. What was held goes on at once:
    /// not within a control frame, and not later than heads alone fill the room.
    fn check_room(&mut self, messages: &mut impl Messages, out: &mut Outlet<'_>) {
        let Some(message) = &mut self.message else { return };
        let Course::Held { frames, .. } = &message.course else { return };
        if message.is_kept() && messages.holds(self.by, frames.len()) {
            return;
        }
        let (by, kind) = (self.by, message.kind);
        let content = Content::TooLarge(message.size);
        let pass = messages.decide(Message { by, kind, content }) == Fate::Pass;
        if pass {
            out.put(frames);
        }
        message.course = Course::Decided { pass };
    }
}

impl Frame {
    const fn is_data(self) -> bool {
        matches!(self.opcode, Opcode::Continuation | Opcode::Text | Opcode::Binary)
    }
}

impl Assembly {
    const fn new(kind: Kind, compressed: bool, course: Course) -> Self {
        Self { kind, compressed, bytes: Vec::new(), size: 0, course }
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

    fn told(&self, by: Peer) -> Message<'_> {
        let whole = self.is_kept().then_some(Content::Whole(&self.bytes));
        let content = whole.unwrap_or(Content::TooLarge(self.size));
        Message { by, kind: self.kind, content }
    }

    const fn is_kept(&self) -> bool {
        self.size <= limits::WS_MESSAGE_BYTES as u64
    }
}
