//! The server's sockets, and HTTP.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs::File,
    io::{self, Write},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Logged, Ready, Script,
    answer::{self, Answer},
    body::Pieces,
};

/// Listens, says so on standard output, and serves until the process ends.
pub async fn serve(listen: &[SocketAddr], log: Option<File>) -> io::Result<()> {
    let state = Arc::new(State {
        number: AtomicU64::new(0),
        failed: Mutex::default(),
        log: Mutex::new(match log {
            Some(file) => Box::new(file),
            None => Box::new(io::stdout()),
        }),
    });
    let mut listening = Vec::new();
    let mut last = None;
    for address in listen {
        let listener = TcpListener::bind(address).await?;
        listening.push(listener.local_addr()?);
        last = Some(tokio::spawn(accept(listener, Arc::clone(&state))));
    }
    println!("{}", serde_json::to_string(&Ready { listening })?);
    match last {
        Some(accepting) => accepting.await?,
        None => Err(io::Error::other("nowhere to listen: give --listen")),
    }
}

struct State {
    /// Of answers given.
    number: AtomicU64,
    /// How often each workflow's requests were refused.
    failed: Mutex<HashMap<String, usize>>,
    log: Mutex<Box<dyn Write + Send>>,
}

/// One connection's ends.
#[derive(Clone, Copy)]
struct Ends {
    peer: SocketAddr,
    local: SocketAddr,
}

async fn accept(listener: TcpListener, state: Arc<State>) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        tokio::spawn(connection(stream, Ends { peer, local }, Arc::clone(&state)));
    }
}

async fn connection(stream: TcpStream, ends: Ends, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(respond(request, ends, &state).await) }
    });
    // A client that goes away is nothing to a server.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(request: Request<Incoming>, ends: Ends, state: &State) -> Response<Pieces> {
    let path = request.uri().path().to_owned();
    if request.method() != Method::POST || path != "/v1/chat/completions" {
        return refusal(404, &format!("unknown: {} {path}", request.method()));
    }
    let Ok(body) = request.into_body().collect().await else {
        return refusal(400, "the body ended early");
    };
    let body = body.to_bytes();
    let Ok(json) = serde_json::from_slice::<Value>(&body) else {
        return refusal(400, "the body is not JSON");
    };
    let script = Script::parse(answer::wish(&json));
    let stream = json["stream"] == true;
    let mut logged = Logged {
        peer: ends.peer,
        local: ends.local,
        request_sha256: answer::hex(&Sha256::digest(&body)),
        tag: script.tag.clone(),
        status: 200,
        stream,
        response_id: None,
        call_ids: Vec::new(),
        usage: None,
    };
    let number = state.number.fetch_add(1, Ordering::Relaxed);
    let answered = match state.failure(&script) {
        Some(status) => Err((status, "told to".to_owned())),
        None => Answer::to(&json, &script, number).map_err(|wrong| (400, wrong)),
    };
    let response = match answered {
        Err((status, message)) => {
            logged.status = status;
            refusal(status, &message)
        }
        Ok(answer) => {
            logged.response_id = Some(answer.id.clone());
            logged.call_ids = answer.call_ids();
            logged.usage = Some(answer.usage);
            let include_usage = json["stream_options"]["include_usage"] == true;
            completion(&answer, stream, include_usage, &script)
        }
    };
    // Before the client has it: whoever asks the log after the client finds it there.
    state.write(&logged);
    response
}

impl State {
    fn failure(&self, script: &Script) -> Option<u16> {
        let (status, times) = script.fail?;
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failed.entry(script.tag.clone().unwrap_or_default()).or_default();
        *count += 1;
        (*count <= times).then_some(status)
    }

    fn write(&self, logged: &Logged) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let line = serde_json::to_string(logged).unwrap_or_default() + "\n";
        if let Err(error) = log.write_all(line.as_bytes()).and_then(|()| log.flush()) {
            eprintln!("the log can't be written: {error}");
        }
    }
}

fn completion(
    answer: &Answer,
    stream: bool,
    include_usage: bool,
    script: &Script,
) -> Response<Pieces> {
    let (kind, pieces) = if stream {
        let events = answer.events(include_usage);
        ("text/event-stream; charset=utf-8", Pieces::streamed(events, script.pause))
    } else {
        ("application/json", Pieces::whole(answer.document()))
    };
    let mut response = Response::new(pieces);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

/// In the form that the API's reference gives under "Error codes".
fn refusal(status: u16, message: &str) -> Response<Pieces> {
    let kind = if status == 429 { "requests" } else { "invalid_request_error" };
    let error = json!({"message": message, "type": kind, "param": null, "code": null});
    let document: Bytes = json!({ "error": error }).to_string().into();
    let mut response = Response::new(Pieces::whole(document));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut header = |name, value| {
        response.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    };
    header(CONTENT_TYPE, "application/json");
    // The SDK's own retry waits no longer than this.
    header(HeaderName::from_static("retry-after-ms"), "10");
    response
}
