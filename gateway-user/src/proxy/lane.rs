//! One direction of a relayed connection.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::TcpStream,
};

use super::splice::Conduit;
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
/// What is read goes out at once, from a buffer that all connections of the thread share. Only what
/// the other side does not take is kept, and nothing more is read before it has: a slow reader
/// slows the writer down. So a connection that waits holds no buffer.
///
/// Bytes that nobody wants to see go through a pipe in the kernel, once they come in bulk.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What could not be written yet: at most one read's worth.
    unsent: Vec<u8>,
    /// How much of `unsent` has been written.
    sent: usize,
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
    /// How many bytes may be passed on at once, of so many; none once there must be no more.
    fn at_most(&self, bytes: usize) -> usize;
    /// These bytes went on their way.
    fn saw(&mut self, bytes: &[u8]);
    /// So many bytes went on their way unseen.
    fn missed(&mut self, count: usize);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The source has ended; what is unsent goes out, then the end itself.
    Ended,
    Closed,
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
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; limits::READ_BYTES].into());
}

impl Lane {
    /// Carries what there is, but no more than its turn allows: then it asks to be polled again.
    /// Ready when the end has been passed on.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut TcpStream,
        sink: &mut TcpStream,
        watcher: &mut impl Watcher,
    ) -> Poll<Result<(), Failure>> {
        for _ in 0..limits::READS_PER_TURN {
            ready!(self.poll_flush(cx, sink)).map_err(Failure::Sink)?;
            if watcher.at_most(limits::READ_BYTES) == 0 {
                // The relay ends for it.
                return Poll::Pending;
            }
            match self.state {
                State::Open if self.bulk.is_some() => {
                    ready!(self.poll_splice(cx, source, watcher)).map_err(Failure::Source)?;
                }
                State::Open => ready!(BUFFER.with_borrow_mut(|buffer| {
                    self.poll_carry(cx, source, sink, buffer, watcher)
                }))?,
                State::Ended => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(Failure::Sink)?;
                    self.state = State::Closed;
                }
                State::Closed => return Poll::Ready(Ok(())),
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
        source: &TcpStream,
        sink: &TcpStream,
        watcher: &mut impl Watcher,
    ) {
        // What waits in a pipe comes before what is still to be read, and can't be sent from here.
        if self.bulk.as_ref().is_some_and(|bulk| !bulk.conduit.is_empty()) {
            return;
        }
        if !send_now(sink, &self.unsent[self.sent..]) || self.state != State::Open {
            return;
        }
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..limits::READS_OF_REST {
                let most = watcher.at_most(buffer.len());
                // Asked of the kernel, not of tokio, which may not know yet that there is data.
                let Ok((read @ 1.., _)) = recv(source, &mut buffer[..most], RecvFlags::DONTWAIT)
                else {
                    return;
                };
                let bytes = &buffer[..read];
                let taken = send_now(sink, bytes);
                watcher.saw(bytes);
                if !taken {
                    return;
                }
            }
        });
    }

    fn poll_carry(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut TcpStream,
        sink: &mut TcpStream,
        buffer: &mut [u8],
        watcher: &mut impl Watcher,
    ) -> Poll<Result<(), Failure>> {
        let most = watcher.at_most(buffer.len());
        let mut read = ReadBuf::new(&mut buffer[..most]);
        ready!(Pin::new(source).poll_read(cx, &mut read)).map_err(Failure::Source)?;
        let bytes = read.filled();
        if bytes.is_empty() {
            self.state = State::Ended;
            return Poll::Ready(Ok(()));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *sink).poll_write(cx, rest) {
                Poll::Ready(Ok(written)) => rest = &rest[written..],
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Sink(error))),
                Poll::Pending => {
                    self.unsent.extend_from_slice(rest);
                    break;
                }
            }
        }
        watcher.saw(bytes);
        if bytes.len() == limits::READ_BYTES && !watcher.wants_bytes() {
            // Without a descriptor to spare it goes on as before.
            self.bulk = Conduit::open().ok().map(|conduit| Bulk { conduit, little: 0 });
        }
        Poll::Ready(Ok(()))
    }

    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &TcpStream,
        watcher: &mut impl Watcher,
    ) -> Poll<io::Result<()>> {
        let Some(bulk) = &mut self.bulk else { return Poll::Ready(Ok(())) };
        let most = watcher.at_most(limits::SPLICED_BYTES);
        let moved = ready!(bulk.conduit.poll_fill(cx, source, most))?;
        if moved == 0 {
            self.state = State::Ended;
        }
        watcher.missed(moved);
        bulk.little = if moved < limits::READ_BYTES { bulk.little.saturating_add(1) } else { 0 };
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, sink: &mut TcpStream) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            self.sent += ready!(Pin::new(&mut *sink).poll_write(cx, &self.unsent[self.sent..]))?;
        }
        if self.sent > 0 {
            // Given back rather than kept: most connections never need it again.
            self.unsent = Vec::new();
            self.sent = 0;
        }
        if let Some(bulk) = &mut self.bulk {
            ready!(bulk.conduit.poll_flush(cx, sink))?;
            if bulk.little > LITTLE_FOR_GOOD {
                self.bulk = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the end has been passed on.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether everything that was read has been written.
    pub(super) fn is_flushed(&self) -> bool {
        let piped = self.bulk.as_ref().is_some_and(|bulk| !bulk.conduit.is_empty());
        self.sent == self.unsent.len() && !piped
    }
}

/// So often in a row little must come through a pipe before its lane gives it back: a message's
/// last piece is little, and the next may be bulk again.
const LITTLE_FOR_GOOD: u8 = 16;

/// Sends without waiting. Whether all of it went.
fn send_now(sink: &TcpStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match send(sink, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent @ 1..) => bytes = bytes.get(sent..).unwrap_or_default(),
            _ => return false,
        }
    }
    true
}
