//! `peer`, seen from the tests: servers that say who they are, and clients that say whom they
//! reached.

use std::{collections::BTreeMap, net::SocketAddr, process::Command, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{machine, network::Netns, process::Background, sandbox::Sandbox, wait};

/// What a client found out about one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    pub asked: SocketAddr,
    /// Who the server says it is.
    pub reached: SocketAddr,
    /// The client's own address, as it sees it.
    pub own: SocketAddr,
    /// The client's address, as the server sees it.
    pub seen: SocketAddr,
    /// What `getpeername` says.
    pub peername: SocketAddr,
}

impl Called {
    /// Whether nobody is between the two.
    pub fn is_direct(&self) -> bool {
        self.own == self.seen
    }
}

/// What became of many connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub proxied: u64,
    pub direct: u64,
    /// They reached another than they asked for, or were shown another.
    pub misdirected: u64,
    pub failed: u64,
    /// What failed, by message.
    pub failures: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts one connection, and gives it back if there is one.
    pub fn count<T>(&mut self, called: anyhow::Result<(Called, T)>) -> Option<T> {
        let (called, stream) = called.inspect_err(|error| self.fail(error)).ok()?;
        if called.reached != called.asked || called.peername != called.asked {
            self.misdirected += 1;
        } else if called.is_direct() {
            self.direct += 1;
        } else {
            self.proxied += 1;
        }
        Some(stream)
    }

    pub fn fail(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        *self.failures.entry(format!("{error:#}")).or_default() += 1;
    }
}

/// One try of a client under load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// Since its start.
    pub at_us: u64,
    /// `proxied`, `direct`, or the kind of its error.
    pub result: String,
}

/// A running server.
#[derive(Debug)]
pub struct PeerServer {
    pub addresses: Vec<SocketAddr>,
    _process: Background,
}

impl PeerServer {
    /// Serves in a namespace; port 0 is any that is free.
    #[track_caller]
    pub fn start(netns: Option<&Netns>, addresses: &[SocketAddr]) -> Self {
        let program = program();
        let mut command = netns.map_or_else(|| Command::new(&program), |it| it.command(&program));
        command.arg("serve").args(addresses.iter().map(SocketAddr::to_string));
        let mut process = Background::spawn("peer serve", &mut command);
        let addresses = wait::until(Duration::from_secs(10), "the server to listen", || {
            assert!(process.status().is_none(), "it ended: {}", process.stderr());
            process.stdout().lines().next().and_then(|line| serde_json::from_str(line).ok())
        });
        Self { addresses, _process: process }
    }
}

/// Runs a client in a sandbox; it prints one JSON document a line.
#[track_caller]
pub fn client<T: for<'de> Deserialize<'de>>(
    sandbox: &Sandbox,
    words: &[&str],
    to: &[SocketAddr],
) -> Vec<T> {
    let printed = machine::run(&mut client_command(sandbox, words, to));
    printed.lines().map(|line| serde_json::from_str(line).expect("its own format")).collect()
}

/// A client, yet to be run.
pub fn client_command(sandbox: &Sandbox, words: &[&str], to: &[SocketAddr]) -> Command {
    let mut command = sandbox.command(&program());
    command.args(words).args(to.iter().map(SocketAddr::to_string));
    command
}

/// What a client under load has told so far; the last line may be half-written.
pub fn tries(client: &Background) -> Vec<Try> {
    client.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Where the program is.
pub fn program() -> String {
    machine::program("peer", "turnpike-tests").to_str().expect("our own path").into()
}
