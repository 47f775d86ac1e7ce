//! Anthropic Messages.

use serde_json::{Value, json};

use super::{Ask, Body, Call, Reply, Turn};

pub(super) fn request(ask: &Ask<'_>) -> Value {
    let messages: Vec<Value> = ask.turns.iter().filter_map(message).collect();
    let most = ask.most.unwrap_or(4096);
    let mut body = json!({ "model": ask.model, "max_tokens": most, "messages": messages });
    if let Some(Turn::System(text)) = ask.turns.first() {
        body["system"] = json!([{ "type": "text", "text": text }]);
    }
    body
}

fn message(turn: &Turn) -> Option<Value> {
    match turn {
        Turn::System(_) => None,
        Turn::User(text) => Some(json!({ "role": "user", "content": text })),
        Turn::Assistant(reply) => Some(json!({ "role": "assistant", "content": content(reply) })),
        Turn::Results(results) => {
            let block = |(id, text): (&str, &str)| json!({ "type": "tool_result", "tool_use_id": id, "content": text });
            let blocks: Vec<Value> = results.iter().map(|it| block((&it.id, &it.text))).collect();
            Some(json!({ "role": "user", "content": blocks }))
        }
    }
}

fn content(reply: &Reply) -> Vec<Value> {
    let text = (!reply.text.is_empty()).then(|| json!({ "type": "text", "text": reply.text }));
    text.into_iter().chain(reply.calls.iter().map(tool_use)).collect()
}

fn tool_use(call: &Call) -> Value {
    json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments })
}

pub(super) fn answer(id: &str, model: &str, reply: &Reply) -> Value {
    json!({
        "id": format!("msg_{id}"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content(reply),
        "stop_reason": if reply.calls.is_empty() { "end_turn" } else { "tool_use" },
        "stop_sequence": null,
        "usage": { "input_tokens": 100, "output_tokens": 20 },
    })
}

pub(super) fn stream(id: &str, model: &str, reply: &Reply) -> Body {
    let mut message = answer(id, model, reply);
    let (blocks, reason) = (content(reply), message["stop_reason"].take());
    message["content"] = json!([]);
    let mut events = vec![json!({ "type": "message_start", "message": message })];
    for (index, mut block) in blocks.into_iter().enumerate() {
        let deltas: Vec<Value> = if block["type"] == "text" {
            block["text"] = "".into();
            let words = reply.text.split_inclusive(' ');
            words.map(|word| json!({ "type": "text_delta", "text": word })).collect()
        } else {
            let input = block["input"].to_string();
            block["input"] = json!({});
            vec![json!({ "type": "input_json_delta", "partial_json": input })]
        };
        let start =
            json!({ "type": "content_block_start", "index": index, "content_block": block });
        events.push(start);
        let delta = |it| json!({ "type": "content_block_delta", "index": index, "delta": it });
        events.extend(deltas.into_iter().map(delta));
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    events.push(json!({
        "type": "message_delta",
        "delta": { "stop_reason": reason, "stop_sequence": null },
        "usage": { "output_tokens": 20 },
    }));
    events.push(json!({ "type": "message_stop" }));
    let name = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
    let names: Vec<String> = events.iter().map(name).collect();
    Body::events(names.iter().map(|name| Some(&**name)).zip(events))
}
