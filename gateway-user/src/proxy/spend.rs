//! What a call spent: as it was reported, or as it has to be estimated.

use crate::{
    call::{Answer, Dialect, Name, Operation, Prompt, Spent, Timestamp, Usage},
    dialect::{Answering, Asking},
    price::{Prices, Purchase},
    tokens::{Calibration, Count, Side, Text},
};

use super::{calls::Arrival, exchange::Ended};

/// What a call asks for, as far as its cost depends on it. Kept until it has ended.
#[derive(Debug)]
pub(super) struct Order {
    host: Option<Name>,
    dialect: Dialect,
    operation: Operation,
    model: Option<Name>,
    service_tier: Option<Name>,
    /// Whether the exchange ends before anything is generated.
    empty: bool,
    most_output: Option<u64>,
    bytes: u64,
    messages: u64,
    other_parts: u64,
    sample: Asking,
}

/// What it came to.
#[derive(Debug)]
pub(super) struct Bill {
    order: Order,
    response_model: Option<Name>,
    service_tier: Option<Name>,
    /// As far as it was reported.
    usage: Option<Usage>,
    sample: Answering,
    at: Timestamp,
}

/// How it is found out what a call spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It spent nothing.
    Nothing,
    Reported(Usage),
    /// Nobody said, or not all of it.
    Estimate,
}

impl Order {
    pub(super) fn new(host: Option<Name>, prompt: &Prompt, sample: Asking) -> Self {
        let terms = &prompt.terms;
        let choices = terms.choices.unwrap_or(1);
        Self {
            host,
            dialect: prompt.dialect,
            operation: prompt.operation,
            model: prompt.model.clone(),
            service_tier: terms.service_tier.clone(),
            empty: terms.background || terms.prewarms,
            most_output: terms.max_output.map(|most| most.saturating_mul(choices)),
            bytes: terms.segments.all(),
            messages: prompt.messages.len() as u64,
            other_parts: terms.other_parts,
            sample,
        }
    }

    /// By how it was answered. What upstream refused, or did not answer at all, costs nothing; a
    /// client that left before any answer has had its prompt read.
    pub(super) fn due(&self, answer: &Answer, said: &Answering, read: bool, how: Arrival) -> Due {
        let is_empty = self.empty && answer.usage.is_none();
        if is_empty || !self.operation.calls_model() {
            return Due::Nothing;
        }
        match how.status {
            // Over WebSocket it is that of the switch.
            Some(101 | 200..300) => {}
            None if how.ended == Ended::ClientGone => return Due::Estimate,
            Some(_) | None => return Due::Nothing,
        }
        let has_ended = answer.complete || !answer.finish_reasons.is_empty();
        match answer.usage {
            // An answer may have ended without its last report.
            Some(usage) if has_ended && !usage.estimated => Due::Reported(usage),
            // An error instead of an answer, or one that can't be read: there is nothing to go by.
            None if said.bytes() == 0 && (answer.error.is_some() || !read) => Due::Nothing,
            Some(_) | None => Due::Estimate,
        }
    }

    pub(super) fn bill(self, answer: &Answer, sample: Answering, at: Timestamp) -> Bill {
        Bill {
            response_model: answer.model.clone(),
            service_tier: answer.service_tier.clone(),
            usage: answer.usage,
            order: self,
            sample,
            at,
        }
    }
}

impl Bill {
    /// The model whose estimates this call is like.
    pub(super) fn model(&self) -> Option<&Name> {
        self.order.model.as_ref().or(self.response_model.as_ref())
    }

    /// What a model was asked with, or what it answered.
    pub(super) fn text(&self, side: Side) -> Text<'_> {
        let Order { bytes, messages, sample, .. } = &self.order;
        match side {
            Side::Input => Text { sample: sample.text(), bytes: *bytes, messages: *messages },
            Side::Output => {
                Text { sample: self.sample.text(), bytes: self.sample.bytes(), messages: 0 }
            }
        }
    }

    /// Parts of what it was asked with that are no text.
    pub(super) const fn other_parts(&self) -> u64 {
        self.order.other_parts
    }

    /// What was reported so far, completed by its texts, which were counted so.
    pub(super) fn estimate(&self, calibration: &Calibration, input: Count, output: Count) -> Usage {
        let counted = |side, count| match self.model() {
            Some(model) => calibration.estimate(model, side, count),
            None => count.tokens(),
        };
        let reported = self.usage.unwrap_or_default();
        let most = self.order.most_output.unwrap_or(u64::MAX);
        Usage {
            input: if reported.input > 0 { reported.input } else { counted(Side::Input, input) },
            output: counted(Side::Output, output).min(most).max(reported.output),
            estimated: true,
            ..reported
        }
    }

    /// What this usage comes to.
    pub(super) fn spent(&self, prices: &Prices, usage: Usage) -> Spent {
        let Order { host, dialect, model, service_tier, .. } = &self.order;
        let purchase = Purchase {
            host: host.as_deref(),
            dialect: Some(*dialect),
            response_model: self.response_model.as_deref(),
            request_model: model.as_deref(),
            service_tier: self.service_tier.as_deref().or(service_tier.as_deref()),
            at: self.at,
        };
        let usd = prices.cost(&purchase, &usage);
        let reported = self.usage.is_some_and(|usage| usage.input > 0);
        let uncounted = usage.estimated && !reported && self.other_parts() > 0;
        Spent {
            usage: Some(usage),
            uncounted_parts: uncounted.then_some(self.other_parts()),
            usd,
            unpriced: usd.is_none(),
        }
    }
}
