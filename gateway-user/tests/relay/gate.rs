//! Calls in enforce: held until they are understood, then passed, changed or refused; and ended in
//! their own words.

mod cut;
mod gathered;
pub(super) mod h2;
mod usage;
pub(super) mod websocket;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use serde_json::{Value, json};
use turnpike::{
    call::{Cause, Reason},
    config::Mode,
    dialect::{Asked, edit::Edit},
    limits,
    policy::metering::OnUnmetered,
    proxy::{Agent, Decision, Gate},
};

use super::bed::{Bed, everywhere, reset};

/// Says the same of every call.
#[derive(Debug)]
struct Says(Decision);

impl Gate for Says {
    fn admit(&self, _: &Asked) -> Decision {
        self.0.clone()
    }
}

fn enforced(agent: Agent) -> Agent {
    agent.in_mode(Mode::Enforce).under(everywhere())
}

/// A proxy whose agent is in enforce, and whose gate says this.
pub(super) fn saying(decision: Decision) -> Bed {
    Bed::with(|agent| enforced(agent).gated(Arc::new(Says(decision))))
}

pub(super) fn no() -> Reason {
    Reason::new(Cause::Policy, "not today; ask tomorrow")
}

/// The body of a chat, with further fields.
fn chat(fields: &str) -> String {
    format!(r#"{{"model":"m", "messages":[{{"role":"user","content":"hi"}}]{fields}}}"#)
}

fn post(fields: &str, body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).expect("it is open");
}

pub(super) fn expect(stream: &mut TcpStream, text: &str) {
    let mut received = vec![0; text.len()];
    let mut read = 0;
    while read < received.len() {
        match stream.read(&mut received[read..]).expect("it arrives") {
            0 => break,
            count => read += count,
        }
    }
    assert_eq!(String::from_utf8_lossy(&received[..read]), text);
}

/// What is left, up to an orderly end.
pub(super) fn rest(stream: &mut TcpStream) -> String {
    let mut received = String::new();
    stream.read_to_string(&mut received).expect("an orderly end");
    received
}

/// The head and the JSON body of the last answer on a connection.
pub(super) fn answer(stream: &mut TcpStream) -> (String, Value) {
    let whole = rest(stream);
    let (head, body) = whole.split_once("\r\n\r\n").expect("a head");
    (head.into(), serde_json::from_str(body).expect("JSON"))
}

/// The content of what is left of chunks, which end whole; the first so many bytes are of a chunk
/// that has begun.
pub(super) fn dechunked(text: &str, begun: usize) -> String {
    let (first, mut rest) = text.split_at(begun);
    let mut content = first.to_owned();
    if begun > 0 {
        rest = rest.strip_prefix("\r\n").expect("the end of a chunk");
    }
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let (chunk, after) = after.split_at(size);
        content.push_str(chunk);
        rest = after.strip_prefix("\r\n").expect("its end");
        if size == 0 {
            assert_eq!(rest, "");
            return content;
        }
    }
}

/// It was reset, and nothing had come.
pub(super) fn heard_nothing(stream: &mut TcpStream) {
    let mut received = Vec::new();
    assert!(stream.read_to_end(&mut received).is_err(), "a reset");
    assert_eq!(String::from_utf8_lossy(&received), "");
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKED: &str =
    "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_call_goes_on_as_it_is_once_it_has_ended() {
    let bed = saying(Decision::Pass);
    let body = chat("");
    let (first, last) = body.split_at(20);
    let chunks = format!(
        "{CHUNKED}14;x=y\r\n{first}\r\n{:X}\r\n{last}\r\n0\r\nX-Sum: 1\r\n\r\n",
        last.len()
    );
    for request in [post("x-A:  b \r\n", &body), chunks] {
        for piece in [usize::MAX, 1, 9] {
            let (mut client, mut server) = bed.pair();
            for piece in request.as_bytes().chunks(piece) {
                send(&mut client, piece);
            }
            expect(&mut server, &request);
            send(&mut server, OK);
            expect(&mut client, OK);
        }
        // But for its last byte it does not.
        let (mut client, mut server) = bed.pair();
        send(&mut client, &request[..request.len() - 1]);
        reset(client);
        heard_nothing(&mut server);
    }
    assert_eq!(bed.steps.placed().len(), 6);
    assert_eq!(bed.agent.bounds.held(), 0);
}

#[test]
fn a_call_goes_on_with_its_changes_and_they_are_framed_right() {
    let edits = vec![Edit::MaxOutput(7), Edit::Model("other".into())];
    let bed = saying(Decision::Edit(edits));
    let body = chat(r#","max_tokens":100"#);
    let after = r#"{"model":"other", "messages":[{"role":"user","content":"hi"}],"max_tokens":7}"#;
    let (mut client, mut server) = bed.pair();
    send(&mut client, [GET, &post("", &body), GET].concat());
    let request = post("", after);
    assert!(request.contains("Content-Length: 77\r\n") && !request.contains(&body));
    expect(&mut server, &[GET, &request, GET].concat());
    send(&mut server, OK.repeat(3));
    expect(&mut client, &OK.repeat(3));

    let (first, last) = body.split_at(20);
    let chunks =
        format!("{CHUNKED}14\r\n{first}\r\n{:x}\r\n{last}\r\n00;e\r\nX-Sum: 1\r\n\r\n", last.len());
    for piece in [usize::MAX, 1] {
        for piece in chunks.as_bytes().chunks(piece) {
            send(&mut client, piece);
        }
        expect(&mut server, &format!("{CHUNKED}4d\r\n{after}\r\n00;e\r\nX-Sum: 1\r\n\r\n"));
        send(&mut server, OK);
        expect(&mut client, OK);
    }
    // What was asked is what the client sent.
    let placed = bed.steps.placed();
    assert!(placed.iter().all(|(_, step)| step.request_model.as_deref() == Some("m")));
}

#[test]
fn what_can_not_be_changed_is_refused() {
    let bed = saying(Decision::Edit(vec![Edit::MaxOutput(7)]));
    let twice = chat(r#","max_tokens":1,"max_tokens":9"#);
    for (request, code) in [
        // It can be read either way.
        (post("", &twice), "turnpike_unmetered"),
        (post("Content-Digest: sha-256=:x:\r\n", &chat("")), "turnpike_denied"),
    ] {
        let (mut client, mut server) = bed.pair();
        send(&mut client, request);
        let (head, body) = answer(&mut client);
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert_eq!(body["error"]["code"], code);
        heard_nothing(&mut server);
    }
}

#[test]
fn a_refused_call_is_answered_in_its_dialect_and_nothing_of_it_goes_upstream() {
    let bed = saying(Decision::Refuse(no()));
    let (mut client, mut server) = bed.pair();
    send(&mut client, post("", &chat("")));
    let (head, body) = answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(head.contains("\r\nx-should-retry: false\r\n"), "{head}");
    assert!(head.ends_with("\r\nconnection: close"), "{head}");
    let message = "turnpike: not today; ask tomorrow";
    let error = json!({ "message": message, "type": "turnpike_refused", "param": null,
        "code": "turnpike_denied" });
    assert_eq!(body, json!({ "error": error }));
    heard_nothing(&mut server);
    let step = bed.steps.finished(1).remove(0).step;
    assert_eq!((step.status, step.settled), (Some(400), true));
    assert_eq!(bed.counted("calls_refused"), 1);
}

#[test]
fn a_refused_call_waits_for_the_answers_before_it_and_what_is_behind_it_does_not_go_on() {
    let bed = saying(Decision::Refuse(no()));
    let (mut client, mut server) = bed.pair();
    send(&mut client, [GET, &post("", &chat("")), GET].concat());
    expect(&mut server, GET);
    send(&mut server, OK);
    expect(&mut client, OK);
    let (head, _) = answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    heard_nothing(&mut server);
}

#[test]
fn an_api_that_is_not_known_is_not_held() {
    let bed = saying(Decision::Refuse(no()));
    let (mut client, mut server) = bed.pair();
    let request = "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    for part in [request, "ab", "cd"] {
        send(&mut client, part);
        expect(&mut server, part);
    }
    send(&mut server, OK);
    expect(&mut client, OK);
}

#[test]
fn what_is_not_understood_goes_on_only_where_that_is_allowed() {
    let request = post("", "no JSON");
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    send(&mut client, &request);
    let (_, body) = answer(&mut client);
    assert_eq!(body["error"]["code"], "turnpike_unmetered");
    heard_nothing(&mut server);

    let bed = Bed::with(|agent| enforced(agent).metered(OnUnmetered::Allow));
    let (mut client, mut server) = bed.pair();
    send(&mut client, &request);
    expect(&mut server, &request);
    send(&mut server, OK);
    expect(&mut client, OK);
}

#[test]
fn audit_refuses_and_changes_nothing() {
    let gate = Arc::new(Says(Decision::Refuse(no())));
    let bed = Bed::with(|agent| agent.gated(gate));
    for body in ["no JSON".to_owned(), chat(r#","stream":true"#)] {
        let (mut client, mut server) = bed.pair();
        let request = post("", &body);
        let (begin, end) = request.split_at(request.len() - 1);
        for part in [begin, end] {
            send(&mut client, part);
            expect(&mut server, part);
        }
        send(&mut server, OK);
        expect(&mut client, OK);
    }
}

#[test]
fn a_client_that_waits_to_go_on_is_told_by_the_gateway() {
    let bed = saying(Decision::Pass);
    let (mut client, mut server) = bed.pair();
    let request = post("Expect: 100-continue\r\n", &chat(""));
    let (head, body) = request.split_at(request.len() - chat("").len());
    // Not before it has the answer that comes first.
    send(&mut client, [GET, head].concat());
    expect(&mut server, GET);
    send(&mut server, OK);
    expect(&mut client, &[OK, "HTTP/1.1 100 Continue\r\n\r\n"].concat());
    send(&mut client, body);
    expect(&mut server, &request);
    send(&mut server, ["HTTP/1.1 100 Continue\r\n\r\n", OK].concat());
    expect(&mut client, &["HTTP/1.1 100 Continue\r\n\r\n", OK].concat());
}

#[test]
fn what_is_too_large_to_be_held_is_refused_or_goes_on_from_there() {
    const LENGTH: usize = limits::OBSERVED_REQUEST_BYTES + 100_000;
    let body = "x".repeat(LENGTH);
    for on_unmetered in [OnUnmetered::Deny, OnUnmetered::Allow] {
        let bed = Bed::with(|agent| enforced(agent).metered(on_unmetered));
        let (mut client, mut server) = bed.pair();
        let request = post("", &body);
        std::thread::scope(|scope| {
            let mut sender = client.try_clone().expect("a copy");
            let request = &request;
            scope.spawn(move || sender.write_all(request.as_bytes()));
            if on_unmetered == OnUnmetered::Deny {
                let mut status = [0; 12];
                client.read_exact(&mut status).expect("an answer");
                assert_eq!(&status, b"HTTP/1.1 400");
                heard_nothing(&mut server);
                drop((client, server));
            } else {
                let mut received = vec![0; request.len()];
                server.read_exact(&mut received).expect("it arrives");
                assert!(received == request.as_bytes());
                send(&mut server, OK);
                expect(&mut client, OK);
            }
        });
        assert_eq!(bed.agent.bounds.hits(limits::Bound::RequestBytes), 1);
        assert_eq!(bed.agent.bounds.held(), 0);
    }
}
