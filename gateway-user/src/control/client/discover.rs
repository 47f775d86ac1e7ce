//! Finds the gateway to talk to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Client, ClientError};

/// Where gateways have their control sockets.
pub const RUNTIME_DIRECTORY: &str = "/run/turnpike";

/// The daemon's control socket in its directory.
pub const CONTROL_SOCKET: &str = "control.sock";

impl Client {
    /// The gateway at the path that is asked for; else the daemon; else, if no daemon answers, the
    /// one gateway that runs inside a `turnpike run`, at `run-*.sock`.
    pub async fn discover(explicit: Option<&Path>) -> Result<Self, ClientError> {
        match explicit {
            Some(path) => Self::connect(path).await,
            None => Self::discover_in(Path::new(RUNTIME_DIRECTORY)).await,
        }
    }

    /// As `discover` with no path, in another directory.
    pub async fn discover_in(directory: &Path) -> Result<Self, ClientError> {
        let absent = match Self::connect(directory.join(CONTROL_SOCKET)).await {
            Err(absent @ ClientError::NotRunning { .. }) => absent,
            found_or_failed => return found_or_failed,
        };
        let mut found = Vec::new();
        let mut failed = None;
        for path in embedded(directory) {
            match Self::connect(path).await {
                Ok(client) => found.push(client),
                Err(ClientError::NotRunning { .. }) => {}
                Err(error) => failed = Some(error),
            }
        }
        match found.len() {
            0 => Err(failed.unwrap_or(absent)),
            1 => found.pop().ok_or(absent),
            _ => Err(ClientError::Several {
                paths: found.into_iter().map(|client| client.path).collect(),
            }),
        }
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
