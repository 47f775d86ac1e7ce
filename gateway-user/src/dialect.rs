//! What an exchange means: which API it speaks, what was asked, and what was answered.
//!
//! An [`Observer`] is fed the bytes of the bodies as they pass, cut anywhere, without their
//! transfer coding. It owns none of them, holds none back, keeps a bounded number of them, and
//! never fails the exchange: what it can't read it says, and the bytes go on.
//!
//! ```text
//! detect ─▶ request_body* ─▶ request_end ─▶ response_head ─▶ response_body* ─▶ response_end
//!                                │ Prompt                                          │ Reading
//! ```
//!
//! A server may answer before the request has ended: the two rows don't wait for each other.

mod beginnings;
mod body;
mod canonical;
mod cursor;
mod json;
mod openai_chat;
mod sse;

use std::fmt;

use crate::{
    call::{Answer, Digest, Prompt},
    limits,
};

use beginnings::{Beginnings, Bounds};

pub use openai_chat::OpenaiChat;

/// The head of a request, as far as dialects look at it.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    pub method: &'a str,
    /// The request target as it was sent (RFC 9112, section 3.2).
    pub target: &'a str,
    pub content_encoding: Option<&'a str>,
    /// In bytes, if it is told.
    pub content_length: Option<u64>,
    /// How often the client says that it has sent this request before.
    pub client_retry: Option<u32>,
}

/// The head of a response, as far as dialects look at it.
#[derive(Clone, Copy, Debug)]
pub struct ResponseInfo<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
}

/// Reads one exchange in the dialect it speaks.
#[derive(Debug)]
pub enum Observer {
    OpenaiChat(OpenaiChat),
}

/// Which dialect the exchange speaks, by its method and path and never by its host, since agents
/// are pointed at any server that speaks it. `None`: other traffic.
#[must_use]
pub fn detect(request: &RequestInfo<'_>) -> Option<Observer> {
    OpenaiChat::detect(request).map(Observer::OpenaiChat)
}

impl Observer {
    /// More of the request's body.
    pub fn request_body(&mut self, bytes: &[u8]) {
        match self {
            Self::OpenaiChat(chat) => chat.request_body(bytes),
        }
    }

    /// The request has ended. What it asks; to be called once, and what it gives to be kept in
    /// `known` afterwards.
    pub fn request_end(&mut self, known: &mut Known) -> Result<Asked, NotUnderstood> {
        match self {
            Self::OpenaiChat(chat) => {
                let (prompt, sha256, end) = chat.request_end(&mut known.openai_chat)?;
                Ok(Asked { prompt, sha256, end })
            }
        }
    }

    /// The head of the final response; interim ones (1xx) are none of the observer's business.
    pub fn response_head(&mut self, response: &ResponseInfo<'_>) {
        match self {
            Self::OpenaiChat(chat) => chat.response_head(response),
        }
    }

    /// More of the response's body.
    pub fn response_body(&mut self, bytes: &[u8]) {
        match self {
            Self::OpenaiChat(chat) => chat.response_body(bytes),
        }
    }

    /// The response has ended; `whole` is false if it was cut. What it answers, as far as it was
    /// read.
    #[must_use]
    pub fn response_end(self, whole: bool) -> Reading {
        match self {
            Self::OpenaiChat(chat) => chat.response_end(whole),
        }
    }
}

/// What was read of a request.
pub struct Asked {
    pub prompt: Prompt,
    /// Of the body as it was sent.
    pub sha256: Digest,
    end: Option<openai_chat::End>,
}

/// Its digest only: what it asks is private.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

/// What is known of an agent's conversations: a request that goes on with one is read from there.
/// It makes reading quicker, and changes nothing of what is read.
#[derive(Debug)]
pub struct Known {
    openai_chat: Beginnings<openai_chat::Beginning>,
}

impl Default for Known {
    fn default() -> Self {
        Self::bounded(Bounds {
            block: limits::BEGINNING_BLOCK_BYTES,
            count: limits::BEGINNINGS_PER_AGENT,
            weight: limits::BEGINNING_MESSAGES_PER_AGENT,
        })
    }
}

impl Known {
    fn bounded(bounds: Bounds) -> Self {
        Self { openai_chat: Beginnings::new(bounds) }
    }

    /// Remembers a request, once nobody needs it any more.
    pub fn keep(&mut self, asked: Asked) {
        if let Some(end) = asked.end {
            openai_chat::keep(&mut self.openai_chat, end, asked.prompt);
        }
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
