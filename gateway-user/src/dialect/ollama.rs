//! Ollama's own API (`docs/api.md` of its repository): a stream of lines unless the request says
//! otherwise.
//!
//! Its paths are not its own: many a program has an `/api/chat`. So a request is Ollama's only if its
//! body has the fields that Ollama asks for. As in Gemini, ids of calls are optional, and left out by
//! clients that send an answer back.

mod message;
mod request;
mod response;

use super::{Answering, NotUnderstood};
use crate::call::{Answer, Operation};

pub(super) use request::parse as request;
pub(super) use response::Stream;

/// A method of the API that costs tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Chat,
    Generate,
    /// `/api/embed`, and `/api/embeddings` that was before it.
    Embed,
}

impl Method {
    const fn operation(self) -> Operation {
        match self {
            Self::Chat => Operation::Chat,
            Self::Generate => Operation::TextCompletion,
            Self::Embed => Operation::Embeddings,
        }
    }
}

/// What the body answers, in one document: what a stream of this one line does.
pub(super) fn response(body: &[u8], sample: &mut Answering) -> Result<Answer, NotUnderstood> {
    let mut stream = Stream::default();
    stream.read(body)?;
    *sample = stream.said();
    let reading = stream.end(true);
    reading.not_understood.map_or(Ok(reading.answer), Err)
}

#[cfg(test)]
mod tests;
