//! One stream of the client, and the one of upstream that answers it.

mod gathering;
mod measured;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use ::h2::{Reason, RecvStream, SendStream, client::ResponseFuture, server::SendResponse};
use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_LENGTH};

use self::gathering::Gathering;
use super::{
    again::Again,
    half::{Broken, Half, Look},
    head::{self, Gathered},
    held::answer,
};
use crate::{
    call::{self, Dialect},
    dialect::refusal::Reply,
    proxy::{
        coverage::add,
        exchange::{Connection, Ended, Exchange},
        gate::{CallAdmission, Change, Room},
        h1::printable,
    },
};

/// Carries one exchange to its end, and understands it.
///
/// ```text
///  up    Open ── END_STREAM ──► Ended          Open ── upstream resets ──► Stopped
///  down  Awaited ── head ──► Answering ── END_STREAM ──► over
///           └─ a stream that the client did not ask for ─► Gathering ── END_STREAM ──► Answering
/// ```
///
/// Over when the answer has ended and nothing more of the request goes up. A server may answer
/// before the request has ended, and then reset the stream (RFC 9113, section 8.1): the answer still
/// goes down whole, and what is left of the stream is reset with `NO_ERROR` behind it. Any other
/// reset ends both directions with its code.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    sight: Sight<'a>,
    up: Half,
    down: Down,
    /// Gone when the stream has ended.
    respond: Option<SendResponse<Bytes>>,
    /// For what was held of the request, while some of it may wait.
    room: Option<Room>,
    again: Option<Again>,
    /// The gateway ends it.
    parting: Option<call::Reason>,
}

#[derive(Debug)]
enum Down {
    Awaited(ResponseFuture),
    Gathering(Box<Gathering>),
    Answering(Half),
}

/// How a stream left. The client's side may have to be reset, but only after what was written to
/// it has been sent: a reset throws away what waits.
#[derive(Debug)]
pub(super) enum Left {
    /// Nothing more has to be said to the client.
    Whole,
    Reset(SendResponse<Bytes>, Reason),
    /// Upstream's connection was lost, so the client's will be too.
    Lost(SendResponse<Bytes>),
}

/// What looks on.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    connection: &'a Connection,
    /// None for CONNECT and what is built on it: what goes by is not HTTP.
    exchange: Option<Exchange>,
    /// Of an answer, what waits for more.
    waiting: Vec<u8>,
}

impl<'a> Stream<'a> {
    /// A stream whose request head went upstream.
    pub(super) fn new(
        mut sight: Sight<'a>,
        (from, respond): (RecvStream, SendResponse<Bytes>),
        upstream: (ResponseFuture, SendStream<Bytes>),
        ended: bool,
    ) -> Self {
        if ended {
            // It has gone on.
            let _ = sight.request_ended();
        }
        Self {
            sight,
            up: Half::new(from, upstream.1, ended),
            down: Down::Awaited(upstream.0),
            respond: Some(respond),
            room: None,
            again: None,
            parting: None,
        }
    }

    /// The same, whose request was held; so much of its body has still to go on, and it may have to
    /// go again.
    pub(super) fn holding(self, body: Bytes, room: Room, again: Option<Again>) -> Self {
        Self { up: self.up.holding(body), room: Some(room), again, ..self }
    }

    /// The gateway ends it. To be polled afterwards.
    pub(super) fn part(&mut self, reason: call::Reason) {
        self.parting = Some(reason);
    }

    /// Ends it: upstream is told, and the client with an answer, or with what ends the one that it
    /// gets; where there are no words, with a reset.
    fn end(&mut self, reason: &call::Reason) -> Left {
        let request_ended = !self.up.is_open();
        self.up.reset(Reason::CANCEL);
        self.sight.call_off(reason);
        let Some(respond) = self.respond.take() else { return Left::Whole };
        let half = match &mut self.down {
            Down::Awaited(_) | Down::Gathering(_) => {
                return match self.sight.refuse(reason) {
                    Some(reply) => answer(respond, &reply, request_ended),
                    None => Left::Reset(respond, Reason::CANCEL),
                };
            }
            Down::Answering(half) if half.is_open() => half,
            Down::Answering(_) => return Left::Reset(respond, Reason::NO_ERROR),
        };
        let words = self.sight.last_words(reason);
        self.sight.finish(Ended::Cut);
        match words.map(|words| half.end_with(&words)) {
            Some(Ok(())) if request_ended => Left::Whole,
            Some(Ok(())) => Left::Reset(respond, Reason::NO_ERROR),
            Some(Err(_)) => Left::Whole,
            None => Left::Reset(respond, Reason::CANCEL),
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        if !self.up.is_open() {
            return Ok(());
        }
        match self.up.poll(cx, &mut Upwards(&mut self.sight)) {
            Poll::Pending => return Ok(()),
            // It has gone on, and was decided on before if it had to be.
            Poll::Ready(Ok(())) => drop(self.sight.request_ended()),
            // What that means is told by the answer, or its lack.
            Poll::Ready(Err(Broken::Sink(_))) => self.up.stop(),
            Poll::Ready(Err(Broken::Source(error))) => return Err(code(&error)),
        }
        if self.again.is_none() {
            self.room = None;
        }
        Ok(())
    }

    /// Ready when the answer has ended. Its loss is an error with how the stream leaves.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Left>> {
        loop {
            match &mut self.down {
                Down::Awaited(_) => match self.poll_head(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(left)) => return Poll::Ready(Err(left)),
                    Poll::Pending => return Poll::Pending,
                },
                Down::Gathering(_) => match self.poll_gathered(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(left)) => return Poll::Ready(Err(left)),
                    Poll::Pending => return Poll::Pending,
                },
                Down::Answering(half) => {
                    return match half.poll(cx, &mut Downwards(&mut self.sight)) {
                        Poll::Pending => Poll::Pending,
                        Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                        Poll::Ready(Err(Broken::Source(error))) => {
                            Poll::Ready(Err(self.fail(&error)))
                        }
                        Poll::Ready(Err(Broken::Sink(reason))) => {
                            Poll::Ready(Err(self.cancel(reason)))
                        }
                    };
                }
            }
        }
    }

    /// Passes heads down, up to the final one.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Left>> {
        let (Down::Awaited(response), Some(respond)) = (&mut self.down, &mut self.respond) else {
            return Poll::Pending;
        };
        loop {
            let interim = match response.poll_informational(cx) {
                Poll::Ready(Some(Ok(interim))) => interim,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.fail(&error))),
                Poll::Ready(None) => break,
                Poll::Pending => return Poll::Pending,
            };
            self.sight.count(head::size(interim.headers()));
            if respond.send_informational(interim).is_err() {
                return Poll::Ready(Err(self.cancel(None)));
            }
        }
        let response = match Pin::new(response).poll(cx) {
            Poll::Ready(Ok(response)) => response,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(&error))),
            Poll::Pending => return Poll::Pending,
        };
        if let Some(again) = self.again.take()
            && let Some(response) = again.send(response.status(), &mut self.up)
        {
            self.sight.asked_again();
            self.down = Down::Awaited(response);
            // The request goes on its way in the next turn.
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        self.room = None;
        self.sight.response_head(&response);
        let (mut parts, body) = response.into_parts();
        if self.sight.is_gathered() {
            self.down = Down::Gathering(Box::new(Gathering::new(parts, body)));
            return Poll::Ready(Ok(()));
        }
        let ended = body.is_end_stream();
        if let Some((name, value)) = self.sight.take_warning()
            && let Ok(value) = HeaderValue::from_str(&printable(&value))
        {
            parts.headers.insert(name, value);
        }
        match respond.send_response(Response::from_parts(parts, ()), ended) {
            Ok(to) => self.down = Down::Answering(Half::new(body, to, ended)),
            Err(_) => return Poll::Ready(Err(self.cancel(None))),
        }
        Poll::Ready(Ok(()))
    }

    /// The code with which the client has reset the stream, or gone away itself.
    fn poll_client_reset(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reason>> {
        match (&mut self.down, &mut self.respond) {
            (Down::Answering(half), _) => half.poll_reset(cx),
            (_, Some(respond)) => respond.poll_reset(cx).map(Result::ok),
            (_, None) => Poll::Pending,
        }
    }

    /// The client wants no more.
    fn cancel(&mut self, reason: Option<Reason>) -> Left {
        self.up.reset(reason.unwrap_or(Reason::CANCEL));
        self.sight.finish(Ended::ClientGone);
        Left::Whole
    }

    /// There will be no answer, or no more of it.
    fn fail(&mut self, error: &::h2::Error) -> Left {
        self.up.stop();
        self.sight.finish(Ended::Cut);
        let Some(respond) = self.respond.take() else { return Left::Whole };
        if error.is_io() {
            return Left::Lost(respond);
        }
        // A stream that ends with a GOAWAY of upstream's is one that it never looked at: it may be
        // tried again (RFC 9113, section 8.7).
        let unprocessed = error.is_go_away() && error.is_remote();
        let reason = if unprocessed { Reason::REFUSED_STREAM } else { code(error) };
        Left::Reset(respond, reason)
    }
}

impl Future for Stream<'_> {
    type Output = Left;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Left> {
        let this = self.get_mut();
        if let Some(reason) = this.parting.take().or_else(|| this.sight.poll_cut(cx)) {
            return Poll::Ready(this.end(&reason));
        }
        if let Poll::Ready(reason) = this.poll_client_reset(cx) {
            return Poll::Ready(this.cancel(reason));
        }
        if let Err(reason) = this.poll_up(cx) {
            return Poll::Ready(this.cancel(Some(reason)));
        }
        match this.poll_down(cx) {
            Poll::Ready(Err(left)) => return Poll::Ready(left),
            Poll::Ready(Ok(())) => this.sight.finish(Ended::Whole),
            Poll::Pending => {
                if let Some(reason) = this.sight.take_excess() {
                    return Poll::Ready(this.end(&reason));
                }
                // Only now it may be known whose answers come in it.
                this.sight.poll_said(cx);
                return Poll::Pending;
            }
        }
        if this.up.is_open() { Poll::Pending } else { Poll::Ready(Left::Whole) }
    }
}

struct Upwards<'s, 'a>(&'s mut Sight<'a>);

impl Look for Upwards<'_, '_> {
    fn saw(&mut self, bytes: &[u8]) {
        self.0.request_body(bytes);
    }

    fn filter(&mut self, _: Option<&Bytes>) -> Option<Bytes> {
        None
    }

    fn is_over(&self) -> bool {
        false
    }

    fn say(&mut self) -> Option<Bytes> {
        None
    }
}

struct Downwards<'s, 'a>(&'s mut Sight<'a>);

impl Look for Downwards<'_, '_> {
    fn saw(&mut self, bytes: &[u8]) {
        self.0.response_body(bytes);
    }

    fn filter(&mut self, bytes: Option<&Bytes>) -> Option<Bytes> {
        let exchange = self.0.exchange.as_ref()?;
        match (exchange.is_filtered(), exchange.is_sifted()) {
            (false, false) => None,
            (false, true) => Some(self.0.sift(bytes)),
            (true, _) => Some(self.0.filter(bytes)),
        }
    }

    fn is_over(&self) -> bool {
        self.0.exchange.as_ref().is_some_and(Exchange::is_exceeded)
    }

    fn say(&mut self) -> Option<Bytes> {
        self.0.exchange.as_ref()?.take_said().map(Bytes::from)
    }
}

impl<'a> Sight<'a> {
    pub(super) const fn new(connection: &'a Connection, exchange: Option<Exchange>) -> Self {
        Self { connection, exchange, waiting: Vec::new() }
    }

    pub(super) fn is_call(&self) -> bool {
        self.exchange.as_ref().is_some_and(Exchange::is_call)
    }

    pub(super) fn dialect(&self) -> Option<Dialect> {
        self.exchange.as_ref().and_then(Exchange::dialect)
    }

    pub(super) fn poll_cut(&self, cx: &Context<'_>) -> Option<call::Reason> {
        self.exchange.as_ref()?.poll_cut(cx)
    }

    /// Has the task woken when there is something to be said in the answer.
    fn poll_said(&self, cx: &Context<'_>) {
        if let Some(exchange) = &self.exchange {
            exchange.poll_said(cx);
        }
    }

    fn call_off(&mut self, reason: &call::Reason) {
        if let Some(exchange) = &mut self.exchange {
            exchange.call_off(self.connection, reason);
        }
    }

    /// The answer to a call that goes no further.
    fn refuse(&mut self, reason: &call::Reason) -> Option<Reply> {
        let exchange = self.exchange.as_mut().filter(|exchange| exchange.is_call())?;
        Some(exchange.refuse(self.connection, reason))
    }

    /// The same, of one that has not gone on.
    pub(super) fn turn_away(&mut self, reason: &call::Reason) -> Option<Reply> {
        let exchange = self.exchange.as_mut().filter(|exchange| exchange.is_call())?;
        Some(exchange.turn_away(self.connection, reason))
    }

    fn last_words(&mut self, reason: &call::Reason) -> Option<Vec<u8>> {
        let exchange = self.exchange.as_mut().filter(|exchange| exchange.is_call())?;
        exchange.last_words(self.connection, reason).map(|(words, _)| words)
    }

    fn asked_again(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.asked_again();
        }
    }

    pub(super) fn changed(&mut self, change: Change) {
        if let Some(exchange) = &mut self.exchange {
            exchange.changed(change);
        }
    }

    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        if let Some(exchange) = &mut self.exchange {
            exchange.request_body(bytes);
        }
    }

    /// Whether the call may go on; `None` if that was asked before, or it is none.
    pub(super) fn request_ended(&mut self) -> Option<Result<CallAdmission, call::Reason>> {
        let exchange = self.exchange.as_mut().filter(|exchange| !exchange.is_asked())?;
        Some(exchange.request_ended(self.connection))
    }

    pub(super) fn request_too_large(&mut self) -> Option<Result<CallAdmission, call::Reason>> {
        let exchange = self.exchange.as_mut()?;
        Some(exchange.request_too_large(self.connection))
    }

    fn response_head<T>(&mut self, response: &Response<T>) {
        self.count(STATUS_BYTES + head::size(response.headers()));
        if let Some(exchange) = &mut self.exchange {
            let gathered = Gathered::of(response.headers());
            exchange.response_head(self.connection, &head::answer(response, &gathered));
            if response.headers().contains_key(CONTENT_LENGTH) {
                exchange.leave_as_it_is();
            }
        }
    }

    pub(super) fn finish(&mut self, ended: Ended) {
        if let Some(exchange) = &mut self.exchange {
            exchange.finish(self.connection, ended);
        }
    }

    fn count(&self, bytes: usize) {
        let coverage = &self.connection.agent.coverage;
        let counter = match self.exchange {
            Some(_) => &coverage.bytes_observed,
            None => &coverage.bytes_opaque,
        };
        add(counter, u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// A bridge may be dropped in the middle: at a deadline, or with the whole process.
impl Drop for Sight<'_> {
    fn drop(&mut self) {
        self.finish(Ended::Cut);
    }
}

/// The code to pass on for an error. One without a code is a lost connection.
fn code(error: &::h2::Error) -> Reason {
    error.reason().unwrap_or(Reason::CANCEL)
}

const STATUS_BYTES: usize = 3;
