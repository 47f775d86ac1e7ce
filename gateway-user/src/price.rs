//! What calls cost: a table of public prices, and what the configuration says instead.
//!
//! The table is made by `cargo xtask prices` and shipped with the program: `data/prices`. It has the
//! prices of text. What providers charge beside tokens (searches, storage, audio by the minute) is
//! not in it, and neither is what an account has agreed on: `[[price]]` is for that.

mod pattern;
mod rates;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::call::{Dialect, Glob, NanoUsd, Timestamp, Usage};

use table::Table;

pub use rates::{Rate, Rates};

/// All prices that hold here.
#[derive(Debug, Default)]
pub struct Prices {
    rules: Vec<Rule>,
}

/// A price that goes before the table's. What it leaves out fits everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The model's name, as the provider answers or the client asks for it.
    pub model: Option<Glob>,
    /// The host that the client names, without its port, in lower case.
    pub host: Option<Glob>,
    pub rates: Rates,
}

/// What is bought.
#[derive(Clone, Copy, Debug)]
pub struct Purchase<'p> {
    /// The `Host` that the client named; a port is passed over.
    pub host: Option<&'p str>,
    pub dialect: Option<Dialect>,
    /// As the provider called it in its answer.
    pub response_model: Option<&'p str>,
    /// As the client did.
    pub request_model: Option<&'p str>,
    /// As the provider calls it.
    pub service_tier: Option<&'p str>,
    /// When.
    pub at: Timestamp,
}

impl Purchase<'_> {
    /// Of nothing that is known, at a time.
    #[must_use]
    pub const fn at(at: Timestamp) -> Self {
        Self {
            host: None,
            dialect: None,
            response_model: None,
            request_model: None,
            service_tier: None,
            at,
        }
    }
}

impl Prices {
    /// The table's prices, and before them those of the rules: of the ones that fit, the first.
    #[must_use]
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// What it costs. `None`: nobody knows.
    #[must_use]
    pub fn rates(&self, purchase: &Purchase<'_>) -> Option<Rates> {
        let host = purchase.host.map(|host| lowercase(without_port(host)));
        let models = [purchase.response_model, purchase.request_model];
        let fits = |rule: &&Rule| {
            let model = rule
                .model
                .as_ref()
                .is_none_or(|glob| models.iter().flatten().any(|model| glob.matches(model)));
            let host = rule
                .host
                .as_ref()
                .is_none_or(|glob| host.as_deref().is_some_and(|host| glob.matches(host)));
            model && host
        };
        if let Some(rule) = self.rules.iter().find(fits) {
            return Some(rule.rates.clone());
        }
        let found = models.into_iter().flatten().find_map(|model| {
            Table::shipped().find(host.as_deref(), purchase.dialect, &lowercase(model.trim()))
        });
        found.map(|price| price.at(purchase.service_tier, purchase.at))
    }

    /// What a call costs. `None`: nobody knows.
    #[must_use]
    pub fn cost(&self, purchase: &Purchase<'_>, usage: &Usage) -> Option<NanoUsd> {
        self.rates(purchase).map(|rates| rates.cost(usage))
    }
}

/// Names nearly always are already.
fn lowercase(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.to_lowercase())
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
