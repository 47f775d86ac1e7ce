//! Clients and servers that don't trust each other, or us.

use std::{
    io::{ErrorKind, Read as _},
    time::Duration,
};

use rustls::{AlertDescription, ClientConnection, pki_types::ServerName};
use turnpike::{
    config::Mode,
    limits::{Bound, Limits},
    proxy::tls::Why,
};

use super::{NAME, Rig, accept, call, part, pki::BOTH, talk};
use crate::relay::bed::{allowing, eventually};

/// The alert that ended a handshake.
fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

fn is_about_the_certificate(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

#[test]
fn an_upstream_that_nobody_vouches_for_is_left_to_the_client() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let rig = Rig::new(mode);
        let impostor = rig.pki.impostor();
        for _ in 0..2 {
            let (client, _) = rig.meet(&rig.pki.client(BOTH, &[]), &impostor);
            assert!(is_about_the_certificate(&client.expect_err("it looks")));
        }
        let (mut client, mut upstream) = rig.met(&rig.pki.careless_client(), &impostor);
        talk(&mut client, &mut upstream);
        part(client, upstream);
        let decryption = rig.bed.agent.decryption.as_ref().expect("it decrypts");
        assert!(decryption.distrusts().is_empty(), "it was not us who were not trusted");
        let coverage = rig.bed.coverage();
        assert_eq!(coverage.reasons.get("tls_unverified"), Some(&1));
        assert_eq!(coverage.reasons.get("exchanges_other"), Some(&1));
    }
}

#[test]
fn a_client_that_does_not_trust_us_is_left_alone_from_then_on() {
    let rig = Rig::new(Mode::Audit);
    let (config, server) = (rig.pki.trusting_upstreams_ca(), rig.pki.server(&[NAME]));
    let (client, upstream) = rig.meet(&config, &server);
    assert!(is_about_the_certificate(&client.expect_err("it does not know us")));
    upstream.expect("it is not told why").read(&mut [0; 1]).expect_err("it hears nothing");
    let (mut client, mut upstream) = rig.met(&config, &server);
    assert!(!rig.pki.is_the_nodes(client.conn.peer_certificates()));
    talk(&mut client, &mut upstream);
    part(client, upstream);
    let decryption = rig.bed.agent.decryption.as_ref().expect("it decrypts");
    let [distrust] = &decryption.distrusts()[..] else { panic!("one program, one host") };
    assert_eq!((&*distrust.host, distrust.pid, distrust.count), (NAME, 42, 1));
    assert_eq!(distrust.why, Why::Alert(AlertDescription::UnknownCA.into()));
    let coverage = rig.bed.coverage();
    assert_eq!(coverage.reasons.get("opaque_distrust"), Some(&1));
    assert_eq!(coverage.reasons.get("tls_distrusted"), Some(&1));
}

#[test]
fn in_enforce_it_is_asked_again_and_says_nothing_to_upstream() {
    let rig = Rig::new(Mode::Enforce);
    let (config, server) = (rig.pki.trusting_upstreams_ca(), rig.pki.server(&[NAME]));
    for _ in 0..2 {
        let (client, upstream) = rig.meet(&config, &server);
        assert!(is_about_the_certificate(&client.expect_err("it does not know us")));
        upstream.expect("it is there").read(&mut [0; 1]).expect_err("it hears nothing");
    }
    let decryption = rig.bed.agent.decryption.as_ref().expect("it decrypts");
    assert_eq!(decryption.distrusts()[0].count, 2);
    assert_eq!(rig.bed.coverage().connections_opaque, 0);
    // It has learnt to.
    let (mut client, mut upstream) = rig.met(&rig.pki.client(BOTH, &[]), &server);
    talk(&mut client, &mut upstream);
    part(client, upstream);
}

#[test]
fn in_enforce_a_rule_that_names_its_host_lets_it_be_from_then_on() {
    let rig = Rig::ruled(Mode::Enforce, &[NAME], allowing(Some(NAME)));
    let (config, server) = (rig.pki.trusting_upstreams_ca(), rig.pki.server(&[NAME]));
    let (client, _) = rig.meet(&config, &server);
    assert!(is_about_the_certificate(&client.expect_err("it does not know us")));
    let (mut client, mut upstream) = rig.met(&config, &server);
    assert!(!rig.pki.is_the_nodes(client.conn.peer_certificates()));
    talk(&mut client, &mut upstream);
    part(client, upstream);
    assert_eq!(rig.bed.coverage().reasons.get("opaque_distrust"), Some(&1));
}

#[test]
fn a_client_that_looks_only_after_its_handshake_is_noticed() {
    let rig = Rig::new(Mode::Audit);
    let server = rig.pki.server(&[NAME]);
    let (client, mut upstream) = rig.met(&rig.pki.client(BOTH, &[]), &server);
    drop(client);
    assert!(upstream.read(&mut [0; 1]).is_err(), "its end was not announced");
    drop(upstream);
    let coverage = rig.bed.coverage();
    assert_eq!(coverage.reasons.get("tls_distrusted"), Some(&1));
    let decryption = rig.bed.agent.decryption.as_ref().expect("it decrypts");
    assert_eq!(decryption.distrusts()[0].why, Why::Left);
}

#[test]
fn an_upstream_that_wants_a_clients_certificate_gets_the_clients_own() {
    let rig = Rig::new(Mode::Audit);
    let (config, server) = (rig.pki.client_with_certificate(), rig.pki.server_that_asks());
    let listener = &rig.listener;
    for round in 0..2 {
        let stream = rig.bed.connect(listener.address);
        let (mut client, mut upstream) = std::thread::scope(|scope| {
            let accepting = scope.spawn(|| {
                if round == 0 {
                    // Ours, which finds out.
                    accept(listener.accept(), &server).expect_err("it shows nothing");
                }
                accept(listener.accept(), &server)
            });
            let called = call(stream, &config, NAME).expect("it is content");
            (called, accepting.join().expect("no panic").expect("so is the server"))
        });
        assert_eq!(upstream.conn.peer_certificates().map(<[_]>::len), Some(2));
        talk(&mut client, &mut upstream);
        part(client, upstream);
    }
    listener.never_called();
    let coverage = rig.bed.coverage();
    assert_eq!(coverage.reasons.get("opaque_client_certificate"), Some(&2));
}

#[test]
fn in_enforce_a_client_is_told_that_it_may_not() {
    let rig = Rig::new(Mode::Enforce);
    let (config, server) = (rig.pki.client_with_certificate(), rig.pki.server_that_asks());
    let (client, _) = rig.meet(&config, &server);
    let error = client.expect_err("it may not");
    assert_eq!(alert(&error), Some(AlertDescription::AccessDenied), "{error}");
    assert_eq!(rig.bed.coverage().reasons.get("refused_unread"), Some(&1));
}

#[test]
fn an_alert_of_upstreams_is_the_clients() {
    let (client, server) = (["http/1.1"], ["other"]);
    for (mode, opaque) in [(Mode::Audit, Some(&1)), (Mode::Enforce, None)] {
        let rig = Rig::new(mode);
        let server = rig.pki.server_of(&[NAME], BOTH, &server);
        let listener = &rig.listener;
        let stream = rig.bed.connect(listener.address);
        let error = std::thread::scope(|scope| {
            let times = if mode == Mode::Audit { 2 } else { 1 };
            let server = &server;
            scope.spawn(move || {
                for _ in 0..times {
                    accept(listener.accept(), server).expect_err("nothing in common");
                }
            });
            call(stream, &rig.pki.client(BOTH, &client), NAME).expect_err("nothing in common")
        });
        assert_eq!(alert(&error), Some(AlertDescription::NoApplicationProtocol), "{error}");
        assert_eq!(rig.bed.coverage().reasons.get("opaque_upstream_tls"), opaque);
    }
}

#[test]
fn an_upstream_without_tls_hears_the_client_itself_or_nothing() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let rig = Rig::new(mode);
        let listener = &rig.listener;
        let stream = rig.bed.connect(listener.address);
        let error = std::thread::scope(|scope| {
            scope.spawn(move || {
                let times = if mode == Mode::Audit { 2 } else { 1 };
                for _ in 0..times {
                    let mut stream = listener.accept();
                    stream.read_exact(&mut [0; 5]).expect("something comes");
                    std::io::Write::write_all(&mut stream, b"400 what?\r\n").expect("it is open");
                    stream.shutdown(std::net::Shutdown::Write).expect("it is open");
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            });
            call(stream, &rig.pki.client(BOTH, &[]), NAME).expect_err("no TLS there")
        });
        match mode {
            Mode::Audit => assert_ne!(error.kind(), ErrorKind::UnexpectedEof, "{error}"),
            Mode::Enforce => assert_eq!(alert(&error), Some(AlertDescription::HandshakeFailure)),
        }
    }
}

#[test]
fn a_client_that_stops_in_its_handshake_has_so_much_time() {
    let handshake_time = Duration::from_millis(300);
    let rig = Rig::within(Limits { handshake_time, ..Limits::default() });
    let name = ServerName::try_from(NAME).expect("a name");
    let mut hello = ClientConnection::new(rig.pki.client(BOTH, &[]), name).expect("a client");
    let mut stuck = rig.bed.connect(rig.listener.address);
    hello.write_tls(&mut stuck).expect("it is open");
    let upstream = accept(rig.listener.accept(), &rig.pki.server(&[NAME]));
    upstream.expect("upstream has nothing to wait for");
    let lost = std::io::copy(&mut stuck, &mut std::io::sink()).expect_err("a reset");
    assert_eq!(lost.kind(), ErrorKind::ConnectionReset);
    let hits = || rig.bed.agent.bounds.hits(Bound::HandshakeTime);
    eventually("the bound is counted", || hits() == 1);
    let (mut client, mut upstream) = rig.met(&rig.pki.client(BOTH, &[]), &rig.pki.server(&[NAME]));
    talk(&mut client, &mut upstream);
}
