//! Ollama's own API, which gives tool calls no ids.

use serde_json::{Value, json};

use super::{Ask, Reply, Turn};

pub(super) fn request(ask: &Ask<'_>) -> Value {
    let messages: Vec<Value> = ask.turns.iter().flat_map(messages).collect();
    let mut body = json!({ "model": ask.model, "messages": messages, "stream": false });
    if let Some(most) = ask.most {
        body["options"] = json!({ "num_predict": most });
    }
    body
}

fn messages(turn: &Turn) -> Vec<Value> {
    match turn {
        Turn::System(text) => vec![json!({ "role": "system", "content": text })],
        Turn::User(text) => vec![json!({ "role": "user", "content": text })],
        Turn::Assistant(reply) => vec![assistant(reply)],
        Turn::Results(results) => results
            .iter()
            .map(|it| json!({ "role": "tool", "tool_name": it.name, "content": it.text }))
            .collect(),
    }
}

fn assistant(reply: &Reply) -> Value {
    let mut message = json!({ "role": "assistant", "content": reply.text });
    if !reply.calls.is_empty() {
        let call = |(name, arguments): (&str, &Value)| json!({ "function": { "name": name, "arguments": arguments } });
        let calls = reply.calls.iter().map(|it| call((&it.name, &it.arguments)));
        message["tool_calls"] = calls.collect();
    }
    message
}

pub(super) fn answer(model: &str, reply: &Reply) -> Value {
    json!({
        "model": model,
        "created_at": "2026-01-01T00:00:00Z",
        "message": assistant(reply),
        "done": true,
        "done_reason": "stop",
        "prompt_eval_count": 100,
        "eval_count": 20,
    })
}
