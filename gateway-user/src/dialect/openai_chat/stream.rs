//! The response as a stream of chunks, each an event with JSON in it. Text is hashed as it
//! passes, not kept; arguments of tool calls are kept until the end, since only then they are JSON.

use std::mem::take;

use serde::Deserialize;

use super::super::{
    Answering, NotUnderstood, Progress, Reading,
    arguments::Arguments,
    canonical,
    content::{Content, Piece},
    draft::Draft,
    json::{ErrorReport, Maybe, MostlyOne, Said, Text, UpTo, given},
};
use super::{
    message::Audio,
    response::{Usage, emit},
};
use crate::{
    call::{self, Answer, Name},
    limits::{self, OBSERVED_RESPONSE_BYTES, TOOL_CALLS_PER_ANSWER},
};

/// What the chunks so far add up to.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Stream {
    id: Option<String>,
    model: Option<Name>,
    usage: Option<call::Usage>,
    choices: Vec<Choice>,
    /// Tool calls in all choices.
    calls: usize,
    /// Bytes of tool calls that are kept, in all choices.
    kept: usize,
    /// `[DONE]` was read: nothing follows.
    done: bool,
    /// What the server called the error that it reported.
    error: Option<Name>,
    service_tier: Option<Name>,
    sample: Answering,
    not_understood: Option<NotUnderstood>,
}

impl Stream {
    pub(in crate::dialect) fn event(&mut self, data: &[u8]) {
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
        } else if !self.done {
            match serde_json::from_slice(data) {
                Ok(chunk) => self.chunk(chunk),
                Err(error) => self.lose(error.into()),
            }
        }
    }

    fn chunk(&mut self, chunk: Chunk<'_>) {
        // vLLM has written `"object": "error"` instead of an `error` field.
        let bare = || (given(chunk.object.as_ref()) == Some("error")).then(|| "error".into());
        let error = chunk.error.as_ref().map(ErrorReport::name).or_else(bare);
        self.error = self.error.take().or(error);
        first_name(&mut self.service_tier, chunk.service_tier.as_ref());
        first(&mut self.id, chunk.id.as_ref());
        first_name(&mut self.model, chunk.model.as_ref());
        // Some servers report as they go: the last report holds.
        let usage = chunk.usage.and_then(Maybe::known).and_then(Usage::normalised);
        self.usage = usage.or(self.usage);
        for part in chunk.choices {
            self.choice(part);
        }
    }

    fn choice(&mut self, part: ChoicePart<'_>) {
        let index = part.index.unwrap_or(0);
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None if self.choices.len() == limits::CHOICES_PER_ANSWER => return,
            None => {
                if self.choices.is_empty() {
                    // Few answers have several.
                    self.choices.reserve_exact(1);
                }
                self.choices.push(Choice { index, ..Choice::default() });
                self.choices.len() - 1
            }
        };
        let choice = &mut self.choices[at];
        first_name(&mut choice.finish_reason, part.finish_reason.as_ref());
        let Some(delta) = part.delta else { return };
        first(&mut choice.role, delta.role.as_ref());
        first(&mut choice.audio, delta.audio.as_ref().and_then(|audio| audio.id.as_ref()));
        for piece in delta.content.pieces() {
            match piece {
                Piece::Text(text) => {
                    self.sample.push(text);
                    choice.content.text(text);
                }
                Piece::Other(piece) => choice.content.other(piece.hash),
            }
        }
        if let Some(refusal) = given(delta.refusal.as_ref()) {
            self.sample.push(refusal);
            choice.content.text(refusal);
        }
        // What of reasoning is shown is paid for, though no client sends it back.
        for Said(reasoning) in [&delta.reasoning_content, &delta.reasoning].into_iter().flatten() {
            self.sample.think(reasoning);
        }
        for part in &delta.tool_calls.0 {
            self.call(at, part);
        }
        if let Some(function) = delta.function_call {
            self.call(at, &CallPart { function: Some(function), ..CallPart::default() });
        }
    }

    /// Adds a part of a tool call to the choice at `at`.
    fn call(&mut self, at: usize, part: &CallPart<'_>) {
        let tool = part.function.as_ref().or(part.custom.as_ref());
        let id = given(part.id.as_ref());
        let name = given(tool.and_then(|tool| tool.name.as_ref()));
        let arguments = given(tool.and_then(|tool| tool.arguments.as_ref())).unwrap_or_default();
        self.sample.push(name.unwrap_or_default());
        self.sample.push(arguments);

        self.kept += id.map_or(0, str::len) + name.map_or(0, str::len) + arguments.len();
        if self.kept > OBSERVED_RESPONSE_BYTES {
            self.lose(NotUnderstood::TooLarge);
            return;
        }
        let calls = &mut self.choices[at].calls;
        let open = match calls.iter().rposition(|call| call.goes_on(part.index, id, name)) {
            Some(open) => open,
            None if self.calls == TOOL_CALLS_PER_ANSWER => return,
            None => {
                self.calls += 1;
                calls.push(Call { index: part.index, ..Call::default() });
                calls.len() - 1
            }
        };
        let call = &mut calls[open];
        first(&mut call.id, part.id.as_ref());
        first(&mut call.name, tool.and_then(|tool| tool.name.as_ref()));
        call.arguments.push_str(arguments);
    }

    /// How far it has come.
    pub(in crate::dialect) fn progress(&self) -> Progress {
        let mut choices = self.choices.iter();
        let finished = choices.len() > 0 && choices.all(|choice| choice.finish_reason.is_some());
        Progress::new(&self.sample, self.usage, self.done || finished)
    }

    pub(in crate::dialect) fn lose(&mut self, reason: NotUnderstood) {
        self.not_understood.get_or_insert(reason);
    }

    pub(in crate::dialect) fn end(mut self, whole: bool, sample: &mut Answering) -> Reading {
        *sample = take(&mut self.sample);
        if whole && self.choices.is_empty() && !self.done && self.error.is_none() {
            self.lose(NotUnderstood::NotThisShape);
        }
        // Not every server says `[DONE]`, but each says why it finished.
        let finished = whole && self.choices.iter().all(|choice| choice.finish_reason.is_some());
        let mut answer = Answer {
            model: self.model,
            response_id: self.id,
            usage: self.usage,
            complete: (self.done || finished)
                && self.error.is_none()
                && self.not_understood.is_none(),
            service_tier: self.service_tier,
            error: self.error,
            ..Answer::default()
        };
        self.choices.sort_unstable_by_key(|choice| choice.index);
        for choice in self.choices {
            choice.end(&mut answer);
        }
        Reading { answer, not_understood: self.not_understood }
    }
}

#[derive(Debug, Default)]
struct Choice {
    index: u64,
    role: Option<String>,
    content: canonical::Content,
    audio: Option<String>,
    calls: Vec<Call>,
    finish_reason: Option<Name>,
}

impl Choice {
    fn end(self, answer: &mut Answer) {
        let mut draft = Draft::new(self.role.as_deref().unwrap_or("assistant"));
        draft.content(self.content);
        draft.audio(self.audio.as_deref());
        for call in &self.calls {
            let name = call.name.as_deref().unwrap_or_default();
            let arguments = Arguments::in_text(&call.arguments);
            draft.call(call.id.as_deref(), name, arguments.json);
            emit(answer, call.id.as_deref(), name, &arguments);
        }
        answer.choices.push(draft.finish());
        answer.finish_reasons.extend(self.finish_reason);
    }
}

/// A tool call, as far as it has come.
#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: Option<String>,
    name: Option<String>,
    arguments: String,
}

impl Call {
    /// Whether a part with these marks belongs to this call. Some servers give all calls the same
    /// index, or none: there, a part with an id and a name of its own begins another call. An
    /// id alone does not, since some servers make up a fresh one for every part.
    fn goes_on(&self, index: Option<u64>, id: Option<&str>, name: Option<&str>) -> bool {
        let begins =
            id.is_some() && name.is_some() && self.id.is_some() && id != self.id.as_deref();
        (index.is_none() || index == self.index) && !begins
    }
}

/// The first that is given holds: some servers repeat it in every chunk, some leave it empty at
/// the beginning.
fn first(kept: &mut Option<String>, text: Option<&Text<'_>>) {
    if kept.is_none() {
        *kept = given(text).map(str::to_owned);
    }
}

fn first_name(kept: &mut Option<Name>, text: Option<&Text<'_>>) {
    if kept.is_none() {
        *kept = given(text).map(Name::shared);
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    object: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow, default)]
    choices: MostlyOne<{ limits::CHOICES_PER_ANSWER }, ChoicePart<'a>>,
    #[serde(borrow)]
    service_tier: Option<Text<'a>>,
    usage: Option<Maybe<Usage>>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
}

#[derive(Deserialize)]
struct ChoicePart<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    /// As `DeepSeek`'s API calls it, and vLLM and others after it.
    #[serde(borrow)]
    reasoning_content: Option<Said<'a>>,
    /// As `OpenRouter` and newer servers do.
    #[serde(borrow)]
    reasoning: Option<Said<'a>>,
    #[serde(borrow)]
    audio: Option<Audio<'a>>,
    #[serde(borrow, default)]
    tool_calls: UpTo<TOOL_CALLS_PER_ANSWER, CallPart<'a>>,
    #[serde(borrow)]
    function_call: Option<ToolPart<'a>>,
}

#[derive(Default, Deserialize)]
struct CallPart<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<ToolPart<'a>>,
    #[serde(borrow)]
    custom: Option<ToolPart<'a>>,
}

#[derive(Deserialize)]
struct ToolPart<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    /// A custom tool's are called its input.
    #[serde(borrow, alias = "input")]
    arguments: Option<Text<'a>>,
}
