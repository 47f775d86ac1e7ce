//! The table as turnpike ships it: one line a model, and nothing that nobody pays any more.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{
    pattern,
    source::{self, Constraint, Model, Provider, Source},
};

/// What is shipped, and what is not.
#[derive(Debug)]
pub(super) struct Table {
    version: String,
    today: String,
    providers: Vec<Line>,
    pub(super) left_out: Vec<String>,
}

/// One provider.
#[derive(Debug)]
struct Line {
    head: Head,
    models: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Head {
    id: String,
    hosts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    falls_back: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: String,
    /// Left out where it is the id.
    #[serde(rename = "match", skip_serializing_if = "Vec::is_empty")]
    matches: Vec<String>,
    #[serde(flatten)]
    rates: Rates,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    but: Vec<Special>,
}

/// Prices for a tier, or for a time.
#[derive(Debug, Serialize)]
struct Special {
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// Minutes of the day in UTC, the second not included.
    #[serde(skip_serializing_if = "Option::is_none")]
    between: Option<(u16, u16)>,
    #[serde(flatten)]
    rates: Rates,
}

/// Dollars for a million tokens: `3`, or `3 >200000:6` where another price holds for all tokens from
/// more than so much input on.
#[derive(Debug, Serialize)]
struct Rates {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_1h: Option<String>,
}

impl Table {
    pub(super) fn of(source: &Source) -> Result<Self> {
        let mut table = Self {
            version: source.version.clone(),
            today: source.today.clone(),
            providers: Vec::new(),
            left_out: Vec::new(),
        };
        let mut by_host: BTreeMap<String, usize> = BTreeMap::new();
        for provider in &source.providers {
            for host in pattern::hosts(&provider.api_pattern)?.0 {
                *by_host.entry(host).or_default() += 1;
            }
        }
        for provider in &source.providers {
            table.add(provider, &by_host).with_context(|| provider.id.clone())?;
        }
        Ok(table)
    }

    fn add(&mut self, provider: &Provider, by_host: &BTreeMap<String, usize>) -> Result<()> {
        let (hosts, paths) = pattern::hosts(&provider.api_pattern)?;
        let shared = hosts.iter().any(|host| by_host[host] > 1);
        let taken = self.providers.iter().any(|line| line.head.hosts == hosts);
        if shared && (paths || taken) {
            self.left_out.push(format!("{}: its host does not tell it from others", provider.id));
            return Ok(());
        }
        let owns = provider.model_match.as_ref().map(pattern::of_clause).transpose()?;
        let mut models = Vec::new();
        for model in &provider.models {
            let entry = self.entry(model).with_context(|| model.id.clone())?;
            models.extend(entry);
        }
        self.providers.push(Line {
            head: Head {
                id: provider.id.clone(),
                hosts,
                owns: owns.unwrap_or_default(),
                falls_back: provider.falls_back.clone(),
            },
            models,
        });
        Ok(())
    }

    /// None: it is not sold by the token.
    fn entry(&self, model: &Model) -> Result<Option<Entry>> {
        let (rates, mut but) = match &model.prices {
            source::Prices::Always(rates) => (&**rates, Vec::new()),
            source::Prices::Conditional(all) => {
                let begun = |constraint: &Option<Constraint>| match constraint {
                    None => true,
                    Some(Constraint::From { start_date }) => date(&start_date.args) <= self.today,
                    Some(Constraint::Daily { .. }) => false,
                };
                let now = all.iter().rposition(|one| begun(&one.constraint)).unwrap_or(0);
                let later = all.iter().skip(now + 1);
                let later = later.map(|one| special(None, one.constraint.as_ref(), &one.prices));
                (&all.get(now).context("no prices")?.prices, later.collect())
            }
        };
        for variant in &model.variants {
            let Some(tier) = tier(&variant.when)? else { continue };
            but.push(special(Some(tier), variant.constraint.as_ref(), &variant.prices));
        }
        for special in &mut but {
            special.from.take_if(|from| *from <= self.today);
        }
        but.retain(|special| special.rates.any());
        let rates = Rates::of(rates);
        if !rates.any() {
            return Ok(None);
        }
        let mut matches = pattern::of_clause(&model.matches)?;
        if matches == [model.id.to_lowercase()] {
            matches.clear();
        }
        Ok(Some(Entry { id: model.id.clone(), matches, rates, but }))
    }

    /// One line for each model, so that differences read well.
    pub(super) fn json(&self) -> Result<String> {
        let mut text = String::from("[");
        for (place, provider) in self.providers.iter().enumerate() {
            let head = serde_json::to_string(&provider.head)?;
            let head = head.strip_suffix('}').context("an object")?;
            write!(text, "{}\n{head},\"models\":[", if place == 0 { "" } else { "," })?;
            for (place, model) in provider.models.iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                write!(text, "{comma}\n{}", serde_json::to_string(model)?)?;
            }
            text.push_str("\n]}");
        }
        text.push_str("\n]\n");
        Ok(text)
    }

    pub(super) fn size(&self) -> String {
        let models = self.providers.iter().map(|line| line.models.len()).sum::<usize>();
        format!("{models} models of {} providers", self.providers.len())
    }

    /// Where the data is from.
    pub(super) fn notice(&self) -> String {
        format!(
            "prices.json was made by `cargo xtask prices` from genai-prices {} (PyPI; Copyright (c) \
             Pydantic\nServices Inc. 2025 to present; MIT, see LICENSE) on {}: {}.\n\n\
             It is a part of that data in another form: what is sold by the token, at the prices of \
             that day and\nthose that were announced.\n",
            self.version,
            self.today,
            self.size()
        )
    }
}

impl Rates {
    fn of(rates: &source::Rates) -> Self {
        let rate = |rate: &Option<source::Rate>| {
            rate.as_ref().map(|rate| match rate {
                source::Rate::Flat(price) => money(price),
                source::Rate::Tiered { base, tiers } => {
                    let tiers =
                        tiers.iter().map(|tier| format!(" >{}:{}", tier.start, money(&tier.price)));
                    money(base) + &tiers.collect::<String>()
                }
            })
        };
        Self {
            input: rate(&rates.input),
            output: rate(&rates.output),
            read: rate(&rates.cache_read),
            write: rate(&rates.cache_write),
            write_1h: rate(&rates.cache_write_1h),
        }
    }

    fn any(&self) -> bool {
        let Self { input, output, read, write, write_1h } = self;
        [input, output, read, write, write_1h].into_iter().any(Option::is_some)
    }
}

/// To nine digits after the point, to the nearest.
fn money(price: &str) -> String {
    let Some((dollars, fraction)) = price.split_once('.') else { return price.to_owned() };
    let (Some(kept), Some(next)) = (fraction.get(..9), fraction.as_bytes().get(9)) else {
        return price.to_owned();
    };
    let nanos = format!("{dollars}{kept}").parse::<u64>().map(|it| it + u64::from(*next >= b'5'));
    // What is no number is left to whoever reads the table, who refuses it.
    nanos.map_or_else(|_| price.to_owned(), |it| format!("{}.{:09}", it / NANOS, it % NANOS))
}

fn special(
    tier: Option<String>,
    constraint: Option<&Constraint>,
    rates: &source::Rates,
) -> Special {
    let (from, between) = match constraint {
        None => (None, None),
        Some(Constraint::From { start_date }) => (Some(date(&start_date.args)), None),
        Some(Constraint::Daily { start_time, end_time }) => {
            (None, Some((minute(&start_time.args), minute(&end_time.args))))
        }
    };
    Special { tier, from, between, rates: Rates::of(rates) }
}

/// The service tier for which a variant holds; none for what calls don't tell.
fn tier(when: &BTreeMap<String, String>) -> Result<Option<String>> {
    let mut all = when.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Ok(match (all.next(), all.next()) {
        (Some(("processing", "batch")), None) => Some("batch".to_owned()),
        // Anthropic's fast mode is not called a tier, but is one by its price.
        (Some(("service_tier" | "speed", tier)), None) => Some(tier.to_owned()),
        (Some(("route" | "search_type", _)), None) => None,
        _ => bail!("a variant for {when:?}: say in xtask/src/prices/table.rs what that means"),
    })
}

fn date(numbers: &[u16]) -> String {
    let number = |at| numbers.get(at).copied().unwrap_or(1);
    format!("{:04}-{:02}-{:02}", number(0), number(1), number(2))
}

fn minute(numbers: &[u16]) -> u16 {
    let number = |at| numbers.get(at).copied().unwrap_or(0);
    number(0) * 60 + number(1)
}

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_no_finer_than_money() {
        for (price, wanted) in [
            ("3", "3"),
            ("0.25", "0.25"),
            ("0.123456789", "0.123456789"),
            ("0.1234567894", "0.123456789"),
            ("1.9999999995", "2.000000000"),
            ("0.083333333333", "0.083333333"),
        ] {
            assert_eq!(money(price), wanted);
        }
    }
}
