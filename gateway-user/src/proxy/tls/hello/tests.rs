use std::sync::Arc;

use proptest::prelude::*;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::ServerName,
    version::{TLS12 as V12, TLS13 as V13},
};

use super::*;

/// What a real client sends.
fn hello(
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&'static str],
) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(versions)
        .expect("the provider has them")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory takes everything");
    bytes
}

/// A message with these extensions, in one record.
fn with_extensions(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (kind, data) in extensions {
        all.extend(kind.to_be_bytes());
        all.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        all.extend(*data);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(u16::try_from(all.len()).expect("short").to_be_bytes());
    body.extend(all);
    message(&body)
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let mut message = vec![1];
    message.extend(&length[1..]);
    message.extend(body);
    records(&message, MAX_FRAGMENT)
}

fn records(message: &[u8], fragment: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for fragment in message.chunks(fragment) {
        bytes.extend([22, 3, 1]);
        bytes.extend(u16::try_from(fragment.len()).expect("short").to_be_bytes());
        bytes.extend(fragment);
    }
    bytes
}

fn look(bytes: &[u8]) -> Result<Option<ClientHello>, NotAHello> {
    HelloReader::default().look(bytes)
}

#[test]
fn a_real_clients_hello_is_read() {
    let bytes = hello("API.example.com", &[&V12, &V13], &["h2", "http/1.1"]);
    let read = look(&bytes).expect("a hello").expect("all of it");
    assert_eq!(
        read.server_name.as_deref().map(str::to_lowercase).as_deref(),
        Some("api.example.com")
    );
    assert_eq!(read.alpn, [Box::from(*b"h2"), Box::from(*b"http/1.1")] as [Box<[u8]>; 2]);
    assert_eq!(read.versions, Versions { tls12: true, tls13: true });
    assert!(!read.encrypted);
    let read = look(&hello("192.0.2.1", &[&V12], &[])).expect("a hello").expect("all of it");
    assert_eq!((read.server_name, read.alpn), (None, Vec::new()));
    assert_eq!(read.versions, Versions { tls12: true, tls13: false });
}

#[test]
fn what_only_looks_like_a_hello_is_told_apart() {
    for (bytes, error) in [
        (&b"\x16\x02"[..], NotAHello::Record),
        (b"\x17\x03\x03", NotAHello::Record),
        (b"\x16\x03\x01\0\0", NotAHello::Record),
        (b"\x16\x03\x01\x40\x01", NotAHello::Record),
        (b"\x16\x03\x01\0\x01\x02", NotAHello::Message),
        (b"\x16\x03\x01\0\x04\x01\x01\0\x01", NotAHello::TooLarge),
        (b"\x16\x03\x01\0\x04\x01\0\0\0", NotAHello::Malformed),
        (b"\x16\x03\x01\0\x02\x01\0\x15\x03", NotAHello::Record),
    ] {
        assert_eq!(look(bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_malformed() {
    const A: &[u8] = b"\0\x04\0\0\x01a";
    assert!(look(&with_extensions(&[(0, A)])).expect("a hello").is_some());
    for extensions in [
        &[(0, A), (0, A)][..],
        &[(0, b"\0\x08\0\0\x01a\0\0\x01b")],
        &[(0, b"\0\x04\x01\0\x01a")],
        &[(0, b"\0\x04\0\0\x01a-")],
        &[(0, b"\0\x03\0\0\0")],
        &[(0, b"\0\x04\0\0\x01\xff")],
        &[(16, b"\0\x02\x01"), (0, A)],
        &[(16, b"\0\x01\0")],
        &[(43, b"\x03\x03\x04\x03")],
    ] {
        assert_eq!(look(&with_extensions(extensions)), Err(NotAHello::Malformed), "{extensions:?}");
    }
}

#[test]
fn an_encrypted_hello_is_seen_from_outside_and_an_address_is_no_name() {
    let bytes = with_extensions(&[(0xfe0d, &[0, 0, 1]), (0, b"\0\x0c\0\0\x09192.0.2.1")]);
    let read = look(&bytes).expect("a hello").expect("all of it");
    assert!(read.encrypted);
    assert_eq!(read.server_name, None);
}

#[test]
fn a_hello_without_extensions_speaks_what_it_names() {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let tls12 = look(&message(&body)).expect("a hello").expect("all of it");
    assert_eq!(tls12.versions, Versions { tls12: true, tls13: false });
    body[1] = 2;
    let older = look(&message(&body)).expect("a hello").expect("all of it");
    assert_eq!(older.versions, Versions::default());
}

proptest! {
    #[test]
    fn however_it_is_cut_it_reads_the_same(
        name in "[a-z]{1,20}(\\.[a-z]{1,20}){0,3}",
        fragment in 1_usize..700,
        piece in 1_usize..300,
    ) {
        let whole = hello(&name, &[&V13], &["h2"]);
        let expected = look(&whole);
        prop_assert_eq!(&expected.clone().expect("a hello").expect("all").server_name, &Some(name.into()));
        let bytes = records(&whole[RECORD_HEAD_BYTES..], fragment);
        let mut reader = HelloReader::default();
        for end in (piece..).step_by(piece).take_while(|end| *end < bytes.len()) {
            prop_assert_eq!(reader.look(&bytes[..end]), Ok(None), "with {} of {}", end, bytes.len());
        }
        prop_assert_eq!(reader.look(&bytes), expected);
    }

    #[test]
    fn nothing_makes_it_panic(bytes: Vec<u8>, noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        let _ = look(&bytes);
        let mut bytes = hello("a.example", &[&V12, &V13], &["h2"]);
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = look(&bytes);
        let _ = look(&message(&bytes));
    }
}
