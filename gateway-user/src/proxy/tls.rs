//! TLS of clients and of upstream: which of it is decrypted, and with what.

use std::{error::Error, fmt, sync::Arc};

use rustls::{RootCertStore, pki_types::ServerName, sign::CertifiedKey};

use crate::policy::hosts::HostList;

/// Whoever mints certificates. Called from the data path: it must not block for long.
pub trait Certificates: Send + Sync {
    /// A leaf for a name, and its key, signed by the node's CA; or, if it is not to be `trusted`, by
    /// one that nobody trusts. While it is valid, the same leaf is given for the same name.
    fn leaf(&self, name: &ServerName<'_>, trusted: bool) -> Result<Arc<CertifiedKey>, NoLeaf>;
}

/// No certificate could be minted: a fault of this node's.
#[derive(Debug, thiserror::Error)]
#[error("no certificate for it: {0}")]
pub struct NoLeaf(#[source] pub Box<dyn Error + Send + Sync>);

/// What an agent's TLS connections are decrypted by. An agent without it has none decrypted.
pub struct Decryption {
    /// Which of them.
    hosts: Arc<HostList>,
    roots: Roots,
    certificates: Arc<dyn Certificates>,
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

impl Decryption {
    #[must_use]
    pub fn new(hosts: Arc<HostList>, roots: Roots, certificates: Arc<dyn Certificates>) -> Self {
        Self { hosts, roots, certificates }
    }
}

/// The certificates' source shows nothing of itself.
impl fmt::Debug for Decryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryption").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
