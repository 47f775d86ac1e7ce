//! A bridge between two peers in memory, with a recorder beside it.

mod bounds;
mod conformance;
mod count;
mod flow;
mod frames;
mod life;
mod real;
mod upstream;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::h2::{RecvStream, server::SendResponse};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, uri::Scheme};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, duplex},
    sync::oneshot,
    task::JoinHandle,
};

use super::{BridgeError, Terms, bridge};
use crate::{
    call::{AgentRef, Digest, Settlement, Spent, Step, StepId, Timestamp, WorkflowId},
    limits::{Bounds, Limits},
    lineage::{Completion, Placement},
    price::Prices,
    proxy::{
        Agent, Clock, CoverageSnapshot, Recorder, Recording, admit::tests::admission_of,
        exchange::Connection,
    },
};

/// Longer than anything here may take. Its end is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the recorder heard.
#[derive(Clone, Debug, Default)]
struct Heard {
    placed: Arc<Mutex<Vec<Step>>>,
    finished: Arc<Mutex<Vec<Settlement>>>,
}

impl Recorder for Heard {
    fn placed(&self, _: &AgentRef, _: &Placement, step: Step, _: Option<String>) {
        self.placed.lock().expect("not poisoned").push(step);
    }

    fn finished(
        &self,
        _: &AgentRef,
        _: WorkflowId,
        settlement: Settlement,
        _: &Completion,
        _: Timestamp,
    ) {
        self.finished.lock().expect("not poisoned").push(settlement);
    }

    fn spent(&self, _: &AgentRef, _: WorkflowId, _: StepId, _: Spent) {}
}

impl Heard {
    fn placed(&self) -> Vec<Step> {
        self.placed.lock().expect("not poisoned").clone()
    }

    fn finished(&self) -> Vec<Settlement> {
        self.finished.lock().expect("not poisoned").clone()
    }
}

/// A bridge that runs, and what it tells.
struct Rig {
    task: JoinHandle<Result<(), BridgeError>>,
    agent: Arc<Agent>,
    heard: Heard,
    /// Sending on it, or dropping it, begins the end.
    drain: Option<oneshot::Sender<()>>,
}

impl Rig {
    /// With the bridge's ends of two connections.
    fn bridging<C, U>(client: C, upstream: U, strict: bool) -> Self
    where
        C: Io,
        U: Io,
    {
        Self::of(|agent| agent, client, upstream, strict)
    }

    /// The same, for an agent that is made ready first.
    fn of<C, U>(prepare: impl FnOnce(Agent) -> Agent, client: C, upstream: U, strict: bool) -> Self
    where
        C: Io,
        U: Io,
    {
        let admission = admission_of(prepare, "192.0.2.1:443".parse().expect("an address"));
        let (agent, origin, destination, place) = admission.into_parts();
        let heard = Heard::default();
        let recorder = Arc::new(heard.clone());
        let recording =
            Arc::new(Recording::new(Clock::start(), [0; 32], recorder, Prices::default()));
        let ours = Arc::clone(&agent);
        let connection = Connection::new(agent, &origin, destination, None, place, recording);
        let (drain, told) = oneshot::channel();
        let terms = Terms { scheme: Scheme::HTTP, strict };
        let task = tokio::spawn(async move {
            let ending = async {
                if told.await.is_err() {
                    pending::<()>().await;
                }
            };
            let ends = (ending, crate::drain::channel().1);
            bridge(client, upstream, &connection, terms, ends).await
        });
        Self { task, agent: ours, heard, drain: Some(drain) }
    }

    /// A rig, the client's end and upstream's.
    fn new() -> (Self, DuplexStream, DuplexStream) {
        Self::sized(64 * 1024)
    }

    /// As [`Rig::new`], with so much room in each of the pipes.
    fn sized(bytes: usize) -> (Self, DuplexStream, DuplexStream) {
        let (client, to_client) = duplex(bytes);
        let (server, to_server) = duplex(bytes);
        (Self::bridging(to_client, to_server, false), client, server)
    }

    /// As [`Rig::new`], within these bounds.
    fn within(limits: Limits) -> (Self, DuplexStream, DuplexStream) {
        let (client, to_client) = duplex(64 * 1024);
        let (server, to_server) = duplex(64 * 1024);
        let bounds = Arc::new(Bounds::new(limits));
        (Self::of(|agent| agent.within(bounds), to_client, to_server, false), client, server)
    }

    fn drain(&mut self) {
        let _ = self.drain.take().expect("told once").send(());
    }

    /// How the bridge ended.
    async fn ended(self) -> Result<(), BridgeError> {
        within(self.task).await.expect("it did not panic")
    }

    fn coverage(&self) -> CoverageSnapshot {
        self.agent.coverage.snapshot()
    }

    fn counted(&self, reason: &str) -> u64 {
        self.coverage().reasons.get(reason).copied().unwrap_or_default()
    }

    /// Nothing was understood that upstream did not receive, and nothing that it received and is a
    /// call was missed: heads and bodies are the same on both ends.
    #[track_caller]
    fn agrees_with(&self, served: &Served) {
        let mut understood: Vec<(Option<String>, Option<Digest>)> = self
            .heard
            .placed()
            .into_iter()
            .map(|step| (step.host.map(|host| host.to_string()), step.request_sha256))
            .collect();
        let mut received: Vec<_> = served
            .seen()
            .into_iter()
            .filter(|seen| seen.whole && seen.path == CHAT)
            .map(|seen| (seen.authority, Some(Digest(Sha256::digest(&seen.body).into()))))
            .collect();
        understood.sort_by_key(|(host, digest)| (host.clone(), digest.map(|it| it.0)));
        received.sort_by_key(|(host, digest)| (host.clone(), digest.map(|it| it.0)));
        assert_eq!(understood, received);
    }
}

/// A stream that a peer can have for itself.
trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// Fails if it takes too long.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// A call that is understood.
const CHAT: &str = "/v1/chat/completions";
const QUESTION: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

/// One request as a server received it.
#[derive(Clone, Debug, Default)]
struct Seen {
    method: String,
    path: String,
    authority: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    whole: bool,
    reset: Option<::h2::Reason>,
}

/// What a server received.
#[derive(Clone, Debug, Default)]
struct Served(Arc<Mutex<Vec<Seen>>>);

impl Served {
    fn seen(&self) -> Vec<Seen> {
        self.0.lock().expect("not poisoned").clone()
    }

    fn add(&self, seen: Seen) {
        self.0.lock().expect("not poisoned").push(seen);
    }
}

/// Reads a request to its end.
async fn read(request: Request<RecvStream>) -> Seen {
    let (parts, mut body) = request.into_parts();
    let mut seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        authority: parts.uri.authority().map(ToString::to_string),
        headers: parts.headers,
        ..Seen::default()
    };
    loop {
        match body.data().await {
            Some(Ok(bytes)) => {
                body.flow_control().release_capacity(bytes.len()).expect("it was received");
                seen.body.extend_from_slice(&bytes);
            }
            Some(Err(error)) => {
                seen.reset = error.reason();
                return seen;
            }
            None => break,
        }
    }
    match body.trailers().await {
        Ok(trailers) => (seen.trailers, seen.whole) = (trailers, true),
        Err(error) => seen.reset = error.reason(),
    }
    seen
}

/// A server that gives back what it is sent: body and trailers. It ends with an error if anything
/// that it received broke the protocol.
fn echo<T: Io>(io: T) -> (Served, JoinHandle<Result<(), ::h2::Error>>) {
    serve(io, ::h2::server::Builder::new(), |seen, mut respond| {
        let body = Bytes::from(seen.body);
        let ends_here = body.is_empty() && seen.trailers.is_none();
        // What fails here was reset.
        let Ok(mut to) = respond.send_response(Response::new(()), ends_here) else { return };
        if !ends_here {
            let _ = to.send_data(body, seen.trailers.is_none());
            if let Some(trailers) = seen.trailers {
                let _ = to.send_trailers(trailers);
            }
        }
    })
}

/// A server that reads each request whole before it answers.
fn serve<T: Io>(
    io: T,
    builder: ::h2::server::Builder,
    answer: impl Fn(Seen, SendResponse<Bytes>) + Clone + Send + 'static,
) -> (Served, JoinHandle<Result<(), ::h2::Error>>) {
    let served = Served::default();
    let ours = served.clone();
    let task = tokio::spawn(async move {
        let mut connection = builder.handshake::<_, Bytes>(io).await?;
        while let Some(request) = connection.accept().await {
            let (request, respond) = request?;
            let (served, answer) = (ours.clone(), answer.clone());
            tokio::spawn(async move {
                let seen = read(request).await;
                served.add(seen.clone());
                if seen.whole {
                    answer(seen, respond);
                }
            });
        }
        Ok(())
    });
    (served, task)
}

/// A client that follows the protocol.
async fn connect(
    io: DuplexStream,
) -> (::h2::client::SendRequest<Bytes>, JoinHandle<Option<::h2::Error>>) {
    let (requests, connection) =
        within(::h2::client::Builder::new().handshake(io)).await.expect("it is open");
    (requests, tokio::spawn(async move { connection.await.err() }))
}

fn post(path: &str) -> Request<()> {
    let uri = format!("http://api.example{path}");
    Request::builder().method("POST").uri(uri).body(()).expect("a request")
}

/// Reads an answer to its end.
async fn whole(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), ::h2::Error> {
    let mut received = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        received.extend_from_slice(&bytes);
    }
    Ok((received, body.trailers().await?))
}

/// Sends a body as the window allows.
async fn send_all(to: &mut ::h2::SendStream<Bytes>, mut body: Bytes, end: bool) {
    while !body.is_empty() {
        to.reserve_capacity(body.len());
        while to.capacity() == 0 {
            std::future::poll_fn(|cx| to.poll_capacity(cx)).await.expect("open").expect("open");
        }
        let piece = body.split_to(to.capacity().min(body.len()));
        to.send_data(piece, false).expect("it is open");
    }
    if end {
        to.send_data(Bytes::new(), true).expect("it is open");
    }
}
