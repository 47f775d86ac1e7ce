mod answer;
mod beginnings;
mod properties;
mod request;

use serde_json::{Value, json};

use crate::{
    call::{Answer, Digest, Message, Prompt, Role, Unmetered, Usage},
    dialect::{
        Asked, Known, NotUnderstood, Observer, Reading, RequestInfo, ResponseInfo, What,
        arguments::Arguments, beginnings::Bounds, detect,
    },
    limits,
};

const JSON: Option<&str> = Some("application/json");
const EVENTS: Option<&str> = Some("text/event-stream; charset=utf-8");

fn request_info(target: &str) -> RequestInfo<'_> {
    RequestInfo {
        method: "POST",
        target,
        host: None,
        content_type: JSON,
        content_encoding: None,
        content_length: None,
        client_retry: Some(1),
        signals: &[],
    }
}

fn observer() -> Observer {
    detect(&request_info("/v1/chat/completions")).expect("a chat completion")
}

fn ask(body: &Value) -> Result<Prompt, NotUnderstood> {
    let mut observer = observer();
    observer.request_body(body.to_string().as_bytes());
    end(observer)
}

/// What was asked, of an agent that nothing is known of.
fn end(mut observer: Observer) -> Result<Prompt, NotUnderstood> {
    observer.request_end(&mut Known::default()).map(|asked| prompt(&asked))
}

/// What the one call asks.
fn prompt(asked: &[Asked]) -> Prompt {
    let [Asked { what: What::Model(prompt), .. }] = asked else { panic!("not one: {asked:?}") };
    prompt.clone()
}

/// What the response to the one call says.
fn end_response(observer: Observer, whole: bool) -> Reading {
    observer.response_end(whole, &mut Known::default()).remove(0).reading
}

/// What a request's history with this one message comes to.
fn message(message: &Value) -> Message {
    ask(&json!({"messages": [message]})).expect("a prompt").messages.remove(0)
}

fn read(content_type: Option<&str>, whole: bool, pieces: &[&[u8]]) -> Reading {
    let mut observer = asked();
    observer.response_head(&ResponseInfo {
        status: 200,
        content_type,
        content_encoding: None,
        signals: &[],
    });
    for piece in pieces {
        observer.response_body(piece);
    }
    end_response(observer, whole)
}

/// A call that has been asked.
fn asked() -> Observer {
    let mut observer = observer();
    observer.request_body(b"{\"messages\":[]}");
    assert!(observer.request_end(&mut Known::default()).is_ok());
    observer
}

fn answer(content_type: Option<&str>, body: &str) -> Answer {
    let reading = read(content_type, true, &[body.as_bytes()]);
    assert_eq!(reading.not_understood, None);
    reading.answer
}

/// An answer in one document that holds this message.
fn answered(message: &Value) -> Message {
    answer(JSON, &json!({"choices": [{"message": message}]}).to_string()).choices.remove(0)
}

fn events(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<Vec<_>>().concat()
}

fn delta(delta: &Value) -> Value {
    json!({"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// Two parallel tool calls whose parts are interleaved.
fn tool_stream() -> String {
    let part = |index: u32, part: Value| {
        let mut part = part;
        part["index"] = index.into();
        delta(&json!({"tool_calls": [part]}))
    };
    events(&[
        delta(&json!({"role": "assistant", "content": null, "refusal": null})),
        part(
            0,
            json!({"id": "call_a", "type": "function", "function": {"name": "get", "arguments": ""}}),
        ),
        part(
            1,
            json!({"id": "call_b", "type": "function", "function": {"name": "put", "arguments": ""}}),
        ),
        part(0, json!({"function": {"arguments": "{\"city\": \"Zür"}})),
        part(1, json!({"function": {"arguments": "{\"n\":"}})),
        part(0, json!({"function": {"arguments": "ich\"}"}})),
        part(1, json!({"function": {"arguments": "1}"}})),
        finish("tool_calls"),
        json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}),
    ]) + "data: [DONE]\n\n"
}

fn tool_message() -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_a", "type": "function",
         "function": {"name": "get", "arguments": "{\"city\":\"Z\\u00fcrich\"}"}},
        {"id": "call_b", "type": "function", "function": {"name": "put", "arguments": "{\"n\": 1.0}"}},
    ]})
}
