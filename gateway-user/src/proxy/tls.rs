//! TLS of clients and of upstream: which of it is decrypted, and how.
//!
//! A client is shown as much of upstream as can be: what upstream chose of what the client offers
//! is all that the client is offered in turn, and a certificate of upstream's that the agent does
//! not trust becomes one that the client can't trust either. So each side's own rules decide.

mod alert;
mod distrust;
mod guise;
mod hello;
mod leg;
mod recent;
mod upstream;
mod verify;

use std::{
    error::Error,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::ServerName,
    sign::CertifiedKey,
};

pub(super) use self::{
    alert::refuse,
    distrust::Distrusts,
    guise::{Inside, NoGuise},
    hello::can_begin,
    leg::{Said, TlsLeg},
    upstream::{Greeted, Unmet},
};
pub use self::{
    distrust::{Binary, Distrust, Why},
    hello::{ClientHello, HelloReader, NotAHello, Versions},
};
use self::{guise::Guises, upstream::Upstreams, verify::Verifiers};
use super::coverage::OpaqueReason;
use crate::policy::hosts::HostList;

/// Whoever mints certificates. Called from the data path: it must not block for long.
pub trait Certificates: Send + Sync {
    /// A leaf for a name, and its key, signed by the node's CA; or, if it is not to be `trusted`, by
    /// one that nobody trusts. While it is valid, the same leaf is given for the same name: clients
    /// go on with their sessions as long as it is.
    fn leaf(&self, name: &ServerName<'_>, trusted: bool) -> Result<Arc<CertifiedKey>, NoLeaf>;
}

/// No certificate could be minted: a fault of this node's.
#[derive(Debug, thiserror::Error)]
#[error("no certificate can be minted: {0}")]
pub struct NoLeaf(#[source] pub Box<dyn Error + Send + Sync>);

/// What an agent's TLS connections are decrypted by. An agent without it has none decrypted.
pub struct Decryption {
    /// Which of them.
    hosts: Arc<HostList>,
    provider: Arc<CryptoProvider>,
    verifiers: Mutex<Arc<Verifiers>>,
    certificates: Arc<dyn Certificates>,
    upstreams: Mutex<Upstreams>,
    guises: Mutex<Guises>,
    distrusts: Mutex<Distrusts>,
}

/// By whom upstream's certificate is verified.
#[derive(Clone, Debug)]
pub struct Roots {
    /// What the agent trusts by itself: the bundle of its container. What it does not trust, it
    /// must not be made to trust here.
    pub agent: Arc<RootCertStore>,
    /// What this node trusts. The agent may have changed its own; rules that go by a host's name
    /// need these.
    pub node: Arc<RootCertStore>,
}

/// What is to be done with a client that begins TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Decrypt it, as this host.
    Decrypted(ServerName<'static>),
    Unread(OpaqueReason),
}

impl Decryption {
    #[must_use]
    pub fn new(hosts: Arc<HostList>, roots: Roots, certificates: Arc<dyn Certificates>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self {
            hosts,
            verifiers: Mutex::new(Arc::new(Verifiers::new(roots, &provider))),
            provider,
            certificates,
            upstreams: Mutex::default(),
            guises: Mutex::default(),
            distrusts: Mutex::default(),
        }
    }

    /// Verifies upstream by these from here on.
    pub fn trust(&self, roots: Roots) {
        *lock(&self.verifiers) = Arc::new(Verifiers::new(roots, &self.provider));
    }

    /// The programs that did not trust us lately.
    #[must_use]
    pub fn distrusts(&self) -> Vec<Distrust> {
        self.distrusted().all()
    }

    /// Hosts, guises and distrusting programs that had to make room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        let known = lock(&self.upstreams).forgotten() + lock(&self.guises).forgotten();
        known + self.distrusted().forgotten()
    }

    /// Decides on a client by what it says first, where it was going, and what that is called.
    pub(super) fn wants(
        &self,
        hello: &ClientHello,
        destination: IpAddr,
        called: impl FnOnce() -> Vec<Box<str>>,
    ) -> Wanted {
        let (listed, name) = match hello.server_name.as_deref() {
            Some(name) => (self.hosts.contains(name), ServerName::try_from(name.to_owned()).ok()),
            None => (self.hosts.contains_address(destination), Some(destination.into())),
        };
        match name.filter(|_| upstream::can_offer(hello)) {
            Some(name) if listed => Wanted::Decrypted(name),
            None if listed => Wanted::Unread(OpaqueReason::TlsOffer),
            _ if self.hides(hello, &called()) => Wanted::Unread(OpaqueReason::HiddenName),
            _ => Wanted::Unread(OpaqueReason::Tls),
        }
    }

    /// Whether a client that names no listed host may want one all the same: its destination is called
    /// one, and not by the name that the client gives, if it gives any. Servers need not look at that
    /// name. Where many hosts share an address, the client has asked DNS for the one it names.
    fn hides(&self, hello: &ClientHello, called: &[Box<str>]) -> bool {
        let named = hello.server_name.as_deref().filter(|_| !hello.encrypted);
        let honest = named.is_some_and(|name| {
            let name = name.strip_suffix('.').unwrap_or(name);
            called.iter().any(|known| known.eq_ignore_ascii_case(name))
        });
        !honest && called.iter().any(|name| self.hosts.contains(name))
    }

    pub(super) fn distrusted(&self) -> MutexGuard<'_, Distrusts> {
        lock(&self.distrusts)
    }
}

/// What a panic left of a cache is whole enough.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The source of certificates shows nothing of itself.
impl fmt::Debug for Decryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryption").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
