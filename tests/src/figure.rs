//! What a benchmark in one process says: each figure beside its aim.

use std::{fmt, time::Duration};

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

/// All of them, as lines or as one JSON document.
pub fn print(figures: &[Figure], as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(&json!({ "figures": figures }))?);
    } else {
        for figure in figures {
            println!("{figure}");
        }
    }
    Ok(())
}

/// One thing that is measured, over the rounds.
#[derive(Debug, Serialize)]
pub struct Figure {
    what: String,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    /// What it should be; absent if it is only told.
    at_most: Option<f64>,
    met: bool,
}

impl Figure {
    pub fn new(
        what: impl Into<String>,
        unit: &'static str,
        at_most: Option<f64>,
        mut rounds: Vec<f64>,
    ) -> Self {
        let what = what.into();
        rounds.sort_by(f64::total_cmp);
        let at = |place: usize| rounds.get(place).copied().unwrap_or(f64::NAN);
        let (median, min, max) = (at(rounds.len() / 2), at(0), at(rounds.len().saturating_sub(1)));
        Self {
            what,
            unit,
            median,
            min,
            max,
            at_most,
            met: at_most.is_none_or(|most| median <= most),
        }
    }
}

impl Figure {
    pub const fn median(&self) -> f64 {
        self.median
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.at_most, self.met) {
            (None, _) => "told  ",
            (Some(_), true) => "met   ",
            (Some(_), false) => "MISSED",
        };
        let Self { what, unit, median, min, max, at_most, .. } = self;
        write!(f, "{verdict}  {what}: {median:.2} ({min:.2}–{max:.2}) {unit}")?;
        at_most.map_or(Ok(()), |most| write!(f, " (aim ≤ {most})"))
    }
}

/// What each of some rounds says.
pub fn rounds(mut round: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    // The first ones find nothing in the caches, nor a clock that has sped up.
    for _ in 0..ROUNDS / 5 {
        round()?;
    }
    (0..ROUNDS).map(|_| round()).collect()
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
/// What each of `times` took.
pub fn micros(span: Duration, times: usize) -> f64 {
    span.as_nanos() as f64 / 1000.0 / times as f64
}

/// How often each is measured.
const ROUNDS: usize = 101;
