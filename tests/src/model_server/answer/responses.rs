//! Responses: the `openai` API reference, "Create a model response" and its streaming events. Over
//! a WebSocket the same events come, each in a message.

use serde_json::{Value, json};

use super::{
    super::conversation::{self, Said, first},
    Answer, CREATED, array, pieces, total,
};

pub(super) fn said(request: &Value) -> Vec<Said> {
    if let Some(text) = request["input"].as_str() {
        return vec![Said::Wish(text.to_owned())];
    }
    array(&request["input"]).iter().map(item_said).collect()
}

fn item_said(item: &Value) -> Said {
    match item["type"].as_str() {
        Some("function_call") => Said::Called(vec![first([&item["call_id"]])]),
        Some("function_call_output") => Said::Result(first([&item["call_id"]])),
        // What is thought between a turn's calls does not part them.
        Some("reasoning") => Said::Called(Vec::new()),
        None | Some("message") if item["role"] == "user" => conversation::wish(&item["content"]),
        _ => Said::Other,
    }
}

pub(super) fn document(answer: &Answer) -> Value {
    response(answer, "completed")
}

/// The events of a stream, which are the messages of a socket.
pub(super) fn messages(answer: &Answer) -> Vec<Value> {
    let mut events = vec![
        json!({"type": "response.created", "response": response(answer, "in_progress")}),
        json!({"type": "response.in_progress", "response": response(answer, "in_progress")}),
    ];
    for (index, item) in output(answer).iter().enumerate() {
        let mut begun = item.clone();
        match item["type"].as_str() {
            Some("message") => begun["content"] = json!([]),
            Some("reasoning") => begun["summary"] = json!([]),
            _ => begun["arguments"] = "".into(),
        }
        if !item["status"].is_null() {
            begun["status"] = "in_progress".into();
        }
        let whole =
            |kind: &str, item: &Value| json!({"type": kind, "output_index": index, "item": item});
        events.push(whole("response.output_item.added", &begun));
        events.extend(content(item, index));
        events.push(whole("response.output_item.done", item));
    }
    events.push(json!({"type": "response.completed", "response": document(answer)}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = number.into();
    }
    events
}

/// What comes between an item's beginning and its end.
fn content(item: &Value, index: usize) -> Vec<Value> {
    let at = |kind: &str, mut event: Value| {
        event["type"] = kind.into();
        event["item_id"] = item["id"].clone();
        event["output_index"] = index.into();
        event
    };
    match item["type"].as_str() {
        Some("message") => message(&item["content"][0], at),
        Some("reasoning") => summary(&item["summary"][0], at),
        _ => function_call(item, at),
    }
}

fn message(part: &Value, at: impl Fn(&str, Value) -> Value) -> Vec<Value> {
    let on = |kind: &str, key: &str, value: &Value| {
        let mut event = json!({"content_index": 0, key: value});
        if key != "part" {
            event["logprobs"] = json!([]);
        }
        at(&format!("response.{kind}"), event)
    };
    let mut events = vec![on("content_part.added", "part", &without_text(part))];
    for piece in pieces(part["text"].as_str().unwrap_or_default()) {
        events.push(on("output_text.delta", "delta", &piece.into()));
    }
    events.push(on("output_text.done", "text", &part["text"]));
    events.push(on("content_part.done", "part", part));
    events
}

fn summary(part: &Value, at: impl Fn(&str, Value) -> Value) -> Vec<Value> {
    let on = |kind: &str, key: &str, value: &Value| {
        at(&format!("response.reasoning_summary_{kind}"), json!({"summary_index": 0, key: value}))
    };
    let mut events = vec![on("part.added", "part", &without_text(part))];
    for piece in pieces(part["text"].as_str().unwrap_or_default()) {
        events.push(on("text.delta", "delta", &piece.into()));
    }
    events.push(on("text.done", "text", &part["text"]));
    events.push(on("part.done", "part", part));
    events
}

fn function_call(item: &Value, at: impl Fn(&str, Value) -> Value) -> Vec<Value> {
    let arguments = &item["arguments"];
    let delta = |piece| at("response.function_call_arguments.delta", json!({"delta": piece}));
    let mut events: Vec<Value> =
        pieces(arguments.as_str().unwrap_or_default()).into_iter().map(delta).collect();
    let done = json!({"arguments": arguments, "name": item["name"]});
    events.push(at("response.function_call_arguments.done", done));
    events
}

fn without_text(part: &Value) -> Value {
    let mut part = part.clone();
    part["text"] = "".into();
    part
}

fn response(answer: &Answer, status: &str) -> Value {
    let done = status == "completed";
    let usage = answer.usage;
    json!({
        "id": answer.id, "object": "response", "created_at": CREATED, "status": status,
        "background": false, "error": null, "incomplete_details": null, "instructions": null,
        "max_output_tokens": null, "model": answer.model, "metadata": {},
        "output": if done { output(answer) } else { Vec::new() },
        "parallel_tool_calls": true, "previous_response_id": null, "reasoning": null,
        "service_tier": if done { "default" } else { "auto" }, "store": true, "temperature": 1.0,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "truncation": "disabled",
        "usage": done.then(|| json!({
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cache_read_tokens,
                "cache_write_tokens": usage.cache_creation_tokens,
            },
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": total(usage),
        })),
    })
}

fn output(answer: &Answer) -> Vec<Value> {
    let id = &answer.id;
    let thoughts = answer.thought.iter().map(|thought| {
        json!({
            "id": format!("rs_{id}"), "type": "reasoning", "encrypted_content": "c2NyaXB0ZWQ=",
            "summary": [{"type": "summary_text", "text": thought}],
        })
    });
    let texts = answer.text.iter().map(|text| {
        let part = json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
        json!({
            "id": format!("msg_{id}"), "type": "message", "role": "assistant",
            "status": "completed", "content": [part],
        })
    });
    let calls = answer.calls.iter().map(|call| {
        let mut item = json!({
            "id": format!("fc_{}", call.id), "type": "function_call", "status": "completed",
            "call_id": call.id, "name": call.name, "arguments": call.arguments(),
        });
        if let Some(namespace) = &call.namespace {
            item["namespace"] = namespace.as_str().into();
        }
        item
    });
    thoughts.chain(texts).chain(calls).collect()
}
