//! From a request to its answer, by the request alone but for a number that makes ids unique.
//!
//! Wire format: the `openai` API reference, "Create chat completion" and "Streaming". The other
//! APIs, which answer in text alone, are in `messages` and `responses`.

mod messages;
mod responses;

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Script;

/// What an answer costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub reasoning_tokens: u64,
}

/// An answer before it is written down.
#[derive(Clone, Debug)]
pub struct Answer {
    pub id: String,
    model: String,
    text: Option<String>,
    calls: Vec<Call>,
    pub usage: Usage,
}

#[derive(Clone, Debug)]
struct Call {
    id: String,
    name: &'static str,
    arguments: String,
}

/// What is wrong with a request: the message that the API would give.
pub type Wrong = String;

/// The text of the last user message, in any of the APIs.
pub fn wish(request: &Value) -> &str {
    if let Some(input) = request["input"].as_str() {
        return input;
    }
    let all = messages(request).iter().chain(request["input"].as_array().into_iter().flatten());
    let mut users = all.rev().filter(|message| message["role"] == "user");
    users.find_map(|message| text(&message["content"])).unwrap_or_default()
}

/// Of a message's content: the last part's, where it has parts.
fn text(content: &Value) -> Option<&str> {
    let part = || content.as_array()?.iter().rev().find_map(|part| part["text"].as_str());
    content.as_str().or_else(part)
}

impl Answer {
    /// Answers the request; `number` tells it from every other one.
    pub fn to(request: &Value, script: &Script, number: u64) -> Result<Self, Wrong> {
        let messages = messages(request);
        if messages.is_empty() {
            return Err("'messages' must not be empty".into());
        }
        check_results(messages)?;
        let id = format!("chatcmpl-{}", digest(&[&request.to_string(), &number.to_string()], 12));
        let since_wish = messages.rsplit(|message| message["role"] == "user").next();
        let turns = since_wish.unwrap_or_default().iter().filter(|m| m["tool_calls"].is_array());
        let turn = turns.count();
        let calls = if turn < script.steps { calls(script, &id, turn) } else { Vec::new() };
        let text = calls.is_empty().then(|| final_text(script));
        let mut answer = Self {
            usage: Usage {
                input_tokens: tokens(messages.iter().map(|m| m.to_string().len()).sum()),
                output_tokens: 0,
                // As a provider whose cache holds all but the newest turn.
                cache_read_tokens: if turn > 0 { 64 * turn as u64 } else { 0 },
                reasoning_tokens: script.seed % 7,
            },
            id,
            model: request["model"].as_str().unwrap_or("scripted-1").to_owned(),
            text,
            calls,
        };
        let written = answer.message().to_string().len();
        answer.usage.output_tokens = tokens(written) + answer.usage.reasoning_tokens;
        Ok(answer)
    }

    /// A final answer, whatever the request asks. The id begins with `kind`.
    pub fn in_text(kind: &str, request: &Value, script: &Script, number: u64) -> Self {
        let written = request.to_string();
        let text = final_text(script);
        let usage = Usage {
            input_tokens: tokens(written.len()),
            output_tokens: tokens(text.len()),
            cache_read_tokens: 0,
            reasoning_tokens: 0,
        };
        Self {
            id: format!("{kind}_{}", digest(&[&written, &number.to_string()], 12)),
            model: request["model"].as_str().unwrap_or("scripted-1").to_owned(),
            text: Some(text),
            calls: Vec::new(),
            usage,
        }
    }

    /// The ids of the tool calls.
    pub fn call_ids(&self) -> Vec<String> {
        self.calls.iter().map(|call| call.id.clone()).collect()
    }

    /// As one JSON document.
    pub fn document(&self) -> Bytes {
        let choice = json!({
            "index": 0, "message": self.message(), "logprobs": null, "finish_reason": self.finish(),
        });
        let mut document = self.envelope("chat.completion", &[choice]);
        document["usage"] = self.usage.to_json();
        document.to_string().into()
    }

    /// As the events of a stream, each with the blank line that ends it.
    pub fn events(&self, include_usage: bool) -> Vec<Bytes> {
        let mut events = vec![self.delta(&json!({"role": "assistant", "content": null}))];
        for piece in self.text.iter().flat_map(|text| pieces(text)) {
            events.push(self.delta(&json!({"content": piece})));
        }
        for (index, call) in self.calls.iter().enumerate() {
            let function = json!({"name": call.name, "arguments": ""});
            let begin =
                json!({"index": index, "id": call.id, "type": "function", "function": function});
            events.push(self.delta(&json!({"tool_calls": [begin]})));
            for piece in pieces(&call.arguments) {
                let more = json!({"index": index, "function": {"arguments": piece}});
                events.push(self.delta(&json!({"tool_calls": [more]})));
            }
        }
        let end = json!({
            "index": 0, "delta": {}, "logprobs": null, "finish_reason": self.finish(),
        });
        events.push(self.envelope("chat.completion.chunk", &[end]));
        if include_usage {
            let mut last = self.envelope("chat.completion.chunk", &[]);
            last["usage"] = self.usage.to_json();
            events.push(last);
        }
        let mut events: Vec<Bytes> =
            events.into_iter().map(|event| format!("data: {event}\n\n").into()).collect();
        events.push("data: [DONE]\n\n".into());
        events
    }

    fn message(&self) -> Value {
        let mut message = json!({"role": "assistant", "content": self.text, "refusal": null});
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.iter().map(Call::to_json).collect();
        }
        message
    }

    fn delta(&self, delta: &Value) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null});
        self.envelope("chat.completion.chunk", &[choice])
    }

    fn envelope(&self, object: &str, choices: &[Value]) -> Value {
        json!({
            "id": self.id, "object": object, "created": 1_767_225_600, "model": self.model,
            "system_fingerprint": "fp_scripted", "choices": choices,
        })
    }

    fn finish(&self) -> &'static str {
        if self.calls.is_empty() { "stop" } else { "tool_calls" }
    }
}

impl Call {
    fn to_json(&self) -> Value {
        let function = json!({"name": self.name, "arguments": self.arguments});
        json!({"id": self.id, "type": "function", "function": function})
    }
}

impl Usage {
    fn to_json(self) -> Value {
        json!({
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cache_read_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        })
    }
}

fn messages(request: &Value) -> &[Value] {
    request["messages"].as_array().map_or(&[], Vec::as_slice)
}

/// Each tool call must be followed by its result, as the API asks.
fn check_results(messages: &[Value]) -> Result<(), Wrong> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let place = open.iter().position(|open| *open == id);
            open.remove(place.ok_or_else(|| format!("nothing called for the result {id:?}"))?);
            continue;
        }
        if let [id, ..] = open.as_slice() {
            return Err(format!("the result of the tool call {id:?} is missing"));
        }
        let calls = message["tool_calls"].as_array();
        open = calls.into_iter().flatten().filter_map(|call| call["id"].as_str()).collect();
    }
    Ok(())
}

fn calls(script: &Script, id: &str, turn: usize) -> Vec<Call> {
    let call = |index: usize| Call {
        id: if script.reuse_ids {
            format!("call_{index}")
        } else {
            format!("call_{}", digest(&[id, &index.to_string()], 12))
        },
        name: ["search", "read"][index % 2],
        arguments: json!({"query": format!("turn {turn}, part {index} of {}", script.seed)})
            .to_string(),
    };
    (0..script.parallel).map(call).collect()
}

fn final_text(script: &Script) -> String {
    let words = ["the", "archive", "holds", "nothing", "unusual", "as", "far", "as", "one", "sees"];
    let text: Vec<&str> = words.iter().copied().cycle().take(script.words).collect();
    format!("Answer {}: {}.", script.seed, text.join(" "))
}

/// As a tokenizer cuts: some bytes each.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE).max(1));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

fn tokens(bytes: usize) -> u64 {
    bytes as u64 / 4 + 1
}

/// The first bytes of a hash of all parts.
fn digest(parts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hex(&hash.finalize()[..bytes])
}

/// As hashes are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const PIECE: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(messages: &Value) -> Value {
        json!({"model": "m", "messages": messages})
    }

    #[test]
    fn it_calls_tools_for_as_many_turns_as_told_and_then_answers() {
        let mut messages = json!([{"role": "user", "content": "[steps=2 parallel=2]"}]);
        let mut seen = Vec::new();
        for number in 0..3 {
            let request = request(&messages);
            let answer =
                Answer::to(&request, &Script::parse(wish(&request)), number).expect("valid");
            seen.push(answer.calls.len());
            let all = messages.as_array_mut().expect("a list");
            all.push(answer.message());
            for id in answer.call_ids() {
                all.push(json!({"role": "tool", "tool_call_id": id, "content": "r"}));
            }
        }
        assert_eq!(seen, [2, 2, 0]);
    }

    #[test]
    fn a_result_that_is_missing_is_refused() {
        let call = json!({"role": "assistant", "tool_calls": [{"id": "a"}, {"id": "b"}]});
        let result = json!({"role": "tool", "tool_call_id": "a", "content": "r"});
        let user = json!({"role": "user", "content": "go on"});
        let request = request(&json!([user, call, result, user]));
        assert!(Answer::to(&request, &Script::default(), 0).is_err());
    }

    #[test]
    fn the_pieces_of_a_stream_make_up_the_document() {
        let request = request(&json!([{"role": "user", "content": "[words=30 seed=9]"}]));
        let answer = Answer::to(&request, &Script::parse(wish(&request)), 1).expect("valid");
        let mut text = String::new();
        for event in answer.events(true) {
            let event = String::from_utf8(event.to_vec()).expect("text");
            let data = event.strip_prefix("data: ").expect("an event").trim_end();
            if let Ok(chunk) = serde_json::from_str::<Value>(data) {
                text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
            }
        }
        assert_eq!(Some(text), answer.text);
    }
}
