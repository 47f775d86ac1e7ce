//! Talks to a gateway over its control socket.

mod discover;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time};

use super::{
    budget::{BudgetInfo, Reset, ResetRequest},
    kill::{KillReport, KillRequest, ReviveRequest, Revived},
    model::{self, AgentInfo, AttachRequest, CaInfo, Refusal, Status},
};
use crate::{
    call::{Workflow, WorkflowSummary},
    cancel::Kill,
    config::ConfigError,
    limits,
    store::Filter,
};

pub use discover::CONTROL_SOCKET;

/// A gateway's control socket. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// Why a gateway did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no turnpike daemon answers at {}; start one with `turnpike daemon` (or `systemctl start \
         turnpike`)", path.display()
    )]
    NotRunning { path: PathBuf },
    #[error("several gateways run: {}; choose one with --control PATH", listed(paths))]
    Several { paths: Vec<PathBuf> },
    #[error("permission denied on the control socket {}; run as root (sudo)", path.display())]
    Denied { path: PathBuf },
    #[error(
        "the gateway at {} did not answer in {} s; see whether it hangs, and restart it if so",
        path.display(), after.as_secs()
    )]
    TimedOut { path: PathBuf, after: Duration },
    #[error("the connection to the gateway at {} broke: {source}; see its log", path.display())]
    Broken { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "the gateway at {} answered what this turnpike does not understand ({reason}); use the \
         same version on both sides", path.display()
    )]
    NotUnderstood { path: PathBuf, reason: String },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Client {
    /// A client of the gateway at this path, which may or may not be there.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// A client of the gateway at this path, which answers.
    pub async fn connect(path: impl Into<PathBuf>) -> Result<Self, ClientError> {
        let client = Self::new(path);
        client.probe().await?;
        Ok(client)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The status, in no more time than a live gateway needs.
    pub async fn probe(&self) -> Result<Status, ClientError> {
        self.within(PROBE_TIMEOUT, self.fetch(Method::GET, "/v1/status", None)).await
    }

    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    pub async fn agents(&self) -> Result<Vec<AgentInfo>, ClientError> {
        self.get("/v1/agents").await
    }

    pub async fn attach(&self, request: &AttachRequest) -> Result<AgentInfo, ClientError> {
        let fetched = self.fetch(Method::POST, "/v1/agents", Some(document(request)?));
        self.within(CHANGE_TIMEOUT, fetched).await
    }

    pub async fn detach(&self, name: &str, force: bool) -> Result<(), ClientError> {
        let path = format!("/v1/agents/{}?force={force}", encode(name));
        let sent = async { self.send(Method::DELETE, &path, None).await.map(drop) };
        self.within(CHANGE_TIMEOUT, sent).await
    }

    pub async fn ca(&self) -> Result<CaInfo, ClientError> {
        self.get("/v1/ca").await
    }

    /// Replaces the gateway's certificate authority. The one that takes its place.
    pub async fn rotate_ca(&self) -> Result<CaInfo, ClientError> {
        self.within(CHANGE_TIMEOUT, self.fetch(Method::POST, "/v1/ca", None)).await
    }

    /// Each with so many of its holders.
    pub async fn budgets(&self, limit: usize) -> Result<Vec<BudgetInfo>, ClientError> {
        self.get(&format!("/v1/budgets?limit={limit}")).await
    }

    pub async fn reset_budget(&self, request: &ResetRequest) -> Result<Reset, ClientError> {
        let fetched = self.fetch(Method::POST, "/v1/budgets/reset", Some(document(request)?));
        self.within(TIMEOUT, fetched).await
    }

    pub async fn kills(&self) -> Result<Vec<Kill>, ClientError> {
        self.get("/v1/kills").await
    }

    /// Ends what is under way, and waits for silence.
    pub async fn kill(&self, request: &KillRequest) -> Result<KillReport, ClientError> {
        let fetched = self.fetch(Method::POST, "/v1/kills", Some(document(request)?));
        self.within(request.timeout() + TIMEOUT, fetched).await
    }

    /// Has what was killed, or stopped by a budget, go on.
    pub async fn revive(&self, request: &ReviveRequest) -> Result<Revived, ClientError> {
        let fetched = self.fetch(Method::POST, "/v1/kills/revoke", Some(document(request)?));
        self.within(CHANGE_TIMEOUT, fetched).await
    }

    pub async fn workflows(&self, filter: &Filter) -> Result<Vec<WorkflowSummary>, ClientError> {
        self.get(&with_query("/v1/workflows", filter)).await
    }

    /// The workflow whose id begins so.
    pub async fn workflow(&self, id_prefix: &str) -> Result<Workflow, ClientError> {
        self.get(&format!("/v1/workflows/{}", encode(id_prefix))).await
    }

    /// Whole workflows, one after the other.
    pub async fn traces(&self, filter: &Filter) -> Result<Traces, ClientError> {
        let path = with_query("/v1/traces", filter);
        let response = self.within(TIMEOUT, self.send(Method::GET, &path, None)).await?;
        Ok(Traces { client: self.clone(), body: response.into_body(), read: Vec::new() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.within(TIMEOUT, self.fetch(Method::GET, path, None)).await
    }

    async fn fetch<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let response = self.send(method, path, body).await?;
        let body = Limited::new(response.into_body(), limits::CONTROL_ANSWER_BYTES);
        let body = body.collect().await.map_err(|source| self.broken(source))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| self.not_understood(&error))
    }

    /// Sends a request, and gives the response if it is a success.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| self.refused(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        // Ends with the response's body. Its error shows in the response.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "turnpike")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| self.broken(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    /// Why the gateway refused.
    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        let body = Limited::new(response.into_body(), REFUSAL_BYTES);
        let Ok(body) = body.collect().await else {
            return self.not_understood(&status);
        };
        match serde_json::from_slice::<Refusal>(&body.to_bytes()) {
            Ok(refusal) => refusal.into(),
            Err(_) => self.not_understood(&status),
        }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { path: self.path.clone(), after: limit })
        })
    }

    fn refused(&self, error: io::Error) -> ClientError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { path }
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied { path },
            _ => self.broken(error),
        }
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { path: self.path.clone(), source: source.into() }
    }

    fn not_understood(&self, reason: &impl ToString) -> ClientError {
        ClientError::NotUnderstood { path: self.path.clone(), reason: reason.to_string() }
    }
}

/// What is asked for, as it is sent.
fn document(request: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(request)
        .map_err(|error| Refusal::new(format!("this can't be asked for: {error}")))
}

/// Whole workflows as they arrive.
#[derive(Debug)]
pub struct Traces {
    client: Client,
    body: Incoming,
    read: Vec<u8>,
}

impl Traces {
    /// The next workflow; absent at the end.
    pub async fn next(&mut self) -> Result<Option<Workflow>, ClientError> {
        let mut searched = 0;
        loop {
            let found = self.read.iter().skip(searched).position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line: Vec<u8> = self.read.drain(..=searched + at).collect();
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|error| self.client.not_understood(&error));
            }
            searched = self.read.len();
            if searched > limits::CONTROL_ANSWER_BYTES {
                return Err(self.client.not_understood(&"a line is too long"));
            }
            let frame = time::timeout(TIMEOUT, self.body.frame()).await.map_err(|_| {
                ClientError::TimedOut { path: self.client.path.clone(), after: TIMEOUT }
            })?;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(self.client.broken(error)),
                None if self.read.is_empty() => return Ok(None),
                None => return Err(self.client.not_understood(&"the last line has no end")),
            }
        }
    }
}

fn with_query(path: &str, filter: &Filter) -> String {
    let pairs = [
        ("agent", filter.agent.clone()),
        ("session", filter.session.map(|session| session.to_string())),
        ("state", filter.state.map(|state| model::state_name(state).to_owned())),
        ("limit", filter.limit.map(|limit| limit.to_string())),
    ];
    let query: Vec<_> = pairs
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encode(&value?))))
        .collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 0xf] {
                let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                encoded.push(digit.to_ascii_uppercase());
            }
        }
    }
    encoded
}

/// Within which a live gateway says that it is there, on a machine that has much else to do.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Within which it answers what it has at hand.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Within which it attaches or detaches: container runtimes take their time.
const CHANGE_TIMEOUT: Duration = Duration::from_mins(1);
/// Bytes of a refusal.
const REFUSAL_BYTES: usize = 64 * 1024;
