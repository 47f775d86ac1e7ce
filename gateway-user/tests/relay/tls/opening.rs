//! Openings of every shape, where TLS is looked into.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::Arc,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use turnpike::config::Mode;

use super::{NAME, Rig, accept, part, pass, pki::BOTH, talk};
use crate::relay::script::{Turn, client, play, server};

#[test]
fn other_protocols_pass_as_ever() {
    let http = [client(super::REQUEST), server(super::ANSWER)];
    let first = [server("SSH-2.0-OpenSSH_9.2p1\r\n"), client("SSH-2.0-client\r\n")];
    let not_tls = [client([0x16, 2, 1]), server([1; 9]), client([3; 9])];
    for (turns, reason) in [
        (&http[..], None),
        (&first, Some("opaque_server_first")),
        (&not_tls, Some("opaque_unknown")),
    ] {
        for mode in [Mode::Audit, Mode::Enforce] {
            let rig = Rig::new(mode);
            play(&rig.bed, turns, usize::MAX);
            let coverage = rig.bed.coverage();
            assert_eq!(coverage.connections_opaque, u64::from(reason.is_some()), "{turns:?}");
            let counted = reason.and_then(|reason| coverage.reasons.get(reason));
            assert_eq!(counted, reason.map(|_| &1), "{:?}", coverage.reasons);
        }
    }
}

#[test]
fn what_is_held_is_let_go_when_the_client_ends_or_the_server_speaks() {
    for held in [&b"\x16\x03"[..], b"P"] {
        let rig = Rig::new(Mode::Enforce);
        let (mut client, mut server) = rig.bed.pair();
        client.write_all(held).expect("it is open");
        client.shutdown(Shutdown::Write).expect("it is open");
        let mut received = Vec::new();
        server.read_to_end(&mut received).expect("an orderly end");
        assert_eq!(received, held);
        drop((client, server));

        let (mut client, mut server) = rig.bed.pair();
        client.write_all(held).expect("it is open");
        pass(&mut server, &mut client, b"what?");
        drop((client, server));
        assert_eq!(rig.bed.coverage().connections_opaque, 2);
    }
}

#[test]
fn a_connection_that_carries_nothing_is_no_blind_spot() {
    let rig = Rig::new(Mode::Enforce);
    play(&rig.bed, &[Turn::ClientEnds, Turn::ServerEnds], 1);
    play(&rig.bed, &[Turn::ServerEnds, Turn::ClientEnds], 1);
    assert_eq!(rig.bed.coverage().connections_opaque, 0);
}

/// Writes each piece by itself, so that it may come by itself.
fn write_in_pieces(stream: &mut std::net::TcpStream, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece) {
        stream.write_all(piece).expect("it is open");
    }
}

#[test]
fn a_hello_may_come_in_any_pieces() {
    let rig = Rig::new(Mode::Enforce);
    let (config, own) = (rig.pki.client(BOTH, &[]), rig.pki.server(&[NAME]));
    for piece in [1, 2, 3, 5, 6, 64, 500] {
        let mut stream = rig.bed.connect(rig.listener.address);
        let name = ServerName::try_from(NAME).expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(&config), name).expect("a configuration");
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).expect("memory takes everything");
        let (mut client, mut upstream) = std::thread::scope(|scope| {
            let accepting = scope.spawn(|| accept(rig.listener.accept(), &own));
            write_in_pieces(&mut stream, &hello, piece);
            tls.complete_io(&mut stream).expect("the client is content");
            let upstream = accepting.join().expect("no panic").expect("so is the server");
            (StreamOwned::new(tls, stream), upstream)
        });
        talk(&mut client, &mut upstream);
        part(client, upstream);
    }
    assert_eq!(rig.bed.coverage().reasons.get("tls_decrypted"), Some(&7));
}
