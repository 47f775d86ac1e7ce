//! One exchange in which a model is asked, whatever API it is asked in.

use super::{
    Answered, Asked, CallKey, Known, NotUnderstood, Reading, RequestInfo, ResponseInfo, What,
    body::Body,
    frames::{Event, Frames},
    openai_chat,
};
use crate::{
    call::{Answer, Dialect, Signal},
    limits,
};

/// The APIs in which models are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    OpenaiChat,
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
    pub(super) client_retry: Option<u32>,
    pub(super) signals: Vec<Signal>,
}

/// How the response is read.
#[derive(Debug)]
enum Response {
    /// Its head has not come.
    Awaited,
    /// Not at all: it is an error, or has no body that matters.
    NoAnswer,
    /// One document.
    Whole(Body),
    /// Events, each a part of the answer.
    Stream(Box<(Frames, Stream)>),
    Lost(NotUnderstood),
}

/// What the events of a stream add up to.
#[derive(Debug)]
enum Stream {
    OpenaiChat(openai_chat::Stream),
}

impl ModelExchange {
    pub(super) fn new(api: Api, request: &RequestInfo<'_>) -> Self {
        Self {
            api,
            head: Head { client_retry: request.client_retry, signals: request.signals.to_vec() },
            request: Body::new(request.content_encoding, limits::OBSERVED_REQUEST_BYTES)
                .expecting(request.content_length),
            response: Response::Awaited,
            key: None,
        }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        match self.api {
            Api::OpenaiChat => Dialect::OpenaiChat,
        }
    }

    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        self.request.push(bytes);
    }

    pub(super) fn request_end(&mut self, known: &mut Known) -> Result<Asked, NotUnderstood> {
        let body = self.request.take()?;
        let (mut prompt, sha256, end) = match self.api {
            Api::OpenaiChat => openai_chat::request(&body, known)?,
        };
        prompt.client_retry = self.head.client_retry;
        prompt.terms.signals.append(&mut self.head.signals);
        let key = known.key();
        self.key = Some(key);
        Ok(Asked { key, what: What::Model(prompt), sha256, unmetered: None, end })
    }

    pub(super) fn response_head(&mut self, response: &ResponseInfo<'_>) {
        let body = Body::new(response.content_encoding, limits::OBSERVED_RESPONSE_BYTES);
        self.response = match body.lost() {
            _ if !(200..300).contains(&response.status) => Response::NoAnswer,
            Some(reason) => Response::Lost(reason),
            None => match Frames::of(response.content_type) {
                Some(frames) => Response::Stream(Box::new((frames, Stream::new(self.api)))),
                None => Response::Whole(body),
            },
        };
    }

    pub(super) fn response_body(&mut self, bytes: &[u8]) {
        match &mut self.response {
            Response::Whole(body) => body.push(bytes),
            Response::Stream(stream) => {
                let (frames, stream) = &mut **stream;
                frames.feed(bytes, |event| match event {
                    Event::Data(data) => stream.event(data),
                    Event::TooLarge => stream.lose(NotUnderstood::TooLarge),
                });
            }
            Response::Awaited | Response::NoAnswer | Response::Lost(_) => {}
        }
    }

    pub(super) fn response_end(self, whole: bool) -> Option<Answered> {
        let key = self.key?;
        let reading = match self.response {
            Response::Awaited => Reading::default(),
            Response::NoAnswer => Reading {
                answer: Answer { complete: whole, ..Answer::default() },
                not_understood: None,
            },
            Response::Whole(body) => document(self.api, body, whole),
            Response::Stream(stream) => stream.1.end(whole),
            Response::Lost(reason) => Reading::lost(reason),
        };
        Some(Answered { key, reading })
    }
}

/// A body that was cut is not misunderstood, it is only not complete.
fn document(api: Api, mut body: Body, whole: bool) -> Reading {
    let answer = body.take().and_then(|body| match api {
        Api::OpenaiChat => openai_chat::response(&body),
    });
    match answer {
        Ok(mut answer) => {
            answer.complete &= whole;
            Reading { answer, not_understood: None }
        }
        Err(NotUnderstood::NotJson) if !whole => Reading::default(),
        Err(reason) => Reading::lost(reason),
    }
}

impl Stream {
    fn new(api: Api) -> Self {
        match api {
            Api::OpenaiChat => Self::OpenaiChat(openai_chat::Stream::default()),
        }
    }

    fn event(&mut self, data: &[u8]) {
        match self {
            Self::OpenaiChat(stream) => stream.event(data),
        }
    }

    fn lose(&mut self, reason: NotUnderstood) {
        match self {
            Self::OpenaiChat(stream) => stream.lose(reason),
        }
    }

    fn end(self, whole: bool) -> Reading {
        match self {
            Self::OpenaiChat(stream) => stream.end(whole),
        }
    }
}
