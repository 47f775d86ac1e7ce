//! Embeddings: the `openai` API reference, "Create embeddings".

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::{super::conversation::Said, Answer};

/// The last of the texts, if there are many.
pub(super) fn said(request: &Value) -> Vec<Said> {
    let input = &request["input"];
    let last = || input.as_array()?.last()?.as_str();
    let text = input.as_str().or_else(last);
    vec![text.map_or(Said::Other, |text| Said::Wish(text.to_owned()))]
}

/// Four numbers for each text, as text or as the bytes of floats.
pub(super) fn document(answer: &Answer, request: &Value) -> Value {
    let texts = request["input"].as_array().map_or(1, Vec::len);
    let vector = [0.5_f32, -0.25, 0.125, 0.0];
    let written = match request["encoding_format"].as_str() {
        Some("base64") => BASE64.encode(vector.map(f32::to_le_bytes).concat()).into(),
        _ => json!(vector),
    };
    let data: Vec<Value> = (0..texts)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": written}))
        .collect();
    let input = answer.usage.input_tokens;
    json!({
        "object": "list", "data": data, "model": answer.model,
        "usage": {"prompt_tokens": input, "total_tokens": input},
    })
}
