//! A certificate authority that clients trust as they trust the public ones.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

/// An authority with one server certificate for every name that it was made for.
#[derive(Debug)]
pub struct Authority {
    root: String,
    directory: TempDir,
}

impl Authority {
    #[track_caller]
    pub fn of(names: &[&str]) -> Self {
        let key = KeyPair::generate().expect("randomness");
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, Self::NAME);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root_certificate = root.self_signed(&key).expect("a sound certificate");
        let issuer = Issuer::new(root, key);

        let key = KeyPair::generate().expect("randomness");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names).expect("names of hosts");
        leaf.use_authority_key_identifier_extension = true;
        let leaf = leaf.signed_by(&key, &issuer).expect("a sound certificate");

        let directory = TempDir::with_prefix("tp-authority-").expect("room for temporary files");
        let authority = Self { root: root_certificate.pem(), directory };
        let identity = leaf.pem() + &key.serialize_pem();
        fs::write(authority.identity(), identity).expect("a temporary file");
        authority
    }

    /// The root in PEM, for clients.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The server's certificate and key in one file.
    pub fn identity(&self) -> PathBuf {
        self.directory.path().join("identity.pem")
    }

    /// The issuer's common name in what it signs.
    pub const NAME: &str = "Public Root of the Tests";
}
