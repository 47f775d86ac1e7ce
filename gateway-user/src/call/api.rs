//! Which API a call speaks, and what it does.

use serde::{Deserialize, Serialize};

/// The API that a call speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `OpenAI` Chat Completions.
    OpenaiChat,
    /// `OpenAI` Completions, the API before chat.
    OpenaiCompletions,
    OpenaiEmbeddings,
    /// `OpenAI` Responses, over HTTP or WebSocket.
    OpenaiResponses,
    /// Anthropic Messages.
    AnthropicMessages,
    /// Google's `generateContent`.
    Gemini,
    /// Ollama's own API.
    Ollama,
    /// Amazon Bedrock Converse.
    Bedrock,
    /// Model Context Protocol.
    Mcp,
    /// The `Agent2Agent` protocol.
    A2a,
}

/// What a call does, in the words of the OpenTelemetry `GenAI` conventions where they have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A model answers a conversation.
    Chat,
    /// A model goes on with a text.
    TextCompletion,
    Embeddings,
    /// A model answers a conversation, in Google's API.
    GenerateContent,
    /// How many tokens a conversation has; free of charge.
    CountTokens,
    ExecuteTool,
    /// Another agent is given a task.
    InvokeAgent,
}

impl Operation {
    /// Whether a model is called, which costs tokens.
    #[must_use]
    pub const fn calls_model(self) -> bool {
        match self {
            Self::Chat | Self::TextCompletion | Self::Embeddings | Self::GenerateContent => true,
            Self::CountTokens | Self::ExecuteTool | Self::InvokeAgent => false,
        }
    }
}

/// Why it can't be said what a call costs, or not before it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Unmetered {
    #[error("its body is larger than what is kept to be read")]
    TooLarge,
    #[error("its body's content coding is not read")]
    UnknownCoding,
    #[error("its body does not hold what its content coding says")]
    BrokenCoding,
    #[error("its body says the same thing twice")]
    DuplicateKeys,
    #[error("its body is not understood")]
    NotUnderstood,
    #[error("it hands in a batch")]
    Batch,
    #[error("it hands over files")]
    Files,
    #[error("its provider runs tools in it, as often as it likes")]
    HostedTools,
    #[error("it names files, by id or address, that it does not hold")]
    FileReferences,
    #[error("it builds on what its provider keeps: a stored prompt, a cache, a container")]
    StoredContext,
    #[error("it uses an API whose cost is not read: audio, images, realtime, fine-tuning")]
    OtherApi,
}
