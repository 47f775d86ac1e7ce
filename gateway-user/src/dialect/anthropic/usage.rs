//! The `usage` object. It counts cached tokens apart from `input_tokens`, and thinking inside
//! `output_tokens`.

use serde::Deserialize;

use super::super::json::{Count, Maybe, Text, UpTo, given};
use crate::{
    call::{self, Name},
    limits,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage<'a> {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation: Option<Maybe<CacheCreation>>,
    output_tokens_details: Option<Maybe<OutputDetails>>,
    #[serde(borrow)]
    iterations: Option<UpTo<{ limits::PARTS_PER_MESSAGE }, Maybe<Iteration<'a>>>>,
    #[serde(borrow)]
    service_tier: Option<Text<'a>>,
    #[serde(borrow)]
    speed: Option<Text<'a>>,
}

/// Of the tokens that were written to the cache, how many are kept for how long.
#[derive(Debug, Deserialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<Count>,
    ephemeral_1h_input_tokens: Option<Count>,
}

#[derive(Debug, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<Count>,
}

/// One of several times that models ran for the answer.
#[derive(Debug, Deserialize)]
struct Iteration<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation: Option<Maybe<CacheCreation>>,
}

/// The figures that were reported so far. Each report is of the whole answer: what it says takes
/// the place of what an earlier one said, and what it leaves out stays.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    main: Counts,
    thinking: Option<u64>,
    /// What the main figures leave out: the compaction of the conversation, and advisors.
    besides: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    created: Option<u64>,
    created_1h: Option<u64>,
    read: Option<u64>,
}

impl Usage<'_> {
    /// The tier that the price goes by: fast mode has one of its own.
    pub(super) fn tier(&self) -> Option<Name> {
        let speed = given(self.speed.as_ref()).filter(|speed| *speed == "fast");
        speed.or(given(self.service_tier.as_ref())).map(Name::shared)
    }
}

impl Figures {
    pub(super) fn report(&mut self, usage: &Usage<'_>) {
        let details = usage.output_tokens_details.as_ref().and_then(Maybe::as_known);
        self.thinking = count(details.and_then(|it| it.thinking_tokens)).or(self.thinking);
        let written = usage.cache_creation.as_ref().and_then(Maybe::as_known);
        self.main = Counts {
            input: count(usage.input_tokens),
            output: count(usage.output_tokens),
            read: count(usage.cache_read_input_tokens),
            ..Counts::written(usage.cache_creation_input_tokens, written)
        }
        .or(self.main);
        let Some(iterations) = &usage.iterations else { return };
        self.besides = Counts::default();
        for iteration in iterations.0.iter().filter_map(Maybe::as_known) {
            if matches!(given(iteration.kind.as_ref()), Some("compaction" | "advisor_message")) {
                self.besides = self.besides.plus(iteration.counts());
            }
        }
    }

    /// In the gateway's terms, if anything was reported.
    pub(super) fn normalised(self) -> Option<call::Usage> {
        let all = self.main.plus(self.besides);
        if all.input.is_none() && all.output.is_none() {
            return None;
        }
        let given = |count: Option<u64>| count.unwrap_or(0);
        Some(call::Usage {
            input: given(all.input)
                .saturating_add(given(all.created))
                .saturating_add(given(all.read)),
            output: given(all.output),
            cache_read: all.read,
            cache_creation: all.created,
            cache_creation_1h: all.created_1h,
            reasoning: self.thinking,
            estimated: false,
        })
    }
}

impl Iteration<'_> {
    fn counts(&self) -> Counts {
        let written = self.cache_creation.as_ref().and_then(Maybe::as_known);
        Counts {
            input: count(self.input_tokens),
            output: count(self.output_tokens),
            read: count(self.cache_read_input_tokens),
            ..Counts::written(self.cache_creation_input_tokens, written)
        }
    }
}

impl Counts {
    /// What was written to the cache: in one figure, or in one for each time that it is kept.
    fn written(whole: Option<Count>, parts: Option<&CacheCreation>) -> Self {
        let hour = count(parts.and_then(|it| it.ephemeral_1h_input_tokens));
        let minutes = count(parts.and_then(|it| it.ephemeral_5m_input_tokens));
        let created = count(whole).or_else(|| plus(hour, minutes));
        Self { created, created_1h: hour, ..Self::default() }
    }

    /// Those that are given, else those of `other`.
    fn or(self, other: Self) -> Self {
        Self {
            input: self.input.or(other.input),
            output: self.output.or(other.output),
            created: self.created.or(other.created),
            created_1h: self.created_1h.or(other.created_1h),
            read: self.read.or(other.read),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            input: plus(self.input, other.input),
            output: plus(self.output, other.output),
            created: plus(self.created, other.created),
            created_1h: plus(self.created_1h, other.created_1h),
            read: plus(self.read, other.read),
        }
    }
}

fn count(count: Option<Count>) -> Option<u64> {
    count.and_then(Count::get)
}

fn plus(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}
