//! Bodies of answers that note how far they came, and some of which break off.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::Server;
use crate::eval::{
    frameworks::{plot::Fault, stage::End},
    record,
};

/// The end of an exchange is noted when this is dropped: as whole, if all of the answer was handed over.
#[derive(Debug)]
pub(super) struct Noted {
    server: Arc<Server>,
    key: String,
    exchange: u64,
    fault: Option<Fault>,
    response: Option<record::Response>,
    is_whole: bool,
}

/// An answer's body.
#[derive(Debug)]
pub(super) struct Told {
    rest: VecDeque<Bytes>,
    /// What its length is said to be.
    length: Option<u64>,
    breaks: Breaks,
    noted: Option<Noted>,
}

/// What comes after the last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    Never,
    /// What was handed over is sent first.
    Next,
    Now,
}

impl Noted {
    pub(super) const fn new(
        server: Arc<Server>,
        key: String,
        exchange: u64,
        fault: Option<Fault>,
    ) -> Self {
        Self { server, key, exchange, fault, response: None, is_whole: false }
    }

    pub(super) fn begins(&mut self, status: u16, kind: &str) {
        self.begins_with(status, vec![("content-type".to_owned(), kind.to_owned())]);
    }

    pub(super) fn begins_with(&mut self, status: u16, headers: record::Headers) {
        let body = record::Bytes::default();
        self.response = Some(record::Response { status, headers, body });
    }

    fn tells(&mut self, piece: &Bytes) {
        if let Some(response) = &mut self.response {
            response.body.0.extend_from_slice(piece);
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let has_begun = self.response.as_ref().is_some_and(|it| !it.body.0.is_empty());
        let end = match self.fault {
            Some(fault @ (Fault::Reset | Fault::Truncated)) => End::Faulty(fault),
            Some(fault @ Fault::Status(_)) if self.is_whole => End::Faulty(fault),
            _ if self.is_whole => End::Whole,
            _ if has_begun => End::Aborted,
            _ => End::GaveUp,
        };
        let response = self.response.take();
        self.server.ended(&self.key, self.exchange, end, response);
    }
}

impl Told {
    /// In a document its length is told beforehand.
    pub(super) fn whole(pieces: Vec<Bytes>, is_document: bool, noted: Noted) -> Self {
        let length = is_document.then(|| pieces.iter().map(|piece| piece.len() as u64).sum());
        Self { rest: pieces.into(), length, breaks: Breaks::Never, noted: Some(noted) }
    }

    /// Half of it, and then the connection ends.
    pub(super) fn half(pieces: Vec<Bytes>, is_document: bool, noted: Noted) -> Self {
        let mut told = Self::whole(pieces, is_document, noted);
        match told.rest.len() {
            1 => {
                let piece = &mut told.rest[0];
                piece.truncate(piece.len() / 2);
            }
            count => told.rest.truncate(count / 2),
        }
        told.breaks = Breaks::Next;
        told
    }

    pub(super) fn unnoted(text: Bytes) -> Self {
        let length = Some(text.len() as u64);
        Self { rest: [text].into(), length, breaks: Breaks::Never, noted: None }
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(piece) = self.rest.pop_front() else {
            return match self.breaks {
                Breaks::Never => Poll::Ready(None),
                Breaks::Next => {
                    self.breaks = Breaks::Now;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Breaks::Now => Poll::Ready(Some(Err(io::Error::other("told to")))),
            };
        };
        let is_last = self.rest.is_empty() && self.breaks == Breaks::Never;
        if let Some(noted) = &mut self.noted {
            noted.tells(&piece);
            noted.is_whole = is_last;
        }
        if is_last {
            // Before the client has it: what it does next follows this.
            self.noted = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.breaks == Breaks::Never
    }

    fn size_hint(&self) -> SizeHint {
        let sent = |length| SizeHint::with_exact(length);
        self.length.map_or_else(SizeHint::default, sent)
    }
}
