//! Ollama's own API: its reference, "Generate a chat message" and "Generate a response". A stream,
//! which is what it does unless told otherwise, is a JSON document a line.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::conversation::{self, Said, first},
    Answer, array, pieces,
};

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Chat,
    Generate,
}

/// Tool calls go by their names: not every client knows of their ids.
pub(super) fn said(request: &Value) -> Vec<Said> {
    if !request["prompt"].is_null() {
        return vec![conversation::wish(&request["prompt"])];
    }
    array(&request["messages"]).iter().map(message_said).collect()
}

fn message_said(message: &Value) -> Said {
    match message["role"].as_str() {
        Some("user") => conversation::wish(&message["content"]),
        Some("tool") => Said::Result(first([&message["tool_name"]])),
        _ => match array(&message["tool_calls"]) {
            [] => Said::Other,
            calls => {
                let name = |call: &Value| first([&call["function"]["name"]]);
                Said::Called(calls.iter().map(name).collect())
            }
        },
    }
}

pub(super) fn document(answer: &Answer, kind: Kind) -> Value {
    let text = answer.text.as_deref().unwrap_or_default();
    let mut document = piece(answer, kind, text, answer.thought.as_deref());
    if !answer.calls.is_empty() {
        document["message"]["tool_calls"] = calls(answer);
    }
    end(&mut document, answer, kind);
    document
}

pub(super) fn lines(answer: &Answer, kind: Kind) -> Vec<Bytes> {
    let mut lines = Vec::new();
    for thought in answer.thought.iter().flat_map(|thought| pieces(thought)) {
        lines.push(piece(answer, kind, "", Some(thought)));
    }
    for text in answer.text.iter().flat_map(|text| pieces(text)) {
        lines.push(piece(answer, kind, text, None));
    }
    if !answer.calls.is_empty() {
        let mut called = piece(answer, kind, "", None);
        called["message"]["tool_calls"] = calls(answer);
        lines.push(called);
    }
    let mut last = piece(answer, kind, "", None);
    end(&mut last, answer, kind);
    lines.push(last);
    lines.iter().map(|line| format!("{line}\n").into()).collect()
}

fn piece(answer: &Answer, kind: Kind, text: &str, thought: Option<&str>) -> Value {
    let mut piece = json!({"model": answer.model, "created_at": "2026-01-01T00:00:00.123456Z"});
    let place = match kind {
        Kind::Chat => {
            piece["message"] = json!({"role": "assistant", "content": text});
            &mut piece["message"]
        }
        Kind::Generate => {
            piece["response"] = text.into();
            &mut piece
        }
    };
    if let Some(thought) = thought {
        place["thinking"] = thought.into();
    }
    piece["done"] = false.into();
    piece
}

fn calls(answer: &Answer) -> Value {
    let call = |(index, call): (usize, &super::Call)| {
        let function = json!({"index": index, "name": call.name, "arguments": call.arguments});
        json!({"id": call.id, "function": function})
    };
    answer.calls.iter().enumerate().map(call).collect()
}

fn end(document: &mut Value, answer: &Answer, kind: Kind) {
    let usage = answer.usage;
    document["done"] = true.into();
    document["done_reason"] = "stop".into();
    if matches!(kind, Kind::Generate) {
        document["context"] = json!([1, 2, 3]);
    }
    for (name, count) in [
        ("total_duration", 174_560_334),
        ("load_duration", 101_397_084),
        ("prompt_eval_count", usage.input_tokens),
        ("prompt_eval_cached_count", usage.cache_read_tokens),
        ("prompt_eval_duration", 13_074_791),
        ("eval_count", usage.output_tokens),
        ("eval_duration", 52_479_709),
    ] {
        document[name] = count.into();
    }
}
