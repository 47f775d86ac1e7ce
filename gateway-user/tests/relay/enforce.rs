//! What is asked first: good messages pass as they are, and the rest is refused in time.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use super::{
    bed::Bed,
    script::{Turn, client, play, server},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn good_messages_pass_byte_for_byte_however_they_are_cut() {
    let bed = Bed::enforcing();
    let turns = [
        client(
            "POST /a?b HTTP/1.1\r\nhOsT: A\r\nX-b:  two \t\r\nx-A:1\r\nContent-Length: 5\r\n\r\nhello",
        ),
        server("HTTP/1.1 100 Continue\r\n\r\n"),
        server("HTTP/1.1 200 \r\nset-cookie: b\r\ncOnTeNt-LeNgTh:\t2\t\r\n\r\nok"),
        client(
            "\r\nPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n",
        ),
        client("0;last\r\nX-Sum: 1\r\n\r\n"),
        server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
        server("0\r\n\r\n"),
        client(GET.repeat(8)),
        server(OK.repeat(8)),
        client("GET / HTTP/1.0\r\n\r\n"),
        server("HTTP/1.0 200 OK\r\n\r\nas long as it takes"),
        Turn::ServerEnds,
        Turn::ClientEnds,
    ];
    for piece in [usize::MAX, 1, 7] {
        play(&bed, &turns, piece);
    }
    let coverage = bed.coverage();
    assert_eq!((coverage.connections_observed, coverage.connections_opaque), (3, 0));
    assert_eq!(coverage.reasons.get("exchanges_other"), Some(&33));
}

#[test]
fn an_event_stream_is_never_held_back() {
    let bed = Bed::enforcing();
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let events = (0..50).map(|n| server(format!("c\r\ndata: {n:04}\n\n\r\n")));
    let turns = [client(GET), server(head)].into_iter().chain(events);
    play(&bed, &turns.collect::<Vec<_>>(), usize::MAX);
}

#[test]
fn a_refusal_waits_for_the_answers_before_it() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    client.write_all([GET, "GET / HTTP/1.1\nHost: a\n\n"].concat().as_bytes()).expect("it is open");
    expect(&mut server, GET);
    let (begun, end) = OK.split_at(OK.len() - 1);
    server.write_all(begun.as_bytes()).expect("it is open");
    expect(&mut client, begun);
    server.write_all(end.as_bytes()).expect("it is open");
    expect(&mut client, end);
    let answer = rest(&mut client);
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\nx-should-retry: false\r\n"), "{answer}");
    assert!(server.read_to_end(&mut Vec::new()).is_err(), "a reset");
}

#[test]
fn a_refusal_is_heard_by_a_client_that_goes_on_sending() {
    let bed = Bed::enforcing();
    let (mut client, server) = bed.pair();
    client.write_all(b"POST / HTTP/1.1\nHost: a\n\n").expect("it is open");
    let answer = std::thread::scope(|scope| {
        let mut sender = client.try_clone().expect("a copy");
        scope.spawn(move || {
            sender.write_all(&[b'x'; 1_000_000]).expect("it is read");
            sender.shutdown(Shutdown::Write).expect("it is open");
        });
        rest(&mut client)
    });
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    drop(server);
}

#[test]
fn an_answer_that_has_begun_is_cut_where_it_becomes_ambiguous() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    client.write_all(GET.as_bytes()).expect("it is open");
    expect(&mut server, GET);
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    server.write_all(begun.as_bytes()).expect("it is open");
    expect(&mut client, begun);
    server.write_all(b"2\nno\r\n0\r\n\r\n").expect("it is open");
    assert!(client.read_to_end(&mut Vec::new()).is_err(), "a reset");
    assert!(server.read_to_end(&mut Vec::new()).is_err(), "a reset");
}

#[test]
fn a_head_that_is_too_large_is_refused_before_any_of_it_goes_on() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    let line = format!("X: {}\r\n", "a".repeat(1000));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", line.repeat(300));
    client.write_all(head.as_bytes()).expect("it is open");
    client.shutdown(Shutdown::Write).expect("it is open");
    assert!(rest(&mut client).starts_with("HTTP/1.1 400 "));
    let mut received = Vec::new();
    assert!(server.read_to_end(&mut received).is_err(), "a reset");
    assert_eq!(received, b"");
}

#[test]
fn a_tunnel_waits_for_its_answer_and_is_asked_about_like_any_connection() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    let connect = "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n";
    client.write_all([connect, GET].concat().as_bytes()).expect("it is open");
    expect(&mut server, connect);
    let established = "HTTP/1.1 200 OK\r\n\r\n";
    server.write_all(established.as_bytes()).expect("it is open");
    expect(&mut client, established);
    expect(&mut server, GET);
    server.write_all(OK.as_bytes()).expect("it is open");
    expect(&mut client, OK);
    client.write_all(b"GET / HTTP/1.1\nHost: a\n\n").expect("it is open");
    assert!(rest(&mut client).starts_with("HTTP/1.1 400 "));
    let mut received = Vec::new();
    assert!(server.read_to_end(&mut received).is_err(), "a reset");
    assert_eq!(received, b"");
    drop(client);
    assert_eq!(bed.coverage().reasons.get("tunnels"), Some(&1));
}

#[test]
fn a_server_may_speak_first_in_a_tunnel() {
    let bed = Bed::enforcing();
    let turns = [
        client("CONNECT a:25 HTTP/1.1\r\nHost: a:25\r\n\r\n"),
        server("HTTP/1.1 200 OK\r\n\r\n220 hello\r\n"),
        client("EHLO a\r\n"),
        server("250 a\r\n"),
        Turn::ClientEnds,
        Turn::ServerEnds,
    ];
    play(&bed, &turns, usize::MAX);
    assert_eq!(bed.coverage().reasons.get("opaque_server_first"), Some(&1));
}

#[test]
fn what_does_not_tell_its_protocol_is_not_lost() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    client.write_all(b"GE").expect("it is open");
    client.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(rest(&mut server), "GE");
    let (mut other, mut first) = bed.pair();
    other.write_all(b"GE").expect("it is open");
    first.write_all(b"220 hello\r\n").expect("it is open");
    expect(&mut other, "220 hello\r\n");
    expect(&mut first, "GE");
    drop((client, server, other, first));
    assert_eq!(bed.coverage().reasons.get("opaque_unknown"), Some(&2));
}

fn expect(stream: &mut TcpStream, text: &str) {
    let mut received = vec![0; text.len()];
    stream.read_exact(&mut received).expect("it arrives");
    assert_eq!(String::from_utf8_lossy(&received), text);
}

fn rest(stream: &mut TcpStream) -> String {
    let mut received = String::new();
    stream.read_to_string(&mut received).expect("an orderly end");
    received
}
