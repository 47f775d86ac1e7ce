//! The table that is shipped: what providers ask for their models.

use std::{collections::HashMap, sync::LazyLock};

use serde::{Deserialize, Deserializer};

use super::{pattern::Pattern, rates::Rates};
use crate::call::{Dialect, Timestamp};

/// All providers.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Table(Vec<Provider>);

#[derive(Debug, Deserialize)]
struct Provider {
    id: Box<str>,
    hosts: Vec<Pattern>,
    /// Models that are this provider's, whoever is asked for them.
    #[serde(default)]
    owns: Vec<Pattern>,
    /// Whose models it sells too, at their prices.
    #[serde(default)]
    falls_back: Vec<Box<str>>,
    #[serde(deserialize_with = "models")]
    models: Models,
}

/// A provider's models. Of those that a name fits, the first counts.
#[derive(Debug)]
struct Models {
    prices: Vec<Prices>,
    /// Names that are for one.
    names: HashMap<Box<str>, usize>,
    /// Patterns, in their order.
    patterns: Vec<(Pattern, usize)>,
}

#[derive(Debug)]
struct Prices {
    rates: Rates,
    but: Vec<Special>,
}

/// Prices for a time, which replace all, or for a tier, which replace those that they say.
#[derive(Debug, Deserialize)]
struct Special {
    tier: Option<Box<str>>,
    #[serde(default, deserialize_with = "day")]
    from: Option<Timestamp>,
    /// Minutes of the day in UTC, the second not included.
    between: Option<(u64, u64)>,
    #[serde(flatten)]
    rates: Rates,
}

impl Table {
    /// The table, parsed when it is first needed.
    pub(super) fn shipped() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| {
            // It is part of this program, and a test reads it: it can't be broken.
            serde_json::from_str(include_str!("../../data/prices/prices.json")).unwrap_or_default()
        });
        &TABLE
    }

    /// What a model costs; the host and the model's name are in lower case.
    pub(super) fn find(
        &self,
        host: Option<&str>,
        dialect: Option<Dialect>,
        model: &str,
    ) -> Option<PriceOf<'_>> {
        let by_host = host.and_then(|host| {
            self.0.iter().find(|it| it.hosts.iter().any(|pattern| pattern.fits(host)))
        });
        match by_host {
            Some(provider) => self.sold_by(provider, model),
            None => self.made_by(dialect, model),
        }
    }

    /// The model as this provider sells it.
    fn sold_by(&self, provider: &Provider, model: &str) -> Option<PriceOf<'_>> {
        let of = |provider: &Provider| provider.models.position(model);
        if let Some(at) = of(provider) {
            return self.price(&provider.id, at);
        }
        provider.falls_back.iter().find_map(|id| {
            let other = self.0.iter().find(|other| other.id == *id)?;
            self.price(&other.id, of(other)?)
        })
    }

    /// The model as its maker sells it: who serves it is not known, only in which API. A gateway
    /// may name the provider first: `vendor/model`.
    fn made_by(&self, dialect: Option<Dialect>, model: &str) -> Option<PriceOf<'_>> {
        let native = dialect.map(|dialect| match dialect {
            Dialect::OpenaiChat
            | Dialect::OpenaiCompletions
            | Dialect::OpenaiEmbeddings
            | Dialect::OpenaiResponses => Some("openai"),
            Dialect::AnthropicMessages => Some("anthropic"),
            Dialect::Gemini => Some("google"),
            Dialect::Bedrock => Some("aws"),
            // Its models are served where it runs, and cost no tokens.
            Dialect::Ollama | Dialect::Mcp | Dialect::A2a => None,
        });
        if native == Some(None) {
            return None;
        }
        let native = native.flatten();
        let is_native = |provider: &&Provider| native == Some(&*provider.id);
        let owns = |it: &&Provider| it.owns.iter().any(|pattern| pattern.fits(model));
        let native = self.0.iter().find(is_native).filter(|it| it.owns.is_empty() || owns(it));
        let owner = self.0.iter().find(owns);
        let found = native.into_iter().chain(owner).find_map(|it| self.sold_by(it, model));
        found.or_else(|| {
            let (vendor, model) = model.split_once('/')?;
            let vendor = self.0.iter().find(|provider| *provider.id == *vendor)?;
            self.sold_by(vendor, model)
        })
    }

    fn price(&self, provider: &str, at: usize) -> Option<PriceOf<'_>> {
        let provider = self.0.iter().find(|it| *it.id == *provider)?;
        provider.models.prices.get(at).map(PriceOf)
    }
}

/// A model's prices.
#[derive(Clone, Copy, Debug)]
pub(super) struct PriceOf<'t>(&'t Prices);

impl PriceOf<'_> {
    /// Those of a tier at a time. A tier without prices of its own costs what the standard one does.
    pub(super) fn at(self, tier: Option<&str>, at: Timestamp) -> Rates {
        let Prices { rates, but } = self.0;
        let held = but.iter().filter(|special| special.holds(at));
        let standard = held.clone().rfind(|special| special.tier.is_none());
        let standard = standard.map_or(rates, |special| &special.rates);
        let of_tier = held.filter(|special| {
            special.tier.as_deref().zip(tier).is_some_and(|(one, other)| one == other)
        });
        let special = of_tier.fold(Rates::default(), |all, one| all.or(&one.rates));
        special.or(standard)
    }
}

impl Special {
    fn holds(&self, at: Timestamp) -> bool {
        const MINUTE: u64 = 60_000_000;
        let minute = at.0 / MINUTE % (24 * 60);
        self.from.is_none_or(|from| from <= at)
            && self.between.is_none_or(|(start, end)| {
                if start <= end {
                    (start..end).contains(&minute)
                } else {
                    minute >= start || minute < end
                }
            })
    }
}

impl Models {
    fn position(&self, model: &str) -> Option<usize> {
        self.exactly(model).or_else(|| self.exactly(&dashed(model)?))
    }

    fn exactly(&self, model: &str) -> Option<usize> {
        let named = self.names.get(model).copied();
        let earlier = self.patterns.iter().take_while(|(_, at)| named.is_none_or(|it| *at < it));
        let fits = earlier.into_iter().find(|(pattern, _)| pattern.fits(model));
        fits.map(|(_, at)| *at).or(named)
    }
}

/// `gpt-5.2-20251211` as it is otherwise written: `gpt-5.2-2025-12-11`.
fn dashed(model: &str) -> Option<String> {
    let (name, date) = model.rsplit_once('-')?;
    let is_date = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
    is_date.then(|| format!("{name}-{}-{}-{}", &date[..4], &date[4..6], &date[6..]))
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

fn models<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Models, D::Error> {
    #[derive(Deserialize)]
    struct Model {
        id: String,
        #[serde(rename = "match", default)]
        matches: Vec<Pattern>,
        #[serde(flatten)]
        rates: Rates,
        #[serde(default)]
        but: Vec<Special>,
    }

    let all = Vec::<Model>::deserialize(deserializer)?;
    let mut models = Models {
        prices: Vec::with_capacity(all.len()),
        names: HashMap::new(),
        patterns: Vec::new(),
    };
    for (at, model) in all.into_iter().enumerate() {
        let own = model.matches.is_empty().then(|| Pattern::new(&model.id.to_lowercase()));
        for pattern in own.into_iter().chain(model.matches) {
            match pattern.one() {
                Some(name) => drop(models.names.entry(name.into()).or_insert(at)),
                None => models.patterns.push((pattern, at)),
            }
        }
        models.prices.push(Prices { rates: model.rates, but: model.but });
    }
    Ok(models)
}

/// The start of a day in UTC, as RFC 3339 writes it.
fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    use serde::de::Error;

    let text = String::deserialize(deserializer)?;
    let start: jiff::Timestamp = format!("{text}T00:00:00Z").parse().map_err(Error::custom)?;
    u64::try_from(start.as_microsecond()).map(|at| Some(Timestamp(at))).map_err(Error::custom)
}
