//! The response, in one document or as a stream of chunks, which have the same shape.

use serde::Deserialize;

use super::super::{
    Answering, NotUnderstood, Progress, Reading, canonical,
    draft::Draft,
    json::{ErrorReport, Maybe, Text, UpTo, given},
    openai_chat::Usage,
};
use crate::{
    call::{self, Answer, Name},
    limits,
};

/// What the body answers.
pub(in crate::dialect) fn parse(
    body: &[u8],
    sample: &mut Answering,
) -> Result<Answer, NotUnderstood> {
    let completion: Completion<'_> = serde_json::from_slice(body)?;
    if completion.choices.is_none() && completion.error.is_none() {
        return Err(NotUnderstood::NotThisShape);
    }
    let mut stream = Stream::default();
    stream.take(completion);
    *sample = stream.said();
    let complete = stream.error.is_none();
    Ok(Answer { complete, ..stream.answer() })
}

#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<UpTo<{ limits::CHOICES_PER_ANSWER }, ChoicePart<'a>>>,
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
    text: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

/// What the chunks so far add up to.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Stream {
    said: Answering,
    id: Option<String>,
    model: Option<Name>,
    service_tier: Option<Name>,
    usage: Option<call::Usage>,
    choices: Vec<Choice>,
    /// `[DONE]` was read: nothing follows.
    done: bool,
    /// What the server called the error that it reported.
    error: Option<Name>,
    not_understood: Option<NotUnderstood>,
}

#[derive(Debug, Default)]
struct Choice {
    index: u64,
    content: canonical::Content,
    finish_reason: Option<Name>,
}

impl Stream {
    pub(in crate::dialect) fn event(&mut self, data: &[u8]) {
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
        } else if !self.done {
            match serde_json::from_slice(data) {
                Ok(chunk) => self.take(chunk),
                Err(error) => self.lose(error.into()),
            }
        }
    }

    /// How far it has come.
    pub(in crate::dialect) fn progress(&self) -> Progress {
        let mut choices = self.choices.iter();
        let finished = choices.len() > 0 && choices.all(|choice| choice.finish_reason.is_some());
        Progress::new(&self.said, self.usage, self.done || finished)
    }

    pub(in crate::dialect) fn lose(&mut self, reason: NotUnderstood) {
        self.not_understood.get_or_insert(reason);
    }

    /// What it said so far, of which some is kept, and its size. To be called once.
    pub(in crate::dialect) fn said(&mut self) -> Answering {
        std::mem::take(&mut self.said)
    }

    pub(in crate::dialect) fn end(mut self, whole: bool) -> Reading {
        if whole && self.choices.is_empty() && !self.done && self.error.is_none() {
            self.lose(NotUnderstood::NotThisShape);
        }
        let finished = whole && self.choices.iter().all(|choice| choice.finish_reason.is_some());
        let not_understood = self.not_understood;
        let complete = (self.done || finished) && self.error.is_none() && not_understood.is_none();
        Reading { answer: Answer { complete, ..self.answer() }, not_understood }
    }

    fn take(&mut self, chunk: Completion<'_>) {
        let name = |text: &Option<Text<'_>>| given(text.as_ref()).map(Name::shared);
        self.error = self.error.take().or(chunk.error.as_ref().map(ErrorReport::name));
        self.id = self.id.take().or(given(chunk.id.as_ref()).map(str::to_owned));
        self.model = self.model.take().or(name(&chunk.model));
        self.service_tier = self.service_tier.take().or(name(&chunk.service_tier));
        // Some servers report as they go: the last report holds.
        let usage = chunk.usage.and_then(Maybe::known).and_then(Usage::normalised);
        self.usage = usage.or(self.usage);
        for part in chunk.choices.unwrap_or_default().0 {
            let text = given(part.text.as_ref()).unwrap_or_default();
            self.said.push(text);
            let Some(choice) = self.choice(part.index.unwrap_or(0)) else { continue };
            choice.content.text(text);
            choice.finish_reason = choice.finish_reason.take().or(name(&part.finish_reason));
        }
    }

    fn choice(&mut self, index: u64) -> Option<&mut Choice> {
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None if self.choices.len() == limits::CHOICES_PER_ANSWER => return None,
            None => {
                self.choices.push(Choice { index, ..Choice::default() });
                self.choices.len() - 1
            }
        };
        self.choices.get_mut(at)
    }

    fn answer(mut self) -> Answer {
        self.choices.sort_unstable_by_key(|choice| choice.index);
        let mut answer = Answer {
            model: self.model,
            response_id: self.id,
            usage: self.usage,
            service_tier: self.service_tier,
            error: self.error,
            ..Answer::default()
        };
        for choice in self.choices {
            let mut draft = Draft::new("assistant");
            draft.content(choice.content);
            answer.choices.push(draft.finish());
            answer.finish_reasons.extend(choice.finish_reason);
        }
        answer
    }
}
