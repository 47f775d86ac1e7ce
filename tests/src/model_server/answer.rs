//! From a request to its answer, by the request alone but for a number that makes ids unique. How
//! each API writes an answer down is in a file of its own.

mod chat;
mod completions;
mod embeddings;
mod gemini;
mod messages;
mod ollama;
mod responses;

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Script,
    api::Api,
    conversation::{Conversation, Said, Wrong},
};
use crate::trace::Usage;

/// A tool call, as it is logged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ToolCall {
    /// None: the API has no ids.
    pub id: Option<String>,
    pub name: String,
}

/// An answer before it is written down.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(super) model: String,
    thought: Option<String>,
    text: Option<String>,
    calls: Vec<Call>,
    pub(super) usage: Usage,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    /// What the name is in, in Responses.
    pub(crate) namespace: Option<String>,
    pub(crate) arguments: Value,
}

/// How an answer is cut into pieces.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) kind: &'static str,
    pub(crate) pieces: Vec<Bytes>,
}

/// What has been said in the request.
pub(crate) fn said(api: &Api, request: &Value) -> Conversation {
    match api {
        Api::Chat => Conversation::of(chat::said(request)),
        Api::Completions => Conversation::of(completions::said(request)),
        Api::Embeddings => Conversation::of(embeddings::said(request)),
        Api::Responses => Conversation::of(responses::said(request)),
        Api::Messages | Api::CountTokens => Conversation::of(messages::said(request)),
        Api::Gemini { .. } => Conversation::of(gemini::said(request)),
        Api::OllamaChat | Api::OllamaGenerate => Conversation::of(ollama::said(request)),
    }
}

impl Answer {
    /// Answers the request; `number` tells it from every other one.
    pub(super) fn to(
        api: &Api,
        request: &Value,
        said: &Conversation,
        script: &Script,
        number: u64,
    ) -> Result<Self, Wrong> {
        said.check()?;
        let written = request.to_string();
        let id = digest(&[&written, &number.to_string()], 12);
        let turn = said.turns();
        let may_call = !array(&request["tools"]).is_empty() && turn < script.steps;
        let calls = if may_call { calls(api, script, &id, turn) } else { Vec::new() };
        let full = api.max_output(request).filter(|_| script.fill && calls.is_empty());
        let text = calls.is_empty().then(|| match full {
            Some(most) => filling(most),
            None => final_text(script),
        });
        let mut answer = Self::of(api, request, &id, text, calls);
        answer.thought = script.think.then(|| format!("Thought {} of turn {turn}.", script.seed));
        answer.usage = answer.cost(tokens(written.len()), turn as u64, script.seed);
        answer.usage.output_tokens = full.unwrap_or(answer.usage.output_tokens);
        Ok(answer)
    }

    /// What somebody has thought of as an answer; the id is without its prefix.
    pub(crate) fn of(
        api: &Api,
        request: &Value,
        id: &str,
        text: Option<String>,
        calls: Vec<Call>,
    ) -> Self {
        let mut answer = Self {
            id: format!("{}{id}", api.id_prefix()),
            model: format!("{}{SNAPSHOT}", api.model(request)),
            thought: None,
            text,
            calls,
            usage: Usage::default(),
        };
        answer.usage = answer.cost(tokens(request.to_string().len()), 0, 0);
        answer
    }

    /// As if a cache held all but the newest turn. The figures differ from call to call, so that
    /// none can be taken for another.
    fn cost(&self, fresh: u64, turn: u64, seed: u64) -> Usage {
        let cache_read_tokens = turn * (64 + seed % 61);
        let (short, long) = if seed == 0 { (0, 0) } else { (7 + (seed + turn) % 53, seed % 11) };
        let reasoning_tokens = (seed + 3 * turn) % 47;
        let texts = [&self.thought, &self.text].into_iter().flatten().map(String::len);
        let calls = self.calls.iter().map(|call| call.arguments.to_string().len());
        let written = tokens(texts.chain(calls).sum());
        Usage {
            input_tokens: fresh + cache_read_tokens + short + long,
            output_tokens: written + reasoning_tokens,
            cache_read_tokens,
            cache_creation_tokens: short + long,
            cache_creation_1h_tokens: long,
            reasoning_tokens,
        }
    }

    /// Without text: a client that says `generate: false` wants its prompt to be read, no more.
    #[must_use]
    pub(super) fn silent(mut self) -> Self {
        self.text = None;
        self.usage.output_tokens = 0;
        self.usage.reasoning_tokens = 0;
        self
    }

    /// What the API tells of the usage; none if the API tells nothing.
    pub(super) fn told(&self, api: &Api) -> Option<Usage> {
        let all = self.usage;
        let of_openai = Usage { cache_creation_1h_tokens: 0, ..all };
        let read = Usage { cache_creation_tokens: 0, ..of_openai };
        match api {
            Api::Chat | Api::Completions | Api::Responses => Some(of_openai),
            Api::Messages => Some(all),
            Api::Gemini { counts: true, .. } | Api::CountTokens => None,
            Api::Gemini { .. } => Some(read),
            Api::OllamaChat | Api::OllamaGenerate => Some(Usage { reasoning_tokens: 0, ..read }),
            Api::Embeddings => Some(Usage { input_tokens: all.input_tokens, ..Usage::default() }),
        }
    }

    /// The model that the API says has answered.
    pub(super) fn told_model(&self, api: &Api) -> Option<String> {
        let silent = matches!(api, Api::CountTokens | Api::Gemini { counts: true, .. });
        (!silent).then(|| self.model.clone())
    }

    /// The id that the answer has in the API.
    pub(super) fn told_id(&self, api: &Api) -> Option<String> {
        api.has_ids().then(|| self.id.clone())
    }

    /// The tool calls, as the API tells them.
    pub(super) fn told_calls(&self) -> Vec<ToolCall> {
        let told = |call: &Call| ToolCall { id: Some(call.id.clone()), name: call.name.clone() };
        self.calls.iter().map(told).collect()
    }

    /// Why it ends, as the API tells it.
    pub(super) fn told_finish(&self, api: &Api) -> Option<&'static str> {
        match api {
            Api::Chat => Some(chat::finish(self)),
            Api::Messages => Some(messages::finish(self)),
            Api::Responses => Some("completed"),
            Api::Completions | Api::OllamaChat | Api::OllamaGenerate => Some("stop"),
            Api::Gemini { counts: false, .. } => Some("STOP"),
            Api::Gemini { .. } | Api::CountTokens | Api::Embeddings => None,
        }
    }

    /// As what a client says of it in its next request.
    pub(super) fn said(&self) -> Said {
        if self.calls.is_empty() {
            return Said::Other;
        }
        Said::Called(self.calls.iter().map(|call| call.id.clone()).collect())
    }

    /// As one JSON document.
    pub(crate) fn document(&self, api: &Api, request: &Value) -> Bytes {
        let document = match api {
            Api::Chat => chat::document(self),
            Api::Completions => completions::document(self),
            Api::Embeddings => embeddings::document(self, request),
            Api::Responses => responses::document(self),
            Api::Messages => messages::document(self),
            Api::CountTokens => json!({"input_tokens": self.usage.input_tokens}),
            Api::Gemini { counts: true, .. } => json!({"totalTokens": self.usage.input_tokens}),
            Api::Gemini { .. } => gemini::document(self),
            Api::OllamaChat => ollama::document(self, ollama::Kind::Chat),
            Api::OllamaGenerate => ollama::document(self, ollama::Kind::Generate),
        };
        document.to_string().into()
    }

    /// As a stream; none if the API has none.
    pub(crate) fn stream(&self, api: &Api, request: &Value) -> Option<Stream> {
        let include_usage = request["stream_options"]["include_usage"] == true;
        let (kind, pieces) = match api {
            Api::Chat => (EVENTS, chat::events(self, include_usage)),
            Api::Completions => (EVENTS, completions::events(self, include_usage)),
            Api::Responses => (EVENTS, responses::messages(self).iter().map(named).collect()),
            Api::Messages => (EVENTS, messages::events(self)),
            Api::Gemini { events: true, .. } => (EVENTS, gemini::events(self)),
            Api::Gemini { .. } => ("application/json; charset=UTF-8", gemini::array(self)),
            Api::OllamaChat => (LINES, ollama::lines(self, ollama::Kind::Chat)),
            Api::OllamaGenerate => (LINES, ollama::lines(self, ollama::Kind::Generate)),
            Api::CountTokens | Api::Embeddings => return None,
        };
        Some(Stream { kind, pieces })
    }

    /// As the messages of a socket on which Responses are asked for.
    pub(super) fn messages(&self) -> Vec<Value> {
        responses::messages(self)
    }
}

impl Call {
    fn arguments(&self) -> String {
        self.arguments.to_string()
    }
}

/// What was not in a cache before, and was not put there.
fn fresh(usage: Usage) -> u64 {
    usage.input_tokens - usage.cache_read_tokens - usage.cache_creation_tokens
}

fn total(usage: Usage) -> u64 {
    usage.input_tokens + usage.output_tokens
}

fn calls(api: &Api, script: &Script, id: &str, turn: usize) -> Vec<Call> {
    let prefix = api.call_prefix();
    let call = |index: usize| Call {
        id: if script.reuse_ids {
            format!("{prefix}{index}")
        } else {
            format!("{prefix}{}", digest(&[id, &index.to_string()], 12))
        },
        name: ["search", "read"][index % 2].to_owned(),
        namespace: None,
        arguments: match &script.command {
            Some(command) => json!({"command": command}),
            None => json!({"query": format!("turn {turn}, part {index} of {}", script.seed)}),
        },
    };
    (0..script.parallel).map(call).collect()
}

fn final_text(script: &Script) -> String {
    let words = ["the", "archive", "holds", "nothing", "unusual", "as", "far", "as", "one", "sees"];
    let text: Vec<&str> = words.iter().copied().cycle().take(script.words).collect();
    format!("Answer {}: {}.", script.seed, text.join(" "))
}

/// A text of so many tokens.
fn filling(tokens: u64) -> String {
    let words = usize::try_from(tokens).unwrap_or_default();
    vec!["archive"; words].join(" ")
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

/// An event of a stream whose events have no names.
fn unnamed(event: &Value) -> Bytes {
    format!("data: {event}\n\n").into()
}

/// An event of a stream whose events have names: that of the type.
fn named(event: &Value) -> Bytes {
    let name = event["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {event}\n\n").into()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn tokens(bytes: usize) -> u64 {
    bytes as u64 / 4 + 1
}

/// The first bytes of a hash of all parts.
pub(crate) fn digest(parts: &[&str], bytes: usize) -> String {
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
/// What a provider calls the model that answers, beyond what was asked for.
const SNAPSHOT: &str = "-2026-01-01";
const CREATED: u64 = 1_767_225_600;
const EVENTS: &str = "text/event-stream; charset=utf-8";
const LINES: &str = "application/x-ndjson";

#[cfg(test)]
mod tests;
