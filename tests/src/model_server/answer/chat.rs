//! Chat Completions: the `openai` API reference, "Create chat completion" and "Streaming".

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::conversation::{self, Said, first},
    Answer, CREATED, Call, Usage, array, pieces, total, unnamed,
};

pub(super) fn said(request: &Value) -> Vec<Said> {
    array(&request["messages"]).iter().map(message_said).collect()
}

fn message_said(message: &Value) -> Said {
    match message["role"].as_str() {
        Some("user") => conversation::wish(&message["content"]),
        Some("tool") => Said::Result(first([&message["tool_call_id"]])),
        _ => match array(&message["tool_calls"]) {
            [] => Said::Other,
            calls => Said::Called(calls.iter().map(|call| first([&call["id"]])).collect()),
        },
    }
}

pub(super) fn document(answer: &Answer) -> Value {
    let choice = json!({
        "index": 0, "message": message(answer), "logprobs": null, "finish_reason": finish(answer),
    });
    let mut document = envelope(answer, "chat.completion", &[choice]);
    document["usage"] = usage(answer.usage);
    document
}

pub(super) fn events(answer: &Answer, include_usage: bool) -> Vec<Bytes> {
    let mut events = vec![delta(answer, &json!({"role": "assistant", "content": null}))];
    for piece in answer.text.iter().flat_map(|text| pieces(text)) {
        events.push(delta(answer, &json!({"content": piece})));
    }
    for (index, call) in answer.calls.iter().enumerate() {
        let function = json!({"name": call.name, "arguments": ""});
        let begin =
            json!({"index": index, "id": call.id, "type": "function", "function": function});
        events.push(delta(answer, &json!({"tool_calls": [begin]})));
        for piece in pieces(&call.arguments()) {
            let more = json!({"index": index, "function": {"arguments": piece}});
            events.push(delta(answer, &json!({"tool_calls": [more]})));
        }
    }
    let end = json!({
        "index": 0, "delta": {}, "logprobs": null, "finish_reason": finish(answer),
    });
    events.push(envelope(answer, CHUNK, &[end]));
    if include_usage {
        for event in &mut events {
            event["usage"] = Value::Null;
        }
        let mut last = envelope(answer, CHUNK, &[]);
        last["usage"] = usage(answer.usage);
        events.push(last);
    }
    let mut events: Vec<Bytes> = events.iter().map(unnamed).collect();
    events.push("data: [DONE]\n\n".into());
    events
}

pub(super) fn message(answer: &Answer) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.text, "refusal": null});
    if !answer.calls.is_empty() {
        message["tool_calls"] = answer.calls.iter().map(call).collect();
    }
    message
}

pub(super) fn finish(answer: &Answer) -> &'static str {
    if answer.calls.is_empty() { "stop" } else { "tool_calls" }
}

/// As in Completions.
pub(super) fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": total(usage),
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens, "audio_tokens": 0,
            "cache_write_tokens": usage.cache_creation_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

fn call(call: &Call) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments()});
    json!({"id": call.id, "type": "function", "function": function})
}

fn delta(answer: &Answer, delta: &Value) -> Value {
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null});
    envelope(answer, CHUNK, &[choice])
}

fn envelope(answer: &Answer, object: &str, choices: &[Value]) -> Value {
    json!({
        "id": answer.id, "object": object, "created": CREATED, "model": answer.model,
        "service_tier": "default", "system_fingerprint": "fp_scripted", "choices": choices,
    })
}

const CHUNK: &str = "chat.completion.chunk";
