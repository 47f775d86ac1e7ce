//! Every bound of the data path, hit on purpose: what is refused, that it is counted, and that it
//! goes on afterwards.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use turnpike::{
    config::Mode,
    limits::{self, Bound, Bounds, Limits},
};

use super::bed::{Bed, Server, eventually};

fn bed(limits: Limits) -> Bed {
    Bed::with(|agent| agent.within(Arc::new(Bounds::new(limits))))
}

fn hits(bed: &Bed, bound: Bound) -> u64 {
    bed.agent.bounds.hits(bound)
}

/// So many connections fit, the next is reset, and when one has ended there is room again.
fn is_bounded(bed: &Bed, room: usize, bound: Bound) {
    let server = Server::new();
    let mut held: Vec<_> =
        (0..room).map(|_| (bed.connect(server.address), server.accept())).collect();
    let mut refused = bed.connect(server.address);
    let error = refused.read(&mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(hits(bed, bound), 1);
    assert_eq!(bed.counted("reset_over_bound"), 1);
    held.pop();
    eventually("the connection ends", || bed.agent.connections() < room);
    held.push((bed.connect(server.address), server.accept()));
    assert_eq!((hits(bed, bound), bed.agent.bounds.connections()), (1, room));
}

#[test]
fn an_agent_has_so_many_connections() {
    let limits = Limits { connections_per_agent: 5, ..Limits::default() };
    is_bounded(&bed(limits), 5, Bound::ConnectionsPerAgent);
}

#[test]
fn an_agent_leaves_others_as_many_as_it_has() {
    let limits = Limits { connections: 10, ..Limits::default() };
    is_bounded(&bed(limits), 5, Bound::Connections);
}

const IDLE: Duration = Duration::from_millis(300);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn passes(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("it is open");
    let mut received = vec![0; bytes.len()];
    to.read_exact(&mut received).expect("it arrives");
    assert_eq!(received, bytes);
}

#[test]
fn a_silent_connection_ends_in_good_order_between_exchanges() {
    let bed = bed(Limits { idle_time: Some(IDLE), ..Limits::default() });
    let (mut client, mut server) = bed.pair();
    passes(&mut client, &mut server, GET);
    passes(&mut server, &mut client, ANSWER);
    for end in [&mut client, &mut server] {
        assert_eq!(end.read(&mut [0]).expect("an orderly end"), 0);
    }
    assert_eq!((hits(&bed, Bound::IdleTime), bed.counted("ended_idle")), (1, 1));
    let (mut client, mut server) = bed.pair();
    passes(&mut client, &mut server, GET);
}

#[test]
fn a_silent_connection_is_reset_in_the_middle_of_one() {
    let bed = bed(Limits { idle_time: Some(IDLE), ..Limits::default() });
    for first in [GET, &[0; 9]] {
        let (mut client, mut server) = bed.pair();
        passes(&mut client, &mut server, first);
        for end in [&mut client, &mut server] {
            let error = end.read(&mut [0]).expect_err("a reset");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
    assert_eq!(hits(&bed, Bound::IdleTime), 2);
}

#[test]
fn a_connection_that_speaks_now_and_then_stays() {
    let bed = bed(Limits { idle_time: Some(IDLE), ..Limits::default() });
    let (mut client, mut server) = bed.pair();
    for _ in 0..6 {
        passes(&mut client, &mut server, &[0; 9]);
        std::thread::park_timeout(IDLE / 2);
        passes(&mut server, &mut client, &[1; 9]);
    }
    assert_eq!(hits(&bed, Bound::IdleTime), 0);
}

/// What a client sends passes, and makes the connection opaque.
fn is_too_much(request: &[u8], bound: Bound) {
    is_too_much_within(Limits::default(), request, bound);
}

fn is_too_much_within(limits: Limits, request: &[u8], bound: Bound) {
    let bed = bed(limits);
    let (mut client, mut server) = bed.pair();
    std::thread::scope(|scope| {
        scope.spawn(|| client.write_all(request).expect("it is taken"));
        let mut received = vec![0; request.len()];
        server.read_exact(&mut received).expect("it arrives");
        assert!(received == request);
    });
    drop((client, server));
    assert_eq!(bed.coverage().connections_opaque, 1);
    assert_eq!(hits(&bed, bound), 1, "{}", bound.name());
    let (mut client, mut server) = bed.pair();
    passes(&mut client, &mut server, GET);
    passes(&mut server, &mut client, ANSWER);
    drop((client, server));
    assert_eq!(bed.coverage().connections_observed, 2, "another is read");
    assert_eq!(hits(&bed, bound), 1);
}

#[test]
fn heads_and_chunks_that_are_too_large_to_follow_are_forwarded_unread() {
    let head = |more: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{more}\r\n").into_bytes();
    let large = format!("X: {}\r\n", "x".repeat(limits::HEAD_BYTES));
    is_too_much(&head(&large), Bound::HeadBytes);
    let narrow = Limits { head_bytes: 4096, ..Limits::default() };
    is_too_much_within(narrow, &head(&large[large.len() - 4096..]), Bound::HeadBytes);
    is_too_much(&head(&"X: 1\r\n".repeat(limits::HEAD_FIELDS)), Bound::HeadFields);
    let chunk = format!("5;{}\r\n", "x".repeat(limits::CHUNK_LINE_BYTES));
    let chunked = [head("Transfer-Encoding: chunked\r\n"), chunk.into_bytes()].concat();
    is_too_much(&chunked, Bound::ChunkLineBytes);
    is_too_much(&GET.repeat(limits::PIPELINED_REQUESTS + 1), Bound::PipelinedRequests);
    let lines = [GET, &b"\r\n".repeat(limits::EMPTY_LINES + 1), GET].concat();
    is_too_much(&lines, Bound::EmptyLines);
}

#[test]
fn a_head_has_so_much_time_as_is_configured() {
    let limits = Limits { head_time: IDLE, ..Limits::default() };
    let bounds = Arc::new(Bounds::new(limits));
    let bed = Bed::with(|agent| agent.in_mode(Mode::Enforce).within(bounds));
    let (mut client, mut server) = bed.pair();
    client.write_all(b"GET / HTTP/1.1\r\nHost:").expect("it is open");
    let mut answer = vec![0; 12];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 408");
    assert!(server.read(&mut [0]).is_err(), "nothing was asked of it");
    assert_eq!(hits(&bed, Bound::HeadTime), 1);
    let (mut client, mut server) = bed.pair();
    passes(&mut client, &mut server, GET);
    passes(&mut server, &mut client, ANSWER);
    assert_eq!(hits(&bed, Bound::HeadTime), 1);
}
