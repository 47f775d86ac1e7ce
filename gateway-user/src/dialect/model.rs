//! One exchange in which a model is asked, whatever API it is asked in.

use sha2::{Digest as _, Sha256};

use super::{
    Answered, Asked, CallKey, Known, NotUnderstood, Reading, RequestInfo, ResponseInfo, What,
    body::Body,
    coding::Decoder,
    error,
    frames::{Event, Frames},
    gemini, ollama, openai_chat,
};
use crate::{
    call::{Answer, Digest, Name, Signal},
    limits,
};

/// The APIs in which models are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    OpenaiChat,
    Gemini(gemini::Method),
    Ollama(ollama::Method),
}

/// Reads one exchange.
#[derive(Debug)]
pub struct ModelExchange {
    api: Api,
    head: Head,
    request: Body,
    response: Response,
    /// Of the call, once it is asked.
    key: Option<CallKey>,
}

/// What the request's head says of the call.
#[derive(Debug)]
pub(super) struct Head {
    /// The model that the path names.
    pub(super) model: Option<Name>,
    pub(super) client_retry: Option<u32>,
    pub(super) signals: Vec<Signal>,
}

/// How the response is read.
#[derive(Debug)]
enum Response {
    /// Its head has not come.
    Awaited,
    /// As an error: what it is called.
    Error(Body),
    /// One document.
    Whole(Body),
    /// Events, each a part of the answer.
    Stream(Box<(Decoder, Frames, Stream)>),
    Lost(NotUnderstood),
}

/// What the events of a stream add up to.
#[derive(Debug)]
enum Stream {
    OpenaiChat(openai_chat::Stream),
    Gemini(gemini::Stream),
    Ollama(ollama::Stream),
}

impl ModelExchange {
    pub(super) fn new(api: Api, model: Option<Name>, request: &RequestInfo<'_>) -> Self {
        Self {
            api,
            head: Head {
                model,
                client_retry: request.client_retry,
                signals: request.signals.to_vec(),
            },
            request: Body::new(request.content_encoding, limits::OBSERVED_REQUEST_BYTES)
                .expecting(request.content_length)
                .digested(),
            response: Response::Awaited,
            key: None,
        }
    }

    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        self.request.push(bytes);
    }

    /// What is asked; `None` if it is other traffic, by its body.
    pub(super) fn request_end(
        &mut self,
        known: &mut Known,
    ) -> Result<Option<Asked>, NotUnderstood> {
        let body = self.request.take()?;
        let digest = || Digest(Sha256::digest(&body).into());
        let (mut prompt, sha256, end) = match self.api {
            Api::OpenaiChat => openai_chat::request(&body, known)?,
            Api::Gemini(method) => (gemini::request(method, &body)?, digest(), None),
            Api::Ollama(method) => {
                let Some(prompt) = ollama::request(method, &body)? else { return Ok(None) };
                (prompt, digest(), None)
            }
        };
        prompt.model = self.head.model.take().or(prompt.model);
        prompt.client_retry = self.head.client_retry;
        prompt.terms.signals.append(&mut self.head.signals);
        let sha256 = self.request.digest().unwrap_or(sha256);
        let key = known.key();
        self.key = Some(key);
        Ok(Some(Asked { key, what: What::Model(prompt), sha256, unmetered: None, end }))
    }

    /// Whether it is, once the request has ended.
    pub(super) const fn is_other(&self) -> bool {
        self.key.is_none()
    }

    pub(super) fn response_head(&mut self, response: &ResponseInfo<'_>) {
        let (coding, limit) = (response.content_encoding, limits::OBSERVED_RESPONSE_BYTES);
        self.response = if (200..300).contains(&response.status) {
            match (self.api.frames(response.content_type), Decoder::new(coding, limit)) {
                (Some(_), Err(reason)) => Response::Lost(reason),
                (Some(frames), Ok(decoder)) => {
                    Response::Stream(Box::new((decoder, frames, Stream::new(self.api))))
                }
                (None, _) => Response::Whole(Body::new(coding, limit)),
            }
        } else {
            Response::Error(Body::new(coding, limits::ERROR_BODY_BYTES))
        };
    }

    pub(super) fn response_body(&mut self, bytes: &[u8]) {
        match &mut self.response {
            Response::Whole(body) | Response::Error(body) => body.push(bytes),
            Response::Stream(parts) => {
                let (decoder, frames, stream) = &mut **parts;
                let pushed = decoder.push(bytes, |bytes| {
                    frames.feed(bytes, |event| stream.take(&event));
                });
                if let Err(reason) = pushed {
                    self.response = Response::Lost(reason);
                }
            }
            Response::Awaited | Response::Lost(_) => {}
        }
    }

    pub(super) fn response_end(self, whole: bool) -> Option<Answered> {
        let key = self.key?;
        let reading = match self.response {
            Response::Awaited => Reading::default(),
            // What it can't be read of is no loss: there is no answer in it.
            Response::Error(mut body) => {
                let error = body.take().ok().and_then(|body| error::name(&body));
                let answer = Answer { error, complete: whole, ..Answer::default() };
                Reading { answer, not_understood: None }
            }
            Response::Whole(body) => document(self.api, body, whole),
            Response::Stream(parts) => {
                let (decoder, mut frames, mut stream) = *parts;
                if whole {
                    frames.end(|event| stream.take(&event));
                }
                if whole && !decoder.is_whole() {
                    stream.lose(NotUnderstood::BrokenCoding);
                }
                stream.end(whole)
            }
            Response::Lost(reason) => Reading::lost(reason),
        };
        Some(Answered { key, reading })
    }
}

/// A body that was cut is not misunderstood, it is only not complete.
fn document(api: Api, mut body: Body, whole: bool) -> Reading {
    let answer = body.take().and_then(|body| match api {
        Api::OpenaiChat => openai_chat::response(&body),
        Api::Gemini(_) => gemini::response(&body),
        Api::Ollama(_) => ollama::response(&body),
    });
    match answer {
        Ok(mut answer) => {
            answer.complete &= whole;
            Reading { answer, not_understood: None }
        }
        Err(NotUnderstood::NotJson | NotUnderstood::BrokenCoding) if !whole => Reading::default(),
        Err(reason) => Reading::lost(reason),
    }
}

impl Api {
    /// How a response of this type is cut into events, if it is a stream.
    fn frames(self, content_type: Option<&str>) -> Option<Frames> {
        Frames::of(content_type).or(match self {
            Self::Gemini(gemini::Method::StreamGenerate) => Some(Frames::array()),
            _ => None,
        })
    }
}

impl Stream {
    fn new(api: Api) -> Self {
        match api {
            Api::OpenaiChat => Self::OpenaiChat(openai_chat::Stream::default()),
            Api::Gemini(_) => Self::Gemini(gemini::Stream::default()),
            Api::Ollama(_) => Self::Ollama(ollama::Stream::default()),
        }
    }

    fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Data(data) => self.event(data),
            Event::TooLarge => self.lose(NotUnderstood::TooLarge),
        }
    }

    fn event(&mut self, data: &[u8]) {
        match self {
            Self::OpenaiChat(stream) => stream.event(data),
            Self::Gemini(stream) => stream.event(data),
            Self::Ollama(stream) => stream.event(data),
        }
    }

    fn lose(&mut self, reason: NotUnderstood) {
        match self {
            Self::OpenaiChat(stream) => stream.lose(reason),
            Self::Gemini(stream) => stream.lose(reason),
            Self::Ollama(stream) => stream.lose(reason),
        }
    }

    fn end(self, whole: bool) -> Reading {
        match self {
            Self::OpenaiChat(stream) => stream.end(whole),
            Self::Gemini(stream) => stream.end(whole),
            Self::Ollama(stream) => stream.end(whole),
        }
    }
}

#[cfg(test)]
mod tests;
