//! What providers report, against what was estimated: for each model, how far estimates are off, and
//! by what they are corrected.

use std::collections::HashMap;

use crate::{call::Name, limits};

/// What is known of models' tokens. At most [`limits::CALIBRATED_MODELS`] models.
#[derive(Debug, Default)]
pub struct Calibration {
    models: HashMap<Name, Model>,
    /// Calls of models for which there was no room.
    beyond: u64,
}

/// Of what a call spends tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Input,
    Output,
}

/// How a text's tokens were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// By a tokenizer: [`Text::count`](super::Text::count).
    Tokens(u64),
    /// By size alone: [`Text::guess`](super::Text::guess).
    Guess(u64),
}

impl Count {
    /// As they were counted.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        match self {
            Self::Tokens(tokens) | Self::Guess(tokens) => tokens,
        }
    }
}

/// How good a model's estimates are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// Calls whose input was compared with what was reported, before it was learned from.
    pub inputs: u64,
    /// By how much estimates were off on average, up or down, in thousandths of what was reported.
    pub input_error: u64,
    /// The same of output.
    pub outputs: u64,
    pub output_error: u64,
}

impl Calibration {
    /// Whether estimates are to be compared with what this call of a model reports. To be asked once
    /// for each.
    pub fn wants(&mut self, model: &Name) -> bool {
        let room = self.models.len() < limits::CALIBRATED_MODELS;
        if !room && !self.models.contains_key(model) {
            self.beyond += 1;
            return false;
        }
        let calls = &mut self.models.entry(model.clone()).or_default().calls;
        let wanted =
            *calls < limits::CALIBRATING_CALLS || calls.is_multiple_of(limits::CALIBRATING_EVERY);
        *calls += 1;
        wanted
    }

    /// A call has reported how many tokens it spent, that were estimated as so many. Nothing is
    /// learned of a model that [`Calibration::wants`] none of.
    pub fn learn(&mut self, model: &Name, side: Side, tokens: u64, guess: u64, reported: u64) {
        let Some(model) = self.models.get_mut(model) else { return };
        if reported == 0 || tokens == 0 {
            return;
        }
        let it = model.side_mut(side);
        it.error.note(it.by_tokens.corrected(tokens), reported);
        it.by_tokens.note(tokens, reported);
        it.by_size.note(guess, reported);
    }

    /// The tokens that the model's provider would report.
    #[must_use]
    pub fn estimate(&self, model: &Name, side: Side, count: Count) -> u64 {
        let known = self.models.get(model).map(|model| model.side(side));
        match (count, known) {
            (Count::Tokens(tokens), Some(it)) => it.by_tokens.corrected(tokens),
            (Count::Guess(tokens), Some(it)) => it.by_size.corrected(tokens),
            (count, None) => count.tokens(),
        }
    }

    /// As many tokens of ours as the model's provider reports as so many, where it counts fewer than we
    /// do. Where it counts more, it may do so of other texts, or of what is not seen.
    #[must_use]
    pub fn counted(&self, model: &Name, side: Side, reported: u64) -> u64 {
        let known = self.models.get(model).map(|model| model.side(side));
        known.map_or(reported, |it| it.by_tokens.undone(reported))
    }

    /// How good the estimates are, of each model with which some were compared; by name.
    #[must_use]
    pub fn accuracy(&self) -> Vec<(Name, Accuracy)> {
        let known = self.models.iter().map(|(name, Model { input, output, .. })| {
            let accuracy = Accuracy {
                inputs: input.error.calls,
                input_error: input.error.mean(),
                outputs: output.error.calls,
                output_error: output.error.mean(),
            };
            (name.clone(), accuracy)
        });
        let mut known: Vec<_> = known.filter(|(_, it)| it.inputs + it.outputs > 0).collect();
        known.sort_by(|(one, _), (other, _)| one.cmp(other));
        known
    }

    /// Calls that could have been learned from, had there been room for their models.
    #[must_use]
    pub const fn beyond(&self) -> u64 {
        self.beyond
    }
}

#[derive(Debug, Default)]
struct Model {
    calls: u64,
    input: Learned,
    output: Learned,
}

impl Model {
    const fn side(&self, side: Side) -> &Learned {
        match side {
            Side::Input => &self.input,
            Side::Output => &self.output,
        }
    }

    const fn side_mut(&mut self, side: Side) -> &mut Learned {
        match side {
            Side::Input => &mut self.input,
            Side::Output => &mut self.output,
        }
    }
}

#[derive(Debug, Default)]
struct Learned {
    by_tokens: Ratio,
    by_size: Ratio,
    error: Error,
}

/// What was reported for what was estimated. Large calls count more: so the sum of many estimates
/// comes out right.
#[derive(Debug, Default)]
struct Ratio {
    estimated: u64,
    reported: u64,
}

impl Ratio {
    fn note(&mut self, estimated: u64, reported: u64) {
        self.estimated = self.estimated.saturating_add(estimated);
        self.reported = self.reported.saturating_add(reported);
        if self.estimated > REMEMBERED_TOKENS {
            self.estimated /= 2;
            self.reported /= 2;
        }
    }

    /// Within bounds, whatever a server reports.
    fn corrected(&self, estimated: u64) -> u64 {
        if self.estimated == 0 {
            return estimated;
        }
        let product = u128::from(estimated) * u128::from(self.reported);
        let corrected = u64::try_from(product / u128::from(self.estimated)).unwrap_or(u64::MAX);
        corrected.clamp(estimated / MOST_CORRECTION, estimated.saturating_mul(MOST_CORRECTION))
    }
}

impl Ratio {
    /// What is corrected to so much; not less than that.
    fn undone(&self, corrected: u64) -> u64 {
        if self.reported == 0 {
            return corrected;
        }
        let product = u128::from(corrected) * u128::from(self.estimated);
        let estimated = product.div_ceil(u128::from(self.reported));
        let estimated = u64::try_from(estimated).unwrap_or(u64::MAX);
        estimated.clamp(corrected, corrected.saturating_mul(MOST_CORRECTION))
    }
}

/// The mean of relative errors.
#[derive(Debug, Default)]
struct Error {
    calls: u64,
    thousandths: u64,
}

impl Error {
    fn note(&mut self, estimated: u64, reported: u64) {
        let error = u128::from(estimated.abs_diff(reported)) * 1000 / u128::from(reported.max(1));
        let error = u64::try_from(error).unwrap_or(u64::MAX).min(MOST_ERROR);
        self.calls += 1;
        self.thousandths = self.thousandths.saturating_add(error);
    }

    fn mean(&self) -> u64 {
        self.thousandths / self.calls.max(1)
    }
}

/// Tokens after which what was learned before counts half.
const REMEMBERED_TOKENS: u64 = 1 << 20;
/// By how much an estimate is multiplied or divided at most.
const MOST_CORRECTION: u64 = 16;
/// Thousandths that one error counts at most.
const MOST_ERROR: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn estimates_come_to_what_is_reported() {
        let (mut calibration, model) = (Calibration::default(), Name::from("m"));
        let estimate = |it: &Calibration, count| it.estimate(&model, Side::Input, count);
        assert_eq!(estimate(&calibration, Count::Tokens(1000)), 1000);
        for call in 0..20 {
            assert!(calibration.wants(&model) == (call < 16), "{call}");
            // It has a third more tokens than ours counts, give or take.
            let tokens = 900 + call * 10;
            calibration.learn(&model, Side::Input, tokens, 2 * tokens, tokens * 4 / 3);
        }
        assert!(estimate(&calibration, Count::Tokens(3000)).abs_diff(4000) < 5);
        assert!(estimate(&calibration, Count::Guess(6000)).abs_diff(4000) < 5);
        assert_eq!(calibration.estimate(&model, Side::Output, Count::Tokens(7)), 7);
        assert_eq!(calibration.estimate(&"n".into(), Side::Input, Count::Tokens(7)), 7);
        let [(name, accuracy)] = &calibration.accuracy()[..] else { panic!("one model") };
        // Only the first was off, by a quarter.
        assert_eq!((&**name, accuracy.inputs, accuracy.outputs), ("m", 20, 0));
        assert!((12..=14).contains(&accuracy.input_error), "{accuracy:?}");
        // It changes its tokenizer, and is followed.
        for _ in 0..4000 {
            calibration.learn(&model, Side::Input, 1000, 2000, 500);
        }
        assert!(estimate(&calibration, Count::Tokens(1000)).abs_diff(500) < 5);
    }

    #[test]
    fn a_limit_is_not_smaller_by_our_count() {
        let (mut calibration, model) = (Calibration::default(), Name::from("m"));
        let counted = |it: &Calibration| it.counted(&model, Side::Output, 100);
        assert_eq!(counted(&calibration), 100);
        calibration.wants(&model);
        calibration.learn(&model, Side::Output, 1000, 1000, 2000);
        assert_eq!(counted(&calibration), 100);
        calibration.learn(&model, Side::Output, 9000, 9000, 3000);
        assert_eq!(counted(&calibration), 200);
    }

    #[test]
    fn one_in_so_many_calls_is_compared() {
        let (mut calibration, model) = (Calibration::default(), Name::from("m"));
        let wanted = (0..640).filter(|_| calibration.wants(&model)).count();
        assert_eq!(wanted, 16 + 9);
    }

    #[test]
    fn there_are_not_more_models_than_there_is_room_for() {
        let mut calibration = Calibration::default();
        for model in 0..limits::CALIBRATED_MODELS + 10 {
            let name = Name::from(model.to_string());
            calibration.wants(&name);
            calibration.learn(&name, Side::Output, 10, 10, 20);
        }
        assert_eq!(calibration.accuracy().len(), limits::CALIBRATED_MODELS);
        assert_eq!(calibration.beyond(), 10);
        assert!(calibration.wants(&"1".into()), "one that is known stays so");
    }

    proptest! {
        #[test]
        fn no_report_drives_estimates_out_of_bounds(
            reports in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..20),
            tokens: u64,
        ) {
            let (mut calibration, model) = (Calibration::default(), Name::from("m"));
            calibration.wants(&model);
            for (tokens, guess, reported) in reports {
                calibration.learn(&model, Side::Input, tokens, guess, reported);
            }
            for count in [Count::Tokens(tokens), Count::Guess(tokens)] {
                let estimate = calibration.estimate(&model, Side::Input, count);
                prop_assert!(estimate >= tokens / MOST_CORRECTION);
                prop_assert!(estimate <= tokens.saturating_mul(MOST_CORRECTION));
            }
            let accuracy = calibration.accuracy();
            prop_assert!(accuracy.iter().all(|(_, it)| it.input_error <= MOST_ERROR));
        }
    }
}
