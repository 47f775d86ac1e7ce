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

mod beginnings;
mod body;
mod canonical;
mod cursor;
pub mod cut;
mod detect;
mod draft;
pub mod edit;
mod frames;
pub mod hiding;
mod json;
mod known;
mod model;
mod openai_chat;
pub mod refusal;
pub mod signals;
mod sse;

use std::fmt;

use crate::call::{Answer, Dialect, Digest, Invocation, Prompt, Signal, Unmetered};

use model::ModelExchange;

pub use detect::detect;
pub use known::{CallKey, Known};

/// The head of a request, as far as dialects look at it.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    pub method: &'a str,
    /// The request target as it was sent (RFC 9112, section 3.2).
    pub target: &'a str,
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
}

impl Observer {
    /// In which it is answered, as far as that is known before it has been read.
    #[must_use]
    pub const fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Model(exchange) => Some(exchange.dialect()),
        }
    }

    /// More of the request's body.
    pub fn request_body(&mut self, bytes: &[u8]) {
        match self {
            Self::Model(exchange) => exchange.request_body(bytes),
        }
    }

    /// The request has ended: the calls that it makes, which may be none. To be called once; each
    /// call is to be kept in `known` afterwards.
    pub fn request_end(&mut self, known: &mut Known) -> Result<Vec<Asked>, NotUnderstood> {
        match self {
            Self::Model(exchange) => exchange.request_end(known).map(|asked| vec![asked]),
        }
    }

    /// The head of the final response; interim ones (1xx) are none of the observer's business.
    pub fn response_head(&mut self, response: &ResponseInfo<'_>) {
        match self {
            Self::Model(exchange) => exchange.response_head(response),
        }
    }

    /// More of the response's body.
    pub fn response_body(&mut self, bytes: &[u8]) {
        match self {
            Self::Model(exchange) => exchange.response_body(bytes),
        }
    }

    /// The calls that were answered in what has passed of the response, if they don't wait for its
    /// end.
    #[must_use]
    pub fn answered(&mut self, _known: &mut Known) -> Vec<Answered> {
        match self {
            Self::Model(_) => Vec::new(),
        }
    }

    /// Whether [`answered`](Self::answered) has any.
    #[must_use]
    pub const fn has_answered(&self) -> bool {
        match self {
            Self::Model(_) => false,
        }
    }

    /// The response has ended; `whole` is false if it was cut. What it answers, as far as it was
    /// read.
    #[must_use]
    pub fn response_end(self, whole: bool, _known: &mut Known) -> Vec<Answered> {
        match self {
            Self::Model(exchange) => exchange.response_end(whole).into_iter().collect(),
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
    end: Option<openai_chat::End>,
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
    fn lost(reason: NotUnderstood) -> Self {
        Self { answer: Answer::default(), not_understood: Some(reason) }
    }
}

/// Why a body was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotUnderstood {
    #[error("the body is larger than what is kept to be read")]
    TooLarge,
    #[error("the body's content coding is {0}, which is not read")]
    Encoded(Coding),
    #[error("the body is not JSON")]
    NotJson,
    #[error("the body is JSON, but does not have the shape that its API gives it")]
    NotThisShape,
}

impl From<NotUnderstood> for Unmetered {
    fn from(reason: NotUnderstood) -> Self {
        match reason {
            NotUnderstood::TooLarge => Self::TooLarge,
            NotUnderstood::Encoded(_) => Self::UnknownCoding,
            NotUnderstood::NotJson | NotUnderstood::NotThisShape => Self::NotUnderstood,
        }
    }
}

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
    Other,
}

impl Coding {
    /// The coding that a `Content-Encoding` names; `None` if the body is as it is.
    fn of(content_encoding: Option<&str>) -> Option<Self> {
        let name = content_encoding?.trim();
        let is = |coding: &str| name.eq_ignore_ascii_case(coding);
        match () {
            () if name.is_empty() || is("identity") => None,
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () if is("br") => Some(Self::Brotli),
            () if is("zstd") => Some(Self::Zstd),
            () => Some(Self::Other),
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Other => "another or a list",
        })
    }
}
