//! The one answer that a stream comes to, for a client that asked for one and not for a stream.

mod anthropic;
mod join;
mod ollama;
mod openai;
mod openai_responses;

use std::fmt;

use serde_json::Value;

use super::{
    NotUnderstood, ResponseInfo,
    coding::Decoder,
    frames::{Event, Frames},
};
use crate::{call::Dialect, limits::OBSERVED_RESPONSE_BYTES};

/// Reads a stream to its end, and writes what its server would have answered in one document. Fields
/// that nobody knows here are kept as they come: texts are put together, of all else the last counts.
///
/// Bounded: [`OBSERVED_RESPONSE_BYTES`] of what the document is made of.
pub struct Gathering {
    decoder: Decoder,
    frames: Frames,
    parts: Parts,
    fault: Option<Incomplete>,
}

/// Why a stream comes to no answer. The server's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    #[error("its stream ended before its answer did")]
    Cut,
    #[error("its stream can't be read: {0}")]
    NotUnderstood(#[from] NotUnderstood),
    /// In its own words, which are those of its API.
    #[error("it has reported an error")]
    Reported(Vec<u8>),
}

/// What has come, by API.
enum Parts {
    Chat(openai::Chunks),
    Completions(openai::Chunks),
    Responses(openai_responses::Events),
    Anthropic(anthropic::Events),
    Ollama(ollama::Lines),
}

/// How much more may be kept, in bytes.
#[derive(Debug)]
struct Room(usize);

impl Gathering {
    /// Of an answer in that dialect with this head, if it is a stream that can be gathered.
    #[must_use]
    pub fn of(dialect: Dialect, response: &ResponseInfo<'_>) -> Option<Self> {
        let frames = Frames::of(response.content_type)?;
        let decoder = Decoder::new(response.content_encoding, OBSERVED_RESPONSE_BYTES).ok()?;
        let parts = match (dialect, &frames) {
            (Dialect::OpenaiChat, Frames::Sse(_)) => Parts::Chat(openai::Chunks::default()),
            (Dialect::OpenaiCompletions, Frames::Sse(_)) => {
                Parts::Completions(openai::Chunks::default())
            }
            (Dialect::OpenaiResponses, Frames::Sse(_)) => {
                Parts::Responses(openai_responses::Events::default())
            }
            (Dialect::AnthropicMessages, Frames::Sse(_)) => {
                Parts::Anthropic(anthropic::Events::default())
            }
            (Dialect::Ollama, Frames::Lines(_)) => Parts::Ollama(ollama::Lines::default()),
            _ => return None,
        };
        Some(Self { decoder, frames, parts, fault: None })
    }

    /// More of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { decoder, frames, parts, fault } = self;
        let pushed = decoder.push(bytes, |bytes| {
            frames.feed(bytes, |event| parts.take(&event, fault));
        });
        if let Err(reason) = pushed {
            fault.get_or_insert(reason.into());
        }
    }

    /// The stream has ended: the document.
    pub fn end(mut self) -> Result<Vec<u8>, Incomplete> {
        let Self { frames, parts, fault, .. } = &mut self;
        frames.end(|event| parts.take(&event, fault));
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let whole = match self.parts {
            Parts::Chat(chunks) => chunks.chat(),
            Parts::Completions(chunks) => chunks.completion(),
            Parts::Responses(events) => events.whole(),
            Parts::Anthropic(events) => events.whole(),
            Parts::Ollama(lines) => lines.whole(),
        };
        Ok(whole?.to_string().into_bytes())
    }
}

/// Nothing of it: answers are private.
impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("fault", &self.fault.is_some()).finish_non_exhaustive()
    }
}

impl Parts {
    fn take(&mut self, event: &Event<'_>, fault: &mut Option<Incomplete>) {
        if fault.is_some() {
            return;
        }
        let taken = match event {
            Event::Data(data) | Event::Named(_, data) => self.document(data),
            Event::TooLarge => Err(NotUnderstood::TooLarge.into()),
            Event::Message(_) | Event::Broken => Err(NotUnderstood::BrokenFrames.into()),
        };
        *fault = taken.err();
    }

    fn document(&mut self, data: &[u8]) -> Result<(), Incomplete> {
        if data.trim_ascii().is_empty() || data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let document: Value = serde_json::from_slice(data).map_err(NotUnderstood::from)?;
        let Value::Object(fields) = document else {
            return Err(NotUnderstood::NotThisShape.into());
        };
        // `"object": "error"` is how vLLM has written it.
        let is = |field: &str| fields.get(field).and_then(Value::as_str) == Some("error");
        let reports = fields.get("error").is_some_and(|error| !error.is_null());
        if is("type") || is("object") || reports {
            return Err(Incomplete::Reported(data.to_vec()));
        }
        match self {
            Self::Chat(chunks) | Self::Completions(chunks) => chunks.take(fields),
            Self::Responses(events) => {
                events.take(fields);
                Ok(())
            }
            Self::Anthropic(events) => events.take(fields),
            Self::Ollama(lines) => lines.take(fields),
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self(OBSERVED_RESPONSE_BYTES)
    }
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), Incomplete> {
        self.0 = self.0.checked_sub(bytes).ok_or(NotUnderstood::TooLarge)?;
        Ok(())
    }

    const fn give_back(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests;
