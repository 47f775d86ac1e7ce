//! genai-prices as it is published: which providers there are, and what their models cost.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process;

/// What the package holds.
#[derive(Debug, Deserialize)]
pub(super) struct Source {
    pub(super) version: String,
    pub(super) licence: String,
    /// The day of reading, as RFC 3339 writes it. Prices that nobody pays any more are told by it.
    pub(super) today: String,
    pub(super) providers: Vec<Provider>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Provider {
    pub(super) id: String,
    /// A regular expression for the beginning of its URLs.
    pub(super) api_pattern: String,
    /// The models that are its own, whoever serves them.
    pub(super) model_match: Option<Clause>,
    #[serde(rename = "fallback_model_providers", default)]
    pub(super) falls_back: Vec<String>,
    pub(super) models: Vec<Model>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Model {
    pub(super) id: String,
    #[serde(rename = "match")]
    pub(super) matches: Clause,
    pub(super) prices: Prices,
    #[serde(rename = "price_variants", default)]
    pub(super) variants: Vec<Variant>,
}

/// What a model's name must be. Case does not count.
#[derive(Debug, Deserialize)]
#[serde(tag = "is")]
pub(super) enum Clause {
    #[serde(rename = "ClauseEquals")]
    Equals { equals: String },
    #[serde(rename = "ClauseStartsWith")]
    StartsWith { starts_with: String },
    #[serde(rename = "ClauseEndsWith")]
    EndsWith { ends_with: String },
    #[serde(rename = "ClauseContains")]
    Contains { contains: String },
    #[serde(rename = "ClauseRegex")]
    Regex { regex: String },
    #[serde(rename = "ClauseOr")]
    Or { or_: Vec<Clause> },
    #[serde(rename = "ClauseAnd")]
    And { and_: Vec<Clause> },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Prices {
    Always(Box<Rates>),
    /// The last that holds counts; if none does, the first.
    Conditional(Vec<Conditional>),
}

#[derive(Debug, Deserialize)]
pub(super) struct Conditional {
    pub(super) constraint: Option<Constraint>,
    pub(super) prices: Rates,
}

/// Prices that replace others where a request says so: the first that says a price counts.
#[derive(Debug, Deserialize)]
pub(super) struct Variant {
    pub(super) when: std::collections::BTreeMap<String, String>,
    pub(super) constraint: Option<Constraint>,
    pub(super) prices: Rates,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "is")]
pub(super) enum Constraint {
    #[serde(rename = "StartDateConstraint")]
    From { start_date: Numbers },
    /// Of each day, in UTC.
    #[serde(rename = "TimeOfDateConstraint")]
    Daily { start_time: Numbers, end_time: Numbers },
}

/// What a date or a time is made from.
#[derive(Debug, Deserialize)]
pub(super) struct Numbers {
    #[serde(default)]
    pub(super) args: Vec<u16>,
}

/// Dollars for a million tokens of each kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rates {
    #[serde(rename = "input_mtok")]
    pub(super) input: Option<Rate>,
    #[serde(rename = "output_mtok")]
    pub(super) output: Option<Rate>,
    #[serde(rename = "cache_read_mtok")]
    pub(super) cache_read: Option<Rate>,
    #[serde(rename = "cache_write_mtok")]
    pub(super) cache_write: Option<Rate>,
    #[serde(rename = "cache_write_1h_mtok")]
    pub(super) cache_write_1h: Option<Rate>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Rate {
    Flat(String),
    /// From more than so much input on, another price holds for all tokens.
    Tiered {
        base: String,
        tiers: Vec<Tier>,
    },
}

#[derive(Debug, Deserialize)]
pub(super) struct Tier {
    pub(super) start: u64,
    pub(super) price: String,
}

/// Reads a wheel. Python reads its own syntax; none of the package is run.
pub(super) fn read(wheel: &Path) -> Result<Source> {
    let mut python = Command::new("python3");
    let json = process::output(python.args(["-I", "-c", include_str!("read.py")]).arg(wheel))?;
    serde_json::from_str(&json)
        .context("the package has changed its form: bring xtask/src/prices/source.rs up to it")
}
