//! What the events of a stream add up to, whatever API it is in.

use super::{
    super::{
        NotUnderstood, Reading, anthropic, bedrock, event_stream::Message, openai_chat,
        openai_completions, openai_responses,
    },
    Api, Outcome,
};

/// A stream, as far as it has come.
#[derive(Debug)]
pub(super) enum Stream {
    OpenaiChat(openai_chat::Stream),
    OpenaiCompletions(openai_completions::Stream),
    OpenaiResponses(openai_responses::Stream),
    Anthropic(anthropic::Stream),
    Bedrock(bedrock::Stream),
    /// Its API has no streams.
    None,
}

impl Stream {
    pub(super) fn new(api: Api) -> Self {
        match api {
            Api::OpenaiChat => Self::OpenaiChat(openai_chat::Stream::default()),
            Api::OpenaiCompletions => {
                Self::OpenaiCompletions(openai_completions::Stream::default())
            }
            Api::OpenaiResponses(_) | Api::OpenaiResponse => {
                Self::OpenaiResponses(openai_responses::Stream::default())
            }
            Api::AnthropicMessages | Api::AnthropicCountTokens | Api::AnthropicInBedrock { .. } => {
                Self::Anthropic(anthropic::Stream::default())
            }
            Api::BedrockConverse { .. } => Self::Bedrock(bedrock::Stream::default()),
            Api::OpenaiEmbeddings => Self::None,
        }
    }

    /// A document of its own.
    pub(super) fn event(&mut self, data: &[u8]) {
        match self {
            Self::OpenaiChat(stream) => stream.event(data),
            Self::OpenaiCompletions(stream) => stream.event(data),
            Self::OpenaiResponses(stream) => stream.event(data),
            Self::Anthropic(stream) => stream.event(data),
            Self::Bedrock(stream) => stream.lose(NotUnderstood::NotThisShape),
            Self::None => {}
        }
    }

    /// A message of Amazon's event stream encoding.
    pub(super) fn message(&mut self, message: Message<'_>) {
        match self {
            Self::Anthropic(stream) => stream.message(message),
            Self::Bedrock(stream) => stream.message(message),
            other => other.lose(NotUnderstood::NotThisShape),
        }
    }

    pub(super) fn lose(&mut self, reason: NotUnderstood) {
        match self {
            Self::OpenaiChat(stream) => stream.lose(reason),
            Self::OpenaiCompletions(stream) => stream.lose(reason),
            Self::OpenaiResponses(stream) => stream.lose(reason),
            Self::Anthropic(stream) => stream.lose(reason),
            Self::Bedrock(stream) => stream.lose(reason),
            Self::None => {}
        }
    }

    /// What is made in the background goes on when its stream is cut.
    pub(super) fn end(self, whole: bool, background: bool) -> Outcome {
        Outcome::Over(match self {
            Self::OpenaiChat(stream) => stream.end(whole),
            Self::OpenaiCompletions(stream) => stream.end(whole),
            Self::OpenaiResponses(stream) => match stream.pending() {
                Some(id) if background => return Outcome::Pending(Some(id.to_owned())),
                _ => stream.end(whole),
            },
            Self::Anthropic(stream) => stream.end(whole),
            Self::Bedrock(stream) => stream.end(whole),
            Self::None => Reading::lost(NotUnderstood::NotThisShape),
        })
    }
}
