//! What is asked for, and the answer to it.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    path::{Component, Path, PathBuf},
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
    header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue},
    header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, UPGRADE},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Logged, Script,
    answer::{self, Answer},
    body::Pieces,
    serve::Ends,
    socket::{Accepted, DEFLATE, Socket},
};

/// What all connections share.
pub(super) struct State {
    files: Option<PathBuf>,
    /// Of answers given.
    number: AtomicU64,
    /// How often each workflow's requests were refused.
    failed: Mutex<HashMap<String, usize>>,
    log: Mutex<Box<dyn Write + Send>>,
}

/// What a POST may ask for.
#[derive(Clone, Copy)]
enum Api {
    Chat,
    Messages,
    Responses,
}

/// The body of an answer, and what kind it is.
struct Body {
    kind: &'static str,
    pieces: Pieces,
    sha256: String,
}

pub(super) async fn respond(
    mut request: Request<Incoming>,
    ends: &Ends,
    state: &Arc<State>,
) -> Response<Pieces> {
    let mut logged = Logged::of(&request, ends);
    let path = request.uri().path().to_owned();
    if request.method() == Method::GET {
        if let Some(file) = state.file(&path) {
            logged.response_sha256 = Some(sha256(&file));
            state.write(&logged);
            return response(Body::whole("application/octet-stream", file));
        }
        let accepted = (path == RESPONSES).then(|| Accepted::answer(request.headers())).flatten();
        if let Some(accepted) = accepted {
            logged.status = 101;
            state.write(&logged);
            let socket = hyper::upgrade::on(&mut request);
            tokio::spawn(talk(socket, accepted.deflate, logged, Arc::clone(state)));
            return switch(accepted);
        }
    }
    let answer = match Api::of(request.method(), &path) {
        None => Err((404, format!("unknown: {} {path}", request.method()))),
        Some(api) => match request.into_body().collect().await {
            Err(_) => Err((400, "the body ended early".into())),
            Ok(body) => state.call(api, &body.to_bytes(), &mut logged),
        },
    };
    let response = match answer {
        Ok(body) => {
            logged.response_sha256 = Some(body.sha256.clone());
            response(body)
        }
        Err((status, message)) => {
            logged.status = status;
            refusal(status, &message)
        }
    };
    // Before the client has it: whoever asks the log after the client finds it there.
    state.write(&logged);
    response
}

/// Answers the messages of a socket until the client closes it.
async fn talk(
    upgraded: hyper::upgrade::OnUpgrade,
    deflate: bool,
    mut logged: Logged,
    state: Arc<State>,
) -> io::Result<()> {
    let stream = TokioIo::new(upgraded.await.map_err(io::Error::other)?);
    let mut socket = Socket::new(stream, deflate);
    while let Some(message) = socket.receive().await? {
        let json: Value = serde_json::from_slice(&message)?;
        let script = Script::parse(answer::wish(&json));
        let mut answer = Answer::in_text("resp", &json, &script, state.next());
        if json["generate"] == false {
            answer = answer.silent();
        }
        let messages = answer.response_messages();
        let texts: Vec<String> = messages.iter().map(Value::to_string).collect();
        logged.status = 200;
        logged.note(&message, &script, &answer);
        logged.response_sha256 = Some(sha256(texts.concat().as_bytes()));
        state.write(&logged);
        for text in texts {
            socket.send(text.as_bytes()).await?;
        }
    }
    Ok(())
}

impl State {
    pub(super) fn new(files: Option<PathBuf>, log: Option<File>) -> Self {
        let log: Box<dyn Write + Send> = match log {
            Some(file) => Box::new(file),
            None => Box::new(io::stdout()),
        };
        let (number, failed) = (AtomicU64::new(0), Mutex::default());
        Self { files, number, failed, log: Mutex::new(log) }
    }

    fn call(&self, api: Api, body: &Bytes, logged: &mut Logged) -> Result<Body, (u16, String)> {
        logged.request_sha256 = sha256(body);
        let json: Value =
            serde_json::from_slice(body).map_err(|_| (400, "the body is not JSON".to_owned()))?;
        let script = Script::parse(answer::wish(&json));
        logged.tag.clone_from(&script.tag);
        logged.stream = json["stream"] == true;
        let number = self.next();
        if let Some(status) = self.failure(&script) {
            return Err((status, "told to".to_owned()));
        }
        let answer = match api {
            Api::Chat => Answer::to(&json, &script, number).map_err(|wrong| (400, wrong))?,
            Api::Messages => Answer::in_text("msg", &json, &script, number),
            Api::Responses => Answer::in_text("resp", &json, &script, number),
        };
        logged.note(body, &script, &answer);
        let events = match (api, logged.stream) {
            (Api::Chat, true) => answer.events(json["stream_options"]["include_usage"] == true),
            (Api::Messages, true) => answer.message_events(),
            (Api::Responses, true) => answer.response_events(),
            (Api::Chat, false) => return Ok(Body::document(answer.document())),
            (Api::Messages, false) => return Ok(Body::document(answer.message_document())),
            (Api::Responses, false) => return Ok(Body::document(answer.response_document())),
        };
        Ok(Body::events(events, &script))
    }

    fn next(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// What a path leads to below the directory, and to nothing above it.
    fn file(&self, path: &str) -> Option<Bytes> {
        let path = Path::new(path.trim_start_matches('/'));
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        let file = self.files.as_ref().filter(|_| inside)?.join(path);
        std::fs::read(file).ok().map(Bytes::from)
    }

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

impl Api {
    fn of(method: &Method, path: &str) -> Option<Self> {
        match (method, path) {
            (&Method::POST, "/v1/chat/completions") => Some(Self::Chat),
            (&Method::POST, "/v1/messages") => Some(Self::Messages),
            (&Method::POST, RESPONSES) => Some(Self::Responses),
            _ => None,
        }
    }
}

impl Body {
    fn document(document: Bytes) -> Self {
        Self::whole("application/json", document)
    }

    fn whole(kind: &'static str, bytes: Bytes) -> Self {
        Self { kind, sha256: sha256(&bytes), pieces: Pieces::whole(bytes) }
    }

    fn events(events: Vec<Bytes>, script: &Script) -> Self {
        Self {
            kind: "text/event-stream; charset=utf-8",
            sha256: sha256(&events.concat()),
            pieces: Pieces::streamed(events, script.pause),
        }
    }
}

impl Logged {
    fn of(request: &Request<Incoming>, ends: &Ends) -> Self {
        let header = |(name, _): (&HeaderName, &HeaderValue)| name.to_string();
        Self {
            peer: ends.peer,
            local: ends.local,
            tls: ends.tls.clone(),
            version: format!("{:?}", request.version()),
            path: request.uri().path().to_owned(),
            headers: request.headers().iter().map(header).collect(),
            request_sha256: String::new(),
            response_sha256: None,
            tag: None,
            status: 200,
            stream: false,
            response_id: None,
            call_ids: Vec::new(),
            usage: None,
        }
    }

    fn note(&mut self, body: &[u8], script: &Script, answer: &Answer) {
        self.request_sha256 = sha256(body);
        self.tag.clone_from(&script.tag);
        self.response_id = Some(answer.id.clone());
        self.call_ids = answer.call_ids();
        self.usage = Some(answer.usage);
    }
}

fn response(body: Body) -> Response<Pieces> {
    let mut response = Response::new(body.pieces);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(body.kind));
    response
}

fn switch(accepted: Accepted) -> Response<Pieces> {
    let mut response = Response::new(Pieces::whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted.key);
    if accepted.deflate {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(DEFLATE));
    }
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
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    header(CONTENT_TYPE, "application/json");
    // The SDK's own retry waits no longer than this.
    header(HeaderName::from_static("retry-after-ms"), "10");
    response
}

fn sha256(bytes: &[u8]) -> String {
    answer::hex(&Sha256::digest(bytes))
}

const RESPONSES: &str = "/v1/responses";
