//! Anthropic's Messages: the API reference, "Create a message" and "Streaming messages".

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::conversation::{self, Said, first},
    Answer, Call, Usage, array, fresh, named, pieces,
};

pub(super) fn said(request: &Value) -> Vec<Said> {
    array(&request["messages"]).iter().flat_map(message_said).collect()
}

/// A message holds a turn's calls, or their results and what the user says besides.
fn message_said(message: &Value) -> Vec<Said> {
    let user = message["role"] == "user";
    let content = &message["content"];
    if !content.is_array() {
        return vec![if user { conversation::wish(content) } else { Said::Other }];
    }
    let part = |part: &Value| match part["type"].as_str() {
        Some("tool_use") => Said::Called(vec![first([&part["id"]])]),
        Some("tool_result") => Said::Result(first([&part["tool_use_id"]])),
        Some("text") if user => Said::Wish(first([&part["text"]])),
        // What is said beside tool calls is part of their turn.
        _ => Said::Called(Vec::new()),
    };
    array(content).iter().map(part).collect()
}

pub(super) fn document(answer: &Answer) -> Value {
    let blocks: Vec<Value> = blocks(answer).map(|block| block.whole()).collect();
    let mut message = envelope(answer, &blocks);
    message["stop_reason"] = finish(answer).into();
    message["usage"] = usage(answer.usage);
    message
}

pub(super) fn events(answer: &Answer) -> Vec<Bytes> {
    let mut start = envelope(answer, &[]);
    start["usage"] = usage(Usage { output_tokens: 1, reasoning_tokens: 0, ..answer.usage });
    let mut events = vec![json!({"type": "message_start", "message": start})];
    events.push(json!({"type": "ping"}));
    for (index, block) in blocks(answer).enumerate() {
        let at =
            |kind: &str, key: &str, value: Value| json!({"type": kind, "index": index, key: value});
        events.push(at("content_block_start", "content_block", block.begin()));
        for delta in block.deltas() {
            events.push(at("content_block_delta", "delta", delta));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let mut total = usage(answer.usage);
    // What it says of caches' lifetimes comes at the start alone.
    total.as_object_mut().expect("an object").retain(|name, _| !AT_START.contains(&name.as_str()));
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": finish(answer), "stop_sequence": null},
        "usage": total,
    }));
    events.push(json!({"type": "message_stop"}));
    events.iter().map(named).collect()
}

pub(super) fn finish(answer: &Answer) -> &'static str {
    if answer.calls.is_empty() { "end_turn" } else { "tool_use" }
}

/// A block of a message's content.
enum Block<'a> {
    Thinking(&'a str),
    Text(&'a str),
    ToolUse(&'a Call),
}

fn blocks(answer: &Answer) -> impl Iterator<Item = Block<'_>> {
    let thoughts = answer.thought.iter().map(|thought| Block::Thinking(thought));
    let texts = answer.text.iter().map(|text| Block::Text(text));
    thoughts.chain(texts).chain(answer.calls.iter().map(Block::ToolUse))
}

impl Block<'_> {
    fn whole(&self) -> Value {
        match self {
            Self::Thinking(text) => {
                json!({"type": "thinking", "thinking": text, "signature": SIGNATURE})
            }
            Self::Text(text) => json!({"type": "text", "text": text, "citations": null}),
            Self::ToolUse(call) => json!({
                "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments,
            }),
        }
    }

    fn begin(&self) -> Value {
        let mut block = self.whole();
        match self {
            Self::Thinking(_) => {
                (block["thinking"], block["signature"]) = ("".into(), "".into());
            }
            Self::Text(_) => block["text"] = "".into(),
            Self::ToolUse(_) => block["input"] = json!({}),
        }
        block
    }

    fn deltas(&self) -> Vec<Value> {
        match self {
            Self::Thinking(text) => {
                let delta = |piece: &&str| json!({"type": "thinking_delta", "thinking": piece});
                let mut deltas: Vec<Value> = pieces(text).iter().map(delta).collect();
                deltas.push(json!({"type": "signature_delta", "signature": SIGNATURE}));
                deltas
            }
            Self::Text(text) => {
                let delta = |piece: &&str| json!({"type": "text_delta", "text": piece});
                pieces(text).iter().map(delta).collect()
            }
            Self::ToolUse(call) => {
                let arguments = call.arguments();
                let delta =
                    |piece: &str| json!({"type": "input_json_delta", "partial_json": piece});
                // The first is always empty.
                [""].into_iter().chain(pieces(&arguments)).map(delta).collect()
            }
        }
    }
}

/// `input_tokens` is what is neither read from a cache nor written to it.
fn usage(usage: Usage) -> Value {
    let long = usage.cache_creation_1h_tokens;
    json!({
        "input_tokens": fresh(usage),
        "cache_creation_input_tokens": usage.cache_creation_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_creation_tokens - long,
            "ephemeral_1h_input_tokens": long,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard",
    })
}

fn envelope(answer: &Answer, content: &[Value]) -> Value {
    json!({
        "id": answer.id, "type": "message", "role": "assistant", "model": answer.model,
        "content": content, "stop_reason": null, "stop_sequence": null,
    })
}

const SIGNATURE: &str = "c2NyaXB0ZWQ=";
const AT_START: [&str; 2] = ["cache_creation", "service_tier"];
