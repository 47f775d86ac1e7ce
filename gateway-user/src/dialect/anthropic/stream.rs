//! The response as a stream of events, each with JSON in it that says its type.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;

use super::super::{
    Answering, NotUnderstood, Progress, Reading,
    blocks::Told,
    content::Content,
    event_stream::Message,
    json::{ErrorReport, Maybe, Said, Text, given},
};
use super::{
    message::Block,
    response,
    usage::{Figures, Usage},
};
use crate::call::{self, Answer, Name};

/// What the events so far add up to.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Stream {
    id: Option<String>,
    model: Option<Name>,
    role: Option<String>,
    told: Told,
    said: Answering,
    figures: Figures,
    /// Whether the figures are those of the end: until then they count the input, and little else.
    has_last_figures: bool,
    service_tier: Option<Name>,
    finish_reason: Option<Name>,
    has_begun: bool,
    /// `message_stop` was read: nothing follows.
    done: bool,
    /// What the server called the error that it reported.
    error: Option<Name>,
    not_understood: Option<NotUnderstood>,
}

impl Stream {
    pub(in crate::dialect) fn event(&mut self, data: &[u8]) {
        if !self.done {
            match serde_json::from_slice(data) {
                Ok(event) => self.read(event),
                Err(error) => self.lose(error.into()),
            }
        }
    }

    /// A message of Bedrock's, which holds an event.
    pub(in crate::dialect) fn message(&mut self, message: Message<'_>) {
        match message {
            Message::Event { payload, .. } => match serde_json::from_slice::<Chunk<'_>>(payload) {
                Ok(Chunk { bytes: Some(Text(bytes)) }) => match BASE64.decode(&*bytes) {
                    Ok(event) => self.event(&event),
                    Err(_) => self.lose(NotUnderstood::NotThisShape),
                },
                Ok(Chunk { bytes: None }) => {}
                Err(error) => self.lose(error.into()),
            },
            Message::Fault(name) => {
                let name = Some(name).filter(|name| !name.is_empty()).unwrap_or("error");
                self.error.get_or_insert_with(|| Name::shared(name));
            }
        }
    }

    fn read(&mut self, event: Event<'_>) {
        let index = event.index.unwrap_or(0);
        match (given(event.kind.as_ref()), event.delta) {
            (Some("message_start"), _) => {
                self.begin(event.message.and_then(|message| message.known()));
            }
            (Some("content_block_start"), _) => {
                if let Some(block) = &event.content_block {
                    block.0.sample_into(&mut self.said);
                    self.told.block(index, &block.0);
                }
            }
            (Some("content_block_delta"), Some(delta)) => self.delta(index, &delta),
            (Some("message_delta"), delta) => {
                let delta = delta.unwrap_or_default();
                let reason = given(delta.stop_reason.as_ref()).map(Name::shared);
                self.finish_reason = reason.or(self.finish_reason.take());
                if let Some(usage) = event.usage.and_then(|usage| usage.known()) {
                    self.has_last_figures = true;
                    self.report(&usage);
                }
            }
            (Some("message_stop"), _) => self.done = true,
            // Pings, the ends of blocks, and what is to come.
            _ => {}
        }
        let error = event.error.as_ref().map(ErrorReport::name);
        self.error = self.error.take().or(error);
    }

    fn begin(&mut self, message: Option<response::Message<'_>>) {
        self.has_begun = true;
        let Some(message) = message else { return };
        self.id = given(message.id.as_ref()).map(str::to_owned);
        self.model = given(message.model.as_ref()).map(Name::shared);
        self.role = given(message.role.as_ref()).map(str::to_owned);
        if let Some(usage) = message.usage.and_then(Maybe::known) {
            self.report(&usage);
        }
    }

    fn report(&mut self, usage: &Usage<'_>) {
        self.figures.report(usage);
        self.service_tier = usage.tier().or(self.service_tier.take());
    }

    fn delta(&mut self, index: u64, delta: &Delta<'_>) {
        let text = given(delta.text.as_ref()).unwrap_or_default();
        let part = given(delta.partial_json.as_ref()).unwrap_or_default();
        // What of thinking is shown is paid for, though it is no part of the message.
        if let Some(Said(thinking)) = &delta.thinking {
            self.said.think(thinking);
        }
        self.said.push(text);
        self.said.push(part);
        delta.content.texts().for_each(|text| self.said.push(text));
        self.told.text(text);
        self.told.more(&delta.content);
        if let Err(reason) = self.told.arguments(index, part) {
            self.lose(reason);
        }
    }

    /// How far it has come.
    pub(in crate::dialect) fn progress(&self) -> Progress {
        let finished = self.done || self.finish_reason.is_some();
        Progress::new(&self.said, self.figures.normalised(), finished)
    }

    pub(in crate::dialect) fn lose(&mut self, reason: NotUnderstood) {
        self.not_understood.get_or_insert(reason);
    }

    /// What it said so far, of which some is kept, and its size. To be called once.
    pub(in crate::dialect) fn said(&mut self) -> Answering {
        std::mem::take(&mut self.said)
    }

    pub(in crate::dialect) fn end(mut self, whole: bool) -> Reading {
        if whole && !self.has_begun && !self.done && self.error.is_none() {
            self.lose(NotUnderstood::NotThisShape);
        }
        // Not every server says `message_stop`, but each says why it stopped.
        let finished = whole && self.finish_reason.is_some();
        let is_final = self.has_last_figures && (self.done || self.finish_reason.is_some());
        let usage = self.figures.normalised();
        let mut answer = Answer {
            model: self.model,
            response_id: self.id,
            finish_reasons: self.finish_reason.into_iter().collect(),
            usage: usage.map(|usage| call::Usage { estimated: !is_final, ..usage }),
            service_tier: self.service_tier,
            complete: (self.done || finished)
                && self.error.is_none()
                && self.not_understood.is_none(),
            error: self.error,
            ..Answer::default()
        };
        if self.has_begun {
            self.told.answer(self.role.as_deref(), &mut answer);
        }
        Reading { answer, not_understood: self.not_understood }
    }
}

/// What a message of Bedrock's has in it.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Option<Text<'a>>,
}

/// An event. What few of them have is in boxes.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Box<Maybe<response::Message<'a>>>>,
    index: Option<u64>,
    #[serde(borrow)]
    content_block: Option<Box<Block<'a>>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    usage: Option<Box<Maybe<Usage<'a>>>>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    /// A summary's text.
    #[serde(borrow)]
    content: Content<'a>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Said<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}
