//! `OpenAI` Responses, as `OpenAI` documents it and as others took it over (Azure, xAI, vLLM,
//! llama.cpp, …): in one document, as server-sent events, or over WebSocket.
//!
//! A request holds what is new in a conversation, as items, and may name what the server remembers
//! of it. One type, [`item::Item`], reads an item of a request and an item of an answer, and one,
//! [`turn::Turn`], makes an assistant's consecutive items one message: so the hash of an answer is
//! that of its echo, and a conversation hashes as it does in Chat Completions.

mod history;
mod item;
mod metadata;
mod request;
mod response;
mod socket;
mod stream;
mod turn;

use super::{Asking, NotUnderstood};
use crate::call::{Operation, Prompt};

pub use socket::{Heard, Refused, Socket};

pub(super) use response::{parse as response, pending};
pub(super) use stream::Stream;

/// What the body asks.
pub(super) fn request(
    body: &[u8],
    operation: Operation,
    sample: &mut Asking,
) -> Result<Prompt, NotUnderstood> {
    Ok(Prompt { operation, ..request::parse(body, sample)? })
}

#[cfg(test)]
mod tests;
