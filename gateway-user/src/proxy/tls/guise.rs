//! TLS with the client, in the guise of its upstream.

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::Ticketer,
    pki_types::ServerName,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use super::{Decryption, Greeted, NoLeaf, lock, recent::Recent};
use crate::limits;

/// The servers that clients are shown.
#[derive(Debug)]
pub(super) struct Guises(Recent<Looks, (Arc<CertifiedKey>, Arc<ServerConfig>)>);

impl Default for Guises {
    fn default() -> Self {
        Self(Recent::new(limits::TLS_GUISES_PER_AGENT))
    }
}

/// What makes servers different. A session is only ever resumed with the same server: a client that
/// has verified a certificate once does not do so again when it resumes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Looks {
    name: ServerName<'static>,
    trusted: bool,
    inside: Option<Inside>,
    tls13: bool,
}

/// What is spoken inside, of what is known here (RFC 7301, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) enum Inside {
    Http1,
    Http2,
}

/// No server can be shown to the client: a fault of this node's.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum NoGuise {
    #[error(transparent)]
    NoLeaf(#[from] NoLeaf),
    #[error("no TLS server can be set up: {0}")]
    Config(#[from] rustls::Error),
}

impl Decryption {
    /// The server that a client is shown for an upstream.
    pub(in crate::proxy) fn guise(
        &self,
        name: &ServerName<'static>,
        upstream: &Greeted,
    ) -> Result<TlsAcceptor, NoGuise> {
        let looks = Looks {
            name: name.clone(),
            trusted: upstream.verified.for_agent,
            inside: upstream.inside,
            tls13: upstream.tls13,
        };
        let leaf = self.certificates.leaf(name, looks.trusted)?;
        Ok(self.server_config(looks, leaf)?.into())
    }

    fn server_config(
        &self,
        looks: Looks,
        leaf: Arc<CertifiedKey>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut guises = lock(&self.guises);
        if let Some((shown, config)) = guises.0.get(&looks)
            && Arc::ptr_eq(shown, &leaf)
        {
            return Ok(Arc::clone(config));
        }
        let version: &[&SupportedProtocolVersion] = if looks.tls13 { &[&TLS13] } else { &[&TLS12] };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(version)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shown(Arc::clone(&leaf))));
        config.alpn_protocols = looks.inside.iter().map(|inside| inside.name().to_vec()).collect();
        // Sessions are kept by the clients.
        config.ticketer = Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let config = Arc::new(config);
        guises.0.insert(looks, (leaf, Arc::clone(&config)));
        Ok(config)
    }
}

impl Inside {
    /// Those that a client offers, in its order.
    pub(super) fn offered(alpn: &[Box<[u8]>]) -> impl Iterator<Item = Self> {
        alpn.iter().filter_map(|name| Self::named(name))
    }

    pub(super) fn named(name: &[u8]) -> Option<Self> {
        [Self::Http1, Self::Http2].into_iter().find(|it| it.name() == name)
    }

    pub(super) const fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// One certificate, whatever is asked for.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
