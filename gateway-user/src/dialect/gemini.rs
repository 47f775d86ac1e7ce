//! Gemini's `generateContent` and what is beside it, as Google serves it to developers, in Vertex AI
//! and, wrapped once more, to its own command line (Code Assist). Fields are those of the REST
//! reference (`ai.google.dev/api/generate-content`) and of the `google-genai` SDK.
//!
//! The API keeps no identity of a call: ids of function calls are optional, and clients that are given
//! some leave them out of what they send back. And it has no message for the end of a turn: clients
//! that were streamed an answer send it back as many contents of the model as there were chunks. So
//! the contents of the model that follow one another are one message, in which a call counts by its
//! name and its arguments.

mod content;
mod request;
mod response;

use super::{Answering, NotUnderstood};
use crate::call::{Answer, Operation};

pub(super) use request::parse as request;
pub(super) use response::Stream;

/// A method of the API that costs tokens, or counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Generate,
    /// The answer comes as server-sent events (`alt=sse`), or as an array.
    StreamGenerate,
    CountTokens,
    Embed,
}

impl Method {
    /// The method, and the resource that it is called on: the path's last segment (google.aip.dev/136).
    pub(super) fn of(path: &str) -> Option<(Self, &str)> {
        let segment = path.rsplit('/').next()?;
        let (resource, method) = segment
            .rsplit_once(':')
            .or_else(|| segment.rsplit_once("%3A"))
            .or_else(|| segment.rsplit_once("%3a"))?;
        let method = match method {
            "generateContent" => Self::Generate,
            "streamGenerateContent" => Self::StreamGenerate,
            "countTokens" => Self::CountTokens,
            "embedContent" | "batchEmbedContents" => Self::Embed,
            _ => return None,
        };
        Some((method, resource))
    }

    const fn operation(self) -> Operation {
        match self {
            Self::Generate | Self::StreamGenerate => Operation::GenerateContent,
            Self::CountTokens => Operation::CountTokens,
            Self::Embed => Operation::Embeddings,
        }
    }
}

/// The model that a path's resource names. Code Assist's names none: its body does.
pub(super) fn model(resource: &str) -> Option<&str> {
    (resource != "v1internal").then_some(resource)
}

/// What the body answers, in one document: what a stream of this one chunk does.
pub(super) fn response(body: &[u8], sample: &mut Answering) -> Result<Answer, NotUnderstood> {
    let mut stream = Stream::default();
    stream.read(body)?;
    *sample = stream.said();
    let reading = stream.end(true);
    reading.not_understood.map_or(Ok(reading.answer), Err)
}

#[cfg(test)]
mod tests;
