//! An answer that comes as a stream, of which the client gets what it comes to (enforce).

use std::task::{Context, Poll};

use ::h2::RecvStream;
use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRAILER},
    response::Parts,
};

use super::{Down, Left, Sight, Stream, answer};
use crate::{
    dialect::refusal::Reply,
    proxy::{exchange::Exchange, h2::half::Half},
};

/// Such an answer, before it is whole.
#[derive(Debug)]
pub(super) struct Gathering {
    head: Parts,
    /// Absent: it is whole.
    from: Option<RecvStream>,
}

impl Gathering {
    pub(super) const fn new(head: Parts, from: RecvStream) -> Self {
        Self { head, from: Some(from) }
    }

    /// Its head as it is of a document of so many bytes.
    fn as_document(&self, length: usize) -> Response<()> {
        let mut head = self.head.clone();
        for name in [CONTENT_ENCODING, TRAILER] {
            head.headers.remove(name);
        }
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        Response::from_parts(head, ())
    }
}

impl Stream<'_> {
    /// Ready when it is whole and has begun to go on, or with how the stream leaves without it.
    pub(super) fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Left>> {
        let Down::Gathering(gathered) = &mut self.down else { return Poll::Ready(Ok(())) };
        while let Some(from) = gathered.from.as_mut().filter(|_| !self.sight.is_exceeded()) {
            match from.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    // Fails only for more than was received.
                    let _ = from.flow_control().release_capacity(bytes.len());
                    self.sight.response_body(&bytes);
                    self.sight.gather(&bytes);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.fail(&error))),
                Poll::Ready(None) => {
                    self.sight.body_ended();
                    if !self.sight.is_exceeded() {
                        return Poll::Ready(self.answer_whole());
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        // It is ended instead.
        Poll::Pending
    }

    fn answer_whole(&mut self) -> Result<(), Left> {
        let Some(mut respond) = self.respond.take() else { return Err(Left::Whole) };
        let document = match self.sight.take_gathered() {
            Some(Ok(document)) => Bytes::from(document),
            Some(Err(reply)) => return Err(answer(respond, &reply, !self.up.is_open())),
            None => Bytes::new(),
        };
        let Down::Gathering(gathered) = &mut self.down else { return Err(Left::Whole) };
        let sent = respond.send_response(gathered.as_document(document.len()), false);
        self.respond = Some(respond);
        let half = sent
            .ok()
            .and_then(|to| Some(Half::new(gathered.from.take()?, to, false).holding(document)));
        match half {
            Some(half) => {
                self.down = Down::Answering(half);
                Ok(())
            }
            None => Err(self.cancel(None)),
        }
    }
}

impl Sight<'_> {
    pub(super) fn is_gathered(&self) -> bool {
        self.exchange.as_ref().is_some_and(Exchange::is_gathered)
    }

    fn gather(&mut self, bytes: &[u8]) {
        if let Some(exchange) = &mut self.exchange {
            exchange.gather(bytes);
        }
    }

    fn take_gathered(&mut self) -> Option<Result<Vec<u8>, Reply>> {
        self.exchange.as_mut()?.take_gathered(self.connection)
    }
}
