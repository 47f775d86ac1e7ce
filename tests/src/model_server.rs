//! A model server with a script: the APIs in which models are asked as they are on the wire, Responses
//! also over a WebSocket, in clear and over TLS; and answers that follow from the request alone.
//!
//! The last user message holds the script, e.g. `[steps=3 parallel=2 tag=w7]`; see [`Script`]. Each
//! answer is logged with what a test wants to compare.

pub mod answer;
pub(crate) mod api;
mod body;
pub(crate) mod conversation;
mod respond;
pub mod script;
mod serve;
mod socket;
mod tls;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{machine, network::Netns, process::Background, trace::Usage, wait};

pub use script::Script;
pub use serve::{Service, serve};
pub use tls::{Handshake, Identity};

/// One answer, as the server logs it. On a WebSocket: its opening, and then each message's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Logged {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: Option<Handshake>,
    /// Of HTTP.
    pub version: String,
    pub path: String,
    /// The names of the request's header fields, in order.
    pub headers: Vec<String>,
    /// Of the request's body, in hex.
    pub request_sha256: String,
    /// Of the answer's body. None: it was refused.
    pub response_sha256: Option<String>,
    pub tag: Option<String>,
    pub status: u16,
    pub stream: bool,
    pub request_model: Option<String>,
    /// The most tokens of an answer that the request asks for.
    pub max_output: Option<u64>,
    /// What follows is as the API tells it; none: it does not.
    pub response_model: Option<String>,
    pub response_id: Option<String>,
    pub tool_calls: Vec<answer::ToolCall>,
    pub finish_reason: Option<String>,
    pub usage: Option<Usage>,
}

/// What the server prints once it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// In the order of `--listen`.
    pub listening: Vec<SocketAddr>,
}

/// What a `model-server` takes for TLS.
#[derive(Clone, Copy, Debug)]
pub struct Tls<'a> {
    pub address: SocketAddr,
    pub identity: &'a Path,
    /// What it serves besides.
    pub files: &'a Path,
}

/// A running `model-server`.
#[derive(Debug)]
pub struct ModelServer {
    process: Background,
    log: PathBuf,
    _directory: TempDir,
    addresses: Vec<SocketAddr>,
}

impl ModelServer {
    /// In the network namespace that we are in. Port 0 is any that is free.
    #[track_caller]
    pub fn start(listen: &[SocketAddr]) -> Self {
        Self::listen(Command::new(program()), listen)
    }

    /// In another network namespace.
    #[track_caller]
    pub fn start_in(netns: &Netns, listen: &[SocketAddr]) -> Self {
        Self::listen(in_netns(netns), listen)
    }

    /// In another network namespace, over TLS.
    #[track_caller]
    pub fn start_tls_in(netns: &Netns, tls: &Tls<'_>) -> Self {
        let mut command = in_netns(netns);
        command.arg("--tls").arg(tls.address.to_string());
        command.arg("--identity").arg(tls.identity).arg("--files").arg(tls.files);
        Self::spawn(command)
    }

    #[track_caller]
    fn listen(mut command: Command, listen: &[SocketAddr]) -> Self {
        for address in listen {
            command.arg("--listen").arg(address.to_string());
        }
        Self::spawn(command)
    }

    #[track_caller]
    fn spawn(mut command: Command) -> Self {
        let directory = TempDir::with_prefix("tp-model-").expect("room for temporary files");
        let log = directory.path().join("log");
        command.arg("--log").arg(&log);
        let mut process = Background::spawn("the model server", &mut command);
        let ready: Ready = wait::until(Duration::from_secs(10), "the model server", || {
            assert!(process.status().is_none(), "the model server: {}", process.stderr());
            serde_json::from_str(process.stdout().strip_suffix('\n')?).ok()
        });
        Self { process, log, _directory: directory, addresses: ready.listening }
    }

    /// Its first address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// In the order in which they were given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it answer what its script says is to be held, from now on.
    #[track_caller]
    pub fn release(&mut self) {
        self.process.signal(Signal::USR1).expect("a process to signal");
    }

    /// What it has answered so far, and what it holds.
    #[track_caller]
    pub fn logged(&self) -> Vec<Logged> {
        let text = std::fs::read_to_string(&self.log).expect("the server made it");
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let parse = |line| serde_json::from_str(line).expect("the server wrote it");
        whole.lines().map(parse).collect()
    }

    /// What it has answered in one workflow.
    #[track_caller]
    pub fn logged_of(&self, tag: &str) -> Vec<Logged> {
        self.logged().into_iter().filter(|answer| answer.tag.as_deref() == Some(tag)).collect()
    }
}

fn in_netns(netns: &Netns) -> Command {
    netns.command(program().to_str().expect("our own path"))
}

fn program() -> PathBuf {
    machine::program("model-server", "turnpike-tests")
}
