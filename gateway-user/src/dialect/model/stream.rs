//! What the events of a stream add up to, whatever API it is in.

use super::{
    super::{
        Answering, NotUnderstood, Progress, Reading, anthropic, bedrock, event_stream::Message,
        frames::Event, gemini, ollama, openai_chat, openai_completions, openai_responses,
    },
    Api, Outcome,
};

/// A stream, as far as it has come. In boxes: some are twice as large as others, and many may be open.
#[derive(Debug)]
pub(super) enum Stream {
    OpenaiChat(Box<openai_chat::Stream>),
    OpenaiCompletions(Box<openai_completions::Stream>),
    OpenaiResponses(Box<openai_responses::Stream>),
    Anthropic(Box<anthropic::Stream>),
    Bedrock(Box<bedrock::Stream>),
    Gemini(Box<gemini::Stream>),
    Ollama(Box<ollama::Stream>),
    /// Its API has no streams.
    None,
}

impl Stream {
    pub(super) fn new(api: Api) -> Self {
        match api {
            Api::OpenaiChat => Self::OpenaiChat(Box::default()),
            Api::OpenaiCompletions => Self::OpenaiCompletions(Box::default()),
            Api::OpenaiResponses(_) | Api::OpenaiResponse => Self::OpenaiResponses(Box::default()),
            Api::AnthropicMessages | Api::AnthropicCountTokens | Api::AnthropicInBedrock { .. } => {
                Self::Anthropic(Box::default())
            }
            Api::BedrockConverse { .. } => Self::Bedrock(Box::default()),
            Api::Gemini(_) => Self::Gemini(Box::default()),
            Api::Ollama(_) => Self::Ollama(Box::default()),
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

    /// How far it has come.
    pub(super) fn progress(&self) -> Progress {
        match self {
            Self::OpenaiChat(stream) => stream.progress(),
            Self::OpenaiCompletions(stream) => stream.progress(),
            Self::OpenaiResponses(stream) => stream.progress(),
            Self::Anthropic(stream) => stream.progress(),
            Self::Bedrock(stream) => stream.progress(),
            Self::Gemini(stream) => stream.progress(),
            Self::Ollama(stream) => stream.progress(),
            Self::None => Progress::default(),
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
        let mut reading = match self {
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
        };
        reading.answer.values = super::values(&reading.answer, sample);
        Outcome::over(reading)
    }
}
