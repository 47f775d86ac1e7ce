//! The response in one JSON document, which a stream has at its beginning and its end, too.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use super::super::{
    Answering, NotUnderstood,
    json::{Count, ErrorReport, Maybe, Text, given},
};
use super::{item::Item, turn::Turn};
use crate::call::{self, Answer, Name, ToolCall};

/// What the body answers.
pub(in crate::dialect) fn parse(
    body: &[u8],
    sample: &mut Answering,
) -> Result<Answer, NotUnderstood> {
    let mut document: Document<'_> = serde_json::from_slice(body)?;
    if document.output.is_none() && document.status.is_none() && document.error.is_none() {
        return match given(document.object.as_ref()) {
            // What was asked is only how many tokens the input has.
            Some("response.input_tokens") => Ok(Answer { complete: true, ..Answer::default() }),
            _ => Err(NotUnderstood::NotThisShape),
        };
    }
    if let Some(output) = &mut document.output {
        *sample = std::mem::take(&mut output.said);
    }
    Ok(document.answer(Turn::default(), None))
}

/// The id under which the answer will be found, if the body says that it is still being made.
pub(in crate::dialect) fn pending(body: &[u8]) -> Option<String> {
    let document: Document<'_> = serde_json::from_slice(body).ok()?;
    document.id().filter(|_| document.is_pending())
}

/// A response, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Document<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    object: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) previous_response_id: Option<Text<'a>>,
    #[serde(borrow)]
    incomplete_details: Option<Maybe<Incomplete<'a>>>,
    #[serde(borrow)]
    service_tier: Option<Text<'a>>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
    output: Option<Output>,
    usage: Option<Maybe<Usage>>,
}

#[derive(Debug, Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Option<Text<'a>>,
}

impl Document<'_> {
    pub(super) fn id(&self) -> Option<String> {
        given(self.id.as_ref()).map(str::to_owned)
    }

    pub(super) fn model(&self) -> Option<Name> {
        given(self.model.as_ref()).map(Name::shared)
    }

    pub(super) fn service_tier(&self) -> Option<Name> {
        given(self.service_tier.as_ref()).map(Name::shared)
    }

    fn is_pending(&self) -> bool {
        Ending::of(given(self.status.as_ref()), self.error.is_some()) == Ending::Pending
    }

    /// The answer, which has come to its end. Its output, unless it has none: then what streamed; and
    /// its status, unless it has none: then what the event is called.
    pub(super) fn answer(self, streamed: Turn, event: Option<&str>) -> Answer {
        let (model, response_id) = (self.model(), self.id());
        let service_tier = self.service_tier();
        let turn = self.output.map(|output| output.turn).filter(Turn::has_begun);
        let turn = turn.unwrap_or(streamed);
        let has_turn = turn.has_begun();
        let (tool_calls, message) = (turn.calls(), turn.finish());
        let ending = Ending::of(given(self.status.as_ref()).or(event), self.error.is_some());
        let incomplete = self.incomplete_details.and_then(Maybe::known);
        let reason = incomplete.as_ref().and_then(|it| given(it.reason.as_ref()));
        let finish_reason = ending.finish_reason(reason, &tool_calls);
        Answer {
            model,
            response_id,
            choices: has_turn.then_some(message).into_iter().collect(),
            finish_reasons: vec![Name::shared(finish_reason)],
            tool_calls,
            values: Vec::new(),
            usage: self.usage.and_then(Maybe::known).and_then(Usage::normalised),
            service_tier,
            error: self.error.as_ref().map(ErrorReport::name),
            complete: matches!(ending, Ending::Completed | Ending::Incomplete),
        }
    }
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Completed,
    /// It is as long as it may be, or was stopped.
    Incomplete,
    Failed,
    Cancelled,
    /// It did not: it is made while nobody waits for it.
    Pending,
}

impl Ending {
    /// A response that does not tell, such as one of a compaction, is complete.
    fn of(status: Option<&str>, has_error: bool) -> Self {
        match status {
            Some("failed") => Self::Failed,
            _ if has_error => Self::Failed,
            Some("cancelled") => Self::Cancelled,
            Some("queued" | "in_progress") => Self::Pending,
            Some("incomplete") => Self::Incomplete,
            _ => Self::Completed,
        }
    }

    /// Its status, unless something says more.
    fn finish_reason<'r>(self, reason: Option<&'r str>, calls: &[ToolCall]) -> &'r str {
        match self {
            Self::Completed if calls.is_empty() => "completed",
            Self::Completed => "tool_calls",
            Self::Incomplete => reason.unwrap_or("incomplete"),
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Pending => "pending",
        }
    }
}

/// The items of an answer, each reduced as soon as it is parsed.
#[derive(Debug, Default)]
struct Output {
    turn: Turn,
    said: Answering,
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OutputVisitor;

        impl<'de> Visitor<'de> for OutputVisitor {
            type Value = Output;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Output, A::Error> {
                let mut output = Output::default();
                while let Some(item) = items.next_element::<Item<'_>>()? {
                    item.sample_into(&mut output.said);
                    output.turn.take(item.part());
                }
                Ok(output)
            }
        }

        deserializer.deserialize_seq(OutputVisitor)
    }
}

/// The `usage` object: `input_tokens` counts cached tokens, `output_tokens` reasoning.
#[derive(Debug, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
struct Usage {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    input_tokens_details: Option<Maybe<Details>>,
    output_tokens_details: Option<Maybe<Details>>,
}

#[derive(Debug, Default, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
struct Details {
    cached_tokens: Option<Count>,
    cache_write_tokens: Option<Count>,
    reasoning_tokens: Option<Count>,
}

impl Usage {
    /// In the gateway's terms, if it says anything.
    fn normalised(self) -> Option<call::Usage> {
        let count = |count: Option<Count>| count.and_then(Count::get);
        let details = |it: Option<Maybe<Details>>| it.and_then(Maybe::known).unwrap_or_default();
        let (input, output) = (count(self.input_tokens), count(self.output_tokens));
        if input.is_none() && output.is_none() {
            return None;
        }
        let of_input = details(self.input_tokens_details);
        Some(call::Usage {
            input: input.unwrap_or(0),
            output: output.unwrap_or(0),
            cache_read: count(of_input.cached_tokens),
            cache_creation: count(of_input.cache_write_tokens),
            cache_creation_1h: None,
            reasoning: count(details(self.output_tokens_details).reasoning_tokens),
            estimated: false,
        })
    }
}
