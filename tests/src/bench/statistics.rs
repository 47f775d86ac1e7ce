//! Percentiles of many delays; medians of few rounds.

use serde::{Deserialize, Serialize};

/// Of the delays of one job, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Percentiles {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Percentiles {
    /// None of no delays.
    pub(super) fn of(mut delays_ns: Vec<u64>) -> Option<Self> {
        delays_ns.sort_unstable();
        let last = delays_ns.len().checked_sub(1)?;
        #[allow(clippy::cast_precision_loss, reason = "delays are far below 2^52 ns")]
        let at = |percent: usize| delays_ns[last * percent / 100] as f64 / 1000.0;
        Some(Self { p50_us: at(50), p99_us: at(99) })
    }
}

/// One figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// None of no figures.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let half = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[half - 1], figures[half])
        } else {
            figures[half]
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).expect("figures");
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn percentiles_are_delays_that_were_seen() {
        let percentiles = Percentiles::of((1..=101).rev().map(|n| n * 1000).collect());
        assert_eq!(percentiles, Some(Percentiles { p50_us: 51.0, p99_us: 100.0 }));
    }
}
