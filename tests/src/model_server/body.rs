//! Bodies of answers: whole, or piece by piece with pauses.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Interval, interval};

/// The pieces that are yet to be sent.
#[derive(Debug)]
pub(super) struct Pieces {
    rest: VecDeque<Bytes>,
    /// Whether the length is told beforehand, so that the body is not chunked.
    sized: bool,
    pace: Option<Interval>,
}

impl Pieces {
    /// In one piece, with its length.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { rest: [bytes].into(), sized: true, pace: None }
    }

    /// Each in a chunk of its own, a pause apart.
    pub(super) fn streamed(pieces: Vec<Bytes>, pause: Duration) -> Self {
        let pace = (!pause.is_zero()).then(|| interval(pause));
        Self { rest: pieces.into(), sized: false, pace }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pace) = &mut self.pace {
            ready!(pace.poll_tick(cx));
        }
        Poll::Ready(self.rest.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.sized {
            SizeHint::with_exact(self.rest.iter().map(|piece| piece.len() as u64).sum())
        } else {
            SizeHint::default()
        }
    }
}
