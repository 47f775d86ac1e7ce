//! HTTP/2 (RFC 9113): one connection of a client, and the one of upstream that answers it.
//!
//! Unlike HTTP/1, HTTP/2 can't be forwarded byte for byte and understood beside: heads are
//! compressed against a state that each connection has for itself. So the gateway is a server to
//! the client and a client to upstream, on two connections that belong together, and passes on
//! what they say:
//!
//! - The client is told upstream's own settings, within the bounds of `limits.rs`.
//! - Each stream is one stream, with its heads (interim ones too), data, trailers and codes. Pieces
//!   of data are passed on as they come, uncopied.
//! - Flow control is back-pressure, stream by stream: see [`half`].
//! - GOAWAY goes both ways, and says truly which requests upstream never looked at.
//! - PING, `WINDOW_UPDATE` and the acknowledgement of settings belong to each connection; PRIORITY
//!   means nothing any more (section 5.3.2); push is off (section 6.5.2), so a `PUSH_PROMISE` of
//!   upstream's is an error.
//!
//! What breaks the protocol never gets to the other side: `h2` refuses it with the codes that the
//! RFC gives.

mod again;
mod half;
mod head;
mod held;
mod opening;
mod settings;
mod stream;
mod terms;
#[cfg(test)]
mod tests;

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use ::h2::{
    Reason, RecvStream,
    client::{self, SendRequest},
    server::{self, SendResponse},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::Request;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use self::{
    held::{Flow, Held},
    opening::{Moved, Opening, Watched},
    stream::{Left, Sight, Stream},
    terms::exchange,
};
use super::{carry::Until, coverage::add, exchange::Connection, silence::Silence};
use crate::{call, config::Mode, drain::Watch, limits};

pub(super) use self::terms::Terms;
pub use self::{
    opening::{FirstFrame, NotHttp2},
    settings::Announced,
};

/// A connection that did not end in good order. Whatever is left of both should be reset.
#[derive(Debug, thiserror::Error)]
pub(super) enum BridgeError {
    #[error("HTTP/2 did not begin in time")]
    Opening,
    #[error("it was silent for too long, with streams under way")]
    Silent,
    #[error("client: {0}")]
    Client(#[source] ::h2::Error),
    #[error("upstream: {0}")]
    Upstream(#[source] ::h2::Error),
    #[error("upstream ended with streams under way")]
    Lost,
    #[error("upstream: {0}")]
    NotHttp2(#[from] NotHttp2),
}

/// Carries a connection, from the client's first byte to the end of both sides. From when `ending`
/// is ready on, the client is asked to open no more streams (GOAWAY), and the end comes with that of
/// the last stream; from when it is to be cut on, those that are left are ended. Dropping it drops everything: nothing is spawned.
///
/// `Ok` if both sides were told all there was to tell them, the reasons of their errors included: the
/// streams should then be closed in good order. An error means that one of the sides was lost.
pub(super) async fn bridge<C, U>(
    client: C,
    upstream: U,
    connection: &Connection,
    terms: Terms,
    (ending, phase): (impl Future<Output = ()>, Watch),
) -> Result<(), BridgeError>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    add(&connection.agent.coverage.connections_observed, 1);
    let mut ending = pin!(ending);
    let mut until = Until::new(phase, &connection.agent);
    let mut cutting = pin!(until.told());
    let moved = Moved::default();
    let opening = open(client, upstream, connection, terms, &moved);
    let opening = timeout(limits::H2_OPENING_TIME, opening);
    let mut bridge = tokio::select! {
        biased;
        opened = opening => opened.map_err(|_| BridgeError::Opening)??,
        // Nothing was asked yet.
        () = &mut ending => return Ok(()),
    };
    let (mut told, mut cut) = (false, false);
    let mut silence = connection.agent.bounds.limits().idle_time.map(Silence::new);
    poll_fn(|cx| {
        if !told && ending.as_mut().poll(cx).is_ready() {
            told = true;
            bridge.drain();
        }
        if !cut && let Poll::Ready(reason) = cutting.as_mut().poll(cx) {
            cut = true;
            bridge.cut(&reason);
        }
        if let Poll::Ready(over) = bridge.poll(cx) {
            return Poll::Ready(over);
        }
        let Some(silent) = &mut silence else { return Poll::Pending };
        if silent.poll(cx, moved.take()).is_pending() {
            return Poll::Pending;
        }
        silence = None;
        add(&connection.agent.coverage.idle, 1);
        connection.agent.bounds.hit(limits::Bound::IdleTime);
        Poll::Ready(bridge.leave(cx))
    })
    .await
}

/// Begins on both sides. Upstream comes first: the client is told what it announced.
async fn open<'a, C, U>(
    client: C,
    upstream: U,
    connection: &'a Connection,
    terms: Terms,
    moved: &Moved,
) -> Result<Bridge<'a, C, U>, BridgeError>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let limits = connection.agent.bounds.limits();
    let (upstream, opening) = Watched::upstream(upstream, moved);
    let client = Watched::client(client, moved);
    let (requests, mut upstream) =
        settings::ours(limits).handshake(upstream).await.map_err(BridgeError::Upstream)?;
    let announced = match announced(&mut upstream, &opening).await {
        Ok(announced) => announced,
        Err(error @ BridgeError::NotHttp2(_)) => {
            let client = Announced::default().mirrored(limits).handshake(client).await;
            turn_away(client.map_err(BridgeError::Client)?).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let client = announced.mirrored(limits).handshake(client).await.map_err(BridgeError::Client)?;
    Ok(Bridge {
        connection,
        terms,
        client,
        client_over: None,
        upstream,
        upstream_over: None,
        requests: Some(requests),
        streams: FuturesUnordered::new(),
        resets: Vec::new(),
        lost: Vec::new(),
        draining: false,
        next_seq: 0,
        last_id: None,
    })
}

/// Drives upstream's connection until its first frame is known.
async fn announced<U>(
    upstream: &mut client::Connection<Watched<U>, Bytes>,
    opening: &Opening,
) -> Result<Announced, BridgeError>
where
    U: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|cx| {
        let over = Pin::new(&mut *upstream).poll(cx);
        match (opening.get(), over) {
            (Some(opening), _) => Poll::Ready(opening.map_err(BridgeError::NotHttp2)),
            (None, Poll::Ready(Ok(()))) => Poll::Ready(Err(BridgeError::Lost)),
            (None, Poll::Ready(Err(error))) => Poll::Ready(Err(BridgeError::Upstream(error))),
            (None, Poll::Pending) => Poll::Pending,
        }
    })
    .await
}

/// Tells a client that its server does not speak HTTP/2.
async fn turn_away<C>(mut client: server::Connection<Watched<C>, Bytes>) -> Result<(), BridgeError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    client.abrupt_shutdown(Reason::PROTOCOL_ERROR);
    poll_fn(|cx| client.poll_closed(cx)).await.map_err(BridgeError::Client)
}

/// Both connections and every stream on them: one future, which wakes only what has work.
///
/// ```text
///                  client ends                          the last stream is reset
///   Both ────────────────────────► upstream is left ─────────────────────────────► over
///    │  upstream ends                                  told why, after what was under way
///    └───────────────────────────► client is left   ─────────────────────────────► over
/// ```
///
/// The window of a connection is shared by its streams, and `h2` gives it back together with the
/// stream's. A stream whose receiver stalls holds at most one stream's window of it; as the
/// connection's is 16 times that, streams stall alone unless that many stall at once.
struct Bridge<'a, C, U> {
    connection: &'a Connection,
    terms: Terms,
    client: server::Connection<Watched<C>, Bytes>,
    client_over: Option<Result<(), ::h2::Error>>,
    upstream: client::Connection<Watched<U>, Bytes>,
    upstream_over: Option<Result<(), ::h2::Error>>,
    /// Gone when nothing more will be asked: then upstream's connection ends with its last stream.
    requests: Option<SendRequest<Bytes>>,
    streams: FuturesUnordered<Flow<'a>>,
    /// To be reset once what was written to them is sent.
    resets: Vec<(SendResponse<Bytes>, Reason)>,
    /// What was under way when upstream was lost. Kept, so that nothing is said about them.
    lost: Vec<SendResponse<Bytes>>,
    /// The client was told to open no more streams.
    draining: bool,
    next_seq: u64,
    /// The client's last stream.
    last_id: Option<u32>,
}

/// Whether upstream takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Open,
    /// It has as many streams as it wants.
    Full,
    /// It wants no more, for good.
    Gone,
}

impl<'a, C, U> Bridge<'a, C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BridgeError>> {
        self.poll_client(cx);
        if !self.resets.is_empty() {
            for (mut respond, reason) in self.resets.drain(..) {
                respond.send_reset(reason);
            }
            self.poll_client(cx);
        }
        // Before upstream, too: a request's head and what came of its body go out together.
        self.poll_streams(cx);
        self.poll_upstream(cx);
        self.poll_streams(cx);
        if !self.resets.is_empty() {
            cx.waker().wake_by_ref();
        }
        self.poll_end(cx)
    }

    /// Lets every stream that was woken do what it can.
    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(left)) = self.streams.poll_next_unpin(cx) {
            match left {
                Left::Whole => {}
                Left::Reset(respond, reason) => self.resets.push((respond, reason)),
                Left::Lost(respond) => self.lost.push(respond),
            }
        }
    }

    /// From now on the client is to open no more streams; those under way go on.
    fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            self.client.graceful_shutdown();
        }
    }

    /// Ends a connection on which nothing moves: in good order between exchanges.
    fn leave(&mut self, cx: &mut Context<'_>) -> Result<(), BridgeError> {
        if !self.streams.is_empty() {
            return Err(BridgeError::Silent);
        }
        self.client.abrupt_shutdown(Reason::NO_ERROR);
        self.poll_client(cx);
        Ok(())
    }

    /// Ends the streams that are left.
    fn cut(&mut self, reason: &call::Reason) {
        self.drain();
        // What is asked from now on is refused.
        self.requests = None;
        // Those that are pushed anew are polled, whatever they wait for.
        for mut stream in std::mem::take(&mut self.streams) {
            stream.part(reason.clone());
            self.streams.push(stream);
        }
    }

    /// Reads, writes, and takes the requests that upstream has room for. The others wait in `h2`,
    /// which bounds them by the streams that the client may open.
    fn poll_client(&mut self, cx: &mut Context<'_>) {
        while self.client_over.is_none() {
            let room = self.room(cx);
            if room == Room::Full {
                match self.client.poll_closed(cx) {
                    Poll::Ready(over) => self.client_over = Some(over),
                    Poll::Pending => return,
                }
                continue;
            }
            match self.client.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.accept(cx, request, respond),
                Poll::Ready(Some(Err(error))) => self.client_over = Some(Err(error)),
                Poll::Ready(None) => self.client_over = Some(Ok(())),
                Poll::Pending => return,
            }
        }
        if self.requests.take().is_some()
            && let Some(Err(error)) = &self.client_over
        {
            self.count_flood(error);
        }
    }

    fn room(&mut self, cx: &mut Context<'_>) -> Room {
        match self.requests.as_mut().map(|requests| requests.poll_ready(cx)) {
            Some(Poll::Ready(Ok(()))) => Room::Open,
            Some(Poll::Pending) => Room::Full,
            Some(Poll::Ready(Err(_))) | None => Room::Gone,
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) {
        if self.upstream_over.is_none()
            && let Poll::Ready(over) = Pin::new(&mut self.upstream).poll(cx)
        {
            if let Err(error) = &over {
                tracing::debug!(connection = %self.connection.id, %error, "upstream");
                self.count_flood(error);
            }
            self.upstream_over = Some(over);
            // Those that are held have not asked it, and would not know.
            self.streams = std::mem::take(&mut self.streams).into_iter().collect();
        }
        // Upstream is going away: the client should know, and ask elsewhere. Of an upstream that is
        // gone it is told with the reason, at the end.
        if self.upstream_over.is_none() && self.requests.is_some() && self.room(cx) == Room::Gone {
            self.drain();
        }
    }

    /// A new stream of the client's.
    fn accept(
        &mut self,
        cx: &mut Context<'_>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let id = respond.stream_id().as_u32();
        self.count_refused(id);
        if respond.poll_reset(cx).is_ready() {
            // Taken back before upstream heard of it.
            return;
        }
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        let client = (body, respond);
        match self.ask(request, id, client) {
            Ok(stream) => self.streams.push(stream),
            Err((mut respond, reason)) => respond.send_reset(reason),
        }
    }

    /// Passes a request on: its head at once, or all of it when it is admitted. Fails with the code
    /// that the client is told.
    fn ask(
        &mut self,
        mut request: Request<()>,
        id: u32,
        (body, respond): (RecvStream, SendResponse<Bytes>),
    ) -> Result<Flow<'a>, (SendResponse<Bytes>, Reason)> {
        let connection = self.connection;
        let (Some(requests), Ok(())) =
            (&mut self.requests, self.terms.check(connection, &mut request))
        else {
            let gone = self.requests.is_none();
            let reason = if gone { Reason::REFUSED_STREAM } else { Reason::PROTOCOL_ERROR };
            return Err((respond, reason));
        };
        let sight = Sight::new(connection, exchange(connection, self.next_seq, &request, id));
        self.next_seq += 1;
        if connection.agent.mode == Mode::Enforce && sight.is_call() {
            let requests = requests.clone();
            let held = Held::new(connection, sight, request, (body, respond), requests);
            return Ok(Flow::Held(Box::new(held)));
        }
        let ended = body.is_end_stream();
        match requests.send_request(request, ended) {
            Ok(upstream) => Ok(Flow::Carried(Stream::new(sight, (body, respond), upstream, ended))),
            Err(error) => {
                tracing::debug!(connection = %connection.id, %error, "can't ask upstream");
                // It has said that it takes no more, or has no numbers left for streams.
                Err((respond, Reason::REFUSED_STREAM))
            }
        }
    }

    /// Ready when both sides have ended, or the one that is left can be told nothing more.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BridgeError>> {
        if !self.streams.is_empty() || !self.resets.is_empty() {
            return Poll::Pending;
        }
        if self.upstream_over.is_some() && self.client_over.is_none() && self.requests.is_some() {
            // What the streams have left to be written: an end of the connection would drop it.
            self.poll_client(cx);
            if let Some(error) = self.loss() {
                return Poll::Ready(Err(error));
            }
            if self.client_over.is_none() && self.client.has_streams() {
                return Poll::Pending;
            }
            let reason = match &self.upstream_over {
                Some(Err(error)) => error.reason().unwrap_or(Reason::INTERNAL_ERROR),
                _ => Reason::NO_ERROR,
            };
            self.requests = None;
            self.client.abrupt_shutdown(reason);
            self.poll_client(cx);
        }
        match (&self.client_over, &self.upstream_over) {
            (Some(_), Some(_)) => Poll::Ready(self.outcome()),
            _ => Poll::Pending,
        }
    }

    /// Why upstream's connection did not end in good order, if it did not.
    fn loss(&mut self) -> Option<BridgeError> {
        match self.upstream_over.take() {
            Some(Err(error)) if error.is_io() => Some(BridgeError::Upstream(error)),
            _ if !self.lost.is_empty() => Some(BridgeError::Lost),
            over => {
                self.upstream_over = over;
                None
            }
        }
    }

    fn outcome(&mut self) -> Result<(), BridgeError> {
        match self.client_over.take() {
            Some(Err(error)) if error.is_io() => Err(BridgeError::Client(error)),
            _ => self.loss().map_or(Ok(()), Err),
        }
    }

    /// Clients number their streams without gaps (RFC 9113, section 5.1.1 asks only for growth), and
    /// those that `h2` refuses by itself are not shown to us: over a bound, or malformed.
    fn count_refused(&mut self, id: u32) {
        let expected = self.last_id.replace(id).map_or(1, |last| last.saturating_add(2));
        let skipped = id.saturating_sub(expected) / 2;
        add(&self.connection.agent.coverage.h2_refused, skipped.into());
    }

    /// A connection that `h2` ended because of too much of something (RFC 9113, section 10.5).
    fn count_flood(&self, error: &::h2::Error) {
        if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
            add(&self.connection.agent.coverage.h2_floods, 1);
            self.connection.agent.bounds.hit(limits::Bound::H2Floods);
        }
    }
}
