//! WebSockets: carried as they are and read in audit; uncompressed in enforce.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use super::{
    bed::{Bed, reset},
    script::{Turn, client, play, server},
};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nhOsT: a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Version: 13\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
     sec-websocket-EXTENSIONS: permessage-deflate; client_max_window_bits\r\nX-Last: 1\r\n\r\n";
/// As the request goes on in enforce.
const PLAIN_UPGRADE: &str = "GET /ws HTTP/1.1\r\nhOsT: a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Version: 13\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
     X-Last: 1\r\n\r\n";
const ACCEPT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n";
const ACCEPT_DEFLATE: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

/// `Hello`, masked, in two fragments with a ping between.
const ASKED: &[u8] = b"\x01\x83\x37\xfa\x21\x3d\x7f\x9f\x4d\x89\x80\0\0\0\0\x80\x82\0\0\0\0lo";
/// `Hello`, compressed (RFC 7692, section 7.2.3.1).
const HELLO: &[u8] = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\0";

#[test]
fn messages_are_counted_and_carried_as_they_are() {
    let bed = Bed::start();
    for piece in [usize::MAX, 1, 7] {
        let turns = [
            client(UPGRADE),
            server([ACCEPT_DEFLATE.as_bytes(), HELLO].concat()),
            client(ASKED),
            server(HELLO),
            client(b"\x88\x80\0\0\0\0"),
            server(b"\x88\0"),
            Turn::ServerEnds,
            Turn::ClientEnds,
        ];
        play(&bed, &turns, piece);
    }
    let coverage = bed.coverage();
    let reason = |name: &str| coverage.reasons.get(name).copied();
    assert_eq!((coverage.connections_observed, coverage.connections_opaque), (3, 0));
    assert_eq!(coverage.bytes_opaque, 0);
    assert_eq!(reason("websockets"), Some(3));
    assert_eq!(reason("websocket_messages"), Some(9));
    assert_eq!(reason("websocket_bytes"), Some(9 * 5));
}

#[test]
fn what_is_not_websocket_is_carried_and_counted() {
    let bed = Bed::start();
    let broken = [client(UPGRADE), server(ACCEPT), client(b"\x81\x01a"), server([0xff; 300])];
    let unknown = ACCEPT_DEFLATE.replace("permessage-deflate", "x-odd");
    let unknown = [client(UPGRADE), server(unknown), client([1; 9]), server([2; 9])];
    for turns in [broken, unknown] {
        play(&bed, &[&turns[..], &[Turn::ServerEnds, Turn::ClientEnds]].concat(), usize::MAX);
    }
    let coverage = bed.coverage();
    assert_eq!(coverage.reasons.get("opaque_websocket"), Some(&1));
    assert_eq!(coverage.reasons.get("opaque_switched"), Some(&1));
}

#[test]
fn in_enforce_the_offer_to_compress_is_taken_out() {
    let bed = Bed::enforcing();
    for piece in [usize::MAX, 1] {
        let (mut client, mut server) = bed.pair();
        let sent = [UPGRADE.as_bytes(), ASKED].concat();
        for piece in sent.chunks(piece.min(sent.len())) {
            client.write_all(piece).expect("it is open");
        }
        expect(&mut server, PLAIN_UPGRADE.as_bytes());
        // What the client said too early waits for the answer.
        server.write_all(ACCEPT.as_bytes()).expect("it is open");
        expect(&mut client, ACCEPT.as_bytes());
        expect(&mut server, ASKED);
        server.write_all(b"\x81\x02ok").expect("it is open");
        expect(&mut client, b"\x81\x02ok");
        server.shutdown(Shutdown::Write).expect("it is open");
        expect_end(&mut client);
    }
    let coverage = bed.coverage();
    assert_eq!(coverage.reasons.get("websocket_messages"), Some(&4));
    assert_eq!(coverage.connections_opaque, 0);
}

#[test]
fn in_enforce_a_declined_upgrade_lets_wait_what_follows() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all([UPGRADE, next].concat().as_bytes()).expect("it is open");
    expect(&mut server, PLAIN_UPGRADE.as_bytes());
    let declined = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n";
    server.write_all(declined).expect("it is open");
    expect(&mut client, declined);
    expect(&mut server, next.as_bytes());
    reset(client);
}

#[test]
fn in_enforce_an_extension_that_was_not_offered_is_refused() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    client.write_all(UPGRADE.as_bytes()).expect("it is open");
    expect(&mut server, PLAIN_UPGRADE.as_bytes());
    server.write_all(ACCEPT_DEFLATE.as_bytes()).expect("it is open");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an orderly end");
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    drop(client);
    assert_eq!(bed.coverage().reasons.get("h1_responses_refused"), Some(&1));
}

#[test]
fn in_enforce_broken_frames_cut_the_connection() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    client.write_all(UPGRADE.as_bytes()).expect("it is open");
    expect(&mut server, PLAIN_UPGRADE.as_bytes());
    server.write_all(ACCEPT.as_bytes()).expect("it is open");
    expect(&mut client, ACCEPT.as_bytes());
    client.write_all(b"\x81\x01a").expect("it is open");
    assert!(server.read_to_end(&mut Vec::new()).is_err(), "a reset");
    assert!(client.read_to_end(&mut Vec::new()).is_err(), "a reset");
    assert_eq!(bed.coverage().reasons.get("websocket_refused"), Some(&1));
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    stream.read_exact(&mut received).expect("it arrives");
    assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(bytes));
}

fn expect_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).expect("an orderly end"), 0);
}
