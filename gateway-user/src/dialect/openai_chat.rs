//! `OpenAI` Chat Completions, as `OpenAI` documents it and as the many servers that took it over
//! speak it (Azure, vLLM, llama.cpp, …).
//!
//! One type, [`message::Message`], reads a message of a request's history and a message of an
//! answer, and one, [`message::Draft`], hashes those and what a stream adds up to: so the hash of
//! an answer is that of its echo.

mod message;
mod request;
mod response;
mod stream;

use super::{
    NotUnderstood, Reading, RequestInfo, ResponseInfo, beginnings::Beginnings, body::Body,
};
use crate::{
    call::{Digest, Prompt},
    limits,
};

pub(super) use request::{Beginning, End, keep};

/// Reads one exchange.
#[derive(Debug)]
pub struct OpenaiChat {
    client_retry: Option<u32>,
    request: Body,
    response: Response,
}

/// How the response is read.
#[derive(Debug)]
enum Response {
    /// Its head has not come.
    Awaited,
    /// Not at all: it is an error, or has no body that matters.
    NoAnswer,
    /// One JSON document.
    Whole(Body),
    /// Server-sent events, each a chunk of the answer.
    Stream(Box<stream::Stream>),
    /// It can't be.
    Lost(NotUnderstood),
}

impl OpenaiChat {
    /// An observer, if the request is one for a chat completion: a POST to a path that ends in
    /// `/chat/completions`, below any prefix.
    pub(super) fn detect(request: &RequestInfo<'_>) -> Option<Self> {
        let path = request.target.split(['?', '#']).next()?;
        let path = path.strip_suffix('/').unwrap_or(path);
        (request.method == "POST" && path.ends_with("/chat/completions")).then(|| Self {
            client_retry: request.client_retry,
            request: Body::new(request.content_encoding, limits::OBSERVED_REQUEST_BYTES)
                .expecting(request.content_length),
            response: Response::Awaited,
        })
    }

    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        self.request.push(bytes);
    }

    /// What the request asks, the digest of its body, and where its messages end.
    pub(super) fn request_end(
        &mut self,
        known: &mut Beginnings<Beginning>,
    ) -> Result<(Prompt, Digest, Option<End>), NotUnderstood> {
        let body = self.request.take()?;
        let mut hashed = known.hash(&body);
        let (prompt, end) = request::parse(&mut hashed, known)?;
        Ok((Prompt { client_retry: self.client_retry, ..prompt }, hashed.digest(), end))
    }

    pub(super) fn response_head(&mut self, response: &ResponseInfo<'_>) {
        let body = Body::new(response.content_encoding, limits::OBSERVED_RESPONSE_BYTES);
        self.response = match body.lost() {
            _ if !(200..300).contains(&response.status) => Response::NoAnswer,
            Some(reason) => Response::Lost(reason),
            None if is_event_stream(response.content_type) => Response::Stream(Box::default()),
            None => Response::Whole(body),
        };
    }

    pub(super) fn response_body(&mut self, bytes: &[u8]) {
        match &mut self.response {
            Response::Whole(body) => body.push(bytes),
            Response::Stream(stream) => stream.feed(bytes),
            Response::Awaited | Response::NoAnswer | Response::Lost(_) => {}
        }
    }

    pub(super) fn response_end(self, whole: bool) -> Reading {
        match self.response {
            Response::Awaited => Reading::default(),
            Response::NoAnswer => {
                let mut reading = Reading::default();
                reading.answer.complete = whole;
                reading
            }
            Response::Whole(mut body) => response::parse(body.take(), whole),
            Response::Stream(stream) => stream.end(whole),
            Response::Lost(reason) => {
                Reading { not_understood: Some(reason), ..Reading::default() }
            }
        }
    }
}

fn is_event_stream(content_type: Option<&str>) -> bool {
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("text/event-stream")
}

#[cfg(test)]
mod tests;
