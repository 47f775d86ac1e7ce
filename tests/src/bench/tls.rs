//! TLS as the bench's own ends of it speak it.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::wire;

/// The server that proxies may open TLS to.
pub(super) const OPENED: &str = wire::HOST;
/// The server that they are to leave alone.
pub(super) const CLOSED: &str = "closed.example.test";
/// HTTP/1 and HTTP/2 (RFC 7301, section 6).
pub(super) const HTTP1: &[u8] = b"http/1.1";
pub(super) const HTTP2: &[u8] = b"h2";

/// Writes a certificate for both names and its key to one file.
pub(super) fn write_identity(path: &Path) -> Result<()> {
    let names = [OPENED, CLOSED].map(str::to_owned).to_vec();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    let text = format!("{}{}", cert.pem(), signing_key.serialize_pem());
    fs::write(path, text).context("the server's certificate")
}

/// A server with the certificate and the key of that file, for either version of HTTP.
pub(super) fn server(identity: &Path) -> Result<Arc<ServerConfig>> {
    let chain = vec![CertificateDer::from_pem_file(identity).context("a certificate")?];
    let key = PrivateKeyDer::from_pem_file(identity).context("its key")?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP2.into(), HTTP1.into()];
    Ok(Arc::new(config))
}

/// A client that takes any certificate and offers these protocols.
pub(super) fn client(protocols: &[&[u8]]) -> Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider())))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Trusts everybody: proxies show certificates of their own, and whom one trusts is no matter here.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
