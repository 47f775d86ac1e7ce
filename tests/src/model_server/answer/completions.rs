//! Completions, the API before chat: the `openai` API reference, "Create completion".

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::conversation::{self, Said},
    Answer, CREATED, chat, pieces, unnamed,
};

pub(super) fn said(request: &Value) -> Vec<Said> {
    vec![conversation::wish(&request["prompt"])]
}

pub(super) fn document(answer: &Answer) -> Value {
    let text = answer.text.clone().unwrap_or_default();
    let mut document = envelope(answer, &[choice(&text, Some("stop"))]);
    document["usage"] = chat::usage(answer.usage);
    document
}

pub(super) fn events(answer: &Answer, include_usage: bool) -> Vec<Bytes> {
    let texts = answer.text.iter().flat_map(|text| pieces(text));
    let mut events: Vec<Value> =
        texts.map(|piece| envelope(answer, &[choice(piece, None)])).collect();
    events.push(envelope(answer, &[choice("", Some("stop"))]));
    if include_usage {
        let mut last = envelope(answer, &[]);
        last["usage"] = chat::usage(answer.usage);
        events.push(last);
    }
    let mut events: Vec<Bytes> = events.iter().map(unnamed).collect();
    events.push("data: [DONE]\n\n".into());
    events
}

fn choice(text: &str, finish: Option<&str>) -> Value {
    json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish})
}

fn envelope(answer: &Answer, choices: &[Value]) -> Value {
    json!({
        "id": answer.id, "object": "text_completion", "created": CREATED, "model": answer.model,
        "system_fingerprint": "fp_scripted", "choices": choices,
    })
}
