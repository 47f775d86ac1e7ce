//! Serves the control API on its socket.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

use super::{
    api::{self, Gateway, Peer},
    socket::ControlSocket,
};
use crate::limits;

/// Serves until `shutdown` ends; then answers what has been asked, for a short while, and removes
/// the socket.
pub async fn serve<G: Gateway>(
    socket: ControlSocket,
    gateway: Arc<G>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let router = api::router(gateway);
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits::CONTROL_CONNECTIONS));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&socket, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => serve_connection(stream, slot, &router, &connections),
            Err(error) => {
                tracing::warn!(%error, "can't accept on the control socket");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(socket);
    if time::timeout(DRAIN, connections.shutdown()).await.is_err() {
        tracing::warn!("requests on the control socket did not end in time");
    }
}

async fn accept(
    socket: &ControlSocket,
    slots: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = socket.listener.accept().await?;
    Ok((stream, slot))
}

/// Serves one connection on a task of its own, which holds the slot to its end.
fn serve_connection(
    stream: UnixStream,
    slot: OwnedSemaphorePermit,
    router: &Router,
    connections: &GracefulShutdown,
) {
    let peer = peer(&stream);
    let router = TowerToHyperService::new(router.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::CONTROL_REQUEST_TIME)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the control socket broke");
        }
        drop(slot);
    });
}

/// The process that connected (`SO_PEERCRED`, unix(7)). Absent if the kernel does not say, or if
/// the process is in a PID namespace that can't be seen from here: its pid is then 0.
fn peer(stream: &UnixStream) -> Option<Peer> {
    let credentials = stream.peer_cred().ok()?;
    let pid = u32::try_from(credentials.pid()?).ok().filter(|pid| *pid != 0)?;
    Some(Peer { pid, uid: credentials.uid() })
}

/// How long requests may go on when the gateway ends.
const DRAIN: Duration = Duration::from_secs(2);
/// After a failed accept, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
