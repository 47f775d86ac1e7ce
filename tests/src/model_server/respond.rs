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
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{
    Logged, Script,
    answer::{self, Answer, Stream},
    api::{Api, RESPONSES, openai_error},
    body::Pieces,
    conversation::{Conversation, Wrong},
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
    /// What was said until each of the responses that a client may go on from.
    remembered: Mutex<HashMap<String, Conversation>>,
    /// Whether what is held may go.
    released: watch::Sender<bool>,
    log: Mutex<Box<dyn Write + Send>>,
}

/// The body of an answer, and what kind it is.
struct Body {
    kind: &'static str,
    pieces: Pieces,
    sha256: String,
    held: bool,
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
    let api = Api::of(request.method(), request.uri());
    let answer = match &api {
        None => Err((404, format!("unknown: {} {path}", request.method()))),
        Some(api) => match request.into_body().collect().await {
            Err(_) => Err((400, "the body ended early".into())),
            Ok(body) => state.call(api, &body.to_bytes(), &mut logged),
        },
    };
    let mut held = false;
    let response = match answer {
        Ok(body) => {
            held = body.held;
            logged.response_sha256 = Some(body.sha256.clone());
            response(body)
        }
        Err((status, message)) => {
            logged.status = status;
            let error = api
                .map_or_else(|| openai_error(status, &message), |api| api.error(status, &message));
            refusal(status, &error)
        }
    };
    // Before the client has it: whoever asks the log after the client finds it there.
    state.write(&logged);
    if held {
        state.wait_for_release().await;
    }
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
        let (script, answered) = state.answer(&Api::Responses, &json);
        let mut answer = answered.map_err(io::Error::other)?;
        if json["generate"] == false {
            answer = answer.silent();
        }
        let messages = answer.messages();
        let texts: Vec<String> = messages.iter().map(Value::to_string).collect();
        logged.status = 200;
        logged.note(&message, &script);
        logged.tell(&Api::Responses, &json, &answer);
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
        Self {
            files,
            number: AtomicU64::new(0),
            failed: Mutex::default(),
            remembered: Mutex::default(),
            released: watch::Sender::new(false),
            log: Mutex::new(log),
        }
    }

    /// Lets go what is held, and holds nothing any more.
    pub(super) fn release(&self) {
        self.released.send_replace(true);
    }

    async fn wait_for_release(&self) {
        // Its other end is kept beside it.
        let _ = self.released.subscribe().wait_for(|released| *released).await;
    }

    fn call(&self, api: &Api, body: &Bytes, logged: &mut Logged) -> Result<Body, (u16, String)> {
        logged.request_sha256 = sha256(body);
        let json: Value =
            serde_json::from_slice(body).map_err(|_| (400, "the body is not JSON".to_owned()))?;
        let (script, answer) = self.answer(api, &json);
        logged.note(body, &script);
        logged.stream = api.streams(&json);
        logged.request_model = Some(api.model(&json).to_owned());
        logged.max_output = api.max_output(&json);
        if let Some(status) = self.failure(&script) {
            return Err((status, "told to".to_owned()));
        }
        let answer = answer.map_err(|wrong| (400, wrong))?;
        logged.tell(api, &json, &answer);
        let stream = logged.stream.then(|| answer.stream(api, &json)).flatten();
        let body = match stream {
            Some(stream) => Body::stream(stream, &script),
            None => Body::document(answer.document(api, &json)),
        };
        Ok(Body { held: script.hold, ..body })
    }

    /// What the request asks for, and the answer to it.
    fn answer(&self, api: &Api, request: &Value) -> (Script, Result<Answer, Wrong>) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let before = request["previous_response_id"].as_str().and_then(|id| remembered.get(id));
        let mut said = before.cloned().unwrap_or_default();
        said.extend(answer::said(api, request));
        let script = Script::parse(said.wish());
        let answer = Answer::to(api, request, &said, &script, number);
        if let (Api::Responses, Ok(answer)) = (api, &answer) {
            said.add(answer.said());
            remembered.insert(answer.id.clone(), said);
        }
        (script, answer)
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

impl Body {
    fn document(document: Bytes) -> Self {
        Self::whole("application/json", document)
    }

    fn whole(kind: &'static str, bytes: Bytes) -> Self {
        Self { kind, sha256: sha256(&bytes), pieces: Pieces::whole(bytes), held: false }
    }

    fn stream(stream: Stream, script: &Script) -> Self {
        Self {
            kind: stream.kind,
            sha256: sha256(&stream.pieces.concat()),
            pieces: Pieces::streamed(stream.pieces, script.pause),
            held: false,
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
            request_model: None,
            max_output: None,
            response_model: None,
            response_id: None,
            tool_calls: Vec::new(),
            finish_reason: None,
            usage: None,
        }
    }

    fn note(&mut self, body: &[u8], script: &Script) {
        self.request_sha256 = sha256(body);
        self.tag.clone_from(&script.tag);
    }

    fn tell(&mut self, api: &Api, request: &Value, answer: &Answer) {
        self.request_model = Some(api.model(request).to_owned());
        self.response_model = answer.told_model(api);
        self.response_id = answer.told_id(api);
        self.tool_calls = answer.told_calls();
        self.finish_reason = answer.told_finish(api).map(str::to_owned);
        self.usage = answer.told(api);
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

fn refusal(status: u16, error: &Value) -> Response<Pieces> {
    let mut response = Response::new(Pieces::whole(error.to_string().into()));
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
