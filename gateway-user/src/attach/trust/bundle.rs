//! Files of certificates: whether a file is one, and what it holds with ours added.

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// The certificates in a bundle, in DER. What is no certificate, or can't be read, is passed over.
#[must_use]
pub fn certificates(bundle: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(bundle).flatten().collect()
}

/// A bundle with `anchors`, which are PEM, at its end; `None` if it holds all of them.
pub fn merged(own: &[u8], anchors: &str) -> Option<Vec<u8>> {
    let (held, wanted) = (certificates(own), certificates(anchors.as_bytes()));
    if wanted.iter().all(|certificate| held.contains(certificate)) {
        return None;
    }
    let mut merged = Vec::with_capacity(own.len() + MARK.len() + anchors.len() + 2);
    merged.extend_from_slice(own);
    if own.last().is_some_and(|last| *last != b'\n') {
        merged.push(b'\n');
    }
    merged.extend_from_slice(MARK.as_bytes());
    merged.extend_from_slice(anchors.as_bytes());
    Some(merged)
}

/// What a bundle held before anything was added to it.
pub(super) fn original(bundle: &[u8]) -> &[u8] {
    let added = memchr::memmem::rfind(bundle, MARK.as_bytes());
    added.map_or(bundle, |at| &bundle[..at])
}

/// Whether it is a bundle at all: certificates in PEM, of either kind that OpenSSL reads.
pub(super) fn is_bundle(file: &[u8]) -> bool {
    ["-----BEGIN CERTIFICATE-----", "-----BEGIN TRUSTED CERTIFICATE-----"]
        .into_iter()
        .any(|begin| memchr::memmem::find(file, begin.as_bytes()).is_some())
}

/// Stands before what was added. Readers of PEM pass over it.
const MARK: &str = "# Added by turnpike, in this container's memory only\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
        made.expect("a certificate").cert.pem()
    }

    #[test]
    fn a_bundle_keeps_its_bytes_and_gains_what_it_lacks() {
        let (own, ours) = (certificate(), certificate());
        for own in [format!("# roots\n{own}"), own.trim_end().to_owned(), own.replace('\n', "\r\n")]
        {
            let merged = merged(own.as_bytes(), &ours).expect("it lacks ours");
            assert!(merged.starts_with(own.as_bytes()));
            assert_eq!(certificates(&merged).len(), 2, "{own}");
            let before = original(&merged);
            assert!(before == own.as_bytes() || before == format!("{own}\n").as_bytes());
            assert_eq!(super::merged(&merged, &ours), None, "it has it already");
        }
    }

    #[test]
    fn what_is_added_later_takes_the_place_of_what_was_added_before() {
        let (own, first, second) = (certificate(), certificate(), certificate());
        let once = merged(own.as_bytes(), &first).expect("it lacks it");
        let twice = merged(original(&once), &second).expect("it lacks it");
        assert_eq!(twice, merged(own.as_bytes(), &second).expect("it lacks it"));
        assert_eq!(original(own.as_bytes()), own.as_bytes());
    }

    #[test]
    fn a_bundle_holds_certificates() {
        assert!(is_bundle(certificate().as_bytes()));
        assert!(is_bundle(b"# x\n-----BEGIN TRUSTED CERTIFICATE-----\n"));
        for other in [&b""[..], b"\xfe\xed\xfe\xed", b"-----BEGIN PRIVATE KEY-----\n"] {
            assert!(!is_bundle(other));
        }
    }
}
