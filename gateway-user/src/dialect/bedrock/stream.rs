//! The response as a stream of events, each named by its header, with JSON in it.

use serde::{Deserialize, de::IgnoredAny};

use super::super::{
    Answering, NotUnderstood, Progress, Reading,
    blocks::Told,
    event_stream::Message,
    json::{Maybe, Said, Text, given},
};
use super::{message::Block, request::ServiceTier, response::Usage};
use crate::call::{self, Answer, Name};

/// What the events so far add up to.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Stream {
    role: Option<String>,
    told: Told,
    said: Answering,
    finish_reason: Option<Name>,
    usage: Option<call::Usage>,
    service_tier: Option<Name>,
    has_begun: bool,
    /// The metadata were read: nothing follows.
    done: bool,
    /// The exception that ended it.
    error: Option<Name>,
    not_understood: Option<NotUnderstood>,
}

impl Stream {
    pub(in crate::dialect) fn message(&mut self, message: Message<'_>) {
        match message {
            Message::Event { name, payload } => {
                if let Err(error) = self.event(name, payload) {
                    self.lose(error.into());
                }
            }
            Message::Fault(name) => {
                let name = Some(name).filter(|name| !name.is_empty()).unwrap_or("error");
                self.error.get_or_insert_with(|| Name::shared(name));
            }
        }
    }

    fn event(&mut self, name: &str, payload: &[u8]) -> Result<(), serde_json::Error> {
        match name {
            "messageStart" => {
                let start: MessageStart<'_> = serde_json::from_slice(payload)?;
                self.has_begun = true;
                self.role = given(start.role.as_ref()).map(str::to_owned);
            }
            "contentBlockStart" => {
                let start: BlockStart<'_> = serde_json::from_slice(payload)?;
                if let Some(Block(block)) = start.start {
                    block.sample_into(&mut self.said);
                    self.told.block(start.content_block_index.unwrap_or(0), &block);
                }
            }
            "contentBlockDelta" => {
                let delta: BlockDelta<'_> = serde_json::from_slice(payload)?;
                self.delta(&delta);
            }
            "messageStop" => {
                let stop: MessageStop<'_> = serde_json::from_slice(payload)?;
                self.finish_reason = given(stop.stop_reason.as_ref()).map(Name::shared);
            }
            "metadata" => {
                let metadata: Metadata<'_> = serde_json::from_slice(payload)?;
                self.done = true;
                self.usage = metadata.usage.and_then(Maybe::known).and_then(Usage::normalised);
                let tier = metadata.service_tier.and_then(Maybe::known);
                self.service_tier = tier.and_then(|tier| tier.name());
            }
            // The ends of blocks, and what is to come.
            _ => {
                serde_json::from_slice::<IgnoredAny>(payload)?;
            }
        }
        Ok(())
    }

    fn delta(&mut self, event: &BlockDelta<'_>) {
        let Some(delta) = &event.delta else { return };
        // What of reasoning is shown is paid for, though it is no part of the message.
        if let Some(Maybe::Is(Reasoning { text: Some(Said(reasoning)) })) = &delta.reasoning_content
        {
            self.said.think(reasoning);
        }
        let text = given(delta.text.as_ref()).unwrap_or_default();
        self.said.push(text);
        self.told.text(text);
        let Some(part) = &delta.tool_use else { return };
        let part = given(part.input.as_ref()).unwrap_or_default();
        self.said.push(part);
        if let Err(reason) = self.told.arguments(event.content_block_index.unwrap_or(0), part) {
            self.lose(reason);
        }
    }

    /// How far it has come.
    pub(in crate::dialect) fn progress(&self) -> Progress {
        Progress::new(&self.said, self.usage, self.finish_reason.is_some())
    }

    pub(in crate::dialect) fn lose(&mut self, reason: NotUnderstood) {
        self.not_understood.get_or_insert(reason);
    }

    /// What it said so far, of which some is kept, and its size. To be called once.
    pub(in crate::dialect) fn said(&mut self) -> Answering {
        std::mem::take(&mut self.said)
    }

    pub(in crate::dialect) fn end(mut self, whole: bool) -> Reading {
        if whole && !self.has_begun && self.error.is_none() {
            self.lose(NotUnderstood::NotThisShape);
        }
        let finished = self.finish_reason.is_some() && (self.done || whole);
        let mut answer = Answer {
            finish_reasons: self.finish_reason.into_iter().collect(),
            usage: self.usage,
            service_tier: self.service_tier,
            complete: finished && self.error.is_none() && self.not_understood.is_none(),
            error: self.error,
            ..Answer::default()
        };
        if self.has_begun {
            self.told.answer(self.role.as_deref(), &mut answer);
        }
        Reading { answer, not_understood: self.not_understood }
    }
}

#[derive(Deserialize)]
struct MessageStart<'a> {
    #[serde(borrow)]
    role: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart<'a> {
    #[serde(borrow)]
    start: Option<Block<'a>>,
    content_block_index: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    content_block_index: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    tool_use: Option<ToolUsePart<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Maybe<Reasoning<'a>>>,
}

#[derive(Deserialize)]
struct Reasoning<'a> {
    #[serde(borrow)]
    text: Option<Said<'a>>,
}

#[derive(Deserialize)]
struct ToolUsePart<'a> {
    #[serde(borrow)]
    input: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop<'a> {
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    usage: Option<Maybe<Usage>>,
    #[serde(borrow)]
    service_tier: Option<Maybe<ServiceTier<'a>>>,
}
