//! The model's server: HTTP for what is played on the stage, and a record of every exchange, by the
//! server's own clock.

mod mcp;
mod told;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use turnpike::dialect::signals;

use self::told::{Noted, Told};
use super::{
    plot::Fault,
    stage::{Cue, End, Stage},
};
use crate::{
    eval::{
        generate::random::Random,
        record::{self, Ended, Headers, Record, Truth},
    },
    model_server::{answer, api::Api},
};

/// What the server has seen.
#[derive(Debug)]
pub(super) struct Server {
    stage: Mutex<Stage>,
    seen: Mutex<Seen>,
    client: String,
    began: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) exchanges: Vec<Exchange>,
    /// What could not be explained.
    pub(super) wrong: Vec<String>,
    connections: u64,
}

/// One exchange, and what it takes to find it among what somebody else reports.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) record: Record,
    pub(super) peer: SocketAddr,
    pub(super) request_sha256: String,
    /// The ids of the tool calls in its answer, in order.
    pub(super) calls: Vec<String>,
}

/// What is known of an exchange when it begins.
struct Begun {
    exchange: u64,
    truth: Option<Truth>,
    calls: Vec<String>,
    fault: Option<Fault>,
}

/// One connection.
#[derive(Clone, Copy, Debug)]
struct Line {
    number: u64,
    peer: SocketAddr,
}

impl Server {
    pub(super) fn new(stage: Stage, client: String) -> Self {
        let (stage, seen) = (Mutex::new(stage), Mutex::default());
        Self { stage, seen, client, began: Instant::now() }
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        loop {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let number = {
                let mut seen = self.seen();
                seen.connections += 1;
                seen.connections
            };
            tokio::spawn(connection(Arc::clone(&self), stream, Line { number, peer }));
        }
    }

    pub(super) fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        line: Line,
    ) -> io::Result<Response<Told>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let key = key(&head.headers);
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let request = record::Request {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            headers: kept(&head.headers),
            body: record::Bytes(body.to_vec()),
        };
        if head.uri.path() == mcp::PATH {
            return Ok(self.tool_server(&key, request, &json, line).await);
        }
        let Some(api) = Api::of(&head.method, &head.uri) else {
            return Ok(refusal(404, &Value::Null));
        };
        let cue = self.stage().ask(&key, &api, &json);
        let cue = match cue {
            Ok(cue) => cue,
            Err(wrong) => {
                self.is_wrong(&wrong, &request);
                return Ok(refusal(400, &api.error(400, &wrong)));
            }
        };
        let begun = Begun {
            exchange: cue.exchange,
            truth: Some(cue.truth.clone()),
            calls: cue.calls.clone(),
            fault: cue.fault,
        };
        let noted = self.note(&key, begun, request, line);
        tokio::time::sleep(thinking(cue.exchange)).await;
        answer(&api, &json, &cue, noted).await
    }

    fn is_wrong(&self, wrong: &str, request: &record::Request) {
        let body = String::from_utf8_lossy(&request.body.0);
        self.seen().wrong.push(format!("{wrong}, in {} {body}", request.target));
    }

    /// Begins an exchange's record.
    fn note(
        self: &Arc<Self>,
        key: &str,
        begun: Begun,
        request: record::Request,
        line: Line,
    ) -> Noted {
        let Begun { exchange, truth, calls, fault } = begun;
        let request_sha256 = answer::hex(&Sha256::digest(&request.body.0));
        let record = Record {
            exchange,
            agent: "agent-0".to_owned(),
            client: self.client.clone(),
            pid: 100,
            connection: line.number,
            start_us: self.now(),
            end_us: 0,
            request,
            response: None,
            ended: Ended::Whole,
            lost: false,
            truth,
        };
        self.seen().exchanges.push(Exchange { record, peer: line.peer, request_sha256, calls });
        Noted::new(Arc::clone(self), key.to_owned(), exchange, fault)
    }

    fn now(&self) -> u64 {
        START_US + u64::try_from(self.began.elapsed().as_micros()).unwrap_or(0)
    }

    /// Ends its record.
    fn ended(&self, key: &str, exchange: u64, end: End, response: Option<record::Response>) {
        let now = self.now();
        let mut seen = self.seen();
        let mut all = seen.exchanges.iter_mut().rev();
        if let Some(it) = all.find(|it| it.record.exchange == exchange) {
            it.record.end_us = now;
            it.record.response = response;
            it.record.ended = match end {
                End::Whole | End::Faulty(Fault::Status(_)) => Ended::Whole,
                End::Faulty(Fault::Reset | Fault::Truncated) => Ended::Cut,
                End::Faulty(Fault::Silence) | End::GaveUp | End::Aborted => Ended::ClientGone,
            };
        }
        drop(seen);
        self.stage().ended(key, exchange, end);
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream, line: Line) {
    let service = service_fn(move |request| Arc::clone(&server).respond(request, line));
    // A client that goes away, or is cut off, is nothing to a server.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    api: &Api,
    request: &Value,
    cue: &Cue,
    mut noted: Noted,
) -> io::Result<Response<Told>> {
    match cue.fault {
        Some(Fault::Status(status)) => {
            let error = api.error(status, "try again later");
            noted.begins(status, "application/json");
            let mut response = refusal(status, &Value::Null);
            *response.body_mut() = Told::whole(vec![error.to_string().into()], true, noted);
            return Ok(response);
        }
        Some(Fault::Reset) => return Err(io::Error::other("reset")),
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Truncated) | None => {}
    }
    let streams = api.streams(request);
    let stream = streams.then(|| cue.answer.stream(api, request)).flatten();
    let (kind, pieces) = match stream {
        Some(stream) => (stream.kind, stream.pieces),
        None => ("application/json", vec![cue.answer.document(api, request)]),
    };
    noted.begins(200, kind);
    let told = match cue.fault {
        None => Told::whole(pieces, !streams, noted),
        Some(_) => Told::half(pieces, !streams, noted),
    };
    let mut response = Response::new(told);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Of nobody's record, unless its body says so.
fn refusal(status: u16, error: &Value) -> Response<Told> {
    let mut response = Response::new(Told::unnoted(error.to_string().into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == 429 || status >= 500 {
        let soon = HeaderValue::from_static(SOON_MS);
        headers.insert(HeaderName::from_static("retry-after-ms"), soon);
    }
    response
}

/// Who asks: what clients send as their credential. It tells the truth, and is kept nowhere.
fn key(headers: &HeaderMap) -> String {
    let field = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let key = field("x-api-key").or_else(|| field("authorization")?.strip_prefix("Bearer "));
    key.unwrap_or_default().to_owned()
}

/// The fields that matter.
fn kept(headers: &HeaderMap) -> Headers {
    let matters = |name: &&HeaderName| {
        let name = name.as_str();
        FIELDS.contains(&name) || signals::fields().contains(&name)
    };
    let names = headers.keys().filter(matters);
    let value = |name: &HeaderName| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        (name.to_string(), value.unwrap_or_default().to_owned())
    };
    names.map(value).collect()
}

/// How long the model takes before it begins.
fn thinking(exchange: u64) -> Duration {
    let drawn = Random::new(exchange).between(15, 150);
    Duration::from_millis(drawn)
}

const FIELDS: &[&str] =
    &["host", "content-type", "content-encoding", "user-agent", "x-stainless-retry-count"];
const SOON_MS: &str = "300";
/// Some time in 2026.
const START_US: u64 = 1_780_000_000_000_000;
