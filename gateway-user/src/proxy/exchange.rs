//! One HTTP request and its response: from bytes to a step of a workflow.

mod abandoned;
mod ear;
mod plain;
mod sieve;
mod voice;

use std::{mem::replace, net::SocketAddr, sync::Arc};

use gateway_common::Origin;

pub(super) use abandoned::Abandoned;
use ear::Ear;
use sieve::Sieve;
use voice::Voice;

use super::{
    admit::Redial,
    agent::{Agent, Place},
    calls::{Arrival, Asking, Calls, Fetch},
    countermand::{Letter, Retained},
    coverage::add,
    dialogue::Spoken,
    egress::Whither,
    gate::CallAdmission,
    meter::Meter,
    others::Passing,
    recording::Recording,
};
use crate::{
    call::{ConnectionId, Name, Reason, Signal, Timestamp, Unmetered},
    config::Mode,
    dialect::{self, Answered, Observer, RequestInfo, ResponseInfo, Socket, Traffic},
};

/// What every exchange of a connection shares.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) agent: Arc<Agent>,
    pub(super) destination: SocketAddr,
    /// The address that upstream sees.
    pub(super) upstream_local: Option<SocketAddr>,
    pub(super) pid: u32,
    /// Whose TLS was decrypted.
    pub(super) server: Option<Server>,
    pub(super) recording: Arc<Recording>,
    /// How many tunnels it is in, one in another.
    pub(super) depth: usize,
    /// Where it leads in the end.
    pub(super) whither: Whither,
    origin: Origin,
    place: Arc<Place>,
}

/// The server of a decrypted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// The name or address that the client asked for.
    pub(super) name: Box<str>,
    /// Whether the node's own roots vouch for it. Rules that go by a host's name hold only then, and
    /// only for requests to this one: see [`Connection::is_for`].
    pub(super) verified: bool,
    /// Whether those of the agent do.
    pub(super) vouched_for: bool,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With the last byte of its response.
    Whole,
    /// The connection ended first.
    Cut,
    /// The client left first.
    ClientGone,
    /// Unknown: the connection could not be followed any more.
    Unseen,
}

/// The head of a request, in whichever version of HTTP it came.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// As it was sent: a path and query, an absolute URI, an authority (CONNECT) or `*`.
    pub(super) target: &'a str,
    /// The Host field, or `:authority`.
    pub(super) host: Option<String>,
    pub(super) content_type: Option<&'a str>,
    /// The codings as listed, several fields joined by a comma.
    pub(super) content_encoding: Option<&'a str>,
    /// The body's length in bytes, if it is told.
    pub(super) content_length: Option<u64>,
    /// How often the client says that it has sent this before.
    pub(super) retry_count: Option<u32>,
    /// Fields that say to which session or task it belongs.
    pub(super) signals: &'a [Signal],
    /// What a request of the gateway's own would say again of it, if one may follow.
    pub(super) retained: Option<&'a Arc<Retained>>,
    /// The client's stream, in HTTP/2.
    pub(super) stream_id: Option<u32>,
}

/// The head of a final response, in whichever version of HTTP it came.
#[derive(Debug)]
pub(super) struct Response<'a> {
    pub(super) status: u16,
    pub(super) content_type: Option<&'a str>,
    /// The codings as listed, several fields joined by a comma.
    pub(super) content_encoding: Option<&'a str>,
    /// Of a redirection: where to look on.
    pub(super) location: Option<&'a str>,
    /// Fields that say to which session it belongs.
    pub(super) signals: &'a [Signal],
}

/// One exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    asking: Asking,
    request_over: bool,
    /// It went upstream before it was whole.
    is_gone: bool,
    response_over: bool,
    status: Option<u16>,
    first_byte: Option<Timestamp>,
    /// Absent: it speaks no API that is known, or was not understood, or is over.
    observer: Option<Observer>,
    /// Of the WebSocket that it asks for, if that speaks an API that is known.
    socket: Option<Box<Socket>>,
    calls: Calls,
    /// What it is if it makes no calls; absent if it does, or means to.
    other: Option<Box<Passing>>,
    /// To be said in upstream's place, if it must be. Absent: it makes no calls.
    voice: Option<Box<Voice>>,
    /// Absent unless its answer may be a stream for answers to others.
    ear: Option<Box<Ear>>,
    /// Absent unless its answer streams, and is held to something.
    sieve: Option<Box<Sieve>>,
    /// To be said in the head of its answer.
    warning: Option<Box<str>>,
}

impl Connection {
    pub(super) fn new(
        agent: Arc<Agent>,
        origin: &Origin,
        destination: SocketAddr,
        upstream_local: Option<SocketAddr>,
        place: Arc<Place>,
        recording: Arc<Recording>,
    ) -> Self {
        Self {
            id: ConnectionId(origin.cookie),
            agent,
            destination,
            upstream_local,
            pid: origin.tgid,
            server: None,
            recording,
            depth: 0,
            whither: Whither { to: destination, proxied: None },
            origin: *origin,
            place,
        }
    }

    /// The same, in so many tunnels, which lead there.
    pub(super) fn in_tunnels(self, depth: usize, whither: Whither) -> Self {
        Self { depth, whither, ..self }
    }

    /// For what the gateway has to say there itself. `None` in a tunnel: that would have to be built
    /// anew, which is the client's to ask for.
    pub(super) fn redial(&self) -> Option<&Redial> {
        self.place.redial().filter(|_| self.depth == 0)
    }

    /// Whether the client's socket is still open, as far as anybody knows.
    pub(super) fn has_client(&self) -> bool {
        self.recording.is_open(self.origin.cookie)
    }

    /// What it was admitted with.
    pub(super) fn admitted(&self) -> (Origin, Arc<Place>) {
        (self.origin, Arc::clone(&self.place))
    }

    /// The same, decrypted.
    pub(super) fn with(self, server: Server) -> Self {
        Self { server: Some(server), ..self }
    }

    /// Whether the server of that name that it leads to is to be asked for streams.
    fn streams(&self, host: Option<&str>) -> bool {
        // Where only a proxy knows it, the address is none of the server's.
        let to = self.whither.to.ip();
        let direct = self.whither.proxied.is_none() && self.depth == 0 && !to.is_unspecified();
        self.agent.policing.streams(host, direct.then_some(to))
    }

    /// Whether a request's host (RFC 9110, section 7.2) is the server that the client has asked for
    /// in TLS, if it has.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let Some(server) = &self.server else { return true };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        plain(name) == plain(&server.name)
    }
}

impl Exchange {
    pub(super) fn begin(connection: &Connection, seq: u64, request: &Request<'_>) -> Self {
        if request.host.as_deref().is_some_and(|host| !connection.is_for(host)) {
            add(&connection.agent.coverage.tls_host_differs, 1);
        }
        let info = RequestInfo {
            method: request.method,
            target: request.target,
            host: request.host.as_deref(),
            content_type: request.content_type,
            content_encoding: request.content_encoding,
            content_length: request.content_length,
            client_retry: request.retry_count,
            signals: request.signals,
        };
        let observer = dialect::detect(&info);
        let socket = dialect::socket(&info).map(Box::new);
        let is_told = observer.as_ref().is_some_and(Observer::is_told);
        let is_model = is_told && matches!(observer, Some(Observer::Model(_)));
        let other = (!is_model).then(|| {
            let unmetered = if is_told { None } else { dialect::unmetered(&info) };
            let mut passing = Passing::new(info.host, info.method, info.target, unmetered);
            passing.fetch = Fetch::of(connection, info.host, info.target);
            Box::new(passing)
        });
        let is_unmetered = other.as_ref().is_some_and(|other| other.unmetered().is_some());
        let asks = matches!(observer, Some(Observer::Model(_) | Observer::Asking(_)));
        let voice =
            (asks || is_unmetered).then(|| Box::new(Voice::of(connection, seq, observer.as_ref())));
        let session = observer.as_ref().and_then(Observer::session);
        let to = (request.target, info.host);
        let letter = Letter::of(connection, to, session, request.retained);
        Self {
            asking: Asking {
                exchange_seq: seq,
                stream_id: request.stream_id,
                host: request.host.as_deref().map(Name::shared),
                started: connection.recording.clock.now(),
                identity: None,
            },
            request_over: false,
            is_gone: false,
            response_over: false,
            status: None,
            first_byte: None,
            observer,
            socket,
            calls: Calls::of(letter),
            other,
            voice,
            ear: None,
            sieve: None,
            warning: None,
        }
    }

    /// Whether it speaks an API that is known.
    pub(super) const fn is_call(&self) -> bool {
        self.voice.is_some()
    }

    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        if let Some(other) = &mut self.other {
            other.sent(bytes.len());
        }
        if let Some(observer) = &mut self.observer {
            observer.request_body(bytes);
        }
    }

    /// Its request has ended: whether it may go upstream, which is decided in enforce only.
    pub(super) fn request_ended(
        &mut self,
        connection: &Connection,
    ) -> Result<CallAdmission, Reason> {
        self.request_over = true;
        let admission = self.understood(connection);
        self.fetch(connection, admission.is_ok());
        admission
    }

    fn understood(&mut self, connection: &Connection) -> Result<CallAdmission, Reason> {
        let agent = &connection.agent;
        let host = self.asking.host.as_ref();
        let unmetered = self.other.as_ref().and_then(|other| other.unmetered());
        let Some(observer) = &mut self.observer else {
            return CallAdmission::decide(agent, host, unmetered.map_or(Ok(&[]), Err), false);
        };
        let may_stream = observer.may_stream() && connection.streams(host.map(|host| &**host));
        // Apart from the match: it is locked no longer than for reading.
        let asked = observer.request_end(&mut agent.known());
        observer.take_withdrawn().into_iter().for_each(|key| agent.withdrawn(key));
        match asked {
            Ok(asked) => {
                let calls = match (unmetered, observer.traffic()) {
                    (Some(why), Traffic::Other | Traffic::Unread(_)) => Err(why),
                    _ => Ok(&*asked),
                };
                let mut admission = CallAdmission::decide(agent, host, calls, may_stream);
                if let Some(voice) = &mut self.voice {
                    voice.asked(&asked);
                }
                for asked in asked {
                    let most = asked.max_output();
                    let placed =
                        self.calls.asked(connection, &self.asking, asked, admission.is_ok());
                    // In audit a call is on its way whatever is said of it.
                    let goes = placed.output.is_ok() || agent.mode == Mode::Audit || self.is_gone;
                    if let (true, Some(voice), Some(stand)) = (goes, &mut self.voice, placed.stand)
                    {
                        voice.belongs(stand);
                    }
                    self.warning = self.warning.take().or(placed.warning);
                    admission = admission
                        .and_then(|it| Ok(it.within(placed.output?, most).answered(placed.replay)));
                }
                self.calls.forget_letter();
                admission
            }
            Err(reason) => {
                tracing::debug!(connection = %connection.id, %reason, "call not understood");
                add(&agent.coverage.calls_not_understood, 1);
                if let (Some(voice), Some(asker)) = (&mut self.voice, observer.asker()) {
                    voice.asked_by(asker);
                }
                self.observer = None;
                self.other = None;
                CallAdmission::decide(agent, host, Err(reason.into()), false)
            }
        }
    }

    /// There is no room to hold its request until it has ended.
    pub(super) fn request_too_large(
        &mut self,
        connection: &Connection,
    ) -> Result<CallAdmission, Reason> {
        // What may be anything, and is so large, is taken for what no rule is about.
        let is_call = self.observer.as_ref().is_some_and(Observer::is_told);
        let call = if is_call { Err(Unmetered::TooLarge) } else { Ok(&[][..]) };
        let host = self.asking.host.as_ref();
        let admission = CallAdmission::decide(&connection.agent, host, call, false);
        self.is_gone = admission.is_ok();
        admission
    }

    pub(super) fn response_head(&mut self, connection: &Connection, response: &Response<'_>) {
        self.status = Some(response.status);
        if let (Some(other), Some(location)) = (&self.other, response.location) {
            other.redirected(connection, self.asking.host.as_deref(), location);
        }
        if let Some(voice) = &mut self.voice {
            let was_to_stream = voice.asks_for_stream();
            voice.answered(response);
            if self.is_gathered() {
                self.calls.meters().for_each(Meter::keep_back);
            } else if was_to_stream {
                self.calls.stream(false);
            }
        }
        self.ear = Ear::of(self.observer.as_ref(), response);
        if let Some(observer) = &mut self.observer {
            observer.response_head(&ResponseInfo {
                status: response.status,
                content_type: response.content_type,
                content_encoding: response.content_encoding,
                signals: response.signals,
            });
        }
        let place = self.voice.as_ref().and_then(|voice| voice.place());
        self.sieve = Sieve::of(connection, self.observer.as_ref(), &mut self.calls, place);
    }

    /// The exchange has ended, or will not be seen to. Only the first call counts.
    pub(super) fn finish(&mut self, connection: &Connection, ended: Ended) {
        if replace(&mut self.response_over, true) {
            return;
        }
        if let Some(voice) = &mut self.voice {
            voice.silence(connection, self.asking.host.as_ref());
        }
        self.ear = None;
        let observer = self.observer.take();
        self.end_plain(
            connection,
            ended,
            match &observer {
                None => Traffic::Other,
                // Its answer was over before the question was.
                Some(observer) if observer.is_told() && !self.request_over => Traffic::Calls,
                Some(observer) => observer.traffic(),
            },
        );
        let Some(observer) = observer else { return };
        if self.request_over {
            let whole = ended == Ended::Whole;
            let answered = observer.response_end(whole, &mut connection.agent.known());
            self.answered(connection, ended, answered);
            self.calls.wait(connection, self.status);
        } else if observer.is_told() {
            add(&connection.agent.coverage.calls_not_understood, 1);
        }
    }

    fn answered(&mut self, connection: &Connection, ended: Ended, answered: Vec<Answered>) {
        let arrival = Arrival { ended, status: self.status, first_byte: self.first_byte };
        for answered in answered {
            self.calls.answered(connection, arrival, answered);
        }
    }

    /// What will be said on the WebSocket that it asked for.
    pub(super) fn spoken(&mut self) -> Spoken {
        let socket = self.socket.take();
        if socket.is_some() {
            self.other = None;
        }
        Spoken::new(socket, self.asking.clone())
    }

    /// Whether its request has ended.
    pub(super) const fn is_asked(&self) -> bool {
        self.request_over
    }

    /// Whether its client has got the head of its response.
    pub(super) fn is_answering(&self) -> bool {
        self.status.is_some() && !self.is_gathered()
    }

    /// Whether both its request and its response have ended.
    pub(super) const fn is_over(&self) -> bool {
        self.request_over && self.response_over
    }
}
