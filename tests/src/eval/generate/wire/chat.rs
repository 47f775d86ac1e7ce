//! Chat Completions.

use serde_json::{Value, json};

use super::{Ask, Body, Call, Reply, Turn};

pub(super) fn request(ask: &Ask<'_>) -> Value {
    let messages: Vec<Value> = ask.turns.iter().flat_map(messages).collect();
    let mut body = json!({ "model": ask.model, "messages": messages });
    if let Some(most) = ask.most {
        body["max_completion_tokens"] = most.into();
    }
    if ask.choices > 1 {
        body["n"] = ask.choices.into();
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
            .map(|it| json!({ "role": "tool", "tool_call_id": it.id, "content": it.text }))
            .collect(),
    }
}

fn assistant(reply: &Reply) -> Value {
    let mut message = json!({ "role": "assistant", "content": reply.text });
    if !reply.calls.is_empty() {
        message["tool_calls"] = reply.calls.iter().map(call).collect();
    }
    message
}

fn call(call: &Call) -> Value {
    let function = json!({ "name": call.name, "arguments": call.arguments.to_string() });
    json!({ "id": call.id, "type": "function", "function": function })
}

pub(super) fn answer(id: &str, model: &str, choices: &[Reply]) -> Value {
    let choice = |(index, reply): (usize, &Reply)| {
        let reason = if reply.calls.is_empty() { "stop" } else { "tool_calls" };
        json!({ "index": index, "message": assistant(reply), "finish_reason": reason })
    };
    json!({
        "id": format!("chatcmpl-{id}"),
        "object": "chat.completion",
        "model": model,
        "choices": choices.iter().enumerate().map(choice).collect::<Vec<Value>>(),
        "usage": { "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120 },
    })
}

pub(super) fn stream(id: &str, model: &str, reply: &Reply) -> Body {
    let chunk = |delta: Value, reason: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
        let chunk = json!({
            "id": format!("chatcmpl-{id}"),
            "object": "chat.completion.chunk",
            "model": model,
            "choices": [choice],
        });
        (None, chunk)
    };
    let mut chunks = vec![chunk(json!({ "role": "assistant", "content": "" }), None)];
    let words = reply.text.split_inclusive(' ');
    chunks.extend(words.map(|word| chunk(json!({ "content": word }), None)));
    for (index, it) in reply.calls.iter().enumerate() {
        let mut call = call(it);
        call["index"] = index.into();
        chunks.push(chunk(json!({ "tool_calls": [call] }), None));
    }
    let reason = if reply.calls.is_empty() { "stop" } else { "tool_calls" };
    chunks.push(chunk(json!({}), Some(reason)));
    let mut body = Body::events(chunks);
    body.text.push_str("data: [DONE]\n\n");
    body
}
