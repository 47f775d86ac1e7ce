//! The node's own certificate authority: what signs the leaves that intercepted clients are shown.
//!
//! It is made on first need and kept in one file of the state directory: see [`kept`]. All leaves
//! have one key, which is made at the start and never leaves this process: they all end here, so a
//! key for each would protect nothing, and cost a key pair per name. A second authority, which
//! nobody is told of, signs what a client is shown when upstream could not be verified.

mod issuer;
mod kept;
mod leaves;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rcgen::KeyPair;
use rustls::{
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    pki_types::{PrivateKeyDer, ServerName},
    sign::{CertifiedKey, SigningKey},
};

use self::{
    issuer::{Issuer, LEAF_LIFE, RENEWAL},
    kept::Kept,
    leaves::{Leaf, Leaves, Wanted},
};
use crate::call::Timestamp;

pub use self::kept::Certificate;

/// The authority of this node. Owns the leaves that it has signed, within a bound.
pub struct Authority {
    state: PathBuf,
    leaf_pair: KeyPair,
    leaf_key: Arc<dyn SigningKey>,
    /// Known to nobody, so that nobody trusts it.
    stranger: Issuer,
    active: Mutex<Active>,
}

/// What a rotation replaces.
struct Active {
    kept: Kept,
    issuer: Issuer,
    leaves: Leaves,
}

/// Why the authority can't be used, or a leaf not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("can't use the CA in {}: {source}; run as root (sudo), or set daemon.state_dir", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the CA's key in {} can be read by others than its owner (mode {mode:03o}); chmod 600 it, \
         and if others may have read it: turnpike ca rotate", path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "the CA in {} was not put there by this user but by the one numbered {uid}; find out why, \
         and remove it so that a new one is made", path.display()
    )]
    Foreign { path: PathBuf, uid: u32 },
    #[error(
        "{} does not hold a whole CA: {what}; restore it from a backup, or remove it so that a new \
         one is made", path.display()
    )]
    Damaged { path: PathBuf, what: &'static str },
    #[error("no certificate can be made for {0}; only for DNS names and IP addresses")]
    Name(String),
    #[error("a certificate can't be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the leaves' key can't be used: {0}")]
    Key(#[from] rustls::Error),
    #[error("the system refused random bytes: {0}")]
    Random(io::Error),
}

impl Authority {
    /// The authority kept below the state directory; made if there is none, and replaced if it
    /// expires within a month.
    pub fn open(state: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let mut kept = Kept::open(state, now)?;
        if kept.own().not_after < now.after(RENEWAL) {
            kept = Kept::rotate(state, now)?;
        }
        let leaf_pair = KeyPair::generate()?;
        let private = PrivateKeyDer::try_from(leaf_pair.serialize_der())
            .map_err(|what| rustls::Error::General(what.into()))?;
        Ok(Self {
            state: state.into(),
            leaf_key: any_ecdsa_type(&private)?,
            leaf_pair,
            stranger: Issuer::make(now, None)?.issuer,
            active: Mutex::new(Active::of(kept)?),
        })
    }

    /// The authority's own certificate as it is kept, for commands without a gateway. Made if there
    /// is none.
    pub fn show(state: &Path, now: Timestamp) -> Result<Certificate, AuthorityError> {
        Ok(Kept::open(state, now)?.own().clone())
    }

    /// Replaces the kept authority, for commands without a gateway.
    pub fn replace(state: &Path, now: Timestamp) -> Result<Certificate, AuthorityError> {
        Ok(Kept::rotate(state, now)?.own().clone())
    }

    /// Replaces the authority. Leaves are signed by the new one from here on.
    pub fn rotate(&self, now: Timestamp) -> Result<Certificate, AuthorityError> {
        let mut active = self.lock();
        *active = Active::of(Kept::rotate(&self.state, now)?)?;
        Ok(active.kept.own().clone())
    }

    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.lock().kept.own().clone()
    }

    /// What clients have to trust, in PEM: the authority's own certificate, and those that it had
    /// before for as long as their leaves may be about.
    #[must_use]
    pub fn anchors(&self, now: Timestamp) -> String {
        self.lock().kept.anchors(now)
    }

    /// A leaf for the name, signed by this authority, or, if it is not to be trusted, by one that
    /// nobody knows.
    pub fn leaf(
        &self,
        name: &ServerName<'_>,
        trusted: bool,
        now: Timestamp,
    ) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let wanted = Wanted { name: name.to_owned(), trusted };
        let mut active = self.lock();
        if let Some(leaf) = active.leaves.get(&wanted, now) {
            return Ok(leaf);
        }
        let issuer = if trusted { &active.issuer } else { &self.stranger };
        let leaf = issuer.leaf(name, &self.leaf_pair, now)?;
        let mut chain = vec![leaf];
        if trusted {
            chain.extend(active.kept.bridges(now).cloned());
        }
        let key = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.leaf_key)));
        let leaf = Leaf { key: Arc::clone(&key), expires: now.after(LEAF_LIFE) };
        active.leaves.insert(wanted, leaf);
        Ok(key)
    }

    /// Leaves that were forgotten to make room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.lock().leaves.forgotten()
    }

    fn lock(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Authority {
    /// Without its keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Active {
    fn of(kept: Kept) -> Result<Self, AuthorityError> {
        Ok(Self { issuer: kept.issuer()?, kept, leaves: Leaves::default() })
    }
}

#[cfg(test)]
mod tests;
