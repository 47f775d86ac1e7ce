//! What may leave unread, by egress rules.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName,
};
use turnpike::{
    config::Mode,
    names::{Directory, Heard, Trust},
    policy::egress::{Action, Egress, Protocol, Rule},
    proxy::{Clock, Rules},
};

use super::bed::{AGENT, Bed};

const SSH: &[u8] = b"SSH-2.0-client\r\n";
const ALLOW: Action = Action::Allow { opaque_bytes: None };
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HOST: &str = "a.example";

fn rule(action: Action) -> Rule {
    Rule { agent: None, host: None, net: None, ports: None, protocol: Protocol::Tcp, action }
}

fn host(name: &str, action: Action) -> Rule {
    Rule { host: Some(name.parse().expect("a pattern")), ..rule(action) }
}

fn elsewhere(action: Action) -> Rule {
    Rule { net: Some("192.0.2.0/24".parse().expect("a network")), ..rule(action) }
}

/// Rules, and the agent's resolver, which has called 127.0.0.1 by that name if there is one.
fn bed(mode: Mode, rules: Vec<Rule>, called: Option<&str>) -> Bed {
    let names = Arc::new(Directory::default());
    let resolver = IpAddr::from([10, 0, 0, 53]);
    names.enter(AGENT, Trust { resolvers: vec![resolver], netns: 7, loopback: false });
    let clock = Clock::start();
    if let Some(name) = called {
        let message = answer(name);
        let heard = Heard {
            agent: AGENT,
            from: resolver,
            netns: 7,
            over_loopback: false,
            message: &message,
        };
        assert_eq!(names.learn(&heard, clock.now()), 1);
    }
    let rules = Arc::new(Rules::new(Egress::new(rules), names, clock));
    Bed::with(|agent| agent.in_mode(mode).under(rules))
}

/// That the name has the address 127.0.0.1, for ten minutes (RFC 1035, section 4).
fn answer(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| {
        [&[u8::try_from(label.len()).expect("short")][..], label.as_bytes()].concat()
    });
    let head = b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0";
    let question: Vec<u8> = labels.chain(*b"\0\0\x01\0\x01").collect();
    [head, &question[..], b"\xc0\x0c\0\x01\0\x01\0\0\x02\x58\0\x04", &Ipv4Addr::LOCALHOST.octets()]
        .concat()
}

fn client_hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they are there")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a Vec takes it all");
    hello
}

fn arrives(server: &mut TcpStream, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    server.read_exact(&mut received).expect("it arrives");
    assert!(received == bytes);
}

/// The other side is told with a reset, and not a byte before it.
fn is_reset(stream: &mut TcpStream) {
    let mut received = Vec::new();
    let error = stream.read_to_end(&mut received).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(received.is_empty(), "{} bytes came through", received.len());
}

/// A client's first bytes pass, and the server's answer to them.
fn passes(bed: &Bed, first: &[u8]) {
    let (mut client, mut server) = bed.pair();
    client.write_all(first).expect("it is open");
    arrives(&mut server, first);
    server.write_all(b"answer").expect("it is open");
    arrives(&mut client, b"answer");
}

/// They do not: nothing reaches the server.
fn is_refused(bed: &Bed, first: &[u8]) {
    let before = bed.counted("egress_denied");
    let (mut client, mut server) = bed.pair();
    client.write_all(first).expect("it is open");
    is_reset(&mut server);
    is_reset(&mut client);
    super::bed::eventually("it is counted", || bed.counted("egress_denied") == before + 1);
}

#[test]
fn unread_is_refused_in_enforce_without_a_rule_and_said_which_would_allow_it() {
    let bed = bed(Mode::Enforce, vec![elsewhere(ALLOW)], None);
    is_refused(&bed, SSH);
    is_refused(&bed, &[0; 100]);
    is_refused(&bed, &client_hello(HOST));
    let refused = bed.agent.refusals.snapshot();
    assert_eq!(refused.len(), 3, "each server has a port of its own: {refused:?}");
    assert!(refused[0].0.starts_with("match = { cidr = \"127.0.0.1\", port = "), "{refused:?}");
    let coverage = bed.coverage();
    assert_eq!((coverage.connections_reset, coverage.connections_opaque), (3, 0));
    assert_eq!(coverage.bytes_opaque, 0);
}

#[test]
fn what_is_read_needs_no_rule() {
    let bed = bed(Mode::Enforce, vec![], None);
    let (mut client, mut server) = bed.pair();
    client.write_all(GET).expect("it is open");
    arrives(&mut server, GET);
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("it is open");
    arrives(&mut client, b"HTTP/1.1 204 No Content\r\n\r\n");
    drop((client, server));
    assert_eq!(bed.coverage().connections_observed, 1);
}

#[test]
fn a_rule_allows_a_server_to_speak_first() {
    let allowed = bed(Mode::Enforce, vec![rule(ALLOW)], None);
    let (mut client, mut server) = allowed.pair();
    server.write_all(b"220 mail").expect("it is open");
    arrives(&mut client, b"220 mail");
    client.write_all(b"HELO a").expect("it is open");
    arrives(&mut server, b"HELO a");
    drop((client, server));
    assert_eq!(allowed.agent.coverage.snapshot().reasons["opaque_server_first"], 1);

    let refused = bed(Mode::Enforce, vec![], None);
    let (mut client, mut server) = refused.pair();
    server.write_all(b"220 mail").expect("it is open");
    is_reset(&mut client);
    is_reset(&mut server);
}

#[test]
fn a_host_counts_if_a_dns_answer_confirms_it() {
    let rules = || vec![host(HOST, ALLOW)];
    let confirmed = bed(Mode::Enforce, rules(), Some(HOST));
    passes(&confirmed, &client_hello(HOST));
    is_refused(&confirmed, &client_hello("other.example"));
    // Without a name in it, the name of the address counts.
    passes(&confirmed, SSH);

    let spoofed = bed(Mode::Enforce, rules(), Some("evil.example"));
    is_refused(&spoofed, &client_hello(HOST));
    assert_eq!(spoofed.counted("sni_unconfirmed"), 1);

    let audited = bed(Mode::Audit, rules(), Some("evil.example"));
    passes(&audited, &client_hello(HOST));
    assert_eq!(audited.counted("sni_unconfirmed"), 1);
    assert_eq!(audited.counted("egress_would_deny"), 0, "audit ends with allow");
}

#[test]
fn a_rule_that_denies_stops_what_could_be_read_too_and_only_counts_in_audit() {
    let rules = || vec![elsewhere(ALLOW), rule(Action::Deny)];
    let audited = bed(Mode::Audit, rules(), None);
    passes(&audited, GET);
    passes(&audited, SSH);
    assert_eq!(audited.counted("egress_would_deny"), 4, "before the dial, and after it");
    assert_eq!(audited.coverage().connections_reset, 0);

    // It is known before the dial: nobody is called.
    let enforced = bed(Mode::Enforce, rules(), None);
    let server = super::bed::Server::new();
    let mut client = enforced.connect(server.address);
    is_reset(&mut client);
    assert_eq!(enforced.counted("egress_denied"), 1);
    server.never_called();

    // It depends on the name.
    let by_host = vec![host("b.example", ALLOW), rule(Action::Deny)];
    let open = bed(Mode::Enforce, by_host, Some(HOST));
    is_refused(&open, GET);
    is_refused(&open, &client_hello(HOST));
    is_refused(&open, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

/// Sends on both sides until both are reset. How much each had received.
fn exhaust(bed: &Bed, piece: usize) -> u64 {
    let (client, server) = bed.pair();
    let both = [(&client, &server), (&server, &client)];
    std::thread::scope(|scope| {
        let ends: Vec<_> = both
            .iter()
            .map(|(stream, _)| {
                let (mut write, mut read) =
                    (stream.try_clone().expect("a copy"), stream.try_clone().expect("a copy"));
                scope.spawn(move || while write.write_all(&vec![0xff; piece]).is_ok() {});
                scope.spawn(move || {
                    let (mut buffer, mut count) = (vec![0; 65_536], 0_u64);
                    loop {
                        match read.read(&mut buffer) {
                            // The writer may have been told of the reset first.
                            Ok(0) | Err(_) => return count,
                            Ok(read) => count += read as u64,
                        }
                    }
                })
            })
            .collect();
        ends.into_iter().map(|end| end.join().expect("no panic")).sum()
    })
}

#[test]
fn no_more_than_the_budget_passes_both_ways_together() {
    for (budget, piece) in [(10_000_u64, 100), (20 << 20, 1 << 20)] {
        let allow = rule(Action::Allow { opaque_bytes: Some(budget) });
        let bed = bed(Mode::Enforce, vec![allow], None);
        let received = exhaust(&bed, piece);
        assert!(received <= budget, "{received} of {budget}");
        let coverage = bed.coverage();
        assert_eq!(coverage.bytes_opaque, budget, "to the byte");
        assert_eq!(coverage.reasons["opaque_bytes_exceeded"], 1);
        assert_eq!(coverage.connections_reset, 1);
    }
}

#[test]
fn a_budget_is_each_connection_s_own_and_only_counts_in_audit() {
    let budget = Action::Allow { opaque_bytes: Some(1000) };
    let enforced = bed(Mode::Enforce, vec![rule(budget)], None);
    for _ in 0..3 {
        passes(&enforced, &[0; 900]);
    }
    assert_eq!(enforced.counted("opaque_bytes_exceeded"), 0);
    let audited = bed(Mode::Audit, vec![rule(budget)], None);
    passes(&audited, &[0; 5000]);
    let coverage = audited.coverage();
    assert_eq!(coverage.reasons["opaque_bytes_exceeded"], 1);
    assert_eq!((coverage.connections_reset, coverage.bytes_opaque), (0, 5006));
}

#[test]
fn rules_tell_how_often_they_decided() {
    let rules = vec![
        host("b.example", Action::Deny),
        Rule { agent: Some("other".parse().expect("a pattern")), ..rule(Action::Deny) },
        rule(Action::Allow { opaque_bytes: Some(64) }),
    ];
    let rules = Arc::new(Rules::new(Egress::new(rules), Arc::default(), Clock::start()));
    let bed = Bed::with(|agent| agent.in_mode(Mode::Enforce).under(Arc::clone(&rules)));
    is_refused(&bed, &client_hello("b.example"));
    passes(&bed, SSH);
    let (mut client, mut server) = bed.pair();
    client.write_all(&[0; 100]).expect("it is open");
    let mut received = Vec::new();
    assert!(server.read_to_end(&mut received).is_err() && received.len() <= 64);
    bed.coverage();
    let told: Vec<_> =
        rules.snapshot().into_iter().map(|r| (r.allowed, r.denied, r.exceeded)).collect();
    assert_eq!(told, [(0, 1, 0), (0, 0, 0), (2, 0, 1)]);
}
