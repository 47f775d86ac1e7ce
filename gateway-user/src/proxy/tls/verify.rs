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
    /// None: nobody.
    agent: Option<Arc<WebPkiServerVerifier>>,
    /// None: whoever vouches for it to the agent.
    node: Option<Option<Arc<WebPkiServerVerifier>>>,
}

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
        let node = (!same).then(|| verifier(node, provider));
        Self { agent: verifier(agent, provider), node }
    }

    /// Verifies the certificates with which a host has shown that it has their key.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Verified {
        let now = UnixTime::now();
        let by = |verifier: &Option<Arc<WebPkiServerVerifier>>| {
            let Some((leaf, rest)) = chain.split_first() else { return false };
            let verified = verifier
                .as_ref()
                .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))
                .and_then(|verifier| verifier.verify_server_cert(leaf, rest, name, &[], now));
            if let Err(error) = &verified {
                tracing::debug!(?name, %error, "upstream is not verified");
            }
            verified.is_ok()
        };
        let for_agent = by(&self.agent);
        let for_node = self.node.as_ref().map_or(for_agent, by);
        Verified { for_agent, for_node }
    }
}

/// None for no roots at all.
fn verifier(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build().ok()
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
