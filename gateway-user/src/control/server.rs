//! Serves the control API on its socket.

use std::{future::Future, io, pin::pin, sync::Arc, thread, time::Duration};

use axum::Router;
use hyper::{server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::UnixStream,
    runtime,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time,
};

use super::{
    api::{self, Gateway, Peer},
    socket::ControlSocket,
};
use crate::limits;

/// Serves until `shutdown` ends; then answers what has been asked, for a short while, and removes
/// the socket: what it gives is ready then. On threads of its own: who asks is answered, and who kills
/// obeyed, whatever the rest of the gateway waits for.
pub fn serve<G: Gateway>(
    socket: ControlSocket,
    gateway: Arc<G>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<impl Future<Output = ()> + Send> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("turnpike-control")
        .enable_all()
        .build()?;
    let socket = {
        let _within = runtime.enter();
        socket.moved_here()?
    };
    let (over, ended) = oneshot::channel::<()>();
    thread::Builder::new().name("turnpike-control".into()).spawn(move || {
        runtime.block_on(accept_all(socket, gateway, shutdown));
        drop(over);
        runtime.shutdown_background();
    })?;
    // It says nothing, it only ends.
    Ok(async { drop(ended.await) })
}

async fn accept_all<G: Gateway>(
    socket: ControlSocket,
    gateway: Arc<G>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let door = Door::new(socket, Arc::clone(&gateway));
    let router = api::router(gateway);
    let connections = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = door.accept() => accepted,
        };
        match accepted {
            Ok(guest) => serve_connection(guest, &router, &connections),
            Err(error) => {
                tracing::warn!(%error, "can't accept on the control socket");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(door);
    if time::timeout(DRAIN, connections.shutdown()).await.is_err() {
        tracing::warn!("requests on the control socket did not end in time");
    }
}

/// Where connections come in. A peer that may not ask is let in only to be told so by the API, and
/// in slots apart: an agent's idle connections must not keep others out.
#[derive(Debug)]
struct Door<G> {
    socket: ControlSocket,
    gateway: Arc<G>,
    slots: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

/// A connection that was let in. It holds its slot to its end.
#[derive(Debug)]
struct Guest {
    stream: UnixStream,
    peer: Option<Peer>,
    slot: OwnedSemaphorePermit,
}

impl<G: Gateway> Door<G> {
    fn new(socket: ControlSocket, gateway: Arc<G>) -> Self {
        let slots = Arc::new(Semaphore::new(limits::CONTROL_CONNECTIONS));
        let refusals = Arc::new(Semaphore::new(limits::CONTROL_REFUSALS));
        Self { socket, gateway, slots, refusals }
    }

    async fn accept(&self) -> io::Result<Guest> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(io::Error::other)?;
        loop {
            let (stream, _) = self.socket.listener.accept().await?;
            let peer = peer(&stream);
            if peer.is_some_and(|peer| self.gateway.admits(&peer)) {
                return Ok(Guest { stream, peer, slot });
            }
            if let Ok(slot) = Arc::clone(&self.refusals).try_acquire_owned() {
                return Ok(Guest { stream, peer, slot });
            }
        }
    }
}

/// Serves one connection on a task of its own.
fn serve_connection(guest: Guest, router: &Router, connections: &GracefulShutdown) {
    let Guest { stream, peer, slot } = guest;
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

/// One may be busy with a long answer.
const THREADS: usize = 2;
/// How long requests may go on when the gateway ends.
const DRAIN: Duration = Duration::from_secs(2);
/// After a failed accept, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
