//! Finds the gateway to talk to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Client, ClientError};
use crate::config::Config;

/// The daemon's control socket in its directory.
pub const CONTROL_SOCKET: &str = "control.sock";

impl Client {
    /// The gateway at the path that is asked for; else the daemon of the default configuration;
    /// else, if no daemon answers, the one gateway that runs inside a `turnpike run`, at
    /// `run-*.sock`.
    pub async fn discover(explicit: Option<&Path>) -> Result<Self, ClientError> {
        match explicit {
            Some(path) => Self::connect(path).await,
            None => Self::discover_in(&Config::load(None)?.daemon.runtime_dir).await,
        }
    }

    /// As `discover` with no path, in another directory.
    pub async fn discover_in(directory: &Path) -> Result<Self, ClientError> {
        let absent = match Self::connect(directory.join(CONTROL_SOCKET)).await {
            Err(absent @ ClientError::NotRunning { .. }) => absent,
            found_or_failed => return found_or_failed,
        };
        let (mut found, failed) = runs_in(directory).await;
        match found.len() {
            0 => Err(failed.unwrap_or(absent)),
            1 => found.pop().ok_or(absent),
            _ => Err(ClientError::Several {
                paths: found.into_iter().map(|client| client.path).collect(),
            }),
        }
    }

    /// The gateway at the path that is asked for; else the daemon and those inside a
    /// `turnpike run`. None if none answers.
    pub async fn discover_all(explicit: Option<&Path>) -> Result<Vec<Self>, ClientError> {
        match explicit {
            Some(path) => Ok(live(Self::connect(path).await)?.into_iter().collect()),
            None => Self::discover_all_in(&Config::load(None)?.daemon.runtime_dir).await,
        }
    }

    /// As `discover_all` with no path, in another directory.
    pub async fn discover_all_in(directory: &Path) -> Result<Vec<Self>, ClientError> {
        let daemon = live(Self::connect(directory.join(CONTROL_SOCKET)).await)?;
        let (runs, failed) = runs_in(directory).await;
        if let Some(error) = failed {
            tracing::warn!(%error, "a gateway is left out");
        }
        Ok(daemon.into_iter().chain(runs).collect())
    }
}

/// The gateways inside a `turnpike run` that answer, and why the last one that failed did so.
async fn runs_in(directory: &Path) -> (Vec<Client>, Option<ClientError>) {
    let mut found = Vec::new();
    let mut failed = None;
    for path in embedded(directory) {
        match live(Client::connect(path).await) {
            Ok(client) => found.extend(client),
            Err(error) => failed = Some(error),
        }
    }
    (found, failed)
}

/// None where nobody answers.
fn live(connected: Result<Client, ClientError>) -> Result<Option<Client>, ClientError> {
    match connected {
        Ok(client) => Ok(Some(client)),
        Err(ClientError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sockets of gateways inside a `turnpike run`, in order.
fn embedded(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("run-") && path.extension().is_some_and(|kind| kind == "sock")
        })
        .take(EMBEDDED)
        .collect();
    paths.sort();
    paths
}

/// Sockets of `turnpike run` that are looked at.
const EMBEDDED: usize = 256;
