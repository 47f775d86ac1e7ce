//! `OpenAI` Chat Completions, as `OpenAI` documents it and as the many servers that took it over
//! speak it (Azure, vLLM, llama.cpp, …).
//!
//! One type, [`message::Message`], reads a message of a request's history and a message of an
//! answer, and one, [`Draft`](super::draft::Draft), hashes those and what a stream adds up to: so the hash of
//! an answer is that of its echo.

mod message;
mod request;
mod response;
mod stream;

use super::{Asking, Known, NotUnderstood};
use crate::call::{Digest, Prompt};

pub(super) use request::{Beginning, End, keep};
pub(super) use response::{Usage, parse as response};
pub(super) use stream::Stream;

/// What the body asks, its digest, and where its messages end.
pub(super) fn request(
    body: &[u8],
    known: &mut Known,
    sample: &mut Asking,
) -> Result<(Prompt, Digest, Option<End>), NotUnderstood> {
    let known = &mut known.openai_chat;
    let mut hashed = known.hash(body);
    let (prompt, end) = request::parse(&mut hashed, known, sample)?;
    Ok((prompt, hashed.digest(), end))
}

#[cfg(test)]
mod tests;
