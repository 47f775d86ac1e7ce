//! Large bodies, and readers that don't read.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::LazyLock,
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use turnpike::limits;

use super::bed::{Bed, PATIENCE, Server};

const MB: usize = 1_000_000;

/// Bytes that come again only after a prime number of others: nothing that is lost, doubled or out
/// of order goes unnoticed.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(65_521).collect()
});

/// A chunk of the chunked coding, extension included.
fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x};n=1\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// What is sent over and over.
fn unit(chunked: bool) -> Vec<u8> {
    if chunked { chunk(&PATTERN) } else { PATTERN.clone() }
}

fn send(to: &mut TcpStream, unit: &[u8], times: usize) {
    for _ in 0..times {
        to.write_all(unit).expect("it is taken");
    }
}

fn receive(from: &mut TcpStream, unit: &[u8], times: usize) {
    let mut received = vec![0; unit.len()];
    for time in 0..times {
        from.read_exact(&mut received).expect("it comes");
        assert!(received == unit, "a difference in repetition {time}");
    }
}

/// A request and an answer of so many bytes each.
fn exchange(bytes: usize, chunked: bool) {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    let times = bytes.div_ceil(PATTERN.len());
    let unit = unit(chunked);
    let framing = if chunked {
        "transfer-encoding: chunked".into()
    } else {
        format!("Content-Length: {}", times * PATTERN.len())
    };
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
    let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
    let end: &[u8] = if chunked { b"0;end\r\nX-Trailer: 1\r\n\r\n" } else { b"" };
    let pass = |from: &mut TcpStream, to: &mut TcpStream, head: &[u8]| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                from.write_all(head).expect("it is taken");
                send(from, &unit, times);
                from.write_all(end).expect("it is taken");
            });
            receive(to, head, 1);
            receive(to, &unit, times);
            receive(to, end, 1);
        });
    };
    pass(&mut client, &mut server, request.as_bytes());
    pass(&mut server, &mut client, answer.as_bytes());
    drop((client, server));
    let coverage = bed.coverage();
    assert_eq!(coverage.bytes_opaque, 0);
    assert!(coverage.bytes_observed > 2 * bytes as u64);
}

#[test]
fn bodies_of_5_mb_pass() {
    exchange(5 * MB, false);
    exchange(5 * MB, true);
}

#[test]
fn a_body_of_100_mb_passes_with_its_length() {
    exchange(100 * MB, false);
}

#[test]
fn a_body_of_100_mb_passes_in_chunks() {
    exchange(100 * MB, true);
}

#[test]
fn both_directions_at_once_are_served() {
    let bed = Bed::start();
    let (client, server) = bed.pair();
    let unit = unit(false);
    std::thread::scope(|scope| {
        for stream in [&client, &server] {
            let unit = &unit;
            let (mut write, mut read) =
                (stream.try_clone().expect("a copy"), stream.try_clone().expect("a copy"));
            scope.spawn(move || send(&mut write, unit, 1000));
            scope.spawn(move || receive(&mut read, unit, 1000));
        }
    });
}

/// The most that the kernel and the proxy together may hold of one direction.
fn most_in_flight() -> usize {
    let sysctl = |name: &str| -> usize {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("a sysctl");
        text.split_whitespace().next_back().and_then(|max| max.parse().ok()).expect("three numbers")
    };
    // Two connections, each with a buffer to send from and one to receive into.
    2 * (sysctl("tcp_rmem") + sysctl("tcp_wmem")) + limits::READ_BYTES
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    let bed = Bed::start();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let server = Server::new();
    let mut client = bed.connect_from(socket, server.address).expect("the proxy listens");
    let mut server = server.accept();
    client.set_write_timeout(Some(Duration::from_millis(500))).expect("an option");
    let mut sent = 0;
    loop {
        match client.write(&PATTERN[sent % PATTERN.len()..]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(sent <= most_in_flight(), "the writer is not stopped");
    }
    client.set_write_timeout(Some(PATIENCE)).expect("an option");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The rest of the unit that was cut, and some more.
            let cut = sent % PATTERN.len();
            client.write_all(&PATTERN[cut..]).expect("it is taken");
            send(&mut client, &PATTERN, 100);
        });
        receive(&mut server, &PATTERN, sent / PATTERN.len() + 1 + 100);
    });
}
