//! Calls that are made again: retries that might spend twice, and tools that are called the very same.

use std::{net::TcpStream, num::NonZero};

use serde_json::json;
use turnpike::{
    call::{Decision, Ruling},
    config::Mode,
    ledger::{Budget, Limits, Scope},
    policy::retries::OnRetry,
};

use super::{
    bed::{Bed, everywhere, reset},
    gate::{answer, expect, send},
};

fn bed(mode: Mode, on_retry: OnRetry) -> Bed {
    Bed::with(|agent| agent.in_mode(mode).under(everywhere()).retrying(on_retry))
}

fn request() -> String {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}"#;
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

const BEGUN: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\
     data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";

/// A try that goes upstream, on a connection of its own.
fn tried(bed: &Bed) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = bed.pair();
    send(&mut client, request());
    expect(&mut server, &request());
    (client, server)
}

/// A try whose client leaves in the middle of the answer.
fn aborted(bed: &Bed, tries: usize) {
    let (mut client, mut server) = tried(bed);
    send(&mut server, BEGUN);
    expect(&mut client, BEGUN);
    reset(client);
    bed.steps.settled(tries);
}

#[test]
fn a_retry_that_would_spend_twice_is_refused_where_that_is_wanted() {
    let bed = bed(Mode::Enforce, OnRetry::Refuse);
    aborted(&bed, 1);
    let (mut client, _server) = bed.pair();
    send(&mut client, request());
    let (head, body) = answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(head.contains("\r\nx-should-retry: false\r\n"), "{head}");
    assert_eq!(body["error"]["code"], "turnpike_denied");
    let message = body["error"]["message"].as_str().expect("a text");
    assert!(message.contains("on_retry lets it be made again 0 time(s)"), "{message}");
    let step = bed.steps.settled(2).remove(1).step;
    assert_eq!(step.policy, [Ruling::new("on_retry".into(), Decision::Deny)]);
    assert!(step.retry.is_some() && step.usage.is_none());
}

#[test]
fn so_many_retries_are_let_through() {
    let bed = bed(Mode::Enforce, OnRetry::AtMost(NonZero::<u32>::MIN));
    aborted(&bed, 1);
    aborted(&bed, 2);
    for tries in [3, 4] {
        let (mut client, _server) = bed.pair();
        send(&mut client, request());
        assert!(answer(&mut client).0.starts_with("HTTP/1.1 400 "));
        bed.steps.settled(tries);
    }
}

#[test]
fn a_retry_of_what_upstream_refused_spends_nothing_twice() {
    let bed = bed(Mode::Enforce, OnRetry::Refuse);
    let busy = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}";
    for tries in [1, 2] {
        let (mut client, mut server) = tried(&bed);
        send(&mut server, busy);
        expect(&mut client, busy);
        bed.steps.settled(tries);
    }
    assert!(bed.steps.placed()[1].1.retry.is_some_and(|retry| retry.attempt == 1));
    drop(tried(&bed));
}

#[test]
fn audit_says_of_a_retry_what_would_have_been() {
    let bed = bed(Mode::Audit, OnRetry::Refuse);
    aborted(&bed, 1);
    aborted(&bed, 2);
    let policy = bed.steps.settled(2).remove(1).step.policy;
    assert_eq!(policy, [Ruling::new("on_retry".into(), Decision::WouldDeny)]);
}

/// Each call over JSON-RPC has an id of its own, whatever it asks.
#[test]
fn a_tool_that_is_called_the_very_same_again_is_a_repeat() {
    let limits = Limits { repeats: Some(1), ..Limits::default() };
    let budget = Budget::new("agent", Scope::Agent, limits);
    let (bed, _purse) = Bed::paying(Mode::Enforce, vec![budget]);
    let call = |id: u64, arguments: serde_json::Value| {
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": { "name": "search", "arguments": arguments } })
        .to_string();
        format!(
            "POST /mcp HTTP/1.1\r\nHost: mcp.test\r\nContent-Type: application/json\r\n\
             Mcp-Session-Id: s\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let result = |id: u64| {
        let body = json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [] } }).to_string();
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let (mut client, mut server) = bed.pair();
    for (id, arguments) in [
        (1, json!({ "q": "x", "n": 1 })),
        (2, json!({ "q": "y", "n": 1 })),
        (3, json!({ "n": 1, "q": "x" })),
    ] {
        send(&mut client, call(id, arguments.clone()));
        expect(&mut server, &call(id, arguments));
        send(&mut server, result(id));
        expect(&mut client, &result(id));
    }
    send(&mut client, call(4, json!({ "q": "x", "n": 1 })));
    let (_, body) = answer(&mut client);
    assert_eq!((&body["id"], &body["result"]["isError"]), (&json!(4), &json!(true)));
    let text = body["result"]["content"][0]["text"].as_str().expect("a text");
    assert!(text.contains("budget agent allows agent a a repeats of 1"), "{text}");
}
