//! Calls that are refused over the transport before there were sessions (enforce): their client is told
//! in the stream in which it waits for answers.

use std::{io::Read as _, net::TcpStream};

use serde_json::{Value, json};
use turnpike::proxy::Decision;

use super::{
    super::{
        bed::{Bed, Server, eventually},
        gate::{answer, expect, heard_nothing, no, rest, saying, send},
    },
    EVENTS, accepted, call, event, post, result,
};

const GET: &str = "GET /sse HTTP/1.1\r\nHost: mcp.test\r\nAccept: text/event-stream\r\n\r\n";
const ENDPOINT: &str = "event: endpoint\r\ndata: /messages/?session_id=1\r\n\r\n";
const TARGET: &str = "/messages/?session_id=1";
const UNTIL_THE_END: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The client's and the server's end of a stream that has begun so.
fn listening(bed: &Bed, at: &Server, head: &str, begin: &str) -> (TcpStream, TcpStream) {
    let mut client = bed.connect(at.address);
    let mut server = at.accept();
    send(&mut client, GET);
    expect(&mut server, GET);
    send(&mut server, head);
    send(&mut server, begin);
    expect(&mut client, &[head, begin].concat());
    (client, server)
}

/// Posts a call that is refused: what it is answered.
fn refused(bed: &Bed, at: &Server, body: &Value) -> String {
    posted(bed, at, &post(TARGET, None, body))
}

fn posted(bed: &Bed, at: &Server, request: &str) -> String {
    let mut client = bed.connect(at.address);
    let mut server = at.accept();
    send(&mut client, request);
    let answer = rest(&mut client);
    heard_nothing(&mut server);
    answer
}

#[track_caller]
fn is_accepted(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nAccepted"), "{answer}");
}

/// The event with which the call of this id is refused.
fn refusal(id: u64) -> String {
    let text = "turnpike: not today; ask tomorrow";
    let result = json!({ "resultType": "complete", "content": [{ "type": "text", "text": text }],
        "isError": true });
    let message = json!({ "jsonrpc": "2.0", "id": id, "result": result });
    format!("event: message\ndata: {message}\n\n")
}

fn told(message: &Value) -> String {
    format!("event: message\r\ndata: {message}\r\n\r\n")
}

#[test]
fn it_is_accepted_and_then_refused_in_the_stream_which_goes_on() {
    type Frame = fn(&str) -> String;
    let frames: [(&str, Frame); 2] = [(EVENTS, chunk), (UNTIL_THE_END, |text| text.to_owned())];
    for (head, frame) in frames {
        let bed = saying(Decision::Refuse(no()));
        let at = Server::new();
        let (mut client, mut server) = listening(&bed, &at, head, &frame(ENDPOINT));
        for id in [7, 8] {
            is_accepted(&refused(&bed, &at, &call(id, "search", &json!({}))));
            expect(&mut client, &frame(&refusal(id)));
            let ping = frame(": ping\r\n\r\n");
            send(&mut server, &ping);
            expect(&mut client, &ping);
        }
        let steps = bed.steps.finished(2);
        assert!(steps.iter().all(|it| it.step.settled && it.step.status == Some(202)));
        assert_eq!(bed.counted("calls_refused"), 2);
    }
}

#[test]
fn it_waits_for_the_end_of_an_event_and_of_a_chunk() {
    let bed = saying(Decision::Refuse(no()));
    let at = Server::new();
    let (mut client, mut server) = listening(&bed, &at, EVENTS, &chunk(ENDPOINT));
    let whole = told(&result(1, false));
    let (first, last) = whole.split_at(20);
    let (chunked, next) = (chunk(&whole), chunk(": ping\r\n\r\n"));
    // Between two chunks in the middle of an event, and within a chunk behind whole events.
    for [before, after] in [
        [chunk(first), chunk(last)],
        [
            format!("40\r\n{ENDPOINT}"),
            format!("{}\r\n", ":".repeat(0x40 - ENDPOINT.len() - 4) + "\r\n\r\n"),
        ],
        [chunked[..chunked.len() - 1].to_owned(), "\n".to_owned()],
    ] {
        send(&mut server, &before);
        let passed = before.strip_suffix('\r').unwrap_or(&before);
        expect(&mut client, passed);
        is_accepted(&refused(&bed, &at, &call(2, "search", &json!({}))));
        send(&mut server, &after);
        expect(&mut client, &[&before[passed.len()..], &after, &chunk(&refusal(2))].concat());
        send(&mut server, &next);
        expect(&mut client, &next);
    }
}

/// The content of the chunks that are whole.
fn dechunked(mut text: &str) -> String {
    let mut content = String::new();
    while let Some((size, after)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        let Some((data, after)) = after.split_at_checked(size) else { break };
        content.push_str(data);
        text = after.strip_prefix("\r\n").unwrap_or_default();
    }
    content
}

#[test]
fn however_the_stream_comes_its_events_stay_whole() {
    const REFUSALS: u64 = 7;
    let events = [told(&result(1, false)), ": ping\r\n\r\n".into(), told(&result(2, true))];
    let stream = events.each_ref().map(|event| chunk(event)).concat();
    for size in [1, 3, 8, 40] {
        let bed = saying(Decision::Refuse(no()));
        let at = Server::new();
        let (mut client, mut server) = listening(&bed, &at, EVENTS, &chunk(ENDPOINT));
        let mut ids = 100..100 + REFUSALS;
        let pieces: Vec<_> = stream.as_bytes().chunks(size).collect();
        for (place, piece) in pieces.iter().enumerate() {
            send(&mut server, piece);
            if place % (pieces.len() / 6) == 0
                && let Some(id) = ids.next()
            {
                is_accepted(&refused(&bed, &at, &call(id, "search", &json!({}))));
            }
        }
        let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
        let refusals: Vec<_> = (100..ids.start).map(refusal).collect();
        let length = [&events[..], &refusals].concat().concat().len();
        let mut content = String::new();
        while content.len() < length {
            let read = client.read(&mut buffer).expect("it comes");
            received.extend_from_slice(&buffer[..read]);
            content = dechunked(str::from_utf8(&received).expect("text"));
        }
        for refusal in &refusals {
            let at = content.find(refusal).unwrap_or_else(|| panic!("{refusal}{content}"));
            assert!(
                at == 0 || content[..at].ends_with("\n\n") || content[..at].ends_with("\n\r\n")
            );
            content.replace_range(at..at + refusal.len(), "");
        }
        assert_eq!(content, events.concat());
    }
}

#[test]
fn what_calls_no_tool_is_refused_with_an_error() {
    let bed = Bed::enforcing();
    let at = Server::new();
    let (mut client, _server) = listening(&bed, &at, EVENTS, &chunk(ENDPOINT));
    let body = r#"{"jsonrpc":"2.0","id":"a","method":"tools/list","method":"tools/list"}"#;
    let head = post(TARGET, None, &json!(null));
    let (head, _) = head.split_once("Content-Length").expect("a length");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    is_accepted(&posted(&bed, &at, &request));
    let mut received = vec![0; 4096];
    let read = client.read(&mut received).expect("it comes");
    let text = String::from_utf8_lossy(&received[..read]);
    let (_, data) = text.split_once("\r\nevent: message\ndata: ").expect("an event");
    let data: Value = serde_json::from_str(data.trim_end()).expect("JSON");
    assert_eq!((&data["id"], &data["error"]["code"]), (&json!("a"), &json!(-32010)));
    let message = data["error"]["message"].as_str().expect("text");
    assert!(message.starts_with("turnpike: ") && message.contains("twice"), "{message}");
}

#[test]
fn where_nothing_can_be_said_in_the_stream_it_is_answered_where_it_was_posted() {
    let coded = EVENTS.replace("Transfer", "Content-Encoding: br\r\nTransfer");
    let length = UNTIL_THE_END.replace("\r\n\r\n", "\r\nContent-Length: 999\r\n\r\n");
    let elsewhere = ENDPOINT.replace("=1", "=2");
    for (head, begin) in [
        (length.as_str(), ENDPOINT.to_owned()),
        (&coded, chunk(ENDPOINT)),
        (EVENTS, chunk(&elsewhere)),
        (EVENTS, chunk(&event("{}"))),
    ] {
        let bed = saying(Decision::Refuse(no()));
        let at = Server::new();
        let (_client, _server) = listening(&bed, &at, head, &begin);
        let answer = refused(&bed, &at, &call(7, "search", &json!({})));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{head}{begin}{answer}");
        assert!(answer.contains("turnpike: not today"), "{answer}");
    }
}

#[test]
fn once_the_stream_has_ended_it_is_answered_where_it_was_posted() {
    let bed = saying(Decision::Refuse(no()));
    let at = Server::new();
    let (mut client, mut server) = listening(&bed, &at, EVENTS, &chunk(ENDPOINT));
    // Without an id there is nobody to be told.
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let mut post_client = bed.connect(at.address);
    let mut post_server = at.accept();
    let request = post(TARGET, None, &notification);
    send(&mut post_client, &request);
    expect(&mut post_server, &request);
    send(&mut post_server, accepted());
    expect(&mut post_client, &accepted());
    send(&mut server, "0\r\n\r\n");
    expect(&mut client, "0\r\n\r\n");
    eventually("it is listed", || {
        let lines = bed.agent.others.snapshot();
        lines.iter().any(|(kind, _)| kind.rpc_method == Some("stream"))
    });
    let mut caller = bed.connect(at.address);
    let _server = at.accept();
    send(&mut caller, post(TARGET, None, &call(7, "search", &json!({}))));
    let (head, body) = answer(&mut caller);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!((&body["id"], &body["result"]["isError"]), (&json!(7), &json!(true)));
}
