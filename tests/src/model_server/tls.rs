//! TLS on the server's side: HTTP/2 and HTTP/1.1 by ALPN, and a note of what was asked for.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::Acceptor,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

/// A certificate with its key, for every name that the server goes by.
#[derive(Clone, Debug)]
pub struct Identity(Arc<ServerConfig>);

/// What a client's hello asked for, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake {
    pub sni: Option<String>,
    /// The application protocols, in the client's order.
    pub offered: Vec<String>,
    pub alpn: Option<String>,
    pub version: String,
}

impl Identity {
    /// From a file that holds both in PEM.
    pub fn read(path: &Path) -> io::Result<Self> {
        let chain = CertificateDer::pem_file_iter(path).map_err(io::Error::other)?;
        let chain = chain.collect::<Result<_, _>>().map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_file(path).map_err(io::Error::other)?;
        let builder = ServerConfig::builder().with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Handshake)> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let hello = start.client_hello();
        let sni = hello.server_name().map(str::to_owned);
        let offered = hello.alpn().into_iter().flatten().map(text).collect();
        let stream = start.into_stream(Arc::clone(&self.0)).await?;
        let (_, session) = stream.get_ref();
        let alpn = session.alpn_protocol().map(text);
        let version = session.protocol_version().map(|version| format!("{version:?}"));
        let handshake = Handshake { sni, offered, alpn, version: version.unwrap_or_default() };
        Ok((stream, handshake))
    }
}

impl Handshake {
    pub(super) fn is_http2(&self) -> bool {
        self.alpn.as_deref() == Some("h2")
    }
}

fn text(protocol: &[u8]) -> String {
    String::from_utf8_lossy(protocol).into_owned()
}
