//! Ends of decrypted connections: each side learns exactly what the other has said of them.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
};

use turnpike::{config::Mode, drain::Phase};

use super::{ANSWER, NAME, REQUEST, Rig, pass, pki::BOTH, talk};
use crate::relay::bed::{eventually, reset};

#[test]
fn a_client_may_end_and_the_server_go_on() {
    let rig = Rig::new(Mode::Audit);
    let (mut client, mut upstream) = rig.met(&rig.pki.client(BOTH, &[]), &rig.pki.server(&[NAME]));
    pass(&mut client, &mut upstream, REQUEST);
    client.conn.send_close_notify();
    client.flush().expect("it is open");
    client.sock.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(upstream.read(&mut [0; 1]).expect("the client says that it ends"), 0);
    pass(&mut upstream, &mut client, ANSWER);
    upstream.conn.send_close_notify();
    upstream.flush().expect("it is open");
    drop(upstream);
    assert_eq!(client.read(&mut [0; 1]).expect("the server says that it ends"), 0);
}

#[test]
fn what_is_cut_does_not_look_whole() {
    for by_client in [true, false] {
        let rig = Rig::new(Mode::Audit);
        let (mut client, mut upstream) =
            rig.met(&rig.pki.client(BOTH, &[]), &rig.pki.server(&[NAME]));
        talk(&mut client, &mut upstream);
        let error = if by_client {
            client.write_all(b"GET / HT").expect("it is open");
            client.sock.shutdown(Shutdown::Write).expect("it is open");
            upstream.read_to_end(&mut Vec::new()).expect_err("its end was not announced")
        } else {
            upstream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf an ans").expect("it is open");
            upstream.sock.shutdown(Shutdown::Write).expect("it is open");
            client.read_to_end(&mut Vec::new()).expect_err("its end was not announced")
        };
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{by_client}");
    }
}

#[test]
fn a_reset_comes_after_what_was_sent() {
    for by_client in [true, false] {
        let rig = Rig::new(Mode::Audit);
        let (mut client, mut upstream) =
            rig.met(&rig.pki.client(BOTH, &[]), &rig.pki.server(&[NAME]));
        talk(&mut client, &mut upstream);
        let mut received = Vec::new();
        let error = if by_client {
            client.write_all(b"half a mess").expect("it is open");
            reset(client.sock);
            upstream.read_to_end(&mut received).expect_err("a reset")
        } else {
            upstream.write_all(b"half a mess").expect("it is open");
            reset(upstream.sock);
            client.read_to_end(&mut received).expect_err("a reset")
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{by_client}");
        assert_eq!(received, b"half a mess");
    }
}

#[test]
fn an_answer_before_the_end_of_its_request_reaches_the_client() {
    let rig = Rig::new(Mode::Audit);
    let (mut client, mut upstream) = rig.met(&rig.pki.client(BOTH, &[]), &rig.pki.server(&[NAME]));
    let head = b"POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 100000000\r\n\r\n";
    pass(&mut client, &mut upstream, head);
    let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    upstream.write_all(answer).expect("it is open");
    upstream.conn.send_close_notify();
    upstream.flush().expect("it is open");
    // With what it has not read: a reset.
    client.write_all(&vec![0; 100_000]).expect("it is open");
    upstream.read_exact(&mut [0; 1]).expect("some of it");
    drop(upstream);
    let mut received = [0; 100];
    let length = client.read(&mut received).expect("an answer");
    assert_eq!(&received[..length], answer);
}

#[test]
fn large_bodies_pass_both_ways_and_a_slow_reader_slows_the_writer() {
    const LENGTH: usize = 20_000_000;
    let rig = Rig::new(Mode::Audit);
    let (mut client, mut upstream) = rig.met(&rig.pki.client(BOTH, &[]), &rig.pki.server(&[NAME]));
    pass(&mut client, &mut upstream, REQUEST);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            upstream.write_all(head.as_bytes()).expect("it is open");
            upstream.write_all(&vec![7; LENGTH]).expect("it is open");
            upstream.conn.send_close_notify();
            upstream.flush().expect("it is open");
        });
        client.read_exact(&mut [0; 10]).expect("it comes");
        let mut received = Vec::new();
        client.read_to_end(&mut received).expect("an announced end");
        let body = received.len().checked_sub(LENGTH).map(|head| &received[head..]);
        assert!(body.is_some_and(|body| body.iter().all(|byte| *byte == 7)));
    });
}

#[test]
fn idle_connections_end_at_once_and_busy_ones_after_their_exchange() {
    let rig = Rig::new(Mode::Audit);
    let (config, server) = (rig.pki.client(BOTH, &[]), rig.pki.server(&[NAME]));
    let (mut idle, mut idle_upstream) = rig.met(&config, &server);
    talk(&mut idle, &mut idle_upstream);
    let (mut busy, mut busy_upstream) = rig.met(&config, &server);
    pass(&mut busy, &mut busy_upstream, REQUEST);
    rig.bed.advance(Phase::Draining);
    assert_eq!(idle.read(&mut [0; 1]).expect("its end is announced"), 0);
    assert_eq!(idle_upstream.read(&mut [0; 1]).expect("its end is announced"), 0);
    pass(&mut busy_upstream, &mut busy, ANSWER);
    assert_eq!(busy.read(&mut [0; 1]).expect("its end is announced"), 0);
    assert_eq!(busy_upstream.read(&mut [0; 1]).expect("its end is announced"), 0);
    eventually("the proxy ends", || rig.bed.is_over());
}
