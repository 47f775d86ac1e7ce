//! Calls of the Responses API: in the background, and over WebSocket.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use turnpike::call::{Dialect, Digest, State, StepKind, Usage};

use super::bed::{Bed, Finished, eventually, reset};

const UPGRADE: &str = "GET /v1/responses HTTP/1.1\r\nHost: api.test\r\nSession-Id: s1\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
     Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const ACCEPT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    from.write_all(bytes).expect("it is open");
    let mut received = vec![0; bytes.len()];
    to.read_exact(&mut received).expect("it comes");
    assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(bytes));
}

/// A text message in one frame, with a length of two bytes (RFC 6455, section 5.2), masked or not.
fn frame(text: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short message").to_be_bytes();
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![0x81, 0x7e | masked, length[0], length[1]];
    frame.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Longer than 125 bytes, which a shorter length would have to be used for.
fn padded(mut message: Value) -> String {
    message["padding"] = "x".repeat(126).into();
    message.to_string()
}

fn create(fields: &Value) -> String {
    let mut message = json!({ "type": "response.create", "model": "m-1", "store": false });
    for (name, value) in fields.as_object().expect("an object") {
        message[name] = value.clone();
    }
    padded(message)
}

fn event(kind: &str, id: &str, status: &str) -> String {
    let usage = (status == "completed").then(|| {
        json!({ "input_tokens": 11, "output_tokens": 5,
            "input_tokens_details": { "cached_tokens": 3, "cache_write_tokens": 0 },
            "output_tokens_details": { "reasoning_tokens": 2 } })
    });
    padded(json!({ "type": kind, "response": { "id": id, "object": "response", "status": status,
        "model": "m-1-2026", "output": [], "usage": usage } }))
}

fn said(text: &str) -> String {
    padded(json!({ "type": "response.output_item.done", "output_index": 0, "item": {
        "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text }] } }))
}

fn used() -> Usage {
    let (cache_read, cache_creation, reasoning) = (Some(3), Some(0), Some(2));
    Usage { input: 11, output: 5, cache_read, cache_creation, reasoning, ..Usage::default() }
}

/// Both ends of a connection that has switched to WebSocket.
fn switched(bed: &Bed) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, UPGRADE);
    pass(&mut server, &mut client, ACCEPT);
    (client, server)
}

fn ask(client: &mut TcpStream, server: &mut TcpStream, message: &str) {
    pass(client, server, frame(message, Some([7, 1, 200, 9])));
}

fn tell(server: &mut TcpStream, client: &mut TcpStream, message: &str) {
    pass(server, client, frame(message, None));
}

#[test]
fn a_conversation_over_websocket_makes_one_step_for_each_call() {
    for bed in [Bed::start(), Bed::enforcing()] {
        converse(&bed);
    }
}

fn converse(bed: &Bed) {
    let (mut client, mut server) = switched(bed);
    let warm = create(&json!({ "generate": false, "input": [] }));
    ask(&mut client, &mut server, &warm);
    tell(&mut server, &mut client, &event("response.created", "resp_0", "in_progress"));
    tell(&mut server, &mut client, &event("response.completed", "resp_0", "completed"));
    let first = create(&json!({ "previous_response_id": "resp_0", "input": "hello" }));
    ask(&mut client, &mut server, &first);
    tell(&mut server, &mut client, &event("response.created", "resp_1", "in_progress"));
    tell(&mut server, &mut client, &said("Hi."));
    tell(&mut server, &mut client, &event("response.completed", "resp_1", "completed"));
    client.shutdown(Shutdown::Write).expect("it is open");
    server.shutdown(Shutdown::Write).expect("it is open");

    for (n, message) in [warm, first].into_iter().enumerate() {
        let Finished { step, completion, .. } = bed.steps.finished(2).remove(n);
        let kind = if n == 0 { StepKind::Utility } else { StepKind::Final };
        assert_eq!((step.kind, completion.state), (kind, State::Done));
        assert_eq!(step.dialect, Some(Dialect::OpenaiResponses));
        assert_eq!(step.response_id, Some(format!("resp_{n}")));
        assert_eq!(step.request_model.as_deref(), Some("m-1"));
        assert_eq!(step.response_model.as_deref(), Some("m-1-2026"));
        assert_eq!(step.request_sha256, Some(Digest(Sha256::digest(&message).into())));
        assert_eq!((step.host.as_deref(), step.exchange_seq), (Some("api.test"), Some(0)));
        assert_eq!((step.status, step.usage), (Some(101), Some(used())));
        let (first, whole) = (step.ttft_ms.expect("it came"), step.duration_ms.expect("it ended"));
        assert!(first <= whole, "{first:?} {whole:?}");
    }
    let coverage = bed.coverage();
    assert_eq!((coverage.calls, coverage.calls_not_understood), (2, 0));
    assert_eq!(coverage.reasons.get("exchanges_other"), None);
    assert_eq!(coverage.reasons.get("websocket_messages"), Some(&7));
}

#[test]
fn what_is_cut_over_websocket_is_recorded_as_failed() {
    let bed = Bed::start();
    let ends: [fn(TcpStream, TcpStream); 3] = [
        |_client, server| reset(server),
        |client, _server| reset(client),
        // No WebSocket any more.
        |mut client, mut server| pass(&mut server, &mut client, [0xff; 9]),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let (mut client, mut server) = switched(&bed);
        ask(&mut client, &mut server, &create(&json!({ "input": format!("wish {n}") })));
        tell(&mut server, &mut client, &event("response.created", "resp_1", "in_progress"));
        tell(&mut server, &mut client, &said("Hi."));
        end(client, server);
        let Finished { step, completion, .. } = bed.steps.finished(n + 1).remove(n);
        assert_eq!(step.response_id.as_deref(), Some("resp_1"), "end {n}");
        assert_eq!(step.status, Some(101), "end {n}");
        assert_eq!(completion.kind, StepKind::Planner, "end {n}");
        let estimated = || bed.agent.coverage.snapshot().calls_estimated;
        eventually("what was said of it is estimated", || estimated() == n as u64 + 1);
    }
    // One that waited for its turn has no answer at all.
    let (mut client, mut server) = switched(&bed);
    ask(&mut client, &mut server, &create(&json!({ "input": "wait" })));
    reset(server);
    let Finished { step, completion, .. } = bed.steps.finished(4).remove(3);
    assert_eq!((completion.state, step.status, step.ttft_ms), (State::Failed, None, None));
}

#[test]
fn an_error_over_websocket_has_the_status_that_it_tells() {
    let bed = Bed::start();
    let (mut client, mut server) = switched(&bed);
    ask(&mut client, &mut server, &create(&json!({ "input": "hello" })));
    let error = json!({ "code": "usage_limit_reached", "message": "x" });
    let error = padded(json!({ "type": "error", "status": 429, "error": error }));
    tell(&mut server, &mut client, &error);
    let Finished { step, completion, .. } = bed.steps.finished(1).remove(0);
    assert_eq!((completion.state, step.status), (State::Failed, Some(429)));
}

#[test]
fn an_upgrade_that_is_declined_is_no_call() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, UPGRADE);
    let declined = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n";
    pass(&mut server, &mut client, declined);
    pass(&mut client, &mut server, question("stream"));
    let events = format!(
        "event: response.created\ndata: {}\n\ndata: {}\n\n",
        event("response.created", "resp_1", "in_progress"),
        event("response.completed", "resp_1", "completed"),
    );
    pass(&mut server, &mut client, answer("text/event-stream", &events));
    let Finished { step, .. } = bed.steps.finished(1).remove(0);
    assert_eq!((step.exchange_seq, step.status, step.usage), (Some(1), Some(200), Some(used())));
    assert_eq!(bed.counted("exchanges_other"), 1);
}

/// A question that sets this flag.
fn question(flag: &str) -> String {
    let body = json!({ "model": "m-1", "input": "hello", flag: true }).to_string();
    format!(
        "POST /v1/responses HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn answer(content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// The response as a document.
fn document(id: &str, status: &str) -> String {
    let event: Value = serde_json::from_str(&event("", id, status)).expect("JSON");
    answer("application/json", &event["response"].to_string())
}

#[test]
fn a_background_call_is_settled_by_the_exchange_that_fetches_its_answer() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, question("background"));
    pass(&mut server, &mut client, document("resp_1", "queued"));
    drop((client, server));
    // Another connection of the same agent.
    let (mut client, mut server) = bed.pair();
    let poll = "GET /v1/responses/resp_1 HTTP/1.1\r\nHost: api.test\r\n\r\n";
    for status in ["in_progress", "completed", "completed"] {
        assert_eq!(bed.steps.placed().len(), 1);
        pass(&mut client, &mut server, poll);
        pass(&mut server, &mut client, document("resp_1", status));
    }
    let Finished { step, .. } = bed.steps.finished(1).remove(0);
    assert_eq!(step.step_id, bed.steps.placed()[0].1.step_id);
    assert_eq!((step.response_id.as_deref(), step.usage), (Some("resp_1"), Some(used())));
    assert_eq!((step.settled, step.status), (true, Some(200)));
    drop((client, server));
    let coverage = bed.coverage();
    assert_eq!((coverage.calls, coverage.calls_not_understood), (1, 0));
}
