//! What a client is shown of upstream, and upstream of the client.

use std::{
    io::{Read as _, Write as _},
    sync::{Arc, Mutex},
};

use rustls::{
    HandshakeKind, ProtocolVersion, ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use turnpike::config::Mode;

use super::{
    Rig, part,
    pki::{BOTH, NEW, OLD},
    talk,
};

#[test]
fn both_versions_are_decrypted_and_understood() {
    for (versions, expected) in [
        (OLD, ProtocolVersion::TLSv1_2),
        (NEW, ProtocolVersion::TLSv1_3),
        (BOTH, ProtocolVersion::TLSv1_3),
    ] {
        for mode in [Mode::Audit, Mode::Enforce] {
            let rig = Rig::new(mode);
            let server = rig.pki.server(&[super::NAME]);
            let (mut client, mut upstream) = rig.met(&rig.pki.client(versions, &[]), &server);
            assert!(rig.pki.is_the_nodes(client.conn.peer_certificates()));
            assert_eq!(client.conn.protocol_version(), Some(expected));
            assert_eq!(upstream.conn.protocol_version(), Some(expected));
            assert_eq!(upstream.conn.server_name(), Some(super::NAME));
            talk(&mut client, &mut upstream);
            talk(&mut client, &mut upstream);
            part(client, upstream);
            let coverage = rig.bed.coverage();
            assert_eq!(coverage.reasons.get("exchanges_other"), Some(&2));
            assert_eq!(coverage.reasons.get("tls_decrypted"), Some(&1));
            assert_eq!((coverage.connections_observed, coverage.connections_opaque), (1, 0));
            assert_eq!(coverage.bytes_opaque, 0);
            assert!(!coverage.reasons.contains_key("tls_host_differs"));
        }
    }
}

#[test]
fn the_client_is_offered_what_upstream_has_taken() {
    const H1: &str = "http/1.1";
    for (offered, taken, agreed) in [
        (&["h2", H1][..], &[H1][..], Some(H1)),
        (&["h2", H1], &[], None),
        (&[], &["h2", H1], None),
        (&["acme", H1], &["acme", H1], Some(H1)),
    ] {
        let rig = Rig::new(Mode::Audit);
        let server = rig.pki.server_of(&[super::NAME], OLD, taken);
        let (mut client, mut upstream) = rig.met(&rig.pki.client(BOTH, offered), &server);
        let agreed = agreed.map(str::as_bytes);
        assert_eq!(client.conn.alpn_protocol(), agreed, "{offered:?} {taken:?}");
        assert_eq!(upstream.conn.alpn_protocol(), agreed);
        assert_eq!(client.conn.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        talk(&mut client, &mut upstream);
        part(client, upstream);
    }
}

/// Keeps what clients offer.
#[derive(Debug, Default)]
struct Listener(Mutex<Vec<Offer>>);

/// A name and protocols.
type Offer = (Option<String>, Vec<Vec<u8>>);

impl ResolvesServerCert for Listener {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let alpn = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
        let name = hello.server_name().map(str::to_owned);
        self.0.lock().expect("not poisoned").push((name, alpn));
        None
    }
}

#[test]
fn upstream_is_offered_what_the_client_offers() {
    let rig = Rig::new(Mode::Enforce);
    let listener = Arc::new(Listener::default());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let server = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&listener) as _);
    let server = Arc::new(server);
    let client = rig.pki.client(BOTH, &["http/1.1", "other", "h2"]);
    let (client, upstream) = rig.meet(&client, &server);
    assert!(client.is_err() && upstream.is_err());
    let heard = listener.0.lock().expect("not poisoned").clone();
    let alpn = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    assert_eq!(heard, [(Some(super::NAME.to_owned()), alpn)]);
}

#[test]
fn sessions_are_resumed_on_both_sides() {
    for versions in [OLD, NEW] {
        let rig = Rig::new(Mode::Audit);
        let server = rig.pki.server(&[super::NAME]);
        let config = rig.pki.client(versions, &[]);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (mut client, mut upstream) = rig.met(&config, &server);
            assert_eq!(client.conn.handshake_kind(), Some(expected), "client, {versions:?}");
            assert_eq!(upstream.conn.handshake_kind(), Some(expected), "upstream, {versions:?}");
            talk(&mut client, &mut upstream);
            part(client, upstream);
        }
        assert_eq!(rig.bed.coverage().reasons.get("exchanges_other"), Some(&2));
    }
}

#[test]
fn a_request_for_another_host_is_counted() {
    let rig = Rig::new(Mode::Audit);
    let (client, server) = (rig.pki.client(BOTH, &[]), rig.pki.server(&[super::NAME]));
    let (mut client, mut upstream) = rig.met(&client, &server);
    for host in ["API.example.com:8443", "api.example.com.", "other.example.com"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        super::pass(&mut client, &mut upstream, request.as_bytes());
        super::pass(&mut upstream, &mut client, super::ANSWER);
    }
    part(client, upstream);
    assert_eq!(rig.bed.coverage().reasons.get("tls_host_differs"), Some(&1));
}

#[test]
fn a_request_for_another_host_is_misdirected_in_enforce() {
    let rig = Rig::new(Mode::Enforce);
    let (client, server) = (rig.pki.client(BOTH, &[]), rig.pki.server(&[super::NAME]));
    let (mut client, mut upstream) = rig.met(&client, &server);
    talk(&mut client, &mut upstream);
    let other = b"GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n";
    client.write_all(other).expect("it is open");
    client.flush().expect("it is open");
    let mut answer = [0; 64];
    client.read_exact(&mut answer).expect("it is told");
    assert!(answer.starts_with(b"HTTP/1.1 421 Misdirected Request\r\n"));
    assert!(upstream.read(&mut [0; 1]).is_err(), "a reset, and none of the request");
    drop((client, upstream));
    assert_eq!(rig.bed.coverage().reasons.get("tls_host_differs"), Some(&1));
}

#[test]
fn what_is_no_http_inside_stays_unread() {
    let rig = Rig::new(Mode::Audit);
    let (client, server) = (rig.pki.client(BOTH, &[]), rig.pki.server(&[super::NAME]));
    let (mut client, mut upstream) = rig.met(&client, &server);
    super::pass(&mut client, &mut upstream, &vec![0xff; 100_000]);
    super::pass(&mut upstream, &mut client, &vec![0xfe; 100_000]);
    part(client, upstream);
    let coverage = rig.bed.coverage();
    assert_eq!(coverage.reasons.get("opaque_inside_tls"), Some(&1), "{:?}", coverage.reasons);
    assert_eq!(coverage.bytes_opaque, 200_000);
}
