//! The table that is shipped: what providers ask for their models.

use std::{iter, sync::LazyLock};

use serde::{Deserialize, Deserializer};

use super::{
    pattern::{Index, Pattern},
    rates::Rates,
};
use crate::call::{Dialect, Timestamp};

/// All providers.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Vec<Provider>")]
pub(super) struct Table {
    providers: Vec<Provider>,
    /// By the hosts that are theirs.
    hosts: Index,
    /// By the models that are theirs.
    owners: Index,
}

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
#[derive(Debug, Default)]
struct Models {
    prices: Vec<Prices>,
    names: Index,
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
        match host.and_then(|host| self.providers.get(self.hosts.first(host)?)) {
            Some(provider) => self.sold_by(provider, model),
            None => self.made_by(dialect, model),
        }
    }

    /// The model as this provider sells it.
    fn sold_by<'t>(&'t self, provider: &'t Provider, model: &str) -> Option<PriceOf<'t>> {
        let others = provider.falls_back.iter().filter_map(|id| self.provider(id));
        iter::once(provider).chain(others).find_map(|it| it.models.find(model))
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
        let native = native.flatten().and_then(|id| self.provider(id));
        let native = native.filter(|it| it.owns.is_empty() || it.owns(model));
        let by_native = native.and_then(|it| self.sold_by(it, model));
        let by_owner = || self.sold_by(self.providers.get(self.owners.first(model)?)?, model);
        by_native.or_else(by_owner).or_else(|| {
            let (vendor, model) = model.split_once('/')?;
            self.sold_by(self.provider(vendor)?, model)
        })
    }

    fn provider(&self, id: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| *provider.id == *id)
    }
}

impl From<Vec<Provider>> for Table {
    fn from(providers: Vec<Provider>) -> Self {
        let (mut hosts, mut owners) = (Index::default(), Index::default());
        for (at, provider) in providers.iter().enumerate() {
            provider.hosts.iter().for_each(|pattern| hosts.add(pattern.clone(), at));
            provider.owns.iter().for_each(|pattern| owners.add(pattern.clone(), at));
        }
        Self { providers, hosts, owners }
    }
}

impl Provider {
    fn owns(&self, model: &str) -> bool {
        self.owns.iter().any(|pattern| pattern.fits(model))
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
    fn find(&self, model: &str) -> Option<PriceOf<'_>> {
        let at = self.names.first(model).or_else(|| self.names.first(&dashed(model)?))?;
        self.prices.get(at).map(PriceOf)
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
    let mut models = Models::default();
    for (at, model) in all.into_iter().enumerate() {
        let own = model.matches.is_empty().then(|| Pattern::new(&model.id.to_lowercase()));
        own.into_iter().chain(model.matches).for_each(|pattern| models.names.add(pattern, at));
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
