//! One exchange in which a model is asked, whatever API it is asked in.

mod api;
mod stream;

use sha2::{Digest as _, Sha256};

use super::{
    Answered, Answering, Asked, Asking, CallKey, Countermand, Known, NotUnderstood, Progress,
    Reading, RequestInfo, ResponseInfo, Traffic, What, body::Body, coding::Decoder, error,
    frames::Frames, ollama, openai_responses,
};
use crate::{
    call::{Answer, Dialect, Digest, Name, Operation, Signal, Value},
    limits,
};

pub(super) use api::Api;

use api::Question;
use stream::Stream;

/// Reads one exchange.
#[derive(Debug)]
pub struct ModelExchange {
    api: Api,
    head: Head,
    request: Body,
    response: Response,
    /// Of the call, once it is asked.
    key: Option<CallKey>,
    /// Whether its answer is made while nobody waits for it.
    background: bool,
    /// Whether its body is not one of its API's, though its path is.
    is_other: bool,
}

/// What the request's head says of the call.
#[derive(Debug)]
struct Head {
    /// The model that the path names.
    model: Option<Name>,
    client_retry: Option<u32>,
    signals: Vec<Signal>,
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

/// What a response comes to.
enum Outcome {
    Over(Box<Reading>),
    /// Its answer is still being made; the id under which it will be found.
    Pending(String),
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
            background: false,
            is_other: false,
        }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.api.dialect()
    }

    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        self.request.push(bytes);
    }

    /// The call; `None` if an earlier one is asked about, or it is other traffic, by its body.
    pub(super) fn request_end(
        &mut self,
        known: &mut Known,
    ) -> Result<Option<Asked>, NotUnderstood> {
        let body = self.request.take()?;
        let mut sample = Asking::default();
        let (mut prompt, sha256, end) = match self.api.question(&body, known, &mut sample)? {
            Question::Chat(asked) => *asked,
            Question::Plain(prompt) => (*prompt, Digest(Sha256::digest(&body).into()), None),
            Question::Earlier => return Ok(None),
            Question::Other => {
                self.is_other = true;
                return Ok(None);
            }
        };
        prompt.model = self.head.model.take().or(prompt.model);
        prompt.client_retry = self.head.client_retry;
        prompt.terms.signals.append(&mut self.head.signals);
        self.background = prompt.terms.background;
        let sha256 = self.request.digest().unwrap_or(sha256);
        let key = known.key();
        self.key = Some(key);
        // What costs nothing needs no measure.
        let unmetered = prompt.terms.unmetered.filter(|_| prompt.operation.calls_model());
        let what = What::Model(prompt);
        let countermand = self.background.then_some(Countermand::Cancel);
        Ok(Some(Asked { key, what, sha256, unmetered, sample, countermand, end }))
    }

    pub(super) const fn traffic(&self) -> Traffic {
        if self.is_other { Traffic::Other } else { Traffic::Calls }
    }

    /// Whether its path is one that no other API has.
    pub(super) const fn is_told(&self) -> bool {
        !matches!(self.api, Api::Ollama(_))
    }

    /// Whether it might be answered in a stream, if its body said so.
    pub(super) const fn may_stream(&self) -> bool {
        matches!(
            self.api,
            Api::OpenaiChat
                | Api::OpenaiCompletions
                | Api::OpenaiResponses(Operation::Chat)
                | Api::AnthropicMessages
                | Api::Ollama(ollama::Method::Chat | ollama::Method::Generate)
        )
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

    /// How far its answer has come, if that is a stream that is read.
    pub(super) fn progress(&self) -> Option<Progress> {
        match &self.response {
            Response::Stream(parts) => Some(parts.2.progress()),
            _ => None,
        }
    }

    pub(super) fn response_end(self, whole: bool, known: &mut Known) -> Option<Answered> {
        let fetches = self.api == Api::OpenaiResponse;
        let mut sample = match &self.response {
            Response::Stream(_) => Answering::default(),
            _ => Answering::uncounted(),
        };
        let background = self.background || fetches;
        match (self.key, self.response.end(self.api, whole, background, &mut sample)) {
            (Some(key), Outcome::Over(reading)) => {
                Some(Answered { key, reading: *reading, sample, cancelled: false })
            }
            (Some(key), Outcome::Pending(id)) => {
                known.background.put(&id, key);
                None
            }
            (None, Outcome::Over(reading)) if fetches => {
                let key = known.background.take(reading.answer.response_id.as_deref()?)?;
                Some(Answered { key, reading: *reading, sample, cancelled: false })
            }
            (None, _) => None,
        }
    }
}

impl Outcome {
    fn over(reading: Reading) -> Self {
        Self::Over(Box::new(reading))
    }
}

impl Response {
    fn end(self, api: Api, whole: bool, background: bool, sample: &mut Answering) -> Outcome {
        match self {
            Self::Awaited => Outcome::over(Reading::default()),
            // What it can't be read of is no loss: there is no answer in it.
            Self::Error(mut body) => {
                let error = body.take().ok().and_then(|body| error::name(&body));
                let answer = Answer { error, complete: whole, ..Answer::default() };
                Outcome::over(Reading { answer, not_understood: None })
            }
            Self::Whole(body) => document(api, body, whole, background, sample),
            Self::Stream(parts) => {
                let (decoder, mut frames, mut stream) = *parts;
                if whole {
                    frames.end(|event| stream.take(&event));
                }
                if whole && !decoder.is_whole() {
                    stream.lose(NotUnderstood::BrokenCoding);
                }
                stream.end(whole, background, sample)
            }
            Self::Lost(reason) => Outcome::over(Reading::lost(reason)),
        }
    }
}

/// A body that was cut is not misunderstood, it is only not complete.
fn document(
    api: Api,
    mut body: Body,
    whole: bool,
    background: bool,
    sample: &mut Answering,
) -> Outcome {
    let body = body.take();
    if background
        && let Ok(body) = &body
        && let Some(id) = openai_responses::pending(body)
    {
        return Outcome::Pending(id);
    }
    Outcome::over(match body.and_then(|body| api.answer(&body, sample)) {
        Ok(mut answer) => {
            answer.complete &= whole;
            answer.values = values(&answer, sample);
            if answer.usage.is_some() {
                *sample = Answering::default();
            }
            Reading { answer, not_understood: None }
        }
        Err(NotUnderstood::NotJson | NotUnderstood::BrokenCoding) if !whole => Reading::default(),
        Err(reason) => Reading::lost(reason),
    })
}

/// What the answer says that may be said again elsewhere. One that calls tools says what it does, and
/// several choices may be told piece by piece by turns.
fn values(answer: &Answer, sample: &Answering) -> Vec<Value> {
    let says = answer.tool_calls.is_empty() && answer.choices.len() == 1;
    if says { Value::all_in(sample.said()) } else { Vec::new() }
}

#[cfg(test)]
mod tests;
