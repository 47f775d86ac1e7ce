//! Google's `generateContent`: the Gemini API reference, "Generating content". A stream is events
//! where the client asks for them (`alt=sse`), else an array that grows.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::conversation::{Said, first},
    Answer, array as list, pieces, total,
};

/// The contents of `generateContentRequest` are what a `countTokens` may wrap.
pub(super) fn said(request: &Value) -> Vec<Said> {
    let wrapped = &request["generateContentRequest"]["contents"];
    let contents = if wrapped.is_null() { &request["contents"] } else { wrapped };
    list(contents).iter().flat_map(content_said).collect()
}

fn content_said(content: &Value) -> Vec<Said> {
    let user = content["role"] != "model";
    let part = |part: &Value| {
        let (call, result) = (&part["functionCall"], &part["functionResponse"]);
        match part["text"].as_str() {
            Some(text) if user => Said::Wish(text.to_owned()),
            _ if !call.is_null() => Said::Called(vec![first([&call["id"], &call["name"]])]),
            _ if !result.is_null() => Said::Result(first([&result["id"], &result["name"]])),
            _ => Said::Called(Vec::new()),
        }
    };
    list(&content["parts"]).iter().map(part).collect()
}

pub(super) fn document(answer: &Answer) -> Value {
    let thoughts = answer.thought.iter().map(|text| thought(text));
    let texts = answer.text.iter().map(|text| json!({"text": text}));
    let parts: Vec<Value> = thoughts.chain(texts).chain(calls(answer)).collect();
    response(answer, &parts, true)
}

pub(super) fn events(answer: &Answer) -> Vec<Bytes> {
    // Its lines end as its server's do.
    chunks(answer).iter().map(|chunk| format!("data: {chunk}\r\n\r\n").into()).collect()
}

pub(super) fn array(answer: &Answer) -> Vec<Bytes> {
    let mut pieces: Vec<Bytes> = Vec::new();
    for chunk in chunks(answer) {
        let before = if pieces.is_empty() { "[" } else { ",\r\n" };
        pieces.push(format!("{before}{chunk:#}").into());
    }
    pieces.push("]\n".into());
    pieces
}

fn chunks(answer: &Answer) -> Vec<Value> {
    let thoughts = answer.thought.iter().flat_map(|text| pieces(text)).map(thought);
    let texts = answer.text.iter().flat_map(|text| pieces(text));
    let texts = texts.map(|piece| json!({"text": piece}));
    let parts: Vec<Value> = thoughts.chain(texts).chain(calls(answer)).collect();
    let last = parts.len().saturating_sub(1);
    let chunk = |(at, part)| response(answer, &[part], at == last);
    parts.into_iter().enumerate().map(chunk).collect()
}

fn thought(text: &str) -> Value {
    json!({"text": text, "thought": true})
}

fn calls(answer: &Answer) -> impl Iterator<Item = Value> {
    answer.calls.iter().map(|call| {
        let function = json!({"id": call.id, "name": call.name, "args": call.arguments});
        json!({"functionCall": function, "thoughtSignature": "c2NyaXB0ZWQ="})
    })
}

/// Only the last part of a stream counts what was generated.
fn response(answer: &Answer, parts: &[Value], last: bool) -> Value {
    let usage = answer.usage;
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    let mut counted = json!({
        "promptTokenCount": usage.input_tokens, "totalTokenCount": usage.input_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input_tokens}],
    });
    if last {
        candidate["finishReason"] = "STOP".into();
        let visible = usage.output_tokens - usage.reasoning_tokens;
        counted["candidatesTokenCount"] = visible.into();
        counted["totalTokenCount"] = total(usage).into();
        counted["cachedContentTokenCount"] = usage.cache_read_tokens.into();
        counted["thoughtsTokenCount"] = usage.reasoning_tokens.into();
    }
    json!({
        "candidates": [candidate], "usageMetadata": counted, "modelVersion": answer.model,
        "responseId": answer.id,
    })
}
