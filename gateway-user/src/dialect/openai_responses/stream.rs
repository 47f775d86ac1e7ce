//! The response as a stream of events: server-sent ones, or messages over WebSocket.
//!
//! The last event holds the whole response. What streams before it is read, too, for a stream that
//! is cut, and for servers that leave the output out of the last event: text is hashed as it passes,
//! not kept; arguments of calls are kept until the call is whole, since only then they are JSON.

use serde::Deserialize;

use super::super::{
    Answering, NotUnderstood, Progress, Reading,
    arguments::Arguments,
    canonical,
    json::{Count, ErrorReport, Text, TextOnly, given},
};
use super::{
    item::Item,
    response::Document,
    turn::{Call, Part, Turn},
};
use crate::{
    call::{Answer, Name},
    limits::{OBSERVED_RESPONSE_BYTES, OUTPUT_ITEMS_PER_ANSWER},
};

/// What the events so far add up to.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Stream {
    said: Answering,
    id: Option<String>,
    model: Option<Name>,
    service_tier: Option<Name>,
    items: Vec<Output>,
    /// Bytes of calls that are kept.
    kept: usize,
    /// An event of a response was read.
    begun: bool,
    last: Option<Answer>,
    /// What the server called the error that it reported.
    error: Option<Name>,
    not_understood: Option<NotUnderstood>,
}

/// An event, as far as it is read.
#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    /// The lane that it belongs to, over WebSocket.
    #[serde(borrow)]
    pub(super) stream_id: Option<Text<'a>>,
    output_index: Option<Count>,
    #[serde(borrow, default)]
    delta: TextOnly<'a>,
    #[serde(borrow)]
    item: Option<Item<'a>>,
    #[serde(borrow)]
    response: Option<Document<'a>>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
    /// Of an `error` that does not nest it.
    #[serde(borrow, default)]
    code: TextOnly<'a>,
    /// The status that the error would have had over HTTP, over WebSocket.
    status: Option<Count>,
}

impl<'a> Event<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, NotUnderstood> {
        Ok(serde_json::from_slice(data)?)
    }

    pub(super) fn kind(&self) -> &str {
        given(self.kind.as_ref()).unwrap_or_default()
    }

    pub(super) fn lane(&self) -> Option<&str> {
        given(self.stream_id.as_ref())
    }

    pub(super) fn response(&self) -> Option<&Document<'a>> {
        self.response.as_ref()
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.status.and_then(Count::get).and_then(|status| u16::try_from(status).ok())
    }

    /// What an error is called.
    fn error(&self) -> Name {
        let nested = || self.error.as_ref().map(ErrorReport::name);
        let flat = given(self.code.0.as_ref()).map(Name::shared);
        flat.or_else(nested).unwrap_or_else(|| "error".into())
    }
}

impl Stream {
    pub(in crate::dialect) fn event(&mut self, data: &[u8]) {
        if data.trim_ascii() == b"[DONE]" {
            return;
        }
        match Event::parse(data) {
            Ok(event) => self.take(event),
            Err(reason) => self.lose(reason),
        }
    }

    pub(super) fn take(&mut self, event: Event<'_>) {
        let index = event.output_index.and_then(Count::get).unwrap_or(0);
        let kind = given(event.kind.as_ref()).unwrap_or_default();
        self.begun |= kind.starts_with("response.");
        match kind {
            "response.output_text.delta"
            | "response.refusal.delta"
            | "response.function_call_arguments.delta"
            | "response.custom_tool_call_input.delta" => {
                let delta = given(event.delta.0.as_ref()).unwrap_or_default();
                let is_text =
                    matches!(kind, "response.output_text.delta" | "response.refusal.delta");
                self.delta(index, is_text, delta);
            }
            // What of reasoning is shown is paid for, though it is no part of the answer.
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                self.said.think(given(event.delta.0.as_ref()).unwrap_or_default());
            }
            "response.output_item.added" => {
                if let Some(item) = &event.item {
                    self.added(index, item);
                }
            }
            "response.output_item.done" => {
                if let (Some(item), Some(output)) = (&event.item, self.at(index)) {
                    output.state = State::Done(item.part());
                    // Some servers tell of an item only when it is done.
                    if !output.streamed {
                        item.sample_into(&mut self.said);
                    }
                }
            }
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled"
            | "response.done" => self.end_with(event.response.unwrap_or_default(), kind),
            "error" => self.error = Some(event.error()),
            _ => {
                if let Some(response) = &event.response {
                    self.note(response);
                }
            }
        }
    }

    /// The id of the response, once it is known.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether nothing follows.
    pub(super) const fn is_over(&self) -> bool {
        self.last.is_some()
    }

    /// Where the answer will be found, if it goes on without anybody who waits for it.
    pub(in crate::dialect) fn pending(&self) -> Option<&str> {
        let goes_on = self.last.is_none() && self.error.is_none();
        self.id.as_deref().filter(|_| goes_on)
    }

    /// How far it has come.
    pub(in crate::dialect) fn progress(&self) -> Progress {
        Progress::new(&self.said, None, self.is_over())
    }

    pub(in crate::dialect) fn lose(&mut self, reason: NotUnderstood) {
        self.not_understood.get_or_insert(reason);
    }

    /// What it said so far, of which some is kept, and its size. To be called once.
    pub(in crate::dialect) fn said(&mut self) -> Answering {
        std::mem::take(&mut self.said)
    }

    pub(in crate::dialect) fn end(mut self, whole: bool) -> Reading {
        if whole && !self.begun && self.error.is_none() {
            self.lose(NotUnderstood::NotThisShape);
        }
        let mut answer = match self.last.take() {
            Some(answer) => answer,
            None => self.so_far(),
        };
        answer.error = answer.error.or(self.error);
        answer.complete &= answer.error.is_none() && self.not_understood.is_none();
        Reading { answer, not_understood: self.not_understood }
    }

    /// The answer of a stream that was cut.
    fn so_far(&mut self) -> Answer {
        let turn = self.turn();
        let has_turn = turn.has_begun();
        let (tool_calls, message) = (turn.calls(), turn.finish());
        Answer {
            model: self.model.take(),
            response_id: self.id.take(),
            choices: has_turn.then_some(message).into_iter().collect(),
            tool_calls,
            service_tier: self.service_tier.take(),
            ..Answer::default()
        }
    }

    fn note(&mut self, response: &Document<'_>) {
        self.id = self.id.take().or_else(|| response.id());
        self.model = self.model.take().or_else(|| response.model());
        self.service_tier = response.service_tier().or_else(|| self.service_tier.take());
    }

    fn end_with(&mut self, response: Document<'_>, kind: &str) {
        self.note(&response);
        let mut answer = response.answer(self.turn(), kind.strip_prefix("response."));
        answer.response_id = answer.response_id.or_else(|| self.id.clone());
        answer.model = answer.model.or_else(|| self.model.clone());
        self.last = Some(answer);
    }

    fn delta(&mut self, index: u64, is_text: bool, delta: &str) {
        self.said.push(delta);
        if !is_text {
            self.kept += delta.len();
            if self.kept > OBSERVED_RESPONSE_BYTES {
                return self.lose(NotUnderstood::TooLarge);
            }
        }
        let Some(output) = self.at(index) else { return };
        output.streamed = true;
        match &mut output.state {
            State::Said(content) if is_text => content.text(delta),
            State::Called { arguments, .. } if !is_text => arguments.push_str(delta),
            _ => {}
        }
    }

    fn added(&mut self, index: u64, item: &Item<'_>) {
        let state = match item.part() {
            Part::Says(_) => State::Said(canonical::Content::default()),
            Part::Calls(Call { id, name, .. }) if item.streams_arguments() => {
                self.said.push(&name);
                self.kept += id.as_ref().map_or(0, String::len) + name.len();
                State::Called { id, name, arguments: String::new() }
            }
            part => State::Done(part),
        };
        if let Some(output) = self.at(index) {
            output.state = state;
        }
    }

    /// The item there, which may be new: servers may leave out that it begins. None if there are too
    /// many.
    fn at(&mut self, index: u64) -> Option<&mut Output> {
        let at = match self.items.iter().rposition(|output| output.index == index) {
            Some(at) => at,
            None if self.items.len() == OUTPUT_ITEMS_PER_ANSWER => return None,
            None => {
                self.items.push(Output { index, state: State::default(), streamed: false });
                self.items.len() - 1
            }
        };
        self.items.get_mut(at)
    }

    fn turn(&mut self) -> Turn {
        let mut items = std::mem::take(&mut self.items);
        items.sort_by_key(|output| output.index);
        let mut turn = Turn::default();
        for output in items {
            turn.take(output.state.part());
        }
        turn
    }
}

/// An item of the output, as far as it has come.
#[derive(Debug)]
struct Output {
    index: u64,
    state: State,
    /// Whether it came piece by piece.
    streamed: bool,
}

#[derive(Debug)]
enum State {
    Said(canonical::Content),
    Called { id: Option<String>, name: String, arguments: String },
    Done(Part),
}

impl Default for State {
    fn default() -> Self {
        Self::Said(canonical::Content::default())
    }
}

impl State {
    fn part(self) -> Part {
        match self {
            Self::Said(content) => Part::Says(content.if_any()),
            Self::Called { id, name, arguments } => {
                Part::Calls(Call { id, name, arguments: Arguments::in_text(&arguments) })
            }
            Self::Done(part) => part,
        }
    }
}
