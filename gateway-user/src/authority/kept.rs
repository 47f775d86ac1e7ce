//! The file that the authority is kept in: `STATE/ca.pem`, readable by its owner alone.
//!
//! ```text
//! PRIVATE KEY     the authority's
//! CERTIFICATE     the authority's
//! CERTIFICATE     the one before that one: newest first, and each with
//! CERTIFICATE     its successor's name and key, signed by it
//! ```
//!
//! One file, so that it is replaced as a whole: there is never a key without its certificate.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use pem::Pem;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_parser::parse_x509_certificate;

use super::{
    AuthorityError,
    issuer::{BACKDATED, Issuer, LEAF_LIFE, Made},
};
use crate::{call::Timestamp, limits};

/// The file, as it was read or written.
#[derive(Debug)]
pub(super) struct Kept {
    key: Vec<u8>,
    own: Certificate,
    /// Newest first.
    retired: Vec<Retired>,
}

/// An authority's certificate, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub path: PathBuf,
    /// SHA-256 of its DER, in hex with colons, as browsers and `openssl x509 -fingerprint` show it.
    pub sha256: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The certificate alone.
    pub pem: String,
    #[serde(skip)]
    der: Vec<u8>,
}

/// An authority that was replaced.
#[derive(Clone, Debug)]
struct Retired {
    certificate: Certificate,
    /// Its successor's certificate, signed by it.
    bridge: CertificateDer<'static>,
    replaced: Timestamp,
}

impl Kept {
    /// Reads the file; makes it if there is none.
    pub(super) fn open(state: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let path = state.join(NAME);
        match read(&path) {
            Err(AuthorityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(state).map_err(|source| io_error(&path, source))?;
                let _lock = lock(state)?;
                // Another may have made it meanwhile.
                match read(&path) {
                    Err(AuthorityError::Io { source, .. })
                        if source.kind() == io::ErrorKind::NotFound =>
                    {
                        let made = Issuer::make(now, None)?;
                        Self::of(&path, made, Vec::new())?.write()
                    }
                    found => found,
                }
            }
            found => found,
        }
    }

    /// Replaces the authority in the file; makes it if there is none.
    pub(super) fn rotate(state: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let path = state.join(NAME);
        let before = Self::open(state, now)?;
        let _lock = lock(state)?;
        let made = Issuer::make(now, Some(&before.issuer()?))?;
        let mut retired = before.retired;
        if let Some(bridge) = made.bridge.clone() {
            retired.insert(0, Retired { certificate: before.own, bridge, replaced: now });
        }
        retired.retain(|old| old.is_needed(now));
        retired.truncate(limits::RETIRED_AUTHORITIES);
        Self::of(&path, made, retired)?.write()
    }

    pub(super) const fn own(&self) -> &Certificate {
        &self.own
    }

    pub(super) fn issuer(&self) -> Result<Issuer, AuthorityError> {
        let key = KeyPair::try_from(self.key.as_slice())?;
        Issuer::load(&self.own.der.as_slice().into(), key)
    }

    /// In PEM.
    pub(super) fn anchors(&self, now: Timestamp) -> String {
        let retired = self.retired.iter().filter(|old| old.is_needed(now));
        std::iter::once(&self.own)
            .chain(retired.map(|old| &old.certificate))
            .map(|certificate| certificate.pem.as_str())
            .collect()
    }

    /// What leads from the authority's leaves to each that it had before.
    pub(super) fn bridges(&self, now: Timestamp) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.retired.iter().filter(move |old| old.is_needed(now)).map(|old| &old.bridge)
    }

    fn of(path: &Path, made: Made, retired: Vec<Retired>) -> Result<Self, AuthorityError> {
        let own = Certificate::of(path, made.certificate.to_vec())?;
        Ok(Self { key: made.issuer.key(), own, retired })
    }

    fn parse(path: &Path, text: &str) -> Result<Self, AuthorityError> {
        let damaged = |what| AuthorityError::Damaged { path: path.into(), what };
        let parts = pem::parse_many(text).map_err(|_| damaged("it is not PEM"))?;
        // The parser passes over what has no end.
        if text.matches("-----BEGIN").count() != parts.len() || !text.ends_with("-----\n") {
            return Err(damaged("it is cut off"));
        }
        let mut parts = parts.into_iter();
        let key = parts.next().filter(|part| part.tag() == KEY);
        let key = key.ok_or_else(|| damaged("it does not begin with a key"))?.into_contents();
        let mut certificates = Vec::new();
        for part in parts {
            if part.tag() != CERTIFICATE {
                return Err(damaged("it holds something else than certificates after its key"));
            }
            certificates.push(part.into_contents());
        }
        let mut certificates = certificates.into_iter();
        let own = certificates.next().ok_or_else(|| damaged("its certificate is missing"))?;
        let own = Certificate::of(path, own)?;
        let pair =
            KeyPair::try_from(key.as_slice()).map_err(|_| damaged("its key can't be read"))?;
        if own.public_key() != Some(pair.subject_public_key_info()) {
            return Err(damaged("its key and its certificate are not of one another"));
        }
        let mut retired: Vec<Retired> = Vec::new();
        while let Some(certificate) = certificates.next() {
            let bridge = certificates.next();
            let bridge = bridge.ok_or_else(|| damaged("a replaced CA is not whole"))?.into();
            // It was replaced when its successor was made.
            let successor = retired.last().map_or(&own, |newer| &newer.certificate);
            let replaced = successor.not_before.after(BACKDATED);
            let certificate = Certificate::of(path, certificate)?;
            retired.push(Retired { certificate, bridge, replaced });
        }
        Ok(Self { key, own, retired })
    }

    /// Replaces the file as a whole, and only once its bytes are on the disk.
    fn write(self) -> Result<Self, AuthorityError> {
        let path = &self.own.path;
        let fresh = path.with_extension("pem.new");
        let mut text = pem::encode_config(&Pem::new(KEY, self.key.clone()), LINES);
        text.push_str(&self.own.pem);
        for old in &self.retired {
            text.push_str(&old.certificate.pem);
            text.push_str(&pem_of(&old.bridge));
        }
        let write = || {
            // What a writer that was killed left; under its own mode, not that of what we make.
            if let Err(error) = fs::remove_file(&fresh)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&fresh)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            path.parent().map_or(Ok(()), |state| fs::File::open(state)?.sync_all())
        };
        write().map_err(|source| io_error(path, source))?;
        Ok(self)
    }
}

impl Certificate {
    fn of(path: &Path, der: Vec<u8>) -> Result<Self, AuthorityError> {
        let damaged =
            || AuthorityError::Damaged { path: path.into(), what: "a certificate can't be read" };
        let (rest, parsed) = parse_x509_certificate(&der).map_err(|_| damaged())?;
        if !rest.is_empty() {
            return Err(damaged());
        }
        let time = |seconds: i64| Timestamp(u64::try_from(seconds).unwrap_or(0) * 1_000_000);
        let validity = parsed.validity();
        let not_before = time(validity.not_before.timestamp());
        let not_after = time(validity.not_after.timestamp());
        let mut sha256 = String::new();
        for (place, byte) in Sha256::digest(&der).iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            // Writing to a string does not fail.
            let _ = write!(sha256, "{colon}{byte:02X}");
        }
        let pem = pem_of(&der);
        Ok(Self { path: path.into(), sha256, not_before, not_after, pem, der })
    }

    /// As a key pair says it: its algorithm and bits.
    fn public_key(&self) -> Option<Vec<u8>> {
        let (_, parsed) = parse_x509_certificate(&self.der).ok()?;
        Some(parsed.tbs_certificate.subject_pki.raw.to_vec())
    }
}

impl Retired {
    /// Whether a leaf that it signed, or whoever trusts it alone, may still be about.
    fn is_needed(&self, now: Timestamp) -> bool {
        now < self.replaced.after(LEAF_LIFE)
    }
}

/// Reads the file, if nobody else could have read or written it.
fn read(path: &Path) -> Result<Kept, AuthorityError> {
    let error = |source| io_error(path, source);
    let mut options = fs::OpenOptions::new();
    let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = options.read(true).custom_flags(no_link).open(path).map_err(error)?;
    let found = file.metadata().map_err(error)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(AuthorityError::Foreign { path: path.into(), uid: found.uid() });
    }
    if found.mode() & 0o077 != 0 {
        return Err(AuthorityError::Exposed { path: path.into(), mode: found.mode() & 0o777 });
    }
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES), &mut text).map_err(error)?;
    Kept::parse(path, &text)
}

/// Keeps others from making or replacing the authority for as long as it is held.
fn lock(state: &Path) -> Result<fs::File, AuthorityError> {
    let locked = fs::File::open(state).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| io_error(&state.join(NAME), source))
}

fn pem_of(der: &[u8]) -> String {
    pem::encode_config(&Pem::new(CERTIFICATE, der), LINES)
}

fn io_error(path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::Io { path: path.into(), source }
}

const NAME: &str = "ca.pem";
const KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";
const LINES: pem::EncodeConfig = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
/// A key and some certificates of half a kilobyte each.
const FILE_BYTES: u64 = 256 * 1024;
