//! Clients that don't say where they go.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr},
};

use turnpike::{
    config::Mode,
    names::{Heard, Trust},
};

use super::{ANSWER, Rig, part, pass, pki::BOTH};
use crate::relay::bed::AGENT;

/// 127.0.0.1 is called `llm.internal`, as DNS has it.
fn learn(rig: &Rig) {
    rig.bed.names.enter(AGENT, Trust { resolvers: vec![RESOLVER], netns: 1, loopback: false });
    learn_that(
        rig,
        b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x03llm\x08internal\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x7f\0\0\x01",
    );
}

const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));

fn learn_that(rig: &Rig, message: &[u8]) {
    let from = RESOLVER;
    let heard = Heard { agent: AGENT, from, netns: 1, over_loopback: false, message };
    let now = turnpike::proxy::Clock::start().now();
    assert_eq!(rig.bed.names.learn(&heard, now), 1);
}

/// A `ClientHello` with that extension.
fn hello(kind: u16, data: &[u8]) -> Vec<u8> {
    let short = |length: usize| u16::try_from(length).expect("short").to_be_bytes();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(short(data.len() + 4));
    body.extend(kind.to_be_bytes());
    body.extend(short(data.len()));
    body.extend(data);
    let mut bytes = vec![22, 3, 1];
    bytes.extend(short(body.len() + 4));
    bytes.extend([1, 0]);
    bytes.extend(short(body.len()));
    bytes.extend(body);
    bytes
}

const PADDING: u16 = 21;
const ENCRYPTED: u16 = 0xfe0d;
/// `access_denied`, in a record of its own.
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// What the client says goes on untouched, and so does the answer.
fn goes_on(rig: &Rig, hello: &[u8], reason: &str) {
    let mut client = rig.bed.connect(rig.listener.address);
    let mut server = rig.listener.accept();
    pass(&mut client, &mut server, hello);
    pass(&mut server, &mut client, b"whatever");
    drop((client, server));
    assert_eq!(rig.bed.coverage().reasons.get(reason), Some(&1), "{:?}", rig.bed.coverage());
}

/// The client is refused, and upstream hears nothing.
fn is_refused(rig: &Rig, hello: &[u8], alert: [u8; 7]) {
    let mut client = rig.bed.connect(rig.listener.address);
    let mut server = rig.listener.accept();
    client.write_all(hello).expect("it is open");
    let mut received = Vec::new();
    // What it said further ends in a reset, which comes behind the alert.
    let _ = client.read_to_end(&mut received);
    assert_eq!(received, alert);
    let mut heard = Vec::new();
    let _ = server.read_to_end(&mut heard);
    assert!(heard.is_empty(), "{heard:?}");
    assert_eq!(rig.bed.coverage().reasons.get("refused_unread"), Some(&1));
}

#[test]
fn an_address_that_is_listed_is_decrypted_without_a_name() {
    let rig = Rig::new(Mode::Enforce);
    let (config, server) = (rig.pki.client(BOTH, &[]), rig.pki.server(&["127.0.0.1"]));
    let (client, upstream) = rig.meet_as("127.0.0.1", &config, &server);
    let (mut client, mut upstream) = (client.expect("content"), upstream.expect("content"));
    assert!(rig.pki.is_the_nodes(client.conn.peer_certificates()));
    assert_eq!(upstream.conn.server_name(), None);
    pass(&mut client, &mut upstream, b"GET / HTTP/1.1\r\nHost: 127.0.0.1:443\r\n\r\n");
    pass(&mut upstream, &mut client, ANSWER);
    part(client, upstream);
    assert_eq!(rig.bed.coverage().reasons.get("tls_decrypted"), Some(&1));
}

#[test]
fn a_hidden_name_goes_on_in_audit_and_is_refused_in_enforce() {
    for hello in [hello(ENCRYPTED, &[0, 0, 1]), hello(PADDING, &[0; 8])] {
        let audit = Rig::listing(Mode::Audit, &["*.internal"]);
        learn(&audit);
        goes_on(&audit, &hello, "opaque_hidden_name");
        let enforce = Rig::listing(Mode::Enforce, &["*.internal"]);
        learn(&enforce);
        is_refused(&enforce, &hello, ACCESS_DENIED);
    }
}

#[test]
fn a_name_that_the_address_is_not_called_hides_the_one_that_it_is() {
    let named = hello(0, b"\0\x0c\0\0\x09a.example");
    let enforce = Rig::listing(Mode::Enforce, &["*.internal"]);
    learn(&enforce);
    is_refused(&enforce, &named, ACCESS_DENIED);
    // It is called that, too: two hosts share an address.
    learn_that(
        &enforce,
        b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x07example\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x7f\0\0\x01",
    );
    goes_on(&enforce, &named, "opaque_tls");
}

#[test]
fn a_name_that_is_none_does_not_slip_through_a_star() {
    for name in [&b"\0\x0e\0\0\x0ba..internal"[..], b"\0\x0e\0\0\x0b-a.internal"] {
        let rig = Rig::listing(Mode::Enforce, &["*.internal"]);
        is_refused(&rig, &hello(0, name), ACCESS_DENIED);
    }
}

#[test]
fn a_hidden_name_at_an_address_that_nobody_lists_goes_on() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let rig = Rig::listing(mode, &["*.elsewhere"]);
        learn(&rig);
        goes_on(&rig, &hello(ENCRYPTED, &[0, 0, 1]), "opaque_tls");
    }
}

#[test]
fn what_only_begins_like_a_hello_goes_on_in_audit_and_is_refused_in_enforce() {
    let mut huge = vec![22, 3, 1, 0x40, 0, 1, 2, 0, 0];
    huge.resize(5 + 0x4000, 0);
    let two_names = hello(0, b"\0\x08\0\0\x01a\0\0\x01b");
    for hello in [b"\x16\x03\x01\0\x01\x02".as_slice(), b"\x16\x03\xff\xff\xff", &huge, &two_names]
    {
        goes_on(&Rig::new(Mode::Audit), hello, "opaque_tls_hello");
        is_refused(&Rig::new(Mode::Enforce), hello, DECODE_ERROR);
    }
}

#[test]
fn a_client_that_offers_nothing_known_is_told_apart() {
    let name = b"\0\x12\0\0\x0fapi.example.com";
    // TLS 1.1 at most.
    let mut old = hello(0, name);
    old[10] = 2;
    goes_on(&Rig::new(Mode::Audit), &old, "opaque_tls_offer");
    is_refused(&Rig::new(Mode::Enforce), &old, ACCESS_DENIED);
}
