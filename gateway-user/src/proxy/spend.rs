//! What a call spent: as it was reported, or as it has to be estimated.

use crate::{
    call::{Answer, Dialect, Name, Operation, Prompt, Spent, Timestamp, Usage},
    dialect::{Answering, Asking},
    ledger,
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
    /// Whether the exchange ends before anything is generated, which is fetched later.
    background: bool,
    prewarms: bool,
    /// Whether it is answered bit by bit.
    pub(super) streams: bool,
    /// Tokens of one answer, and how many answers there are.
    most_output: Option<u64>,
    choices: u64,
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
    /// Nobody will, and nothing of it was seen.
    Unknown,
}

impl Order {
    pub(super) fn new(host: Option<Name>, prompt: &Prompt, sample: Asking) -> Self {
        let terms = &prompt.terms;
        Self {
            host,
            dialect: prompt.dialect,
            operation: prompt.operation,
            model: prompt.model.clone(),
            service_tier: terms.service_tier.clone(),
            background: terms.background,
            prewarms: terms.prewarms,
            streams: prompt.stream && !terms.background,
            most_output: terms.max_output,
            choices: terms.choices.unwrap_or(1).max(1),
            bytes: terms.segments.all(),
            messages: prompt.messages.len() as u64,
            other_parts: terms.other_parts,
            sample,
        }
    }

    /// Whether its model may go on when nobody is there to be answered any more: if it answers in one
    /// piece, or later. One that has refused the call does not.
    pub(super) fn may_go_on(&self, status: Option<u16>) -> bool {
        !self.streams && status.is_none_or(|status| (200..300).contains(&status))
    }

    /// It was answered more than it asked for.
    pub(super) const fn exceeded(&mut self) {
        self.most_output = None;
    }

    /// The model that is asked, and the size of what it is asked with.
    pub(super) fn asks(&self) -> (Option<&Name>, Text<'_>) {
        let Self { bytes, messages, sample, .. } = self;
        let text = Text { sample: sample.text(), bytes: *bytes, messages: *messages };
        (self.model.as_ref(), text)
    }

    /// The most that it may come to with so much input.
    pub(super) fn worst(&self, prices: &Prices, input: u64, at: Timestamp) -> ledger::Order {
        let generates = self.operation != Operation::Embeddings && !self.prewarms;
        let rates = prices.rates(&self.purchase(None, None, at));
        let price = rates.map(|rates| {
            let (input, output) = rates.most(input);
            ledger::Price { input, output }
        });
        let output = if generates { self.most_output } else { Some(0) };
        ledger::Order { input, output, choices: self.choices, price }
    }

    fn purchase<'a>(
        &'a self,
        response_model: Option<&'a Name>,
        service_tier: Option<&'a Name>,
        at: Timestamp,
    ) -> Purchase<'a> {
        let Self { host, dialect, model, service_tier: asked, .. } = self;
        Purchase {
            host: host.as_deref(),
            dialect: Some(*dialect),
            response_model: response_model.map(|name| &**name),
            request_model: model.as_deref(),
            service_tier: service_tier.or(asked.as_ref()).map(|name| &**name),
            at,
        }
    }

    /// By how it was answered. What upstream refused, or did not answer at all, costs nothing; a
    /// client that left before any answer has had its prompt read. What is made in the background is
    /// made whoever has left: it costs what it says when it is fetched, or nobody knows.
    pub(super) fn due(&self, answer: &Answer, said: &Answering, read: bool, how: Arrival) -> Due {
        let is_empty = answer.usage.is_none();
        let unread = how.status.is_none() && matches!(how.ended, Ended::ClientGone | Ended::Unseen);
        let answered = how.status.is_some_and(|status| matches!(status, 101 | 200..300));
        if self.background && is_empty && answer.error.is_none() && (unread || answered) {
            return Due::Unknown;
        }
        if self.prewarms && is_empty || !self.operation.calls_model() {
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
        match side {
            Side::Input => self.order.asks().1,
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
        let each = self.order.most_output.unwrap_or(u64::MAX);
        let most = each.saturating_mul(self.order.choices);
        Usage {
            input: if reported.input > 0 { reported.input } else { counted(Side::Input, input) },
            output: counted(Side::Output, output).min(most).max(reported.output),
            estimated: true,
            ..reported
        }
    }

    /// What this usage comes to.
    pub(super) fn spent(&self, prices: &Prices, usage: Usage) -> Spent {
        let (model, tier) = (self.response_model.as_ref(), self.service_tier.as_ref());
        let purchase = self.order.purchase(model, tier, self.at);
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
