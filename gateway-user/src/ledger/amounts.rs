//! What can be spent, and how much of it.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::record::sparse;
use crate::call::{NanoUsd, Usage};

/// What is added up over calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    InputTokens,
    OutputTokens,
    /// Input and output together.
    TotalTokens,
    ReasoningTokens,
    /// In billionths of a dollar.
    Usd,
    ModelCalls,
    /// Each counted once, when a model emits it; one that no model emitted, when it is made.
    ToolCalls,
    Retries,
    /// Chains of calls that a step started: sub-agents.
    SubPlans,
}

/// An amount of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts(#[serde(with = "sparse")] [u64; Dimension::COUNT]);

impl Dimension {
    pub const COUNT: usize = Self::ALL.len();
    pub const ALL: [Self; 9] = [
        Self::InputTokens,
        Self::OutputTokens,
        Self::TotalTokens,
        Self::ReasoningTokens,
        Self::Usd,
        Self::ModelCalls,
        Self::ToolCalls,
        Self::Retries,
        Self::SubPlans,
    ];

    /// As the configuration calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::TotalTokens => "total_tokens",
            Self::ReasoningTokens => "reasoning_tokens",
            Self::Usd => "usd",
            Self::ModelCalls => "model_calls",
            Self::ToolCalls => "tool_calls",
            Self::Retries => "retries",
            Self::SubPlans => "sub_plans",
        }
    }
}

impl Amounts {
    pub const ZERO: Self = Self([0; Dimension::COUNT]);
    /// As a limit: none.
    pub const MOST: Self = Self([u64::MAX; Dimension::COUNT]);

    /// What a model call's usage comes to.
    #[must_use]
    pub fn of_model(usage: &Usage, usd: NanoUsd) -> Self {
        Self::ZERO
            .with(Dimension::InputTokens, usage.input)
            .with(Dimension::OutputTokens, usage.output)
            .with(Dimension::TotalTokens, usage.input.saturating_add(usage.output))
            .with(Dimension::ReasoningTokens, usage.reasoning.unwrap_or(0))
            .with(Dimension::Usd, usd.0)
            .with(Dimension::ModelCalls, 1)
    }

    #[must_use]
    pub const fn with(mut self, dimension: Dimension, amount: u64) -> Self {
        self.0[dimension as usize] = amount;
        self
    }

    /// Both together, or the most that can be counted.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(more);
        }
        self
    }

    /// What is left of it without the other.
    #[must_use]
    pub fn minus(mut self, other: &Self) -> Self {
        for (sum, less) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_sub(less);
        }
        self
    }

    /// The first of which it has more than a limit allows.
    #[must_use]
    pub fn over(&self, limit: &Self) -> Option<Dimension> {
        Dimension::ALL.into_iter().find(|dimension| self[*dimension] > limit[*dimension])
    }
}

impl Index<Dimension> for Amounts {
    type Output = u64;

    fn index(&self, dimension: Dimension) -> &u64 {
        &self.0[dimension as usize]
    }
}

impl IndexMut<Dimension> for Amounts {
    fn index_mut(&mut self, dimension: Dimension) -> &mut u64 {
        &mut self.0[dimension as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_listed_in_their_order() {
        for (place, dimension) in Dimension::ALL.into_iter().enumerate() {
            assert_eq!(dimension as usize, place, "{}", dimension.as_str());
        }
    }

    #[test]
    fn a_usage_is_counted_in_every_dimension_that_it_has() {
        let usage = Usage { input: 3, output: 5, reasoning: Some(2), ..Usage::default() };
        let amounts = Amounts::of_model(&usage, NanoUsd(7));
        let counts = Dimension::ALL.map(|dimension| amounts[dimension]);
        assert_eq!(counts, [3, 5, 8, 2, 7, 1, 0, 0, 0]);
    }

    #[test]
    fn sums_stop_at_the_most_and_at_nothing() {
        let [few, many] = [Amounts::ZERO.with(Dimension::Usd, 5), Amounts::MOST];
        assert_eq!(many.plus(&few), many);
        assert_eq!(few.minus(&many), Amounts::ZERO);
        assert_eq!(few.over(&Amounts::MOST.with(Dimension::Usd, 4)), Some(Dimension::Usd));
        assert_eq!(few.over(&Amounts::MOST.with(Dimension::Usd, 5)), None);
    }
}
