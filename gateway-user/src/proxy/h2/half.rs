//! One direction of a stream: its body and trailers.

use std::task::{Context, Poll};

use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;

/// Carries a body from one side to the other.
///
/// ```text
///         data                     END_STREAM or trailers
///   Open ◄────► Open       Open ──────────────────────────► Ended
///                          Open ──── the sink is reset ───► Stopped
/// ```
///
/// Back-pressure is the protocol's own (RFC 9113, section 5.2). A piece is taken from the source
/// when it arrives, and its window given back when the sink has room for it: window that the
/// receiver granted, and place among [`limits::H2_SEND_BUFFER`] bytes that wait to be written. So a
/// receiver that stops stops the sender, and one direction of a stream holds at most the source's
/// window and the sink's buffer.
///
/// [`limits::H2_SEND_BUFFER`]: crate::limits::H2_SEND_BUFFER
#[derive(Debug)]
pub(super) struct Half {
    from: RecvStream,
    to: SendStream<Bytes>,
    /// What the sink had no room for yet.
    unsent: Bytes,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Stopped,
}

/// Why a direction goes no further.
#[derive(Debug)]
pub(super) enum Broken {
    Source(::h2::Error),
    /// The sink was reset, with this code if there was one.
    Sink(Option<Reason>),
}

impl Half {
    /// A direction whose head was sent, and ended the message or did not.
    pub(super) fn new(from: RecvStream, to: SendStream<Bytes>, ended: bool) -> Self {
        let state = if ended { State::Ended } else { State::Open };
        Self { from, to, unsent: Bytes::new(), state }
    }

    /// Carries what there is, and shows what it has sent. Ready with the end, once.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut saw: impl FnMut(&[u8]),
    ) -> Poll<Result<(), Broken>> {
        while self.state == State::Open {
            if !self.unsent.is_empty() {
                match self.poll_room(cx) {
                    Poll::Ready(Ok(room)) => {
                        let piece = self.unsent.split_to(room.min(self.unsent.len()));
                        self.send(&piece, &mut saw)?;
                        continue;
                    }
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                    Poll::Pending => return self.poll_stopped(cx),
                }
            }
            match self.from.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => self.send(&bytes, &mut saw)?,
                Poll::Ready(Some(Ok(bytes))) => self.unsent = bytes,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Broken::Source(error))),
                Poll::Ready(None) => match self.from.poll_trailers(cx) {
                    Poll::Ready(Ok(trailers)) => self.end(trailers)?,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Source(error))),
                    Poll::Pending => return self.poll_stopped(cx),
                },
                Poll::Pending => return self.poll_stopped(cx),
            }
        }
        match self.state {
            State::Ended => Poll::Ready(Ok(())),
            State::Open | State::Stopped => Poll::Pending,
        }
    }

    /// Whether more may come.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The sink wants no more. What the source still sends is left to its window.
    pub(super) fn stop(&mut self) {
        self.state = State::Stopped;
        self.unsent = Bytes::new();
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        self.stop();
        self.to.send_reset(reason);
    }

    /// Whether the sink has reset the stream, also after its end was sent.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reason>> {
        self.to.poll_reset(cx).map(Result::ok)
    }

    /// How much the sink takes now: more than nothing.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        self.to.reserve_capacity(self.unsent.len());
        loop {
            let room = self.to.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match self.to.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(self.stopped(cx))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Pending, unless the sink was reset.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_reset(cx).map(|reason| Err(Broken::Sink(reason)))
    }

    fn stopped(&mut self, cx: &mut Context<'_>) -> Broken {
        match self.poll_reset(cx) {
            Poll::Ready(reason) => Broken::Sink(reason),
            Poll::Pending => Broken::Sink(None),
        }
    }

    fn send(&mut self, piece: &Bytes, saw: &mut impl FnMut(&[u8])) -> Result<(), Broken> {
        let last = self.unsent.is_empty() && self.from.is_end_stream();
        self.to.send_data(piece.clone(), last).map_err(|_| Broken::Sink(None))?;
        // Fails only for more than was received.
        let _ = self.from.flow_control().release_capacity(piece.len());
        saw(piece);
        if last {
            self.state = State::Ended;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<http::HeaderMap>) -> Result<(), Broken> {
        match trailers {
            Some(trailers) => self.to.send_trailers(trailers),
            None => self.to.send_data(Bytes::new(), true),
        }
        .map_err(|_| Broken::Sink(None))?;
        self.state = State::Ended;
        Ok(())
    }
}
