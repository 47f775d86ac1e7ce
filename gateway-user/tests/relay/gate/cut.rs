//! Calls that are ended in their middle, in either mode.

use std::{io::Read as _, net::TcpStream};

use serde_json::{Value, json};
use turnpike::{config::Mode, drain::Phase};

use super::{
    super::bed::{Bed, eventually, everywhere},
    GET, OK, chat, dechunked, expect, heard_nothing, no, post, rest, send,
};

const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn in_mode(mode: Mode) -> Bed {
    Bed::with(|agent| agent.in_mode(mode).under(everywhere()))
}

/// A chat that was asked, and of whose answer so much has come.
fn asked(bed: &Bed, answer: &str) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = bed.pair();
    let request = post("", &chat(""));
    let placed = bed.steps.placed().len();
    send(&mut client, &request);
    expect(&mut server, &request);
    eventually("it is placed", || bed.steps.placed().len() > placed);
    send(&mut server, answer);
    expect(&mut client, answer);
    (client, server)
}

fn cut(bed: &Bed) {
    assert_eq!(bed.agent.cut(&no(), |_, _| true), 1);
}

/// The error of the last event of a stream.
fn error(events: &str) -> Value {
    let last = events.trim_end().rsplit("\n\n").next().expect("an event");
    let last: Value =
        serde_json::from_str(last.strip_prefix("data: ").expect("data")).expect("JSON");
    assert_eq!(last["error"]["message"], "turnpike: not today; ask tomorrow");
    last["error"]["code"].clone()
}

#[test]
fn between_events_the_error_is_an_event_and_the_body_ends_whole() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let bed = in_mode(mode);
        let (mut client, mut server) = asked(&bed, &format!("{STREAM}a\r\ndata: {{}}\n\n\r\n"));
        cut(&bed);
        let events = dechunked(&rest(&mut client), 0);
        assert!(events.starts_with("data: {\"error\""), "{events}");
        assert_eq!(error(&events), "turnpike_denied");
        heard_nothing(&mut server);
        assert_eq!(bed.counted("calls_cut"), 1);
        assert_eq!(bed.steps.finished(1)[0].step.status, Some(200));
    }
}

#[test]
fn an_event_that_has_begun_is_ended_first() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let bed = in_mode(mode);
        let (mut client, _server) = asked(&bed, &format!("{STREAM}8\r\ndata: {{}}\r\n"));
        cut(&bed);
        let events = dechunked(&rest(&mut client), 0);
        assert!(events.starts_with("\n\ndata: {\"error\""), "{events}");
        error(&events);
    }
}

#[test]
fn a_chunk_that_has_begun_is_filled() {
    for (size, missing) in [(0x10, 6), (0x1000, 0x1000 - 10)] {
        let bed = in_mode(Mode::Audit);
        let begun = format!("{STREAM}{size:x}\r\ndata: {{}}\n\n");
        let (mut client, _server) = asked(&bed, &begun);
        cut(&bed);
        error(&dechunked(&rest(&mut client), missing));
    }
    // One that is much too large is not.
    let bed = in_mode(Mode::Audit);
    let (mut client, _server) = asked(&bed, &format!("{STREAM}ffffff\r\ndata: {{}}\n\n"));
    cut(&bed);
    heard_nothing(&mut client);
}

#[test]
fn a_body_that_goes_on_until_the_end_ends_with_the_error() {
    let bed = in_mode(Mode::Enforce);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n";
    let (mut client, _server) = asked(&bed, head);
    cut(&bed);
    error(&rest(&mut client));
}

#[test]
fn what_has_no_words_is_reset() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99\r\n\r\ndata: {}\n\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\n\x1f \r\n",
    ] {
        let bed = in_mode(Mode::Enforce);
        let (mut client, mut server) = asked(&bed, head);
        cut(&bed);
        heard_nothing(&mut client);
        heard_nothing(&mut server);
    }
}

#[test]
fn a_call_without_an_answer_is_refused() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let bed = in_mode(mode);
        let (mut client, mut server) = asked(&bed, "");
        cut(&bed);
        let answer = rest(&mut client);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        heard_nothing(&mut server);
        assert_eq!(bed.steps.finished(1)[0].step.status, Some(400));
    }
}

#[test]
fn a_call_that_is_held_is_refused() {
    let bed = in_mode(Mode::Enforce);
    let (mut client, mut server) = bed.pair();
    let request = post("", &chat(""));
    send(&mut client, &request[..request.len() - 1]);
    eventually("it is held", || bed.agent.bounds.held() > 0);
    cut(&bed);
    let mut status = [0; 12];
    client.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 400");
    heard_nothing(&mut server);
}

#[test]
fn a_call_that_is_over_is_not_cut() {
    let bed = in_mode(Mode::Audit);
    let (_client, _server) = asked(&bed, OK);
    bed.steps.finished(1);
    assert_eq!(bed.agent.cut(&no(), |_, _| true), 0);
}

#[test]
fn what_the_client_has_not_taken_comes_before_the_last_words() {
    let bed = in_mode(Mode::Audit);
    let (mut client, mut server) = asked(&bed, STREAM);
    let event = format!("data: {}\n\n", json!({ "text": "x".repeat(50_000) }));
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    let many = 100;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..many {
                if std::io::Write::write_all(&mut server, chunk.as_bytes()).is_err() {
                    return;
                }
            }
        });
        client.read_exact(&mut [0; 10]).expect("it comes");
        cut(&bed);
        let mut left = String::new();
        client.read_to_string(&mut left).expect("an orderly end");
        assert!(left.ends_with("0\r\n\r\n"));
        assert!(left.contains("turnpike: not today"), "{}", &left[left.len() - 300..]);
        scope.spawn(move || drop(client));
    });
}

#[test]
fn at_the_deadline_of_a_drain_streams_end_in_words() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let bed = in_mode(mode);
        let (mut streaming, mut server) = asked(&bed, &format!("{STREAM}a\r\ndata: {{}}\n\n\r\n"));
        let (mut waiting, _silent) = asked(&bed, "");
        let (mut other, mut others) = bed.pair();
        send(&mut other, GET);
        expect(&mut others, GET);
        bed.advance(Phase::Draining);
        bed.advance(Phase::Cut);
        let events = dechunked(&rest(&mut streaming), 0);
        assert!(events.contains("turnpike: the gateway is ending"), "{events}");
        assert!(events.contains("turnpike_ending"), "{events}");
        let answer = rest(&mut waiting);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nx-should-retry: true\r\n"), "{answer}");
        heard_nothing(&mut server);
        heard_nothing(&mut other);
        drop((streaming, waiting));
        eventually("the proxy ends", || bed.is_over());
    }
}
