//! What a dialect reads off a response.

use serde::{Deserialize, Serialize};

use super::{Command, Mention, Message, Name, Value};

/// What was answered, as far as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub model: Option<Name>,
    pub response_id: Option<String>,
    /// One message for each choice, in the form in which a client would send it back.
    pub choices: Vec<Message>,
    pub tool_calls: Vec<ToolCall>,
    /// What it says in words, of the first bytes that are kept of it.
    pub values: Vec<Value>,
    pub finish_reasons: Vec<Name>,
    /// As the provider reported it; absent if it did not.
    pub usage: Option<Usage>,
    /// The service tier that it was served on, as the provider calls it.
    pub service_tier: Option<Name>,
    /// What the server calls its error, if it reported one.
    pub error: Option<Name>,
    /// Whether the answer was read to its end: false for one that was cut, or not understood.
    pub complete: bool,
}

/// A tool call that a model emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: Option<String>,
    pub name: String,
    /// A hash of the arguments in canonical form.
    pub arguments: u128,
    /// The texts among them, the longest first.
    pub values: Vec<Value>,
    /// What among them may be a command line: each of the first texts, and all of them in a row.
    pub commands: Vec<Command>,
    /// The first URLs in these texts.
    pub urls: Vec<Mention>,
}

/// Tokens spent, in the terms of the OpenTelemetry `GenAI` conventions: `input` counts all input,
/// cached included, and `output` counts reasoning, whatever the provider's own convention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(rename = "input_tokens")]
    pub input: u64,
    #[serde(rename = "output_tokens")]
    pub output: u64,
    #[serde(rename = "cache_read_tokens", default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    #[serde(rename = "cache_creation_tokens", default, skip_serializing_if = "Option::is_none")]
    pub cache_creation: Option<u64>,
    /// Those of `cache_creation` that are kept for an hour, which cost more.
    #[serde(rename = "cache_creation_1h_tokens", default, skip_serializing_if = "Option::is_none")]
    pub cache_creation_1h: Option<u64>,
    #[serde(rename = "reasoning_tokens", default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    /// Whether the figures are the gateway's own, for want of reported ones.
    pub estimated: bool,
}
