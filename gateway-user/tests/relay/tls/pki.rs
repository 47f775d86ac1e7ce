//! Everybody's keys: upstream's CA, the node's, and one that nobody trusts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use turnpike::{
    policy::hosts::HostList,
    proxy::{Certificates, Decryption, NoLeaf, Roots},
};

pub(super) type Versions = &'static [&'static SupportedProtocolVersion];

pub(super) static BOTH: Versions = &[&TLS13, &TLS12];
pub(super) static NEW: Versions = &[&TLS13];
pub(super) static OLD: Versions = &[&TLS12];

type Ca = CertifiedIssuer<'static, KeyPair>;

pub(super) struct Pki {
    upstream: Ca,
    node: Arc<Ca>,
    nobody: Arc<Ca>,
    provider: Arc<CryptoProvider>,
}

impl Pki {
    pub(super) fn new() -> Self {
        Self {
            upstream: ca("upstream's"),
            node: Arc::new(ca("the node's")),
            nobody: Arc::new(ca("nobody's")),
            provider: Arc::new(aws_lc_rs::default_provider()),
        }
    }

    /// Of an agent that trusts upstream's CA, as the node does.
    pub(super) fn decryption(&self, hosts: &[&str]) -> Decryption {
        let hosts = Arc::new(HostList::parse(hosts).expect("they are hosts"));
        let roots = Arc::new(roots(&[&self.upstream]));
        let roots = Roots { agent: Arc::clone(&roots), node: roots };
        Decryption::new(hosts, roots, Arc::new(self.minting()))
    }

    fn minting(&self) -> Minting {
        Minting {
            node: Arc::clone(&self.node),
            nobody: Arc::clone(&self.nobody),
            provider: Arc::clone(&self.provider),
            minted: Mutex::default(),
        }
    }

    /// The node's CA, as a file for clients that are not ours.
    pub(super) fn node_pem(&self) -> String {
        self.node.pem()
    }

    /// A client that trusts the node, too.
    pub(super) fn client(&self, versions: Versions, alpn: &[&str]) -> Arc<ClientConfig> {
        self.client_of(&[&self.node, &self.upstream], versions, alpn)
    }

    /// A client that has never heard of the node.
    pub(super) fn trusting_upstreams_ca(&self) -> Arc<ClientConfig> {
        self.client_of(&[&self.upstream], BOTH, &[])
    }

    fn client_of(&self, cas: &[&Ca], versions: Versions, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .expect("the provider has them")
            .with_root_certificates(roots(cas))
            .with_no_client_auth();
        config.alpn_protocols = names(alpn);
        Arc::new(config)
    }

    /// A client that shows a certificate if it is asked for one.
    pub(super) fn client_with_certificate(&self) -> Arc<ClientConfig> {
        let (chain, key) = leaf(&["agent"], &self.upstream);
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(BOTH)
            .expect("the provider has them")
            .with_root_certificates(roots(&[&self.node, &self.upstream]))
            .with_client_auth_cert(chain, key);
        Arc::new(config.expect("they fit"))
    }

    /// A client that looks at no certificate.
    pub(super) fn careless_client(&self) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(BOTH)
            .expect("the provider has them")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Careless(Arc::clone(&self.provider))))
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A server whom upstream's CA vouches for.
    pub(super) fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.server_of(names, BOTH, &[])
    }

    pub(super) fn server_of(
        &self,
        hosts: &[&str],
        versions: Versions,
        alpn: &[&str],
    ) -> Arc<ServerConfig> {
        let (chain, key) = leaf(hosts, &self.upstream);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("they fit");
        config.alpn_protocols = names(alpn);
        Arc::new(config)
    }

    /// A server whom nobody vouches for.
    pub(super) fn impostor(&self) -> Arc<ServerConfig> {
        let (chain, key) = leaf(&[super::NAME], &self.nobody);
        let config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(BOTH)
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        Arc::new(config.expect("they fit"))
    }

    /// A server that wants to know its clients.
    pub(super) fn server_that_asks(&self) -> Arc<ServerConfig> {
        let (chain, key) = leaf(&[super::NAME], &self.upstream);
        let known = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots(&[&self.upstream])),
            Arc::clone(&self.provider),
        );
        let config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(BOTH)
            .expect("the provider has them")
            .with_client_cert_verifier(known.build().expect("there are roots"))
            .with_single_cert(chain, key);
        Arc::new(config.expect("they fit"))
    }

    /// Whether the node has made that certificate.
    pub(super) fn is_the_nodes(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        let [_, issuer] = chain.expect("a server shows some") else { return false };
        issuer == self.node.der()
    }
}

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ca::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// For a server or a client.
fn leaf(names: &[&str], ca: &Ca) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("they are names");
    params.distinguished_name.push(DnType::CommonName, "a leaf");
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let leaf = params.signed_by(&key, ca).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    (vec![leaf.der().clone(), ca.der().clone()], key)
}

fn roots(cas: &[&Ca]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca.der().clone()).expect("a certificate");
    }
    roots
}

fn names(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// The node's CA at work.
struct Minting {
    node: Arc<Ca>,
    nobody: Arc<Ca>,
    provider: Arc<CryptoProvider>,
    minted: Mutex<HashMap<(String, bool), Arc<CertifiedKey>>>,
}

impl Certificates for Minting {
    fn leaf(&self, name: &ServerName<'_>, trusted: bool) -> Result<Arc<CertifiedKey>, NoLeaf> {
        let name = name.to_str().into_owned();
        let mut minted = self.minted.lock().expect("not poisoned");
        let leaf = minted.entry((name.clone(), trusted)).or_insert_with(|| {
            let (chain, key) = leaf(&[&name], if trusted { &self.node } else { &self.nobody });
            let key = CertifiedKey::from_der(chain, key, &self.provider).expect("they fit");
            Arc::new(key)
        });
        Ok(Arc::clone(leaf))
    }
}

#[derive(Debug)]
struct Careless(Arc<CryptoProvider>);

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
