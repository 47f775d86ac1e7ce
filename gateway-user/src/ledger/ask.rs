//! What a call asks of a ledger, and what it is told.

use std::{fmt, sync::Arc};

use super::{Amounts, Dimension, Holder, Limit, OnExceed};
use crate::call::{Name, NanoUsd, SessionId, WorkflowId};

/// Where a call stands: all that have to pay for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub payers: Payers,
    pub session: SessionId,
    pub workflow: WorkflowId,
}

/// Of an agent: its name, its tenant's, and the budgets that are for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payers {
    pub(super) agent: Name,
    pub(super) tenant: Option<Name>,
    /// By their places in the ledger.
    pub(super) budgets: Arc<[usize]>,
    pub(super) is_leaky: bool,
}

/// A call that wants to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    pub what: Wanted<'a>,
    /// How deep in sub-agents it is made; 1 outside.
    pub depth: u64,
    /// If it opens a sub-agent's conversation: which of those that the same step started, from 1.
    pub sub_plan: Option<u64>,
    pub is_retry: bool,
    /// Equal for calls that ask the very same.
    pub sameness: Option<u64>,
    /// Whether it may be refused. Else it is only told what would have been.
    pub enforced: bool,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    Model(Order),
    /// Of that name; counted already if a model has emitted it.
    Tool {
        name: &'a str,
        is_counted: bool,
    },
}

/// The most that a model call can come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Tokens.
    pub input: u64,
    /// The most tokens of one answer, where the call says so.
    pub output: Option<u64>,
    /// How many answers it asks for.
    pub choices: u64,
    /// Absent where nobody knows.
    pub price: Option<Price>,
}

/// What a model call costs at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// All of its input.
    pub input: NanoUsd,
    /// A million tokens of its output.
    pub output: NanoUsd,
}

/// What is held for a call. It has to be settled: as long as it isn't, it counts as spent.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is held for a call counts as spent until it is settled"]
pub struct Reservation {
    pub(super) place: usize,
    pub(super) number: u64,
}

/// A call that may be made.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    pub reservation: Reservation,
    /// The most tokens that one of its answers may have, if a budget limits that. Less than it asked
    /// for if no more was left.
    pub output: Option<u64>,
    /// The most that all its answers may come to, together, if a budget limits that.
    pub ceiling: Option<Ceiling>,
    /// What would have been said if all its budgets were enforced, and denied what they don't fit.
    pub would_deny: Option<Box<Denied>>,
}

/// The tokens of output that are held for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// The budget that leaves least.
    pub budget: Name,
    pub tokens: u64,
    /// Whether answers are to be held to it. Else it is only told what would have been.
    pub enforced: bool,
}

/// A call that may not be made: the limit that stands against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    pub budget: Name,
    pub holder: Holder,
    pub limit: Limit,
    /// The tools that are limited, as they are written, where that is what stands against it.
    pub tools: Option<String>,
    pub most: u64,
    pub spent: u64,
    /// For calls in flight.
    pub held: u64,
    /// What the call would have taken at least. 0: calls under way are ended, and none is asked for.
    pub wanted: u64,
    pub how: Denial,
}

/// In which way a call does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// It would, were it not for those in flight.
    InFlight,
    /// It will not.
    Exceeded,
    /// Its holder was stopped before, and still is.
    Stopped,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending<'a> {
    pub amounts: Amounts,
    /// The tools that the model's answer calls, each as often as it does.
    pub tools: &'a [Name],
    pub certainty: Certainty,
}

/// How sure a spending is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Certainty {
    /// The provider reported it.
    Reported,
    /// By what was seen of it.
    Estimated,
    /// Nobody knows: what was held counts.
    Held,
}

/// What has happened in a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// That many percent of a limit are spent.
    Threshold { budget: Name, holder: Holder, limit: Limit, percent: u8 },
    /// A limit was met; what follows from that.
    Exceeded { denied: Box<Denied>, action: OnExceed, enforced: bool },
}

impl Payers {
    /// Whether no budget is for them.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.budgets.is_empty()
    }

    /// Whether workflows or sessions are held to something, and the agent as a whole is not: then what
    /// is taken for a new workflow begins anew.
    #[must_use]
    pub const fn is_leaky(&self) -> bool {
        self.is_leaky
    }

    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }

    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

impl Ask<'_> {
    /// A model call with nothing special about it.
    #[must_use]
    pub const fn model(order: Order, enforced: bool) -> Self {
        Self {
            what: Wanted::Model(order),
            depth: 1,
            sub_plan: None,
            is_retry: false,
            sameness: None,
            enforced,
        }
    }

    /// What makes it a repetition of another one, unless it is one that is to be made again.
    pub(super) fn repeatable(&self) -> Option<u64> {
        self.sameness.filter(|_| !self.is_retry)
    }

    pub(super) const fn order(&self) -> Option<&Order> {
        match &self.what {
            Wanted::Model(order) => Some(order),
            Wanted::Tool { .. } => None,
        }
    }

    /// What it takes whatever the answer.
    pub(super) fn fixed(&self) -> Amounts {
        let counts = Amounts::ZERO
            .with(Dimension::Retries, self.is_retry.into())
            .with(Dimension::SubPlans, self.sub_plan.is_some().into());
        match &self.what {
            Wanted::Model(order) => counts
                .with(Dimension::InputTokens, order.input)
                .with(Dimension::TotalTokens, order.input)
                .with(Dimension::Usd, order.price.map_or(0, |price| price.input.0))
                .with(Dimension::ModelCalls, 1),
            Wanted::Tool { is_counted, .. } => {
                counts.with(Dimension::ToolCalls, (!is_counted).into())
            }
        }
    }
}

impl Order {
    /// What so many tokens of output come to, all answers together.
    pub(super) fn output(&self, tokens: u64) -> Amounts {
        let usd = self.price.map_or(0, |price| price.of_output(tokens));
        Amounts::ZERO
            .with(Dimension::OutputTokens, tokens)
            .with(Dimension::TotalTokens, tokens)
            .with(Dimension::ReasoningTokens, tokens)
            .with(Dimension::Usd, usd)
    }

    /// The most tokens of output that fit into what is left.
    pub(super) fn output_within(&self, left: &Amounts) -> u64 {
        let tokens = [Dimension::OutputTokens, Dimension::TotalTokens, Dimension::ReasoningTokens];
        let most = tokens.into_iter().map(|of| left[of]).min().unwrap_or(u64::MAX);
        let affordable =
            self.price.map_or(u64::MAX, |price| price.affordable(left[Dimension::Usd]));
        most.min(affordable)
    }
}

impl Price {
    /// Rounded up: what is held must be enough.
    fn of_output(self, tokens: u64) -> u64 {
        let millionths = u128::from(tokens) * u128::from(self.output.0);
        u64::try_from(millionths.div_ceil(MILLION)).unwrap_or(u64::MAX)
    }

    /// The most tokens that cost no more.
    fn affordable(self, nano_usd: u64) -> u64 {
        if self.output.0 == 0 || nano_usd == u64::MAX {
            return u64::MAX;
        }
        let tokens = u128::from(nano_usd) * MILLION / u128::from(self.output.0);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }
}

impl std::error::Error for Denied {}

/// As the caller is told: what is wrong, and what to do.
impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget, holder, limit, most, spent, held, wanted, .. } = self;
        let show = |amount| limit.show(amount);
        match (self.how, *limit) {
            (_, Limit::Price) => write!(
                f,
                "budget {budget} limits the dollars of {holder}, and nobody knows what this model \
                 costs; give it a [[price]], or allow it with on_unpriced = \"allow\""
            ),
            (_, Limit::Accounts) => write!(
                f,
                "there are more workflows than the gateway keeps budgets for, {most}; end some, or \
                 send the request again later"
            ),
            (Denial::Stopped, _) => write!(
                f,
                "{holder} is stopped: it met the limit of {} {} of budget {budget}; an operator can \
                 go on with `turnpike budget reset`",
                show(*most),
                limit.as_str()
            ),
            (Denial::InFlight, _) => write!(
                f,
                "budget {budget} allows {holder} {} {}, of which {} are spent and {} held for calls \
                 in flight, and this call takes at least {}; wait for those, or ask for less",
                show(*most),
                self.tools.as_deref().unwrap_or(limit.as_str()),
                show(*spent),
                show(*held),
                show(*wanted)
            ),
            (Denial::Exceeded, Limit::Depth | Limit::FanOut | Limit::Repeats) => write!(
                f,
                "budget {budget} allows {holder} a {} of {most}, and that of this call is {wanted}; an \
                 operator can raise it, or go on with `turnpike budget reset`",
                limit.as_str()
            ),
            (Denial::Exceeded, _) if *wanted == 0 => write!(
                f,
                "budget {budget} allows {holder} {} {}, of which {} are spent; an operator can raise \
                 it, or go on with `turnpike budget reset`",
                show(*most),
                self.tools.as_deref().unwrap_or(limit.as_str()),
                show(*spent)
            ),
            (Denial::Exceeded, _) => write!(
                f,
                "budget {budget} allows {holder} {} {}, of which {} are spent, and this call takes \
                 at least {}; an operator can raise it, or go on with `turnpike budget reset`",
                show(*most),
                self.tools.as_deref().unwrap_or(limit.as_str()),
                show(*spent),
                show(*wanted)
            ),
        }
    }
}

/// Tokens that a price is for.
const MILLION: u128 = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_limit_of_each_call_is_told_as_one() {
        let denied = Denied {
            budget: "b".into(),
            holder: Holder::Agent("a".into()),
            limit: Limit::Depth,
            tools: None,
            most: 2,
            spent: 0,
            held: 0,
            wanted: 3,
            how: Denial::Exceeded,
        };
        let text = denied.to_string();
        assert!(
            text.starts_with("budget b allows agent a a depth of 2, and that of this call is 3; ")
        );
    }

    #[test]
    fn calls_that_are_ended_are_told_of_no_call_that_is_asked_for() {
        let denied = Denied {
            budget: "b".into(),
            holder: Holder::Agent("a".into()),
            limit: Limit::WallClock,
            tools: None,
            most: 2_000_000,
            spent: 2_100_000,
            held: 0,
            wanted: 0,
            how: Denial::Exceeded,
        };
        assert_eq!(
            denied.to_string(),
            "budget b allows agent a 2.0 s wall_clock, of which 2.1 s are spent; an operator can raise \
             it, or go on with `turnpike budget reset`"
        );
    }

    proptest! {
        #[test]
        fn what_is_affordable_costs_no_more_and_one_more_does(nano_usd: u32, output in 1_u64..1 << 50) {
            let price = Price { output: NanoUsd(output), ..Price::default() };
            let tokens = price.affordable(nano_usd.into());
            prop_assert!(price.of_output(tokens) <= nano_usd.into());
            prop_assert!(price.of_output(tokens + 1) > nano_usd.into());
        }
    }
}
