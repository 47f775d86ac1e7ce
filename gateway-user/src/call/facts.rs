//! What a dialect reads off an exchange: the question asked and the answer given.

use serde::{Deserialize, Serialize};

use super::Name;

/// The API that a call speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `OpenAI` Chat Completions.
    OpenaiChat,
}

/// What the call does, in the words of the OpenTelemetry `GenAI` conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A model answers a conversation.
    Chat,
}

/// What the client asked of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub dialect: Dialect,
    pub operation: Operation,
    pub model: Option<Name>,
    pub stream: bool,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// A hash of the tools on offer, in canonical form; absent without tools.
    pub tools_hash: Option<u128>,
    /// The first `user` message's text, in canonical form: the wish. Absent if there is none.
    pub wish: Option<String>,
    /// How often the client says that it has sent this request before.
    pub client_retry: Option<u32>,
}

/// One message of a conversation, reduced to what lineage needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    /// Of the message in canonical form: equal for messages that mean the same, whatever their
    /// key order, their content's form (string or parts), or the defaults written out.
    pub hash: u128,
    /// The ids of the tool calls that an assistant message makes.
    pub tool_calls: Vec<String>,
    /// The id of the tool call that a tool message answers.
    pub tool_result: Option<String>,
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions: `system` and `developer`.
    System,
    User,
    Assistant,
    /// The result of a tool call: `tool` and `function`.
    Tool,
    Other,
}

/// What the model answered, as far as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub model: Option<Name>,
    pub response_id: Option<String>,
    /// One message for each choice, in the form in which a client would send it back.
    pub choices: Vec<Message>,
    pub tool_calls: Vec<ToolCall>,
    pub finish_reasons: Vec<Name>,
    /// As the provider reported it; absent if it did not.
    pub usage: Option<Usage>,
    /// Whether the answer was read to its end: false for one that was cut, or not understood.
    pub complete: bool,
}

/// A tool call that a model emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: Option<String>,
    pub name: String,
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
    #[serde(rename = "reasoning_tokens", default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    /// Whether the figures are the gateway's own, for want of reported ones.
    pub estimated: bool,
}
