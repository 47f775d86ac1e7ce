//! One simulated call: what it asks, and what it comes to.

use turnpike::{
    call::{NanoUsd, Timestamp, Usage},
    ledger::{Amounts, Ask, Certainty, Dimension, Order, Price, Reservation, Standing},
};

use crate::random::Random;

/// A call that was made.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) standing: Standing,
    pub(super) ask: Ask<'static>,
    /// The most tokens that each of its answers may have.
    pub(super) most: u64,
    /// As it is recorded: of what nobody limits, nothing.
    pub(super) held: Amounts,
    /// Whether it, or a budget, says so.
    pub(super) is_bounded: bool,
    pub(super) state: State,
    /// Whether it was found to be another workflow's than it was admitted for.
    pub(super) moved: bool,
}

#[derive(Debug)]
pub(super) enum State {
    InFlight(Reservation),
    Ended { amounts: Amounts, at: Timestamp },
}

/// What a call wants, by chance.
pub(super) fn ask(random: &mut Random, enforced: bool) -> Ask<'static> {
    let output = (!random.one_in(3)).then(|| random.between(1, 2000));
    let price = Price {
        input: NanoUsd(random.between(0, 5_000_000)),
        output: NanoUsd(random.between(0, 20) * 1_000_000_000),
    };
    let order = Order {
        input: random.between(1, 5000),
        output,
        choices: if random.one_in(8) { random.between(2, 4) } else { 1 },
        price: (!random.one_in(20)).then_some(price),
    };
    Ask {
        depth: if random.one_in(10) { random.between(1, 4) } else { 1 },
        sub_plan: random.one_in(10).then(|| random.between(1, 4)),
        is_retry: random.one_in(12),
        sameness: random.one_in(4).then(|| random.between(1, 6)),
        ..Ask::model(order, enforced)
    }
}

impl Call {
    fn order(&self) -> Order {
        match self.ask.what {
            turnpike::ledger::Wanted::Model(order) => order,
            turnpike::ledger::Wanted::Tool { .. } => unreachable!("only models are simulated"),
        }
    }

    /// Beside its tokens.
    pub(super) fn counts(&self) -> Amounts {
        Amounts::ZERO
            .with(Dimension::Retries, self.ask.is_retry.into())
            .with(Dimension::SubPlans, self.ask.sub_plan.is_some().into())
    }

    /// The most that it can come to.
    pub(super) fn worst(&self) -> Amounts {
        let Order { input, choices, .. } = self.order();
        self.usage(input, self.most * choices, self.most * choices).plus(&self.counts())
    }

    /// What it comes to, and how sure that is.
    pub(super) fn end(&self, random: &mut Random) -> (Amounts, Certainty) {
        let Order { input, choices, .. } = self.order();
        let most = self.most * choices;
        let output = if random.one_in(3) { most } else { random.between(0, most) };
        let input = if random.one_in(3) { input } else { random.between(0, input) };
        match random.between(0, 9) {
            // What nobody limits, nobody holds.
            0 if self.is_bounded => (self.worst(), Certainty::Held),
            // It was refused upstream, or cut before anything came.
            1 => (Amounts::ZERO.with(Dimension::ModelCalls, 1), Certainty::Reported),
            2 => (self.usage(input, output, 0), Certainty::Estimated),
            _ => {
                let reasoning = random.between(0, output);
                (self.usage(input, output, reasoning), Certainty::Reported)
            }
        }
    }

    fn usage(&self, input: u64, output: u64, reasoning: u64) -> Amounts {
        let order = self.order();
        let price = order.price.unwrap_or_default();
        // As a share of what all of the input costs, and rounded up as held amounts are.
        let of_input = u128::from(price.input.0) * u128::from(input) / u128::from(order.input);
        let of_output = (u128::from(price.output.0) * u128::from(output)).div_ceil(1_000_000);
        let usd = u64::try_from(of_input + of_output).unwrap_or(u64::MAX);
        let usage = Usage { input, output, reasoning: Some(reasoning), ..Usage::default() };
        Amounts::of_model(&usage, NanoUsd(usd))
    }
}
