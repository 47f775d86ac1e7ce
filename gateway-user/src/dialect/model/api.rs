//! The APIs in which models are asked, and who reads their documents.

use super::super::{
    Answering, Asking, Known, NotUnderstood, anthropic, bedrock, frames::Frames, gemini, ollama,
    openai_chat, openai_completions, openai_embeddings, openai_responses,
};
use crate::call::{Answer, Dialect, Digest, Operation, Prompt};

/// An API, and what is asked in it as far as the path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Api {
    OpenaiChat,
    OpenaiCompletions,
    OpenaiEmbeddings,
    OpenaiResponses(Operation),
    /// The answer to an earlier call of that API is fetched, or its making is stopped.
    OpenaiResponse,
    AnthropicMessages,
    AnthropicCountTokens,
    /// Anthropic Messages as Bedrock takes them, whose path says whether the answer is streamed.
    AnthropicInBedrock {
        stream: bool,
    },
    BedrockConverse {
        stream: bool,
    },
    Gemini(gemini::Method),
    Ollama(ollama::Method),
}

/// What a request is.
pub(super) enum Question {
    /// With its digest, and where its messages end: a conversation that may be gone on with.
    Chat(Box<(Prompt, Digest, Option<openai_chat::End>)>),
    Plain(Box<Prompt>),
    /// An earlier call is asked about.
    Earlier,
    /// Of another API, which has the same path.
    Other,
}

impl Api {
    pub(super) const fn dialect(self) -> Dialect {
        match self {
            Self::OpenaiChat => Dialect::OpenaiChat,
            Self::OpenaiCompletions => Dialect::OpenaiCompletions,
            Self::OpenaiEmbeddings => Dialect::OpenaiEmbeddings,
            Self::OpenaiResponses(_) | Self::OpenaiResponse => Dialect::OpenaiResponses,
            Self::AnthropicMessages
            | Self::AnthropicCountTokens
            | Self::AnthropicInBedrock { .. } => Dialect::AnthropicMessages,
            Self::BedrockConverse { .. } => Dialect::Bedrock,
            Self::Gemini(_) => Dialect::Gemini,
            Self::Ollama(_) => Dialect::Ollama,
        }
    }

    /// Reads a request's body.
    pub(super) fn question(
        self,
        body: &[u8],
        known: &mut Known,
        sample: &mut Asking,
    ) -> Result<Question, NotUnderstood> {
        let prompt = match self {
            Self::OpenaiChat => {
                return openai_chat::request(body, known, sample).map(Box::new).map(Question::Chat);
            }
            Self::OpenaiResponse => return Ok(Question::Earlier),
            Self::Ollama(method) => match ollama::request(method, body, sample)? {
                Some(prompt) => prompt,
                None => return Ok(Question::Other),
            },
            Self::OpenaiCompletions => openai_completions::request(body, sample)?,
            Self::OpenaiEmbeddings => openai_embeddings::request(body, sample)?,
            Self::OpenaiResponses(operation) => openai_responses::request(body, operation, sample)?,
            Self::AnthropicMessages => anthropic::request(body, Operation::Chat, sample)?,
            Self::AnthropicCountTokens => anthropic::request(body, Operation::CountTokens, sample)?,
            Self::AnthropicInBedrock { stream } => {
                Prompt { stream, ..anthropic::request(body, Operation::Chat, sample)? }
            }
            Self::BedrockConverse { stream } => bedrock::request(body, stream, sample)?,
            Self::Gemini(method) => gemini::request(method, body, sample)?,
        };
        Ok(Question::Plain(Box::new(prompt)))
    }

    /// Reads a response that is one document.
    pub(super) fn answer(
        self,
        body: &[u8],
        sample: &mut Answering,
    ) -> Result<Answer, NotUnderstood> {
        match self {
            Self::OpenaiChat => openai_chat::response(body, sample),
            Self::OpenaiCompletions => openai_completions::response(body, sample),
            Self::OpenaiEmbeddings => openai_embeddings::response(body),
            Self::OpenaiResponses(_) | Self::OpenaiResponse => {
                openai_responses::response(body, sample)
            }
            Self::AnthropicMessages | Self::AnthropicInBedrock { .. } => {
                anthropic::response(body, sample)
            }
            Self::AnthropicCountTokens => anthropic::counted(body),
            Self::BedrockConverse { .. } => bedrock::response(body, sample),
            Self::Gemini(_) => gemini::response(body, sample),
            Self::Ollama(_) => ollama::response(body, sample),
        }
    }

    /// How a response of this type is cut into events, if it is a stream.
    pub(super) fn frames(self, content_type: Option<&str>) -> Option<Frames> {
        Frames::of(content_type).or(match self {
            Self::Gemini(gemini::Method::StreamGenerate) => Some(Frames::array()),
            _ => None,
        })
    }
}
