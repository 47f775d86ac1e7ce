//! The response: lines, of which a document is a single one. Text is hashed as it passes, not kept.

use serde::{Deserialize, de::IgnoredAny};

use super::super::{
    Answering, NotUnderstood, Progress, Reading, canonical,
    draft::Draft,
    json::{Count, ErrorReport, Said, Text, given},
};
use super::message::{Message, ToolCall};
use crate::{
    call::{self, Answer, Name},
    limits::{OBSERVED_RESPONSE_BYTES, TOOL_CALLS_PER_ANSWER},
};

/// What the lines so far add up to.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Stream {
    said: Answering,
    model: Option<Name>,
    content: canonical::Content,
    /// There was a message, or a part of one.
    answered: bool,
    calls: Vec<call::ToolCall>,
    /// Bytes of calls that are kept.
    kept: usize,
    /// The last line has come.
    done: bool,
    finish_reason: Option<Name>,
    usage: Option<call::Usage>,
    error: Option<Name>,
    /// A line was one of this API's.
    known: bool,
    not_understood: Option<NotUnderstood>,
}

impl Stream {
    pub(in crate::dialect) fn event(&mut self, data: &[u8]) {
        if let Err(reason) = self.read(data) {
            self.lose(reason);
        }
    }

    pub(super) fn read(&mut self, data: &[u8]) -> Result<(), NotUnderstood> {
        let line: Line<'_> = serde_json::from_slice(data)?;
        self.line(&line);
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>) {
        let embedded = line.embeddings.is_some();
        self.known |= line.done.is_some() || embedded;
        self.done |= line.done == Some(true) || embedded;
        if self.model.is_none() {
            self.model = given(line.model.as_ref()).map(Name::shared);
        }
        if self.finish_reason.is_none() {
            self.finish_reason = given(line.done_reason.as_ref()).map(Name::shared);
        }
        let error = line.error.as_ref().map(ErrorReport::name);
        self.error = self.error.take().or(error);
        self.usage = line.usage().or(self.usage);
        self.answered |= line.message.is_some() || line.response.is_some();
        // What of thinking is shown is paid for, though it is no part of the message.
        let of_message = line.message.as_ref().and_then(|message| message.thinking.as_ref());
        for Said(thinking) in [line.thinking.as_ref(), of_message].into_iter().flatten() {
            self.said.think(thinking);
        }
        self.text(given(line.response.as_ref()).unwrap_or_default());
        if let Some(message) = &line.message {
            self.text(given(message.content.as_ref()).unwrap_or_default());
            message.tool_calls.0.iter().for_each(|call| self.call(call));
        }
    }

    fn text(&mut self, text: &str) {
        self.said.push(text);
        self.content.text(text);
    }

    /// Each line has whole calls, other ones than the lines before.
    fn call(&mut self, call: &ToolCall<'_>) {
        call.sample_into(&mut self.said);
        let id = given(call.id.as_ref());
        self.kept += id.map_or(0, str::len) + call.name().len();
        if self.kept > OBSERVED_RESPONSE_BYTES {
            self.lose(NotUnderstood::TooLarge);
        } else if self.calls.len() < TOOL_CALLS_PER_ANSWER {
            self.calls.push(call.arguments().of_call(id, call.name()));
        }
    }

    /// How far it has come.
    pub(in crate::dialect) fn progress(&self) -> Progress {
        Progress::new(&self.said, self.usage, self.done)
    }

    pub(in crate::dialect) fn lose(&mut self, reason: NotUnderstood) {
        self.not_understood.get_or_insert(reason);
    }

    /// What it said so far, of which some is kept, and its size. To be called once.
    pub(in crate::dialect) fn said(&mut self) -> Answering {
        std::mem::take(&mut self.said)
    }

    pub(in crate::dialect) fn end(mut self, whole: bool) -> Reading {
        if whole && !self.known && self.error.is_none() {
            self.lose(NotUnderstood::NotThisShape);
        }
        let mut answer = Answer {
            model: self.model,
            finish_reasons: self.finish_reason.into_iter().collect(),
            usage: self.usage,
            complete: self.done && self.error.is_none() && self.not_understood.is_none(),
            error: self.error,
            ..Answer::default()
        };
        if self.answered {
            let mut draft = Draft::new("assistant");
            draft.content(self.content);
            for call in &self.calls {
                draft.call_by_name(call.id.as_deref(), &call.name, call.arguments.into());
            }
            answer.choices.push(draft.finish());
        }
        answer.tool_calls = self.calls;
        Reading { answer, not_understood: self.not_understood }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    /// The text, of `/api/generate`.
    #[serde(borrow)]
    response: Option<Text<'a>>,
    /// Of `/api/generate`, too.
    #[serde(borrow)]
    thinking: Option<Said<'a>>,
    done: Option<bool>,
    #[serde(borrow)]
    done_reason: Option<Text<'a>>,
    prompt_eval_count: Option<Count>,
    prompt_eval_cached_count: Option<Count>,
    eval_count: Option<Count>,
    #[serde(alias = "embedding")]
    embeddings: Option<IgnoredAny>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
}

impl Line<'_> {
    /// How many tokens the model read and wrote. What it had in its cache is counted as read; since
    /// Ollama 0.33.3 it is told, too.
    fn usage(&self) -> Option<call::Usage> {
        let count = |count: Option<Count>| count.and_then(Count::get);
        let (input, output) = (count(self.prompt_eval_count), count(self.eval_count));
        input.or(output)?;
        Some(call::Usage {
            input: input.unwrap_or(0),
            output: output.unwrap_or(0),
            cache_read: count(self.prompt_eval_cached_count),
            ..call::Usage::default()
        })
    }
}
