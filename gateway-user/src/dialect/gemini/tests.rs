mod answer;
mod properties;
mod request;

use serde_json::{Value, json};

use crate::{
    call::{Answer, Message, Operation, Role, Segments, Signal, Unmetered, Usage},
    dialect::{
        NotUnderstood, Reading,
        arguments::Arguments,
        trial::{EVENTS, JSON, Trial, respelled},
    },
    limits,
};

const GENERATE: Trial<'_> = Trial("/v1beta/models/gemini-2.5-pro:generateContent", ASKED);
const STREAM: Trial<'_> =
    Trial("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", ASKED);
const CODE_ASSIST: Trial<'_> = Trial("/v1internal:streamGenerateContent?alt=sse", ASKED);
const ASKED: &str = r#"{"contents":[]}"#;

/// The messages of a history.
fn messages(contents: &Value) -> Vec<Message> {
    GENERATE.ask(&json!({"contents": contents})).messages
}

/// As the API sends events.
fn events(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect::<Vec<_>>().concat()
}

/// As it sends them to those who don't ask for events.
fn array(chunks: &[Value]) -> String {
    let chunks: Vec<_> = chunks.iter().map(|chunk| format!("{chunk:#}")).collect();
    format!("[{}\n]\n", chunks.join("\n,\r\n"))
}

fn chunk(parts: &Value) -> Value {
    json!({
        "candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 50, "totalTokenCount": 50,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 50}]},
        "modelVersion": "gemini-2.5-pro", "responseId": "r-1",
    })
}

fn finished(parts: &Value) -> Value {
    let mut chunk = chunk(parts);
    chunk["candidates"][0]["finishReason"] = "STOP".into();
    chunk["usageMetadata"] = json!({"promptTokenCount": 50, "candidatesTokenCount": 20,
        "thoughtsTokenCount": 7, "toolUsePromptTokenCount": 3, "cachedContentTokenCount": 32,
        "totalTokenCount": 80, "serviceTier": "standard"});
    chunk
}

/// An answer in three chunks, with thoughts, text and two calls, one of which has an id.
fn chunks() -> [Value; 3] {
    [
        chunk(&json!([{"text": "**Thinking**", "thought": true}, {"text": "Let me "}])),
        chunk(&json!([{"text": "look.", "thoughtSignature": "c2ln"}])),
        finished(&json!([
            {"functionCall": {"name": "get", "args": {"city": "Zürich", "n": 1}}, "thoughtSignature": "eA=="},
            {"functionCall": {"id": "fc-2", "name": "put", "args": {}}},
            {"text": "", "thoughtSignature": "eQ=="},
        ])),
    ]
}

/// The same as one content.
fn content() -> Value {
    json!({"role": "model", "parts": [
        {"text": "Let me look."},
        {"functionCall": {"name": "get", "args": {"n": 1.0, "city": "Zürich"}}},
        {"functionCall": {"name": "put"}},
    ]})
}
