//! One direction of a relayed connection.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::ReadBuf;

use super::{leg::Leg, splice::Conduit, way::Verdict};
use crate::limits;

/// Carries bytes from one stream to another, in order, and the end of the one to the other.
///
/// ```text
///            bytes                     flushed
///   Open ◄─────────► Open    Ended ────────────► Closed
///    │  end of the stream      ▲
///    └─────────────────────────┘     any error: the relay gives up
/// ```
///
/// A TLS stream that ends without saying so (RFC 8446, section 6.1) may have been cut by anybody, so
/// the other side is not told either that it was whole.
///
/// What is read goes out at once, from a buffer that all connections of the thread share. Only what
/// the other side does not take is kept, and nothing more is read before it has: a slow reader
/// slows the writer down. So a connection that waits holds no buffer.
///
/// Bytes that nobody wants to see go through a pipe in the kernel, once they come in bulk.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What was read before the lane began, and has been neither written nor shown.
    held: Vec<u8>,
    /// What could not be written yet: at most one read's worth.
    unsent: Vec<u8>,
    /// How much of `unsent` has been written.
    sent: usize,
    /// Some of what was written may wait in the sink itself.
    unflushed: bool,
    state: State,
    bulk: Option<Bulk>,
}

/// A lane that carries bulk.
#[derive(Debug)]
struct Bulk {
    conduit: Conduit,
    /// How often in a row little has come.
    little: u8,
}

/// What a lane is told to do, and tells of what it did.
pub(super) trait Watcher {
    /// Whether the bytes have to be shown. They need not be once, they never have to be again.
    fn wants_bytes(&self) -> bool;
    /// Whether it is asked about the bytes before they go on, instead of being shown them after.
    fn asks(&self) -> bool;
    /// How many bytes, of so many, are to be read at once: at least one unless it holds.
    fn at_most(&self, bytes: usize) -> usize;
    /// Whether nothing more is to be read for now. Whoever changes that polls the lane.
    fn holds(&self) -> bool;
    /// Whether what is read is kept for now, so that no end may overtake it.
    fn waits(&self) -> bool;
    /// These bytes went on their way.
    fn saw(&mut self, bytes: &[u8]);
    /// What goes on of these bytes: some of them, or what is put into `out`, which is empty.
    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Verdict;
    /// Puts into `out` what goes on of the bytes that were kept, now that they can be read.
    fn pass_kept(&mut self, out: &mut Vec<u8>);
    /// Puts into `out` what goes on of the bytes that were kept, although there are no more.
    fn pass_last(&mut self, out: &mut Vec<u8>);
    /// So many bytes went on their way unseen.
    fn missed(&mut self, count: usize);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The source has ended; what is unsent goes out, then the end itself.
    Ended(End),
    Closed(End),
}

/// How a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It said that there is no more.
    Whole,
    /// There may have been more.
    Cut,
}

/// Which side failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("can't read: {0}")]
    Source(#[source] io::Error),
    #[error("can't write: {0}")]
    Sink(#[source] io::Error),
}

thread_local! {
    /// Where all connections of a thread read to.
    pub(super) static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; limits::READ_BYTES].into());
}

impl Lane {
    /// A lane that begins with what was read from its source already.
    pub(super) fn beginning_with(held: Vec<u8>) -> Self {
        Self { held, ..Self::default() }
    }

    /// Carries what there is, but no more than its turn allows: then it asks to be polled again.
    /// Ready when the end has been passed on.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Leg,
        sink: &mut impl Leg,
        watcher: &mut impl Watcher,
    ) -> Poll<Result<(), Failure>> {
        if !self.held.is_empty() {
            let mut held = std::mem::take(&mut self.held);
            if !watcher.asks() {
                held.truncate(watcher.at_most(held.len()));
            }
            self.forward(cx, sink, &held, watcher)?;
        }
        for _ in 0..limits::READS_PER_TURN {
            ready!(self.poll_flush(cx, sink)).map_err(Failure::Sink)?;
            self.carry_kept(cx, sink, watcher)?;
            match self.state {
                State::Open if watcher.holds() => return Poll::Pending,
                State::Open if self.bulk.is_some() => {
                    ready!(self.poll_splice(cx, source, watcher)).map_err(Failure::Source)?;
                }
                State::Open => ready!(BUFFER.with_borrow_mut(|buffer| {
                    self.poll_carry(cx, source, sink, buffer, watcher)
                }))?,
                State::Ended(_) if watcher.waits() => return Poll::Pending,
                State::Ended(end) => {
                    // What was kept until now comes before it.
                    ready!(self.poll_flush(cx, sink)).map_err(Failure::Sink)?;
                    let told = match end {
                        End::Whole => Pin::new(&mut *sink).poll_shutdown(cx),
                        End::Cut => sink.poll_cut(cx),
                    };
                    ready!(told).map_err(Failure::Sink)?;
                    self.state = State::Closed(end);
                }
                State::Closed(_) => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The source is dead, but may have left something: carries as much of it as the sink takes
    /// without waiting. Its end is not passed on, because once a socket's error has been reported
    /// the kernel shows a reset as an orderly end.
    pub(super) fn carry_rest(
        &mut self,
        source: &mut impl Leg,
        sink: &mut impl Leg,
        watcher: &mut impl Watcher,
    ) {
        // What waits in a pipe comes before what is still to be read, and can't be sent from here.
        if self.bulk.as_ref().is_some_and(|bulk| !bulk.conduit.is_empty()) {
            return;
        }
        if !sink.write_now(&self.unsent[self.sent..]) || self.state != State::Open {
            return;
        }
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..limits::READS_OF_REST {
                let most = watcher.at_most(buffer.len());
                let read = source.read_now(&mut buffer[..most]);
                if read == 0 {
                    return;
                }
                let bytes = &buffer[..read];
                let taken = if watcher.asks() {
                    let mut out = Vec::new();
                    sink.write_now(match watcher.pass(bytes, &mut out) {
                        Verdict::First(count) => &bytes[..count],
                        Verdict::Instead => &out,
                    })
                } else {
                    let taken = sink.write_now(bytes);
                    watcher.saw(bytes);
                    taken
                };
                if !taken || watcher.holds() {
                    return;
                }
            }
        });
    }

    fn poll_carry(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Leg,
        sink: &mut impl Leg,
        buffer: &mut [u8],
        watcher: &mut impl Watcher,
    ) -> Poll<Result<(), Failure>> {
        let most = watcher.at_most(buffer.len());
        let mut read = ReadBuf::new(&mut buffer[..most]);
        match ready!(Pin::new(&mut *source).poll_read(cx, &mut read)) {
            Ok(()) => {}
            // Only TLS knows of it: see [`End::Cut`].
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.state = State::Ended(End::Cut);
                return Poll::Ready(Ok(()));
            }
            Err(error) => return Poll::Ready(Err(Failure::Source(error))),
        }
        let bytes = read.filled();
        if bytes.is_empty() {
            self.state = State::Ended(End::Whole);
            return Poll::Ready(self.carry_last(cx, sink, watcher));
        }
        self.forward(cx, sink, bytes, watcher)?;
        let in_bulk = bytes.len() == limits::READ_BYTES && !watcher.wants_bytes();
        if in_bulk && source.plain().is_some() && sink.plain().is_some() {
            // Without a descriptor to spare it goes on as before.
            self.bulk = Conduit::open().ok().map(|conduit| Bulk { conduit, little: 0 });
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on what goes on of the bytes.
    fn forward(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Leg,
        bytes: &[u8],
        watcher: &mut impl Watcher,
    ) -> Result<(), Failure> {
        if watcher.asks() {
            let mut out = Vec::new();
            return match watcher.pass(bytes, &mut out) {
                Verdict::First(count) => self.write(cx, sink, &bytes[..count]),
                Verdict::Instead => self.write(cx, sink, &out),
            };
        }
        self.write(cx, sink, bytes)?;
        watcher.saw(bytes);
        Ok(())
    }

    /// Passes on what had to be kept until now.
    fn carry_kept(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Leg,
        watcher: &mut impl Watcher,
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        watcher.pass_kept(&mut out);
        self.write(cx, sink, &out)
    }

    /// The same, and there are no more.
    fn carry_last(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Leg,
        watcher: &mut impl Watcher,
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        watcher.pass_last(&mut out);
        self.write(cx, sink, &out)
    }

    /// Writes what the sink takes now, and keeps the rest.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Leg,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *sink).poll_write(cx, rest) {
                Poll::Ready(Ok(written)) => rest = &rest[written..],
                Poll::Ready(Err(error)) => return Err(Failure::Sink(error)),
                Poll::Pending => {
                    self.unsent.extend_from_slice(rest);
                    break;
                }
            }
        }
        self.unflushed = true;
        Ok(())
    }

    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &impl Leg,
        watcher: &mut impl Watcher,
    ) -> Poll<io::Result<()>> {
        let (Some(bulk), Some(source)) = (&mut self.bulk, source.plain()) else {
            return Poll::Ready(Ok(()));
        };
        let most = watcher.at_most(limits::SPLICED_BYTES);
        let moved = ready!(bulk.conduit.poll_fill(cx, source, most))?;
        if moved == 0 {
            self.state = State::Ended(End::Whole);
        }
        watcher.missed(moved);
        bulk.little = if moved < limits::READ_BYTES { bulk.little.saturating_add(1) } else { 0 };
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, sink: &mut impl Leg) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            self.sent += ready!(Pin::new(&mut *sink).poll_write(cx, &self.unsent[self.sent..]))?;
        }
        if self.sent > 0 {
            // Given back rather than kept: most connections never need it again.
            self.unsent = Vec::new();
            self.sent = 0;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *sink).poll_flush(cx))?;
            self.unflushed = false;
        }
        if let (Some(bulk), Some(sink)) = (&mut self.bulk, sink.plain()) {
            ready!(bulk.conduit.poll_flush(cx, sink))?;
            if bulk.little > LITTLE_FOR_GOOD {
                self.bulk = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the source has ended, which may not have been passed on.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_) | State::Closed(_))
    }

    /// How the source ended, once that has been passed on.
    pub(super) const fn closed(&self) -> Option<End> {
        match self.state {
            State::Closed(end) => Some(end),
            State::Open | State::Ended(_) => None,
        }
    }

    /// What has been read and could not be written yet.
    pub(super) fn take_unsent(&mut self) -> Vec<u8> {
        let sent = std::mem::take(&mut self.sent);
        let mut unsent = std::mem::take(&mut self.unsent);
        unsent.drain(..sent);
        unsent
    }

    /// Whether everything that was read has been written.
    pub(super) fn is_flushed(&self) -> bool {
        let piped = self.bulk.as_ref().is_some_and(|bulk| !bulk.conduit.is_empty());
        self.held.is_empty() && self.sent == self.unsent.len() && !self.unflushed && !piped
    }
}

/// So often in a row little must come through a pipe before its lane gives it back: a message's
/// last piece is little, and the next may be bulk again.
const LITTLE_FOR_GOOD: u8 = 16;
