//! Two conversations that take turns, and who can tell them apart.

use serde_json::{Value, json};

use super::*;
use crate::eval::{
    read::read,
    record::{Bytes, Ended, Record, Request, Response},
};

/// A call of a process, under way from one time to another, with an answer that calls a tool or none.
fn record(exchange: u64, pid: u32, (start_us, end_us): (u64, u64), turns: &[Value]) -> Record {
    let json = |value: Value| Bytes(value.to_string().into_bytes());
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let choice = json!({ "index": 0, "message": turns.last(), "finish_reason": "stop" });
    let answer = json!({ "id": "chatcmpl-1", "model": "m", "choices": [choice] });
    let asked = turns.split_last().map_or(&[][..], |(_, asked)| asked);
    Record {
        exchange,
        agent: "a".to_owned(),
        client: String::new(),
        pid,
        connection: 1,
        start_us,
        end_us,
        request: Request {
            method: "POST".to_owned(),
            target: "/v1/chat/completions".to_owned(),
            headers: headers.clone(),
            body: json(json!({ "model": "m", "messages": asked })),
        },
        response: Some(Response { status: 200, headers, body: json(answer) }),
        ended: Ended::Whole,
        lost: false,
        truth: None,
    }
}

fn says(role: &str, text: &str) -> Value {
    json!({ "role": role, "content": text })
}

/// What each call is said to follow.
fn parents(way: Baseline, records: &[Record]) -> Vec<Vec<StepRef>> {
    way.guess(&read(records)).into_values().map(|place| place.parents).collect()
}

/// Calls 1 and 3 are one conversation, calls 2 and 4 another one.
fn two_conversations() -> Vec<Record> {
    let call = json!({ "id": "call_0", "type": "function",
        "function": { "name": "search", "arguments": "{}" } });
    let calls = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
    let result = json!({ "role": "tool", "tool_call_id": "call_0", "content": "found" });
    let one = [says("user", "one"), calls, result, says("assistant", "done")];
    let two =
        [says("user", "two"), says("assistant", "2"), says("user", "on"), says("assistant", "3")];
    vec![
        record(1, 7, (10, 20), &one[..2]),
        record(2, 8, (11, 21), &two[..2]),
        // It begins just when what it follows has ended.
        record(3, 7, (21, 30), &one),
        record(4, 8, (21, 31), &two),
    ]
}

#[test]
fn who_reads_on_tells_conversations_apart() {
    let records = two_conversations();
    let apart = [vec![], vec![], vec![StepRef::call(1, 0)], vec![StepRef::exchange(2)]];
    for way in [Baseline::LongestPrefix, Baseline::SessionHash, Baseline::Process] {
        assert_eq!(parents(way, &records), apart, "{way:?}");
    }
    let mixed = [vec![], vec![], vec![StepRef::exchange(2)], vec![StepRef::exchange(2)]];
    assert_eq!(parents(Baseline::ArrivalOrder, &records), mixed);
}

#[test]
fn what_clients_call_their_session_counts_more_than_what_they_say() {
    let mut records = two_conversations();
    for record in &mut records {
        record.request.headers.push(("x-session-id".to_owned(), "same".to_owned()));
    }
    let mixed = [vec![], vec![], vec![StepRef::exchange(2)], vec![StepRef::exchange(2)]];
    assert_eq!(parents(Baseline::SessionHash, &records), mixed);
}
