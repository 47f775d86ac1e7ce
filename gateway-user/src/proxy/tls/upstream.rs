//! TLS with upstream, as the client would have it.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, SignatureScheme, SupportedProtocolVersion,
    client::{ResolvesClientCert, Resumption},
    pki_types::ServerName,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    ClientHello, Decryption, TlsLeg, Versions, alert,
    guise::Inside,
    lock,
    recent::Recent,
    verify::{Later, Verified},
};
use crate::{
    call::Timestamp,
    config::Mode,
    limits,
    proxy::{coverage::OpaqueReason, opening::Rewound},
};

/// What is known of the hosts that were dialled.
#[derive(Debug)]
pub(super) struct Upstreams(Recent<(ServerName<'static>, u16), Arc<Host>>);

impl Upstreams {
    pub(super) const fn forgotten(&self) -> u64 {
        self.0.forgotten()
    }
}

impl Default for Upstreams {
    fn default() -> Self {
        Self(Recent::new(limits::TLS_HOSTS_PER_AGENT))
    }
}

/// One host, at one port.
#[derive(Debug)]
pub(in crate::proxy) struct Host {
    name: ServerName<'static>,
    /// One for each choice of versions. They remember the host's sessions.
    configs: [OnceLock<Arc<ClientConfig>>; 3],
    asks: Arc<Asks>,
    unfit: Mutex<Option<(Unfit, Timestamp)>>,
}

/// Why a host can't be decrypted, whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    /// It wants a certificate of the client's, which only the client has the key of.
    ClientCertificate,
    /// It speaks no TLS, or none that is known here.
    Unknown,
}

/// Upstream's end, after its handshake.
#[derive(Debug)]
pub(in crate::proxy) struct Greeted {
    pub(in crate::proxy) leg: TlsLeg,
    pub(in crate::proxy) verified: Verified,
    /// What it chose of what the client offers.
    pub(in crate::proxy) inside: Option<Inside>,
    pub(super) tls13: bool,
}

/// Upstream can't be decrypted: the connection to it is used up.
#[derive(Debug, thiserror::Error)]
#[error("upstream can't be decrypted: {reason:?}")]
pub(in crate::proxy) struct Unmet {
    pub(in crate::proxy) reason: OpaqueReason,
    /// What the client would hear.
    pub(in crate::proxy) alert: AlertDescription,
}

impl Decryption {
    /// What is known of a host, remembered from connection to connection.
    pub(in crate::proxy) fn host(&self, name: &ServerName<'static>, port: u16) -> Arc<Host> {
        let key = (name.clone(), port);
        Arc::clone(lock(&self.upstreams).0.entry(key, || Arc::new(Host::new(name.clone()))))
    }

    /// The handshake with upstream: it is offered what the client offers, as far as it is known
    /// here.
    pub(in crate::proxy) async fn greet(
        &self,
        host: &Host,
        hello: &ClientHello,
        upstream: Rewound,
        now: Timestamp,
    ) -> Result<Greeted, Unmet> {
        let config = self.client_config(host, hello.versions).ok_or(Unfit::Unknown)?;
        let offered = Inside::offered(&hello.alpn).map(|it| it.name().to_vec()).collect();
        let connector = TlsConnector::from(config);
        let shaken = connector.with_alpn(offered).connect(host.name.clone(), upstream).await;
        if host.asks.0.swap(false, Ordering::Relaxed) {
            host.remember(Unfit::ClientCertificate, now);
        }
        // Found out by another connection at the same time, perhaps: then it holds for this too.
        if host.unfit(now) == Some(Unfit::ClientCertificate) {
            return Err(Unfit::ClientCertificate.into());
        }
        let error = match shaken {
            Ok(stream) => return Ok(self.greeted(stream, &host.name)),
            Err(error) => error,
        };
        tracing::debug!(name = ?host.name, %error, "no TLS with upstream");
        let said = alert::received(&error);
        // An alert may be about what this client has offered, a lost connection about this moment.
        if said.is_none() && alert::is_about_tls(&error) {
            host.remember(Unfit::Unknown, now);
        }
        let unmet = Unmet::from(Unfit::Unknown);
        Err(Unmet { alert: said.unwrap_or(unmet.alert), ..unmet })
    }

    fn greeted(&self, stream: TlsStream<Rewound>, name: &ServerName<'_>) -> Greeted {
        let connection = stream.get_ref().1;
        let chain = connection.peer_certificates().unwrap_or_default();
        let verified = Arc::clone(&lock(&self.verifiers)).verify(chain, name);
        let inside = connection.alpn_protocol().and_then(Inside::named);
        let tls13 = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        tracing::debug!(?name, ?verified, ?inside, tls13, resumed, "TLS with upstream");
        Greeted { leg: TlsLeg::new(stream), verified, inside, tls13 }
    }

    /// None if the provider has nothing for these versions.
    fn client_config(&self, host: &Host, versions: Versions) -> Option<Arc<ClientConfig>> {
        let (place, versions) = choice(versions)?;
        let place = &host.configs[place];
        if let Some(config) = place.get() {
            return Some(Arc::clone(config));
        }
        let later = Later(self.provider.signature_verification_algorithms);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(later))
            .with_client_cert_resolver(Arc::clone(&host.asks) as _);
        // Of one server.
        config.resumption = Resumption::in_memory_sessions(1);
        Some(Arc::clone(place.get_or_init(|| Arc::new(config))))
    }
}

/// Whether upstream can be offered anything of what a client offers.
pub(super) fn can_offer(hello: &ClientHello) -> bool {
    let inside = hello.alpn.is_empty() || Inside::offered(&hello.alpn).next().is_some();
    inside && choice(hello.versions).is_some()
}

/// The versions to offer, and the place of their configuration.
fn choice(versions: Versions) -> Option<(usize, Offer)> {
    static BOTH: Offer = &[&TLS13, &TLS12];
    static TLS13_ALONE: Offer = &[&TLS13];
    static TLS12_ALONE: Offer = &[&TLS12];

    match versions {
        Versions { tls12: true, tls13: true } => Some((0, BOTH)),
        Versions { tls12: false, tls13: true } => Some((1, TLS13_ALONE)),
        Versions { tls12: true, tls13: false } => Some((2, TLS12_ALONE)),
        Versions { tls12: false, tls13: false } => None,
    }
}

type Offer = &'static [&'static SupportedProtocolVersion];

impl Host {
    fn new(name: ServerName<'static>) -> Self {
        Self { name, configs: <_>::default(), asks: Arc::default(), unfit: Mutex::default() }
    }

    /// What stands against decrypting it. What may have passed by now is tried again in enforce, where
    /// a client is refused for it.
    pub(in crate::proxy) fn unmet(&self, mode: Mode, now: Timestamp) -> Option<Unmet> {
        self.unfit(now)
            .filter(|unfit| mode == Mode::Audit || *unfit == Unfit::ClientCertificate)
            .map(Unmet::from)
    }

    fn unfit(&self, now: Timestamp) -> Option<Unfit> {
        let age = limits::TLS_UNFIT_AGE.into();
        lock(&self.unfit).filter(|(_, since)| now < since.after(age)).map(|(unfit, _)| unfit)
    }

    fn remember(&self, why: Unfit, now: Timestamp) {
        *lock(&self.unfit) = Some((why, now));
    }
}

impl From<Unfit> for Unmet {
    fn from(unfit: Unfit) -> Self {
        let (reason, alert) = match unfit {
            Unfit::ClientCertificate => {
                (OpaqueReason::ClientCertificate, AlertDescription::AccessDenied)
            }
            Unfit::Unknown => (OpaqueReason::UpstreamTls, AlertDescription::HandshakeFailure),
        };
        Self { reason, alert }
    }
}

/// Notes that a server has asked for a client's certificate, and gives none.
#[derive(Debug, Default)]
struct Asks(AtomicBool);

impl ResolvesClientCert for Asks {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
