//! A stream whose request is held until it has ended and it is decided on it (enforce).

use std::{
    future::Future,
    mem::take,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::h2::{Reason, RecvStream, client::SendRequest, server::SendResponse};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, EXPECT},
};

use super::{
    again::Again,
    stream::{Left, Sight, Stream},
};
use crate::{
    call,
    dialect::refusal::Reply,
    proxy::{
        exchange::{Connection, Ended},
        gate::{CallAdmission, Room, seals},
    },
};

/// A stream: of a call, which is held before it goes on, or of anything else.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "most are carried, from the beginning")]
pub(super) enum Flow<'a> {
    Held(Box<Held<'a>>),
    Carried(Stream<'a>),
}

/// Holds a request, and opens upstream's stream when it is admitted: until then upstream does not
/// know of it.
///
/// ```text
///   Reading ── END_STREAM, or no room ──► decided ──┬─► admitted ── upstream has room ──► carried
///                                                   └─► answered on this stream
/// ```
#[derive(Debug)]
pub(super) struct Held<'a> {
    /// Gone when the stream is carried, or has ended, like what follows.
    parts: Option<Parts<'a>>,
    requests: SendRequest<Bytes>,
    body: BytesMut,
    admission: Option<CallAdmission>,
    /// The gateway ends it.
    parting: Option<call::Reason>,
}

#[derive(Debug)]
struct Parts<'a> {
    sight: Sight<'a>,
    request: Request<()>,
    from: RecvStream,
    respond: SendResponse<Bytes>,
    room: Room,
    /// The request as it was, if it may have to go so after all.
    before: Option<(Request<()>, Bytes)>,
}

impl<'a> Held<'a> {
    /// Of a request whose head was prepared to be sent on.
    pub(super) fn new(
        connection: &Connection,
        sight: Sight<'a>,
        request: Request<()>,
        (from, mut respond): (RecvStream, SendResponse<Bytes>),
        requests: SendRequest<Bytes>,
    ) -> Self {
        if request.headers().contains_key(EXPECT) && !from.is_end_stream() {
            // Upstream can't say it: it does not know. If it can't be said any more, the client has
            // left, which is noticed below.
            let mut interim = Response::new(());
            *interim.status_mut() = StatusCode::CONTINUE;
            let _ = respond.send_informational(interim);
        }
        let room = Room::new(Arc::clone(&connection.agent));
        Self {
            parts: Some(Parts { sight, request, from, respond, room, before: None }),
            requests,
            body: BytesMut::new(),
            admission: None,
            parting: None,
        }
    }

    /// Ready with the stream that it becomes, or with how it left.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream<'a>, Left>> {
        let Some(parts) = &mut self.parts else { return Poll::Ready(Err(Left::Whole)) };
        if let Some(reason) = self.parting.take().or_else(|| parts.sight.poll_cut(cx)) {
            return Poll::Ready(Err(self.refuse(&reason)));
        }
        if let Poll::Ready(Err(error)) = self.requests.poll_ready(cx) {
            return Poll::Ready(self.lost(&error));
        }
        if parts.respond.poll_reset(cx).is_ready() {
            parts.sight.finish(Ended::ClientGone);
            return Poll::Ready(Err(Left::Whole));
        }
        if self.admission.is_none() {
            let ended = match parts.poll_body(cx, &mut self.body) {
                Poll::Ready(Ok(ended)) => ended,
                Poll::Ready(Err(left)) => return Poll::Ready(Err(left)),
                Poll::Pending => return Poll::Pending,
            };
            let Some(decided) = parts.decide(ended) else { return Poll::Ready(Err(Left::Whole)) };
            match decided.and_then(|admission| parts.prepare(admission, ended, &mut self.body)) {
                Ok(admission) => self.admission = Some(admission),
                Err(reason) => {
                    tracing::debug!(%reason, "a call is refused");
                    return Poll::Ready(Err(self.refuse(&reason)));
                }
            }
        }
        match (self.requests.poll_ready(cx), self.admission.take()) {
            (Poll::Ready(ready), Some(admission)) => Poll::Ready(self.go_on(&admission, ready)),
            (_, admission) => {
                self.admission = admission;
                Poll::Pending
            }
        }
    }

    /// Opens upstream's stream.
    fn go_on(
        &mut self,
        _: &CallAdmission,
        ready: Result<(), ::h2::Error>,
    ) -> Result<Stream<'a>, Left> {
        let Some(Parts { mut sight, request, from, respond, room, before }) = self.parts.take()
        else {
            return Err(Left::Whole);
        };
        let ended = self.body.is_empty() && from.is_end_stream();
        match ready.and_then(|()| self.requests.send_request(request, ended)) {
            Ok(upstream) => {
                let body = take(&mut self.body).freeze();
                let requests = self.requests.clone();
                let again = before.map(|(request, body)| Again { requests, request, body });
                let stream = Stream::new(sight, (from, respond), upstream, ended);
                Ok(stream.holding(body, room, again))
            }
            Err(error) => Err(unasked(&mut sight, respond, &error)),
        }
    }

    /// Upstream takes no more.
    fn lost(&mut self, error: &::h2::Error) -> Result<Stream<'a>, Left> {
        let Some(Parts { mut sight, respond, .. }) = self.parts.take() else {
            return Err(Left::Whole);
        };
        Err(unasked(&mut sight, respond, error))
    }

    fn refuse(&mut self, reason: &call::Reason) -> Left {
        let Some(Parts { mut sight, from, respond, .. }) = self.parts.take() else {
            return Left::Whole;
        };
        match sight.turn_away(reason) {
            Some(reply) => answer(respond, &reply, from.is_end_stream()),
            None => Left::Reset(respond, Reason::CANCEL),
        }
    }
}

impl Parts<'_> {
    /// Reads what there is of the body. Ready when it has ended, or, with `false`, when there is no
    /// room for more.
    fn poll_body(&mut self, cx: &mut Context<'_>, body: &mut BytesMut) -> Poll<Result<bool, Left>> {
        loop {
            match self.from.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    // Fails only for more than was received.
                    let _ = self.from.flow_control().release_capacity(bytes.len());
                    self.sight.request_body(&bytes);
                    body.extend_from_slice(&bytes);
                    if self.room.grow(body.len()).is_err() {
                        return Poll::Ready(Ok(false));
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.sight.finish(Ended::ClientGone);
                    return Poll::Ready(Err(Left::Whole));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether the call may go on. `None` if it is none.
    fn decide(&mut self, ended: bool) -> Option<Result<CallAdmission, call::Reason>> {
        if ended { self.sight.request_ended() } else { self.sight.request_too_large() }
    }

    /// Changes the request as it was decided, if it is whole.
    fn prepare(
        &mut self,
        admission: CallAdmission,
        ended: bool,
        body: &mut BytesMut,
    ) -> Result<CallAdmission, call::Reason> {
        let changes = ended && admission.changes();
        let Some(dialect) = self.sight.dialect().filter(|_| changes) else {
            return Ok(admission);
        };
        let headers = self.request.headers();
        let sealed = headers.iter().any(|(name, value)| seals(name.as_str(), value.as_bytes()));
        if let Some(edited) = admission.edit(dialect, body, sealed)? {
            if edited.optional {
                self.before = Some((self.request.clone(), take(body).freeze()));
            }
            if let Some(length) = self.request.headers_mut().get_mut(CONTENT_LENGTH) {
                *length = HeaderValue::from(edited.body.len());
            }
            *body = BytesMut::from(&*edited.body);
            if let Some(change) = edited.change {
                self.sight.changed(change);
            }
        }
        Ok(admission)
    }
}

/// Upstream never heard of it: it may be tried again (RFC 9113, section 8.7).
fn unasked(sight: &mut Sight<'_>, respond: SendResponse<Bytes>, error: &::h2::Error) -> Left {
    tracing::debug!(%error, "can't ask upstream");
    sight.finish(Ended::Cut);
    Left::Reset(respond, Reason::REFUSED_STREAM)
}

/// Answers a request in upstream's place. The client may stop sending the rest of it.
pub(super) fn answer(mut respond: SendResponse<Bytes>, reply: &Reply, request_ended: bool) -> Left {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::FORBIDDEN);
    for (name, value) in &reply.fields {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
    let body = Bytes::copy_from_slice(&reply.body);
    let said = respond.send_response(response, false).and_then(|mut to| to.send_data(body, true));
    match said {
        Ok(()) if request_ended => Left::Whole,
        Ok(()) => Left::Reset(respond, Reason::NO_ERROR),
        // It has left.
        Err(_) => Left::Whole,
    }
}

impl Flow<'_> {
    /// The gateway ends it. To be polled afterwards.
    pub(super) fn part(&mut self, reason: call::Reason) {
        match self {
            Self::Held(held) => held.parting = Some(reason),
            Self::Carried(stream) => stream.part(reason),
        }
    }
}

impl Future for Flow<'_> {
    type Output = Left;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Left> {
        if let Self::Held(held) = &mut *self {
            match held.poll(cx) {
                Poll::Ready(Ok(stream)) => *self = Self::Carried(stream),
                Poll::Ready(Err(left)) => return Poll::Ready(left),
                Poll::Pending => return Poll::Pending,
            }
        }
        match &mut *self {
            Self::Carried(stream) => Pin::new(stream).poll(cx),
            Self::Held(_) => Poll::Pending,
        }
    }
}
