//! What the events of a stream add up to, whatever API it is in.

use super::{
    super::{
        Answering, NotUnderstood, Reading, anthropic, bedrock, event_stream::Message,
        frames::Event, gemini, ollama, openai_chat, openai_completions, openai_responses,
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
    Gemini(gemini::Stream),
    Ollama(ollama::Stream),
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
            Api::Gemini(_) => Self::Gemini(gemini::Stream::default()),
            Api::Ollama(_) => Self::Ollama(ollama::Stream::default()),
            Api::OpenaiEmbeddings => Self::None,
        }
    }

    pub(super) fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Data(data) | Event::Named(_, data) => self.event(data),
            Event::Message(message) => self.message(*message),
            Event::TooLarge => self.lose(NotUnderstood::TooLarge),
            Event::Broken => self.lose(NotUnderstood::BrokenFrames),
        }
    }

    /// A document of its own.
    fn event(&mut self, data: &[u8]) {
        match self {
            Self::OpenaiChat(stream) => stream.event(data),
            Self::OpenaiCompletions(stream) => stream.event(data),
            Self::OpenaiResponses(stream) => stream.event(data),
            Self::Anthropic(stream) => stream.event(data),
            Self::Bedrock(stream) => stream.lose(NotUnderstood::NotThisShape),
            Self::Gemini(stream) => stream.event(data),
            Self::Ollama(stream) => stream.event(data),
            Self::None => {}
        }
    }

    /// A message of Amazon's event stream encoding.
    fn message(&mut self, message: Message<'_>) {
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
            Self::Gemini(stream) => stream.lose(reason),
            Self::Ollama(stream) => stream.lose(reason),
            Self::None => {}
        }
    }

    /// What it said so far; of a chat its end tells that.
    fn said(&mut self) -> Answering {
        match self {
            Self::OpenaiCompletions(stream) => stream.said(),
            Self::OpenaiResponses(stream) => stream.said(),
            Self::Anthropic(stream) => stream.said(),
            Self::Bedrock(stream) => stream.said(),
            Self::Gemini(stream) => stream.said(),
            Self::Ollama(stream) => stream.said(),
            Self::OpenaiChat(_) | Self::None => Answering::default(),
        }
    }

    /// What is made in the background goes on when its stream is cut.
    pub(super) fn end(mut self, whole: bool, background: bool, sample: &mut Answering) -> Outcome {
        *sample = self.said();
        Outcome::over(match self {
            Self::OpenaiChat(stream) => stream.end(whole, sample),
            Self::OpenaiCompletions(stream) => stream.end(whole),
            Self::OpenaiResponses(stream) => match stream.pending() {
                Some(id) if background => return Outcome::Pending(id.to_owned()),
                _ => stream.end(whole),
            },
            Self::Anthropic(stream) => stream.end(whole),
            Self::Bedrock(stream) => stream.end(whole),
            Self::Gemini(stream) => stream.end(whole),
            Self::Ollama(stream) => stream.end(whole),
            Self::None => Reading::lost(NotUnderstood::NotThisShape),
        })
    }
}
