mod answer;
mod background;
mod properties;
mod request;
mod socket;

use serde_json::{Value, json};

use crate::{
    call::{Answer, Message, Prompt},
    dialect::{
        Asked, Known, NotUnderstood, Observer, Reading, RequestInfo, ResponseInfo, What, detect,
    },
};

const JSON: Option<&str> = Some("application/json");
const EVENTS: Option<&str> = Some("text/event-stream; charset=utf-8");

fn info<'a>(method: &'a str, target: &'a str) -> RequestInfo<'a> {
    RequestInfo {
        method,
        target,
        host: None,
        content_type: JSON,
        content_encoding: None,
        content_length: None,
        client_retry: None,
        signals: &[],
    }
}

fn observer() -> Observer {
    detect(&info("POST", "/v1/responses")).expect("a response is asked for")
}

/// What the one call asks.
fn prompt(asked: &[Asked]) -> Prompt {
    let [Asked { what: What::Model(prompt), .. }] = asked else { panic!("not one: {asked:?}") };
    prompt.clone()
}

fn ask_as(mut observer: Observer, body: &str) -> Result<Prompt, NotUnderstood> {
    observer.request_body(body.as_bytes());
    observer.request_end(&mut Known::default()).map(|asked| prompt(&asked))
}

fn ask(body: &Value) -> Prompt {
    ask_as(observer(), &body.to_string()).expect("a prompt")
}

/// What these items come to as messages.
fn messages(items: &Value) -> Vec<Message> {
    ask(&json!({"input": items})).messages
}

/// The same in Chat Completions.
fn chat(messages: &Value) -> Vec<Message> {
    let observer = detect(&info("POST", "/v1/chat/completions")).expect("a chat completion");
    ask_as(observer, &json!({"messages": messages}).to_string()).expect("a prompt").messages
}

fn read(content_type: Option<&str>, whole: bool, pieces: &[&[u8]]) -> Reading {
    let (mut observer, mut known) = (observer(), Known::default());
    observer.request_body(b"{\"input\":\"x\"}");
    assert!(observer.request_end(&mut known).is_ok());
    head(&mut observer, content_type);
    for piece in pieces {
        observer.response_body(piece);
    }
    observer.response_end(whole, &mut known).remove(0).reading
}

fn head(observer: &mut Observer, content_type: Option<&str>) {
    let (status, content_encoding) = (200, None);
    observer.response_head(&ResponseInfo { status, content_type, content_encoding, signals: &[] });
}

fn answer(content_type: Option<&str>, body: &str) -> Answer {
    let reading = read(content_type, true, &[body.as_bytes()]);
    assert_eq!(reading.not_understood, None, "{body}");
    reading.answer
}

fn events(events: &[Value]) -> String {
    let event = |event: &Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        format!("event: {kind}\ndata: {event}\n\n")
    };
    events.iter().map(event).collect()
}

fn message_item(text: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]})
}

fn call_item(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": format!("fc_{id}"), "type": "function_call", "status": "completed",
        "call_id": id, "name": name, "arguments": arguments})
}

fn reasoning_item() -> Value {
    json!({"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA"})
}

/// A whole turn: it thinks, speaks and calls two tools.
fn turn_items() -> Value {
    json!([
        reasoning_item(),
        message_item("Let me look."),
        call_item("call_a", "get", "{\"city\":\"Z\\u00fcrich\"}"),
        {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_b", "name": "patch",
            "input": "*** Begin"},
    ])
}

fn response(id: &str, status: &str, output: &Value) -> Value {
    json!({"id": id, "object": "response", "created_at": 1, "status": status, "error": null,
        "incomplete_details": null, "instructions": null, "model": "gpt-x-2026", "output": output,
        "service_tier": "default", "usage": null, "metadata": {}})
}

fn usage() -> Value {
    json!({"input_tokens": 90, "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8},
        "output_tokens": 40, "output_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 130})
}

fn finished(output: &Value) -> Value {
    let mut response = response("resp_1", "completed", output);
    response["usage"] = usage();
    response
}

/// The turn as it streams, up to its last event.
fn turn_events() -> Vec<Value> {
    let started = response("resp_1", "in_progress", &json!([]));
    let mut events = vec![
        json!({"type": "response.created", "sequence_number": 0, "response": started}),
        json!({"type": "response.in_progress", "sequence_number": 1, "response": started}),
        json!({"type": "response.output_item.added", "output_index": 0,
            "item": {"id": "rs_1", "type": "reasoning", "summary": []}}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": reasoning_item()}),
        json!({"type": "response.output_item.added", "output_index": 1,
            "item": {"id": "msg_1", "type": "message", "status": "in_progress", "content": [], "role": "assistant"}}),
        json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 1,
            "content_index": 0, "part": {"type": "output_text", "annotations": [], "text": ""}}),
    ];
    let delta = |kind: &str, index: u64, delta: &str| {
        json!({"type": format!("response.{kind}.delta"),
        "item_id": "x", "output_index": index, "content_index": 0, "delta": delta, "obfuscation": "Zq"})
    };
    events.extend(["Let me", " look", "."].map(|text| delta("output_text", 1, text)));
    events.push(
        json!({"type": "response.output_text.done", "output_index": 1, "text": "Let me look."}),
    );
    events.push(
        json!({"type": "response.output_item.done", "output_index": 1, "item": turn_items()[1]}),
    );
    for (index, kind, field, parts) in [
        (2, "function_call_arguments", "arguments", ["{\"city\": \"Zü", "rich\"}"]),
        (3, "custom_tool_call_input", "input", ["***", " Begin"]),
    ] {
        let mut begun = turn_items()[index].clone();
        begun[field] = "".into();
        begun["status"] = "in_progress".into();
        events.push(
            json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
        );
        events.extend(parts.map(|part| delta(kind, index as u64, part)));
        events.push(json!({"type": "response.output_item.done", "output_index": index,
            "item": turn_items()[index]}));
    }
    events
}

fn completed(output: &Value) -> Value {
    json!({"type": "response.completed", "sequence_number": 99, "response": finished(output)})
}
