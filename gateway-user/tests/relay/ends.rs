//! Resets and refusals reach the other side as what they are.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
};

use super::bed::{Bed, Server, reset};

/// Reads to the end; the error is what ended it, if it was none in good order.
fn rest(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut received = Vec::new();
    let ended = stream.read_to_end(&mut received);
    (received, ended.err().map(|error| error.kind()))
}

const RESET: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);

#[test]
fn a_reset_by_either_side_reaches_the_other_after_what_was_sent() {
    let bed = Bed::start();
    for _ in 0..50 {
        let (mut client, mut server) = bed.pair();
        client.write_all(b"half a mess").expect("it is open");
        reset(client);
        assert_eq!(rest(&mut server), (b"half a mess".to_vec(), RESET));

        let (mut client, mut server) = bed.pair();
        server.write_all(b"half an ans").expect("it is open");
        reset(server);
        assert_eq!(rest(&mut client), (b"half an ans".to_vec(), RESET));
    }
}

#[test]
fn a_reset_is_no_orderly_end_even_while_the_other_side_sends() {
    let bed = Bed::start();
    for reset_by_client in [true, false] {
        for _ in 0..50 {
            let (client, server) = bed.pair();
            let (mut one, mut other) =
                if reset_by_client { (client, server) } else { (server, client) };
            let mut sending = other.try_clone().expect("a copy");
            std::thread::scope(|scope| {
                // Until it fails: the proxy finds out by a write that the other is gone.
                scope.spawn(move || while sending.write_all(&[1; 10_000]).is_ok() {});
                one.write_all(b"half a mess").expect("it is open");
                one.read_exact(&mut [0; 1000]).expect("it is sent");
                reset(one);
                let mut received = Vec::new();
                // The thread that sends may be the one that is told of the reset; then the kernel
                // shows an end here, even without us.
                let _ = other.read_to_end(&mut received);
                assert_eq!(received, b"half a mess");
            });
        }
    }
}

#[test]
fn a_reset_after_a_half_close_is_still_a_reset() {
    let bed = Bed::start();
    let (client, mut server) = bed.pair();
    client.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(rest(&mut server), (vec![], None));
    let mut client_reads = client.try_clone().expect("a copy");
    server.write_all(b"abc").expect("it is open");
    client_reads.read_exact(&mut [0; 3]).expect("it comes");
    reset(server);
    assert_eq!(rest(&mut client_reads), (vec![], RESET));
}

#[test]
fn an_answer_arrives_though_the_server_closes_on_the_rest_of_the_request() {
    let bed = Bed::start();
    for _ in 0..50 {
        let (mut client, mut server) = bed.pair();
        let mut sending = client.try_clone().expect("a copy");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n";
                let mut sent = sending.write_all(head);
                while sent.is_ok() {
                    sent = sending.write_all(&[0; 10_000]);
                }
            });
            server.read_exact(&mut [0; 1000]).expect("it comes");
            let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
            server.write_all(answer).expect("it is open");
            drop(server);
            let mut received = Vec::new();
            let _ = client.read_to_end(&mut received);
            assert_eq!(received, answer);
        });
    }
}

#[test]
fn nothing_waits_for_ever_when_the_client_is_gone_and_the_server_reads_nothing() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    client.set_nonblocking(true).expect("an option");
    while client.write(&[0; 10_000]).is_ok() {}
    let mut sending = server.try_clone().expect("a copy");
    std::thread::scope(|scope| {
        scope.spawn(move || while sending.write_all(&[1; 10_000]).is_ok() {});
        client.set_nonblocking(false).expect("an option");
        client.read_exact(&mut [0; 10_000]).expect("it comes");
        reset(client);
    });
    // What sent has failed; what reads finds an end of either kind.
    let _ = server.read_to_end(&mut Vec::new());
    bed.coverage();
}

#[test]
fn a_refusal_is_a_reset() {
    let bed = Bed::start();
    let nobody = TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound");
    let mut client = bed.connect(nobody);
    assert_eq!(rest(&mut client), (vec![], RESET));
    let coverage = bed.coverage();
    assert_eq!(coverage.reasons.get("reset_refused"), Some(&1));
    assert_eq!(coverage.connections_reset, 1);
}

#[test]
fn a_connection_of_unknown_origin_is_reset() {
    let bed = Bed::start();
    let mut client = TcpStream::connect(("127.0.0.1", bed.port)).expect("the proxy listens");
    assert_eq!(rest(&mut client), (vec![], RESET));
}

#[test]
fn a_client_that_gives_up_while_we_dial_makes_room() {
    let bed = Bed::start();
    // Its queue is full after two: the kernel drops every further handshake, and dialling waits.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("loopback");
    socket.listen(0).expect("it is bound");
    let server = Server::from(TcpListener::from(socket));
    let clients: Vec<_> = (0..5).map(|_| bed.connect(server.address)).collect();
    super::bed::eventually("all are accepted", || bed.agent.connections() == clients.len());
    clients.into_iter().for_each(reset);
    bed.coverage();
}
