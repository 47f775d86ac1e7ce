//! The least that a userspace proxy can do: relays of our own, on one thread, that look at nothing.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Builder,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::tls;

/// Relays until it is killed. With an identity it ends TLS on either side, and copies between.
pub(super) fn run(
    listener: std::net::TcpListener,
    upstream: SocketAddr,
    identity: Option<&Path>,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let opener = identity.map(Opener::new).transpose()?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            let opener = opener.clone();
            tokio::spawn(async move {
                // The load notices what fails.
                let _ = relay(client, upstream, opener).await;
            });
        }
    })
}

async fn relay(mut client: TcpStream, upstream: SocketAddr, opener: Option<Opener>) -> Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    match opener {
        None => copy_bidirectional(&mut client, &mut upstream).await?,
        Some(opener) => {
            let mut client = opener.acceptor.accept(client).await?;
            let http2 = client.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
            let connector = TlsConnector::from(if http2 { opener.http2 } else { opener.http1 });
            let name = ServerName::try_from(tls::OPENED).context("a name")?;
            let mut upstream = connector.connect(name, upstream).await?;
            copy_bidirectional(&mut client, &mut upstream).await?
        }
    };
    Ok(())
}

/// What it takes to be in the middle of TLS.
#[derive(Clone)]
struct Opener {
    acceptor: TlsAcceptor,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Opener {
    fn new(identity: &Path) -> Result<Self> {
        Ok(Self {
            acceptor: TlsAcceptor::from(tls::server(identity)?),
            http1: tls::client(&[tls::HTTP1])?,
            http2: tls::client(&[tls::HTTP2])?,
        })
    }
}
