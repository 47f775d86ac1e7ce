//! The server's sockets, and HTTP on each connection.

use std::{convert::Infallible, fs::File, io, net::SocketAddr, path::PathBuf, sync::Arc};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
};

use super::{
    Ready,
    respond::{State, respond},
    tls::{Handshake, Identity},
};

/// Where to listen, and what for.
#[derive(Debug, Default)]
pub struct Service {
    /// Addresses for HTTP/1.1 in clear.
    pub plain: Vec<SocketAddr>,
    /// Addresses for TLS, with who we are there.
    pub tls: Option<(Vec<SocketAddr>, Identity)>,
    /// The directory whose files are there for GET.
    pub files: Option<PathBuf>,
}

/// One connection's ends.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) tls: Option<Handshake>,
}

/// Listens, says so on standard output, and serves until the process ends.
pub async fn serve(service: Service, log: Option<File>) -> io::Result<()> {
    let state = Arc::new(State::new(service.files, log));
    // Before whoever starts it knows that it is there: it would end by the signal.
    let mut told = signal(SignalKind::user_defined1())?;
    let releasing = Arc::clone(&state);
    tokio::spawn(async move {
        if told.recv().await.is_some() {
            releasing.release();
        }
    });
    let mut listening = Vec::new();
    let mut last = None;
    let (tls, identity) = service.tls.unzip();
    let plain = service.plain.into_iter().map(|address| (address, None));
    let tls = tls.into_iter().flatten().map(|address| (address, identity.clone()));
    for (address, identity) in plain.chain(tls) {
        let listener = TcpListener::bind(address).await?;
        listening.push(listener.local_addr()?);
        last = Some(tokio::spawn(accept(listener, identity, Arc::clone(&state))));
    }
    println!("{}", serde_json::to_string(&Ready { listening })?);
    match last {
        Some(accepting) => accepting.await?,
        None => Err(io::Error::other("nowhere to listen: give --listen or --tls")),
    }
}

async fn accept(
    listener: TcpListener,
    identity: Option<Identity>,
    state: Arc<State>,
) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let ends = Ends { peer, local, tls: None };
        tokio::spawn(connection(stream, identity.clone(), ends, Arc::clone(&state)));
    }
}

/// A client that goes away, or won't trust us, is nothing to a server.
async fn connection(
    stream: TcpStream,
    identity: Option<Identity>,
    mut ends: Ends,
    state: Arc<State>,
) {
    let Some(identity) = identity else { return http(stream, ends, state).await };
    match identity.accept(stream).await {
        Ok((stream, handshake)) => {
            ends.tls = Some(handshake);
            http(stream, ends, state).await;
        }
        Err(error) => eprintln!("TLS with {}: {error}", ends.peer),
    }
}

async fn http<S>(stream: S, ends: Ends, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let http2 = ends.tls.as_ref().is_some_and(Handshake::is_http2);
    let service = service_fn(move |request| {
        let (ends, state) = (ends.clone(), Arc::clone(&state));
        async move { Ok::<_, Infallible>(respond(request, &ends, &state).await) }
    });
    let stream = TokioIo::new(stream);
    let _ = if http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    } else {
        http1::Builder::new().serve_connection(stream, service).with_upgrades().await
    };
}
