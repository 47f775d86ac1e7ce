//! A conversation as the APIs write it.

mod chat;
mod gemini;
mod messages;
mod ollama;
mod responses;

use serde_json::{Value, json};

/// One contribution to a conversation.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    System(String),
    User(String),
    Assistant(Reply),
    Results(Vec<Output>),
}

/// What a model answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
}

/// A tool call that a model asks for.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Value,
}

/// What a tool call comes to.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) text: String,
}

/// An API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Chat,
    Messages,
    /// The whole conversation each time, or what is new with the id of the answer before it.
    Responses {
        chained: bool,
    },
    Gemini,
    Ollama,
}

/// What a model is asked.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) model: &'a str,
    pub(super) turns: &'a [Turn],
    /// The response that they go on from.
    pub(super) previous: Option<&'a str>,
    /// The most tokens of the answer.
    pub(super) most: Option<u32>,
    pub(super) choices: usize,
}

impl Wire {
    pub(super) fn target(self, model: &str) -> String {
        match self {
            Self::Chat => "/v1/chat/completions".to_owned(),
            Self::Messages => "/v1/messages".to_owned(),
            Self::Responses { .. } => "/v1/responses".to_owned(),
            Self::Gemini => format!("/v1beta/models/{model}:generateContent"),
            Self::Ollama => "/api/chat".to_owned(),
        }
    }

    pub(super) fn request(self, ask: &Ask<'_>) -> Value {
        match self {
            Self::Chat => chat::request(ask),
            Self::Messages => messages::request(ask),
            Self::Responses { .. } => responses::request(ask),
            Self::Gemini => gemini::request(ask),
            Self::Ollama => ollama::request(ask),
        }
    }

    /// An answer in pieces, where that is written here.
    pub(super) fn stream(self, id: &str, model: &str, reply: &Reply) -> Option<Body> {
        match self {
            Self::Chat => Some(chat::stream(id, model, reply)),
            Self::Messages => Some(messages::stream(id, model, reply)),
            Self::Responses { .. } => Some(responses::stream(id, model, reply)),
            Self::Gemini | Self::Ollama => None,
        }
    }

    /// An answer of one choice, or of several where the API has that.
    pub(super) fn answer(self, id: &str, model: &str, choices: &[Reply]) -> Value {
        let first = choices.first().cloned().unwrap_or_default();
        match self {
            Self::Chat => chat::answer(id, model, choices),
            Self::Messages => messages::answer(id, model, &first),
            Self::Responses { .. } => responses::answer(id, model, &first),
            Self::Gemini => gemini::answer(id, model, &first),
            Self::Ollama => ollama::answer(model, &first),
        }
    }
}

/// What a model answers, as a body and its content type.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) content_type: &'static str,
    pub(super) text: String,
}

impl Body {
    pub(super) fn document(document: &Value) -> Self {
        Self { content_type: "application/json", text: document.to_string() }
    }

    /// Server-sent events, each named if the API names them.
    fn events<'a>(events: impl IntoIterator<Item = (Option<&'a str>, Value)>) -> Self {
        let mut text = String::new();
        for (name, data) in events {
            if let Some(name) = name {
                text.extend(["event: ", name, "\n"]);
            }
            text.extend(["data: ", &*data.to_string(), "\n\n"]);
        }
        Self { content_type: "text/event-stream", text }
    }
}

/// An error, as most servers write it.
pub(super) fn error(status: u16) -> Value {
    let kind = match status {
        429 => "rate_limit_error",
        401 | 403 => "authentication_error",
        408 => "timeout_error",
        _ => "overloaded_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": kind } })
}
