//! HTTP/1 on a connection: which exchanges are under way, and which bytes belong to which.

mod abandoned;
mod again;
mod gathering;
mod held;
mod leave;
mod measured;

use std::collections::VecDeque;

pub(super) use self::abandoned::{Progress, ReadingOn};
use self::{again::Again, held::Held, measured::Measured};
use super::{
    coverage::add,
    dialogue::Spoken,
    exchange::{Connection, Ended, Exchange, Request, Response},
    h1::{
        Authority, Awaited, Eof, Fault, Framing, FramingError, Method, Misaddressed, RequestFramer,
        RequestHead, RequestPiece, ResponseFramer, ResponseHead, ResponsePiece, Sent,
    },
    refusal::Refusal,
    replay::Replay,
    way::Way,
    ws::Deflate,
};
use crate::{call::Reason, dialect::refusal::Reply};

/// The exchanges of one connection, oldest first: answers come in the order of the requests
/// (RFC 9112, section 9.3.2).
#[derive(Debug)]
pub(super) struct Http {
    requests: RequestFramer,
    responses: ResponseFramer,
    /// Every one but the last has its whole request; every one but the first waits for its answer.
    exchanges: VecDeque<Exchange>,
    next_seq: u64,
    /// What the last request asks to switch to, until it is answered.
    asked: Option<Switch>,
    /// The call whose request is held: none of it has gone on.
    held: Option<Box<Held>>,
    /// The last request, if it may have to go again, as it was.
    again: Option<Box<Again>>,
    /// What the client is answered in upstream's place.
    replay: Option<Replay>,
    /// What the client of a call that was refused is answered.
    reply: Option<Reply>,
    /// Of the answer that is under way, if its client gets what it comes to.
    gathered_head: Vec<u8>,
    /// What of the answer that is under way has gone on, where not all that was read has.
    gone: Option<Sent>,
    /// What the client hears last if the gateway ends what is under way.
    last_words: Vec<u8>,
}

/// What the two sides do after HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// WebSocket, with what was agreed on.
    WebSocket(Option<Deflate>),
    /// A tunnel through a proxy, to there.
    Connect(Authority),
    /// Something else: another protocol, unknown extensions, a tunnel to nowhere.
    Other,
}

/// Whether HTTP goes on.
#[derive(Debug)]
#[must_use]
pub(super) enum Outlook {
    Http,
    /// With what will be said, over WebSocket.
    Switched(Switch, Option<Spoken>),
    /// What was read last must not be taken for a message of this connection: where messages begin
    /// and end, or for whom they are, is not certain.
    Wrong(Refusal),
    /// The answer that is under way ends behind what has gone on of it.
    Exceeded(Reason),
}

/// When the client can be told of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chance {
    Now,
    Later,
    Never,
}

impl Http {
    /// With heads of up to so many bytes.
    pub(super) fn within(head_bytes: usize) -> Self {
        Self {
            requests: RequestFramer::within(head_bytes),
            responses: ResponseFramer::within(head_bytes),
            // Most connections never have two at once.
            exchanges: VecDeque::with_capacity(1),
            next_seq: 0,
            asked: None,
            held: None,
            again: None,
            replay: None,
            reply: None,
            gathered_head: Vec::new(),
            gone: None,
            last_words: Vec::new(),
        }
    }

    pub(super) fn client_sent(&mut self, connection: &Connection, way: &mut Way<'_>) -> Outlook {
        loop {
            let (taken, piece) = match self.requests.next(way.rest()) {
                Ok(read) => read,
                Err(error) => return Outlook::Wrong(error.into()),
            };
            way.read(taken);
            match piece {
                None => {
                    way.pass_all_but(self.requests.undecided());
                    return self.hold_on(connection, way);
                }
                Some(RequestPiece::Head(head)) => {
                    if let Err(refusal) = self.begin(connection, &head, way) {
                        return Outlook::Wrong(refusal);
                    }
                }
                Some(RequestPiece::Body(body)) => {
                    if let Some(held) = &mut self.held {
                        held.body(way, body);
                    } else if let Some(exchange) = self.exchanges.back_mut() {
                        exchange.request_body(body);
                    }
                    way.pass();
                }
                Some(RequestPiece::End) => {
                    if let Err(refusal) = self.request_ended(connection, way) {
                        return Outlook::Wrong(refusal);
                    }
                    if way.is_asked() && self.awaits_switch() {
                        return Outlook::Http;
                    }
                }
            }
        }
    }

    /// More is to come of a request: whether there is room for what is held of it.
    fn hold_on(&mut self, connection: &Connection, way: &mut Way<'_>) -> Outlook {
        if self.held.as_mut().is_some_and(|held| !held.fits(way))
            && let Err(refusal) = self.decide(connection, way, false)
        {
            return Outlook::Wrong(refusal);
        }
        Outlook::Http
    }

    fn request_ended(&mut self, connection: &Connection, way: &mut Way<'_>) -> Result<(), Refusal> {
        if self.held.is_some() {
            return self.decide(connection, way, true);
        }
        if let Some(exchange) = self.exchanges.back_mut() {
            // It has gone on: as audit has it, or allowed before it was whole.
            let _ = exchange.request_ended(connection);
        }
        self.forget_finished();
        way.pass();
        Ok(())
    }

    fn begin(
        &mut self,
        connection: &Connection,
        head: &RequestHead,
        way: &mut Way<'_>,
    ) -> Result<(), Refusal> {
        let addressed = check_host(connection, head);
        if way.is_asked() {
            addressed?;
            if head.authority().is_some_and(|host| !connection.is_for(host)) {
                add(&connection.agent.coverage.tls_host_differs, 1);
                return Err(Refusal::Misdirected);
            }
        }
        // It would come too late: answers come in the order of the requests.
        self.again = None;
        let exchange = begin(connection, self.next_seq, head);
        self.next_seq += 1;
        if way.is_asked() && exchange.is_call() && !head.websocket {
            way.hold();
            self.held = Some(Box::new(Held::new(connection, exchange, head, way)));
            return Ok(());
        }
        self.responses.push(Awaited::from(head))?;
        self.asked = Switch::asked(head);
        if head.websocket {
            // So that single messages can be changed or left out.
            way.pass_head_without("sec-websocket-extensions");
        } else {
            way.pass();
        }
        self.exchanges.push_back(exchange);
        Ok(())
    }

    pub(super) fn server_sent(&mut self, connection: &Connection, way: &mut Way<'_>) -> Outlook {
        loop {
            let chunked = self.responses.is_chunked();
            let before = self.gone.unwrap_or_else(|| self.responses.gone_but(0));
            let (taken, piece) = match self.responses.next(way.rest()) {
                Ok(read) => read,
                Err(error) => return Outlook::Wrong(error.into()),
            };
            way.read(taken);
            let front = self.exchanges.front();
            let filtered = front.is_some_and(|it| it.is_filtered() || it.is_gathered());
            let Some(piece) = piece else {
                if filtered || self.is_refused() {
                    way.replace(b"");
                } else if self.gone.is_none() {
                    way.pass_all_but(self.responses.undecided());
                }
                return Outlook::Http;
            };
            let measured = self.measure(connection, &piece, (chunked, before), way);
            if let Some(reason) = self.take_excess() {
                return Outlook::Exceeded(reason);
            }
            match measured {
                Measured::On => {}
                Measured::Done => continue,
                Measured::Unfinished => return Outlook::Wrong(Refusal::Answer),
            }
            if let ResponsePiece::Head(head) = &piece
                && let Err(refusal) = self.answered(head, way.is_asked())
            {
                return Outlook::Wrong(refusal);
            }
            if self.is_refused()
                || matches!(&piece, ResponsePiece::Head(head) if self.is_refused_once(head, way))
            {
                way.replace(b"");
                if piece == ResponsePiece::End {
                    self.refusal_ended();
                }
                continue;
            }
            if let ResponsePiece::Head(head) = &piece {
                self.answer(connection, head, way);
                continue;
            }
            way.pass();
            // The framer gives no pieces without a request; were it wrong, nothing is lost.
            let Some(exchange) = self.exchanges.front_mut() else { continue };
            match piece {
                ResponsePiece::Interim(_) | ResponsePiece::Head(_) => {}
                ResponsePiece::Body(body) => {
                    exchange.response_body(connection, body);
                }
                ResponsePiece::End => {
                    exchange.finish(connection, Ended::Whole);
                    self.forget_finished();
                }
                ResponsePiece::Tunnel => {
                    self.requests.tunnel();
                    let switch = self.asked.take().unwrap_or(Switch::Other);
                    let spoken = matches!(switch, Switch::WebSocket(_)).then(|| exchange.spoken());
                    exchange.finish(connection, Ended::Whole);
                    self.exchanges.clear();
                    return Outlook::Switched(switch, spoken);
                }
            }
        }
    }

    /// An answer begins: its head goes on, with what the client is to be told beside it.
    fn answer(&mut self, connection: &Connection, head: &ResponseHead, way: &mut Way<'_>) {
        let Some(exchange) = self.exchanges.front_mut() else { return way.pass() };
        exchange.response_head(connection, &neutral(head));
        if !way.is_asked() || matches!(head.framing, Framing::Length(_)) {
            exchange.leave_as_it_is();
        }
        match exchange.take_warning() {
            _ if exchange.is_gathered() => {
                self.gathered_head = way.copy_held();
                way.replace(b"");
            }
            Some((name, value)) => way.pass_head_with(name, &value),
            None => way.pass(),
        }
    }

    /// A final head has come: whether it may be believed.
    fn answered(&mut self, head: &ResponseHead, asked: bool) -> Result<(), Refusal> {
        if !self.responses.is_switching() {
            if self.exchanges.len() == 1 {
                self.asked = None;
            }
            return Ok(());
        }
        // What the client sent behind its request, or has still to send of it, was read as HTTP.
        if self.exchanges.len() != 1 || !self.requests.is_at_start() {
            return Err(FramingError::Server(Fault::EarlySwitch).into());
        }
        if let Some(Switch::WebSocket(agreed)) = &mut self.asked {
            let extensions = head.websocket_extensions.as_deref();
            match Deflate::accepted(extensions) {
                Ok(None) => {}
                _ if asked => return Err(Refusal::Extension),
                Ok(deflate) => *agreed = deflate,
                Err(_) => self.asked = Some(Switch::Other),
            }
            if head.status == 101 && !head.websocket {
                self.asked = Some(Switch::Other);
            }
        }
        Ok(())
    }

    /// The server sends no more: that may be the end of an answer, or its loss, which ended so.
    pub(super) fn server_ended(&mut self, connection: &Connection, lost: Ended) {
        if self.responses.eof() == Eof::Complete
            && let Some(exchange) = self.exchanges.front_mut()
        {
            exchange.finish(connection, Ended::Whole);
        }
        self.cut(connection, lost);
    }

    /// Whether a call has been asked whose answer is not whole yet.
    pub(super) fn awaits_answer(&self) -> bool {
        self.exchanges.front().is_some_and(|exchange| exchange.is_call() && exchange.is_asked())
    }

    /// None of the exchanges that are under way will be seen to its end.
    pub(super) fn cut(&mut self, connection: &Connection, how: Ended) {
        let held = self.held.take().map(|held| held.exchange);
        for mut exchange in self.exchanges.drain(..).chain(held) {
            exchange.finish(connection, how);
        }
    }

    /// Whether no exchange is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.exchanges.is_empty() && self.requests.eof() == Eof::Clean
    }

    /// Whether what the client sends next is not known to be HTTP before the server has answered.
    pub(super) const fn awaits_switch(&self) -> bool {
        self.asked.is_some() && self.requests.is_at_start()
    }

    /// Whether the client can be told of a refusal: not before it has the answers to what it sent
    /// before, and not if it has a part of the one that is refused.
    pub(super) fn chance_to(&self, refusal: Refusal) -> Chance {
        // The head of the request that is refused may have gone on.
        let broken = self.exchanges.back().filter(|exchange| !exchange.is_asked());
        let refused = if refusal.blames_client() { broken } else { self.exchanges.front() };
        let before = self.exchanges.len() - usize::from(broken.is_some());
        match refused {
            _ if refusal == Refusal::Answer => Chance::Now,
            _ if refusal.blames_client() && before > 0 => Chance::Later,
            Some(exchange) if exchange.is_answering() => Chance::Never,
            // What is wrong with a server that was asked nothing is of no use to the client.
            None if !refusal.blames_client() => Chance::Never,
            _ => Chance::Now,
        }
    }

    /// The number of the request whose head has begun and is not complete.
    pub(super) fn head_under_way(&self) -> Option<u64> {
        self.requests.is_in_head().then_some(self.next_seq)
    }

    /// An answer may end before its request does; the exchange stays until both have.
    fn forget_finished(&mut self) {
        while self.exchanges.front().is_some_and(Exchange::is_over) {
            self.exchanges.pop_front();
        }
    }
}

impl Switch {
    fn asked(head: &RequestHead) -> Option<Self> {
        match head.method {
            Method::Connect => Some(head.target.parse().map_or(Self::Other, Self::Connect)),
            _ if head.websocket => Some(Self::WebSocket(None)),
            _ => head.upgrade.then_some(Self::Other),
        }
    }
}

/// Whether it is certain for whom a request is. Counted if its hosts differ.
fn check_host(connection: &Connection, head: &RequestHead) -> Result<(), Refusal> {
    let addressed = head.check_authority();
    if addressed == Err(Misaddressed::HostsDiffer) {
        add(&connection.agent.coverage.h1_hosts_differ, 1);
    }
    Ok(addressed?)
}

fn begin(connection: &Connection, seq: u64, head: &RequestHead) -> Exchange {
    let host = head.authority().map(str::to_owned);
    let request = Request {
        method: head.method.as_str(),
        target: &head.target,
        host,
        content_type: head.content_type.as_deref(),
        content_encoding: head.content_encoding.as_deref(),
        content_length: match head.framing {
            Framing::Length(bytes) => Some(bytes),
            _ => None,
        },
        retry_count: head.retry_count,
        signals: &head.signals,
        retained: head.retained.as_ref(),
        stream_id: None,
    };
    Exchange::begin(connection, seq, &request)
}

fn neutral(head: &ResponseHead) -> Response<'_> {
    Response {
        status: head.status,
        content_type: head.content_type.as_deref(),
        content_encoding: head.content_encoding.as_deref(),
        location: head.location.as_deref(),
        signals: &head.signals,
    }
}
