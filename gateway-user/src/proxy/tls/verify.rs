//! Whether upstream is who it says.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::Roots;

/// Those who vouch for upstream.
#[derive(Debug)]
pub(super) struct Verifiers {
    agent: Vouching,
    /// None: the same as for the agent.
    node: Option<Vouching>,
}

/// Roots; none of them vouches for nobody.
#[derive(Debug)]
struct Vouching(Option<Arc<WebPkiServerVerifier>>);

/// Who vouches for an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Verified {
    /// Whoever the agent trusts.
    pub(in crate::proxy) for_agent: bool,
    /// Whoever the node trusts.
    pub(in crate::proxy) for_node: bool,
}

impl Verifiers {
    pub(super) fn new(roots: Roots, provider: &Arc<CryptoProvider>) -> Self {
        let Roots { agent, node } = roots;
        let same = Arc::ptr_eq(&agent, &node);
        let node = (!same).then(|| Vouching::of(node, provider));
        Self { agent: Vouching::of(agent, provider), node }
    }

    /// Verifies the certificates with which a host has shown that it has their key.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Verified {
        let by = |roots: &Vouching| {
            let verified = roots.verify(chain, name);
            if let Err(error) = &verified {
                tracing::debug!(?name, %error, "upstream is not verified");
            }
            verified.is_ok()
        };
        let for_agent = by(&self.agent);
        Verified { for_agent, for_node: self.node.as_ref().map_or(for_agent, by) }
    }
}

impl Vouching {
    fn of(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Self {
        // Fails for no roots at all.
        Self(WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build().ok())
    }

    fn verify(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Result<(), Error> {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let (Some(verifier), Some((leaf, rest))) = (&self.0, chain.split_first()) else {
            return Err(unknown);
        };
        verifier.verify_server_cert(leaf, rest, name, &[], UnixTime::now()).map(drop)
    }
}

/// Takes every certificate during a handshake, whose signatures still count: what [`Verifiers`] say
/// of it afterwards does not end the connection, but decides what the client is shown.
#[derive(Debug)]
pub(super) struct Later(pub(super) WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Later {
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
