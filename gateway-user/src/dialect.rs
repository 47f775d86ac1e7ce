//! What an exchange means: which API it speaks, what was asked, and what was answered.
//!
//! An [`Observer`] is fed the bytes of the bodies as they pass, cut anywhere, without their
//! transfer coding. It owns none of them, holds none back, keeps a bounded number of them, and
//! never fails the exchange: what it can't read it says, and the bytes go on.
//!
//! ```text
//! detect ─▶ request_body* ─▶ request_end ─▶ response_head ─▶ response_body* ─▶ response_end
//!                                │ Asked*                          │ Answered*      │ Answered*
//! ```
//!
//! A server may answer before the request has ended: the two rows don't wait for each other. Most
//! exchanges carry one call. A JSON-RPC batch carries many, and what it asks may be answered in
//! another exchange of the agent: so each call has a [`CallKey`].

mod a2a;
mod anthropic;
mod arguments;
mod array;
mod attached;
mod bedrock;
mod beginnings;
mod blocks;
mod body;
mod canonical;
mod coding;
mod content;
mod countermand;
mod cursor;
pub mod cut;
mod detect;
mod draft;
pub mod edit;
mod error;
mod event_stream;
mod frames;
pub mod gather;
mod gemini;
pub mod hiding;
mod input;
mod json;
mod kept;
mod keys;
mod known;
mod lines;
mod mcp;
mod model;
mod ollama;
mod openai_chat;
mod openai_completions;
mod openai_embeddings;
mod openai_responses;
mod progress;
pub mod refusal;
mod rpc;
mod sample;
pub mod signals;
mod sse;
pub mod template;
mod tools;
#[cfg(test)]
mod trial;
mod unmetered;
mod wished;

use std::fmt;

use crate::call::{Answer, Dialect, Digest, Invocation, Prompt, Signal, Unmetered};

use model::ModelExchange;

pub use countermand::{Countermand, Wording};
pub use detect::{detect, socket};
pub use known::{CallKey, Known};
pub use openai_responses::{Heard, Refused, Socket};
pub use progress::Progress;
pub use rpc::{Asker, Session};
pub use sample::{Answering, Asking, Sample};
pub use unmetered::unmetered;

pub(crate) use countermand::{carries, may_follow};

/// The head of a request, as far as dialects look at it.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    pub method: &'a str,
    /// The request target as it was sent (RFC 9112, section 3.2).
    pub target: &'a str,
    /// The Host field, or `:authority`.
    pub host: Option<&'a str>,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    /// In bytes, if it is told.
    pub content_length: Option<u64>,
    /// How often the client says that it has sent this request before.
    pub client_retry: Option<u32>,
    /// Fields that say to which session or task the request belongs.
    pub signals: &'a [Signal],
}

/// The head of a response, as far as dialects look at it.
#[derive(Clone, Copy, Debug)]
pub struct ResponseInfo<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    /// Fields that say to which session the response belongs.
    pub signals: &'a [Signal],
}

/// Reads one exchange in the dialect it speaks.
#[derive(Debug)]
pub enum Observer {
    /// A model is asked, once.
    Model(Box<ModelExchange>),
    /// Tools or another agent may be asked, in JSON-RPC.
    Asking(Box<rpc::Asking>),
    /// What was asked in other exchanges may be answered.
    Listening(Box<rpc::Listening>),
}

/// What an exchange has turned out to be. Known once its request has ended, or of one that only
/// listens, once its response goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// It makes calls, or means to.
    Calls,
    /// It does no work: client and server agree on something, by a method of this name.
    Protocol(&'static str),
    /// It speaks no API that is known.
    Other,
    /// The same, as far as could be seen: this kept it from being looked at.
    Unread(NotUnderstood),
}

impl Observer {
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        match self {
            Self::Model(exchange) => exchange.traffic(),
            Self::Asking(exchange) => exchange.traffic(),
            Self::Listening(exchange) => exchange.traffic(),
        }
    }

    /// Whether the request's head alone says that calls are made. Else only the body tells.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        match self {
            Self::Model(exchange) => exchange.is_told(),
            Self::Asking(exchange) => exchange.is_told(),
            Self::Listening(_) => false,
        }
    }

    /// Whether a model is asked that might answer in a stream, if its body said so.
    #[must_use]
    pub fn may_stream(&self) -> bool {
        matches!(self, Self::Model(exchange) if exchange.may_stream())
    }

    /// Who asks, of a request that was not understood but for that.
    #[must_use]
    pub const fn asker(&self) -> Option<&Asker> {
        match self {
            Self::Asking(exchange) => exchange.asker(),
            Self::Model(_) | Self::Listening(_) => None,
        }
    }

    /// The session that is posted to, or for whose answers a stream is there: in MCP's transport
    /// before there were sessions, what is posted is answered in that stream.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        match self {
            Self::Model(_) => None,
            Self::Asking(exchange) => Some(exchange.session()),
            Self::Listening(exchange) => exchange.session(),
        }
    }

    /// In which it is answered, as far as that is known before it has been read.
    #[must_use]
    pub const fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Model(exchange) => Some(exchange.dialect()),
            Self::Asking(_) | Self::Listening(_) => None,
        }
    }

    /// More of the request's body.
    pub fn request_body(&mut self, bytes: &[u8]) {
        match self {
            Self::Model(exchange) => exchange.request_body(bytes),
            Self::Asking(exchange) => exchange.request_body(bytes),
            Self::Listening(_) => {}
        }
    }

    /// The request has ended: the calls that it makes, which may be none. To be called once; each
    /// call is to be kept in `known` afterwards.
    pub fn request_end(&mut self, known: &mut Known) -> Result<Vec<Asked>, NotUnderstood> {
        match self {
            Self::Model(exchange) => exchange.request_end(known).map(Vec::from_iter),
            Self::Asking(exchange) => exchange.request_end(known),
            Self::Listening(_) => Ok(Vec::new()),
        }
    }

    /// Calls of other exchanges whose clients have said in this request that they want no answer any more,
    /// and whose own exchanges go on: these will say what becomes of them.
    pub fn take_withdrawn(&mut self) -> Vec<CallKey> {
        match self {
            Self::Asking(exchange) => exchange.take_withdrawn(),
            Self::Model(_) | Self::Listening(_) => Vec::new(),
        }
    }

    /// The head of the final response; interim ones (1xx) are none of the observer's business.
    pub fn response_head(&mut self, response: &ResponseInfo<'_>) {
        match self {
            Self::Model(exchange) => exchange.response_head(response),
            Self::Asking(exchange) => exchange.response_head(response),
            Self::Listening(exchange) => exchange.response_head(response),
        }
    }

    /// More of the response's body.
    pub fn response_body(&mut self, bytes: &[u8]) {
        match self {
            Self::Model(exchange) => exchange.response_body(bytes),
            Self::Asking(exchange) => exchange.response_body(bytes),
            Self::Listening(exchange) => exchange.response_body(bytes),
        }
    }

    /// How far the answer of a model has come, if it is a stream that is read.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        match self {
            Self::Model(exchange) => exchange.progress(),
            Self::Asking(_) | Self::Listening(_) => None,
        }
    }

    /// The calls that were answered in what has passed of the response, if they don't wait for its
    /// end.
    #[must_use]
    pub fn answered(&mut self, known: &mut Known) -> Vec<Answered> {
        match self {
            Self::Model(_) => Vec::new(),
            Self::Asking(exchange) => exchange.answered(known),
            Self::Listening(exchange) => exchange.answered(known),
        }
    }

    /// Whether [`answered`](Self::answered) has any.
    #[must_use]
    pub const fn has_answered(&self) -> bool {
        match self {
            Self::Model(_) => false,
            Self::Asking(exchange) => exchange.has_answered(),
            Self::Listening(exchange) => exchange.has_answered(),
        }
    }

    /// The response has ended; `whole` is false if it was cut. What it answers, as far as it was
    /// read. A call of this exchange that it does not answer will be answered in another one.
    #[must_use]
    pub fn response_end(self, whole: bool, known: &mut Known) -> Vec<Answered> {
        match self {
            Self::Model(exchange) => exchange.response_end(whole, known).into_iter().collect(),
            Self::Asking(exchange) => exchange.response_end(whole, known),
            Self::Listening(exchange) => exchange.response_end(known),
        }
    }
}

/// A call that was read of a request.
pub struct Asked {
    pub key: CallKey,
    pub what: What,
    /// Of the body as it was sent.
    pub sha256: Digest,
    /// Why its cost can't be told, if it can't.
    pub unmetered: Option<Unmetered>,
    /// Some of its text.
    pub sample: Asking,
    /// What upstream has to be asked so that it stops, if anything.
    pub countermand: Option<Countermand>,
    end: Option<openai_chat::End>,
}

impl Asked {
    /// The most tokens that each of its answers may have, if it says so.
    #[must_use]
    pub fn max_output(&self) -> Option<u64> {
        match &self.what {
            What::Model(prompt) => prompt.terms.max_output,
            What::Tool(_) => None,
        }
    }
}

/// What a call is made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Model(Prompt),
    Tool(Invocation),
}

/// Its digest only: what it asks is private.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("key", &self.key)
            .field("sha256", &self.sha256)
            .field("unmetered", &self.unmetered)
            .finish_non_exhaustive()
    }
}

/// A call's answer: to a call of this exchange, or of another one of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub key: CallKey,
    pub reading: Reading,
    /// Some of its text; nothing of an answer whose usage was reported all at once.
    pub sample: Answering,
    /// Whether there is no answer because the client said that it wants none.
    pub cancelled: bool,
}

impl Answered {
    fn new(key: CallKey, reading: Reading) -> Self {
        Self { key, reading, sample: Answering::default(), cancelled: false }
    }

    fn cancelled(key: CallKey) -> Self {
        Self { cancelled: true, ..Self::new(key, Reading::default()) }
    }
}

/// What was read of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub answer: Answer,
    /// The first thing that could not be read. A response that was cut, or that is an error, is
    /// not in itself misunderstood.
    pub not_understood: Option<NotUnderstood>,
}

impl Reading {
    fn of(answer: Result<Answer, NotUnderstood>) -> Self {
        answer.map_or_else(Self::lost, |answer| Self { answer, not_understood: None })
    }

    fn lost(reason: NotUnderstood) -> Self {
        Self { answer: Answer::default(), not_understood: Some(reason) }
    }
}

/// Why a body was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotUnderstood {
    #[error("the body is larger than what is kept to be read")]
    TooLarge,
    #[error("the body's content coding is not one that is read")]
    Encoded,
    #[error("the body does not hold what its content coding says")]
    BrokenCoding,
    #[error("the body is not framed as its content type says")]
    BrokenFrames,
    #[error("the body is not JSON")]
    NotJson,
    #[error("the body is JSON, but does not have the shape that its API gives it")]
    NotThisShape,
    /// A server may go by either: what it does can't be told.
    #[error("the body has a field twice in one object")]
    DuplicateKey,
}

impl From<NotUnderstood> for Unmetered {
    fn from(reason: NotUnderstood) -> Self {
        match reason {
            NotUnderstood::TooLarge => Self::TooLarge,
            NotUnderstood::Encoded => Self::UnknownCoding,
            NotUnderstood::BrokenCoding => Self::BrokenCoding,
            NotUnderstood::DuplicateKey => Self::DuplicateKeys,
            NotUnderstood::BrokenFrames | NotUnderstood::NotJson | NotUnderstood::NotThisShape => {
                Self::NotUnderstood
            }
        }
    }
}
