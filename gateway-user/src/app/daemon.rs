//! `turnpike daemon`.

use std::{io, path::Path, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

use super::gateway::Gateway;
use crate::{
    attach::pins::Instance,
    config::Config,
    control::{cli::DaemonArgs, server, socket::ControlSocket},
    sys,
};

/// Runs until it is told to end.
pub(super) async fn run(
    args: &DaemonArgs,
    control: Option<&Path>,
    verbose: bool,
) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref())?;
    sys::allow_many_files();
    let default = config.daemon.runtime_dir.join("control.sock");
    // The socket first: where it is in use, nothing must have been touched.
    crate::attach::preflight::require()?;
    let socket = ControlSocket::bind(control.unwrap_or(&default)).await?;
    let path = socket.path().to_owned();
    let instance = Instance::daemon(&config.daemon.runtime_dir);
    let gateway = Gateway::start(config, instance, false, verbose).await?;
    eprintln!("turnpike: ready; control socket {}", path.display());

    let mut ending = Ending::new()?;
    let shutdown = tokio::spawn(async move { ending.told().await });
    let server = server::serve(socket, Arc::new(gateway.clone()), async {
        // The task can't fail, and the runtime ends it only with the whole daemon.
        let _ = shutdown.await;
    })?;
    let upkeep = tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.look_after().await }
    });
    let watch = tokio::spawn({
        let gateway = gateway.clone();
        async move {
            if let Err(error) = gateway.watch().await {
                tracing::error!(%error, "no rule attaches anything any more");
                eprintln!("turnpike: {error}");
            }
        }
    });
    server.await;
    eprintln!("turnpike: ending");
    // What it is just attaching goes on, and is let go below.
    watch.abort();
    let stopped = gateway.stop(gateway.drain()).await;
    upkeep.await?;
    Ok(stopped?)
}

/// The signals that ask a process to end.
#[derive(Debug)]
pub(super) struct Ending {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Ending {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves with the next of them.
    pub(super) async fn told(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
        }
    }
}
