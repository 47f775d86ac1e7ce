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
    /// How much of that was shown already, and its window given back.
    shown: usize,
    /// Some of what comes does not go on.
    filtered: bool,
    state: State,
}

/// What looks at a direction.
pub(super) trait Look {
    /// These bytes went on their way.
    fn saw(&mut self, bytes: &[u8]);
    /// What goes on of these bytes; without any, of those that waited for more. `None`: they do as
    /// they are, and are shown when they have. To be asked first when the direction begins.
    fn filter(&mut self, bytes: Option<&Bytes>) -> Option<Bytes>;
    /// Whether nothing more goes on, whatever comes.
    fn is_over(&self) -> bool;
    /// What the gateway itself says behind what went on.
    fn say(&mut self) -> Option<Bytes>;
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
        Self { from, to, unsent: Bytes::new(), shown: 0, filtered: false, state }
    }

    /// The same, with bytes that were taken from the source before, and shown.
    pub(super) fn holding(self, bytes: Bytes) -> Self {
        Self { shown: bytes.len(), unsent: bytes, ..self }
    }

    /// Carries what there is, and shows what it has sent. Ready with the end, once.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        look: &mut impl Look,
    ) -> Poll<Result<(), Broken>> {
        while self.state == State::Open {
            if !self.unsent.is_empty() {
                match self.poll_room(cx) {
                    Poll::Ready(Ok(room)) => {
                        let piece = self.unsent.split_to(room.min(self.unsent.len()));
                        self.send(&piece, look)?;
                        continue;
                    }
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                    Poll::Pending => return self.poll_stopped(cx),
                }
            }
            if look.is_over() {
                return self.poll_stopped(cx);
            }
            if let Some(bytes) = look.say() {
                self.shown = bytes.len();
                self.unsent = bytes;
                continue;
            }
            match self.from.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => self.send(&bytes, look)?,
                Poll::Ready(Some(Ok(bytes))) => self.take(bytes, look),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Broken::Source(error))),
                Poll::Ready(None) if self.filtered => {
                    self.filtered = false;
                    self.unsent = look.filter(None).unwrap_or_default();
                    self.shown = self.unsent.len();
                }
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

    /// What came of the source, which has ended, goes to another sink from its beginning.
    pub(super) fn begin_again(&mut self, to: SendStream<Bytes>, bytes: Bytes) {
        self.to = to;
        self.shown = bytes.len();
        self.unsent = bytes;
        self.state = State::Open;
    }

    /// Ends the direction with these bytes behind what was shown of it.
    pub(super) fn end_with(&mut self, words: &[u8]) -> Result<(), Broken> {
        let shown = self.unsent.split_to(self.shown.min(self.unsent.len()));
        self.stop();
        let last = Bytes::from([&shown, words].concat());
        self.to.send_data(last, true).map_err(|_| Broken::Sink(None))
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

    /// A piece has come.
    fn take(&mut self, bytes: Bytes, look: &mut impl Look) {
        match look.filter(Some(&bytes)) {
            None => self.unsent = bytes,
            Some(filtered) => {
                self.filtered = true;
                self.give_back(bytes.len());
                self.shown = filtered.len();
                self.unsent = filtered;
            }
        }
    }

    fn send(&mut self, piece: &Bytes, look: &mut impl Look) -> Result<(), Broken> {
        let last = self.unsent.is_empty() && !self.filtered && self.from.is_end_stream();
        self.to.send_data(piece.clone(), last).map_err(|_| Broken::Sink(None))?;
        if self.shown > 0 {
            self.shown = self.shown.saturating_sub(piece.len());
        } else {
            self.give_back(piece.len());
            look.saw(piece);
        }
        if last {
            self.state = State::Ended;
        }
        Ok(())
    }

    fn give_back(&mut self, window: usize) {
        // Fails only for more than was received.
        let _ = self.from.flow_control().release_capacity(window);
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
