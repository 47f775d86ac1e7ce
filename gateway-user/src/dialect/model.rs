//! One exchange in which a model is asked, whatever API it is asked in.

mod stream;

use sha2::{Digest as _, Sha256};

use super::{
    Answered, Asked, CallKey, Known, NotUnderstood, Reading, RequestInfo, ResponseInfo, What,
    anthropic, bedrock,
    body::Body,
    frames::{Event, Frames},
    openai_chat, openai_completions, openai_embeddings, openai_responses,
};
use crate::{
    call::{Answer, Digest, Name, Operation, Prompt, Signal},
    limits,
};

use stream::Stream;

/// The APIs in which models are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    OpenaiChat,
    AnthropicMessages,
    AnthropicCountTokens,
    /// Anthropic Messages as Bedrock takes them, whose path says whether the answer is streamed.
    AnthropicInBedrock {
        stream: bool,
    },
    BedrockConverse {
        stream: bool,
    },
    OpenaiCompletions,
    OpenaiEmbeddings,
    OpenaiResponses(Operation),
    /// The answer to an earlier call of that API is fetched, or its making is stopped.
    OpenaiResponse,
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
    /// Whether its answer is made while nobody waits for it.
    background: bool,
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
    /// Not at all: it is an error, or has no body that matters.
    NoAnswer,
    /// One document.
    Whole(Body),
    /// Events, each a part of the answer.
    Stream(Box<(Frames, Stream)>),
    Lost(NotUnderstood),
}

/// What a response comes to.
enum Outcome {
    Over(Reading),
    /// Its answer is still being made; the id under which it will be found.
    Pending(Option<String>),
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
                .expecting(request.content_length),
            response: Response::Awaited,
            key: None,
            background: false,
        }
    }

    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        self.request.push(bytes);
    }

    /// The call, unless an earlier one is asked about.
    pub(super) fn request_end(
        &mut self,
        known: &mut Known,
    ) -> Result<Option<Asked>, NotUnderstood> {
        let body = self.request.take()?;
        let alone = |prompt| (prompt, Digest(Sha256::digest(&body).into()), None);
        let (mut prompt, sha256, end) = match self.api {
            Api::OpenaiChat => openai_chat::request(&body, known)?,
            Api::AnthropicMessages => alone(anthropic::request(&body, Operation::Chat)?),
            Api::AnthropicCountTokens => alone(anthropic::request(&body, Operation::CountTokens)?),
            Api::AnthropicInBedrock { stream } => {
                let prompt = anthropic::request(&body, Operation::Chat)?;
                alone(Prompt { stream, ..prompt })
            }
            Api::BedrockConverse { stream } => alone(bedrock::request(&body, stream)?),
            Api::OpenaiCompletions => alone(openai_completions::request(&body)?),
            Api::OpenaiEmbeddings => alone(openai_embeddings::request(&body)?),
            Api::OpenaiResponses(operation) => alone(openai_responses::request(&body, operation)?),
            Api::OpenaiResponse => return Ok(None),
        };
        if prompt.model.is_none() {
            prompt.model = self.head.model.take();
        }
        prompt.client_retry = self.head.client_retry;
        prompt.terms.signals.append(&mut self.head.signals);
        self.background = prompt.terms.background;
        let key = known.key();
        self.key = Some(key);
        Ok(Some(Asked { key, what: What::Model(prompt), sha256, unmetered: None, end }))
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
                    Event::Message(message) => stream.message(message),
                    Event::TooLarge => stream.lose(NotUnderstood::TooLarge),
                    Event::Broken => stream.lose(NotUnderstood::BrokenFrames),
                });
            }
            Response::Awaited | Response::NoAnswer | Response::Lost(_) => {}
        }
    }

    pub(super) fn response_end(self, whole: bool, known: &mut Known) -> Option<Answered> {
        let outcome = match self.response {
            Response::Awaited => Outcome::Over(Reading::default()),
            Response::NoAnswer => Outcome::Over(Reading {
                answer: Answer { complete: whole, ..Answer::default() },
                not_understood: None,
            }),
            Response::Whole(body) => document(self.api, body, whole),
            Response::Stream(stream) => stream.1.end(whole, self.background),
            Response::Lost(reason) => Outcome::Over(Reading::lost(reason)),
        };
        let fetches = self.api == Api::OpenaiResponse;
        match (self.key, outcome) {
            (Some(key), Outcome::Over(reading)) => Some(Answered { key, reading }),
            (Some(key), Outcome::Pending(id)) => {
                known.background.put(id?, key);
                None
            }
            (None, Outcome::Over(reading)) if fetches => {
                let key = known.background.take(reading.answer.response_id.as_deref()?)?;
                Some(Answered { key, reading })
            }
            (None, _) => None,
        }
    }
}

/// A body that was cut is not misunderstood, it is only not complete.
fn document(api: Api, mut body: Body, whole: bool) -> Outcome {
    let mut pending = None;
    let answer = body.take().and_then(|body| match api {
        Api::OpenaiChat => openai_chat::response(&body),
        Api::AnthropicMessages | Api::AnthropicInBedrock { .. } => anthropic::response(&body),
        Api::AnthropicCountTokens => anthropic::counted(&body),
        Api::BedrockConverse { .. } => bedrock::response(&body),
        Api::OpenaiCompletions => openai_completions::response(&body),
        Api::OpenaiEmbeddings => openai_embeddings::response(&body),
        Api::OpenaiResponses(_) | Api::OpenaiResponse => match openai_responses::response(&body)? {
            openai_responses::Response::Over(answer) => Ok(answer),
            openai_responses::Response::Pending(id) => {
                pending = Some(id);
                Ok(Answer::default())
            }
        },
    });
    if let Some(id) = pending {
        return Outcome::Pending(id);
    }
    Outcome::Over(match answer {
        Ok(mut answer) => {
            answer.complete &= whole;
            Reading { answer, not_understood: None }
        }
        Err(NotUnderstood::NotJson) if !whole => Reading::default(),
        Err(reason) => Reading::lost(reason),
    })
}
