//! Ending in good order.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use turnpike::drain::Phase;

use super::bed::{Bed, Server, eventually};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";

/// Sends from one side and receives it on the other.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("it is open");
    let mut received = vec![0; bytes.len()];
    to.read_exact(&mut received).expect("it comes");
    assert_eq!(received, bytes);
}

fn ends(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 1]).expect("an orderly end"), 0);
}

#[test]
fn idle_connections_end_at_once_and_busy_ones_after_their_exchange() {
    let bed = Bed::start();
    let (mut idle, mut idle_server) = bed.pair();
    pass(&mut idle, &mut idle_server, REQUEST);
    pass(&mut idle_server, &mut idle, HEAD);
    pass(&mut idle_server, &mut idle, b"body");
    let (mut busy, mut busy_server) = bed.pair();
    pass(&mut busy, &mut busy_server, REQUEST);
    pass(&mut busy_server, &mut busy, HEAD);
    bed.advance(Phase::Draining);
    ends(&mut idle);
    ends(&mut idle_server);
    pass(&mut busy_server, &mut busy, b"bo");
    pass(&mut busy_server, &mut busy, b"dy");
    ends(&mut busy);
    ends(&mut busy_server);
    eventually("the proxy ends", || bed.is_over());
}

#[test]
fn a_connection_that_was_just_made_may_still_ask() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    bed.advance(Phase::Draining);
    pass(&mut client, &mut server, REQUEST);
    pass(&mut server, &mut client, HEAD);
    pass(&mut server, &mut client, b"body");
    ends(&mut client);
}

#[test]
fn an_answer_that_the_client_reads_slowly_is_not_lost() {
    const LENGTH: usize = 30_000_000;
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, REQUEST);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            server.write_all(head.as_bytes()).expect("it is open");
            server.write_all(&vec![7; LENGTH]).expect("it is open");
            ends(&mut server);
        });
        // The first bytes are here, the rest waits for us.
        client.read_exact(&mut [0; 10]).expect("it comes");
        bed.advance(Phase::Draining);
        let mut received = Vec::new();
        client.read_to_end(&mut received).expect("an orderly end");
        let body = received.len().checked_sub(LENGTH).map(|head| &received[head..]);
        assert!(body.is_some_and(|body| body.iter().all(|byte| *byte == 7)));
    });
}

#[test]
fn what_is_left_is_cut_with_a_reset() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, REQUEST);
    pass(&mut server, &mut client, HEAD);
    bed.advance(Phase::Draining);
    bed.advance(Phase::Cut);
    for stream in [&mut client, &mut server] {
        let error = stream.read(&mut [0; 1]).expect_err("it was in the middle");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    eventually("the proxy ends", || bed.is_over());
}

#[test]
fn closing_accepts_no_more_but_carries_on() {
    let mut bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    bed.advance(Phase::Closing);
    bed.closed();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let refused = bed.connect_from(socket.expect("a socket"), Server::new().address);
    assert_eq!(refused.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
    for _ in 0..3 {
        pass(&mut client, &mut server, REQUEST);
        pass(&mut server, &mut client, HEAD);
        pass(&mut server, &mut client, b"body");
    }
    assert!(!bed.is_over());
}
