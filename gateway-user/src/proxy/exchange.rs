//! One HTTP request and its response: from bytes to a step of a workflow.

use std::{
    fmt,
    mem::{replace, take},
    net::SocketAddr,
    sync::Arc,
};

use gateway_common::Origin;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{
    agent::{Agent, Place, add},
    clock::Clock,
    egress::Whither,
};
use crate::{
    call::{
        AgentRef, CallKind, ConnectionId, Digest, Name, Settlement, Step, StepId, Timestamp,
        WorkflowId,
    },
    dialect::{self, Asked, Observer, Reading, RequestInfo, ResponseInfo},
    lineage::{Completion, Failure, Outcome, Placement},
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
}

/// What every exchange of the gateway shares.
pub struct Recording {
    pub clock: Clock,
    /// The node's key, under which wishes are hashed.
    pub key: [u8; 32],
    pub recorder: Box<dyn Recorder>,
}

/// Where steps go. Called from the data path: it must not block.
pub trait Recorder: Send + Sync {
    /// A call has been asked, and placed. The parents and the evidence are the step's.
    fn placed(&self, agent: &AgentRef, placement: &Placement, step: Step, wish: Option<String>);
    /// It has ended.
    fn finished(
        &self,
        agent: &AgentRef,
        workflow: WorkflowId,
        settlement: Settlement,
        completion: &Completion,
        at: Timestamp,
    );
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
    /// The codings as listed, several fields joined by a comma.
    pub(super) content_encoding: Option<&'a str>,
    /// The body's length in bytes, if it is told.
    pub(super) content_length: Option<u64>,
    /// How often the client says that it has sent this before.
    pub(super) retry_count: Option<u32>,
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
}

/// One exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    seq: u64,
    stream_id: Option<u32>,
    host: Option<String>,
    started: Timestamp,
    request_over: bool,
    response_over: bool,
    status: Option<u16>,
    first_byte: Option<Timestamp>,
    call: Call,
}

/// What is known of the meaning.
#[derive(Debug)]
enum Call {
    /// No known API, or not understood: only counted.
    Other,
    /// Being asked.
    Asked { observer: Box<Observer> },
    /// Placed in a workflow, and being answered.
    Placed { observer: Box<Observer>, workflow: WorkflowId, step: StepId },
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

    /// What it was admitted with.
    pub(super) fn admitted(&self) -> (Origin, Arc<Place>) {
        (self.origin, Arc::clone(&self.place))
    }

    /// The same, decrypted.
    pub(super) fn with(self, server: Server) -> Self {
        Self { server: Some(server), ..self }
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
    pub(super) fn begin(connection: &Connection, seq: u64, request: Request<'_>) -> Self {
        if request.host.as_deref().is_some_and(|host| !connection.is_for(host)) {
            add(&connection.agent.coverage.tls_host_differs, 1);
        }
        let observer = dialect::detect(&RequestInfo {
            method: request.method,
            target: request.target,
            content_encoding: request.content_encoding,
            content_length: request.content_length,
            client_retry: request.retry_count,
        });
        let call = if let Some(observer) = observer {
            Call::Asked { observer: Box::new(observer) }
        } else {
            add(&connection.agent.coverage.exchanges_other, 1);
            Call::Other
        };
        Self {
            seq,
            stream_id: request.stream_id,
            host: request.host,
            started: connection.recording.clock.now(),
            request_over: false,
            response_over: false,
            status: None,
            first_byte: None,
            call,
        }
    }

    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        if let Call::Asked { observer } = &mut self.call {
            observer.request_body(bytes);
        }
    }

    pub(super) fn request_ended(&mut self, connection: &Connection) {
        self.request_over = true;
        let call = replace(&mut self.call, Call::Other);
        let Call::Asked { mut observer } = call else {
            self.call = call;
            return;
        };
        let agent = &connection.agent;
        // Apart from the match: it is locked no longer than for reading.
        let asked = observer.request_end(&mut agent.known());
        match asked {
            Ok(asked) => {
                let (workflow, step) = self.place(connection, &asked);
                agent.known().keep(asked);
                self.call = Call::Placed { observer, workflow, step };
            }
            Err(reason) => {
                tracing::debug!(connection = %connection.id, %reason, "call not understood");
                add(&agent.coverage.calls_not_understood, 1);
            }
        }
    }

    fn place(&mut self, connection: &Connection, asked: &Asked) -> (WorkflowId, StepId) {
        let agent = &connection.agent;
        let prompt = &asked.prompt;
        // Held until the recorder knows: steps are recorded in the order in which they are placed.
        let mut lineage = agent.lineage();
        let mut placement = lineage.place(self.started, prompt);
        let wish = placement
            .opens_workflow
            .then(|| prompt.wish.as_deref().map(|wish| keyed(&connection.recording.key, wish)))
            .flatten();
        let step = Step {
            step_id: placement.step,
            parent_step_ids: take(&mut placement.parents),
            confidence: placement.confidence,
            kind: placement.kind,
            call: CallKind::Model,
            agent: Name::shared(&agent.reference().name),
            dialect: Some(prompt.dialect),
            operation: Some(prompt.operation),
            request_model: prompt.model.clone(),
            response_model: None,
            response_id: None,
            request_sha256: Some(asked.sha256),
            tool: None,
            host: self.host.take().map(|host| Name::shared(&host)),
            original_dst: Some(connection.destination),
            upstream_local: connection.upstream_local,
            pid: Some(connection.pid),
            connection_id: Some(connection.id),
            stream_id: self.stream_id,
            exchange_seq: Some(self.seq),
            started_at: self.started,
            ttft_ms: None,
            duration_ms: None,
            status: None,
            finish_reasons: Vec::new(),
            usage: None,
            settled: false,
            evidence: take(&mut placement.evidence),
            retry: placement.retry,
        };
        connection.recording.recorder.placed(&agent.reference(), &placement, step, wish);
        (placement.workflow, placement.step)
    }

    pub(super) fn response_head(&mut self, response: &Response<'_>) {
        self.status = Some(response.status);
        if let Call::Asked { observer, .. } | Call::Placed { observer, .. } = &mut self.call {
            observer.response_head(&ResponseInfo {
                status: response.status,
                content_type: response.content_type,
                content_encoding: response.content_encoding,
            });
        }
    }

    pub(super) fn response_body(&mut self, connection: &Connection, bytes: &[u8]) {
        if let Call::Asked { observer, .. } | Call::Placed { observer, .. } = &mut self.call {
            self.first_byte.get_or_insert_with(|| connection.recording.clock.now());
            observer.response_body(bytes);
        }
    }

    /// The exchange has ended, or will not be seen to. Only the first call counts.
    pub(super) fn finish(&mut self, connection: &Connection, ended: Ended) {
        if replace(&mut self.response_over, true) {
            return;
        }
        match replace(&mut self.call, Call::Other) {
            Call::Other => {}
            // Its answer was over before the question was.
            Call::Asked { .. } => add(&connection.agent.coverage.calls_not_understood, 1),
            Call::Placed { observer, workflow, step } => {
                let reading = observer.response_end(ended == Ended::Whole);
                self.settle(connection, ended, reading, workflow, step);
            }
        }
    }

    fn settle(
        &self,
        connection: &Connection,
        ended: Ended,
        reading: Reading,
        workflow: WorkflowId,
        step_id: StepId,
    ) {
        let agent = &connection.agent;
        let at = connection.recording.clock.now();
        let understood = reading.not_understood.is_none() && ended != Ended::Unseen;
        if let Some(reason) = reading.not_understood {
            tracing::debug!(connection = %connection.id, %reason, "answer not understood");
        }
        let counter =
            if understood { &agent.coverage.calls } else { &agent.coverage.calls_not_understood };
        add(counter, 1);
        let failure = match (ended, self.status) {
            (Ended::Whole, _) => None,
            (Ended::ClientGone, _) => Some(Failure::ClientGone),
            (_, None) => Some(Failure::ConnReset),
            (_, Some(_)) => Some(Failure::Truncated),
        };
        let outcome = Outcome { answer: reading.answer, status: self.status, failure };
        let mut lineage = agent.lineage();
        let completion = lineage.finish(step_id, at, &outcome);
        let Outcome { answer, .. } = outcome;
        let settlement = Settlement {
            step_id,
            kind: completion.kind,
            response_model: answer.model,
            response_id: answer.response_id,
            finish_reasons: answer.finish_reasons,
            usage: answer.usage,
            status: self.status,
            ttft_ms: self.first_byte.map(|first| first.since(self.started)),
            duration_ms: Some(at.since(self.started)),
        };
        let recorder = &connection.recording.recorder;
        recorder.finished(&agent.reference(), workflow, settlement, &completion, at);
    }

    /// Whether its request has ended.
    pub(super) const fn is_asked(&self) -> bool {
        self.request_over
    }

    /// Whether its response has begun.
    pub(super) const fn is_answering(&self) -> bool {
        self.status.is_some()
    }

    /// Whether both its request and its response have ended.
    pub(super) const fn is_over(&self) -> bool {
        self.request_over && self.response_over
    }
}

/// The key is a secret, and the recorder shows nothing of itself.
impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("clock", &self.clock).finish_non_exhaustive()
    }
}

fn keyed(key: &[u8; 32], text: &str) -> String {
    // HMAC takes keys of every length, so this one is never refused.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(text.as_bytes());
    Digest(mac.finalize().into_bytes().into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_hashed_under_the_key() {
        // RFC 4231 has no case with a key of 32 bytes; this one was computed with OpenSSL:
        // printf hello | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101…01
        assert_eq!(
            keyed(&[1; 32], "hello"),
            "3a4d75699f355339725ecf666241ddd9c5ca105542c40a7f5607efc7ece5f67e"
        );
        assert_ne!(keyed(&[2; 32], "hello"), keyed(&[1; 32], "hello"));
    }
}
