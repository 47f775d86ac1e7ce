//! Google's `generateContent`, which gives tool calls no ids.

use serde_json::{Value, json};

use super::{Ask, Reply, Turn};

pub(super) fn request(ask: &Ask<'_>) -> Value {
    let contents: Vec<Value> = ask.turns.iter().filter_map(content).collect();
    let mut body = json!({ "contents": contents });
    if let Some(Turn::System(text)) = ask.turns.first() {
        body["systemInstruction"] = json!({ "parts": [{ "text": text }] });
    }
    if let Some(most) = ask.most {
        body["generationConfig"] = json!({ "maxOutputTokens": most });
    }
    body
}

fn content(turn: &Turn) -> Option<Value> {
    match turn {
        Turn::System(_) => None,
        Turn::User(text) => Some(json!({ "role": "user", "parts": [{ "text": text }] })),
        Turn::Assistant(reply) => Some(json!({ "role": "model", "parts": parts(reply) })),
        Turn::Results(results) => {
            let part = |(name, text): (&str, &str)| json!({ "functionResponse": { "name": name, "response": { "output": text } } });
            let parts: Vec<Value> = results.iter().map(|it| part((&it.name, &it.text))).collect();
            Some(json!({ "role": "user", "parts": parts }))
        }
    }
}

fn parts(reply: &Reply) -> Vec<Value> {
    let text = (!reply.text.is_empty()).then(|| json!({ "text": reply.text }));
    let calls = reply
        .calls
        .iter()
        .map(|call| json!({ "functionCall": { "name": call.name, "args": call.arguments } }));
    text.into_iter().chain(calls).collect()
}

pub(super) fn answer(id: &str, model: &str, reply: &Reply) -> Value {
    json!({
        "candidates": [{
            "content": { "role": "model", "parts": parts(reply) },
            "finishReason": "STOP",
            "index": 0,
        }],
        "usageMetadata": { "promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120 },
        "modelVersion": model,
        "responseId": id,
    })
}
