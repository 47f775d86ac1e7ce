//! What tokens cost.

use serde::{Deserialize, Deserializer};

use crate::call::{MoneyParseError, NanoUsd, Usage};

/// What a model's tokens of each kind cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Of input that is neither read from a cache nor written to one; also of that, where it has no
    /// price of its own.
    pub input: Option<Rate>,
    /// Reasoning included.
    pub output: Option<Rate>,
    #[serde(rename = "read")]
    pub cache_read: Option<Rate>,
    /// For some minutes, or however long the provider keeps it by itself.
    #[serde(rename = "write")]
    pub cache_write: Option<Rate>,
    #[serde(rename = "write_1h")]
    pub cache_write_1h: Option<Rate>,
}

/// The price of a million tokens of one kind. With more input than a threshold, another price holds
/// for all of the call's tokens of that kind: that is how providers bill long contexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    base: NanoUsd,
    /// Thresholds that grow, each with the price beyond it.
    beyond: Vec<(u64, NanoUsd)>,
}

impl Rates {
    /// What a call with this usage costs, to the nearest billionth of a dollar. What has no price
    /// costs nothing.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        let read = usage.cache_read.unwrap_or(0);
        let written = usage.cache_creation.unwrap_or(0);
        let written_1h = usage.cache_creation_1h.unwrap_or(0).min(written);
        let plain = usage.input.saturating_sub(read).saturating_sub(written);
        let write = self.cache_write.as_ref();
        let counts = [
            (plain, None),
            (read, self.cache_read.as_ref()),
            (written - written_1h, write),
            (written_1h, self.cache_write_1h.as_ref().or(write)),
        ];
        let input = counts.map(|(tokens, rate)| (tokens, rate.or(self.input.as_ref())));
        let output = (usage.output, self.output.as_ref());
        let millionths = input.into_iter().chain([output]).map(|(tokens, rate)| {
            let price = rate.map_or(NanoUsd(0), |rate| rate.at(usage.input));
            u128::from(tokens).saturating_mul(price.0.into())
        });
        let sum = millionths.fold(0, u128::saturating_add);
        NanoUsd(u64::try_from(sum.saturating_add(MILLION / 2) / MILLION).unwrap_or(u64::MAX))
    }

    /// The most that so much input may cost, and what a million tokens of output cost then.
    #[must_use]
    pub fn most(&self, input: u64) -> (NanoUsd, NanoUsd) {
        let kinds = [&self.input, &self.cache_read, &self.cache_write, &self.cache_write_1h];
        let dearest = kinds.into_iter().flatten().map(|rate| rate.at(input)).max();
        let millionths = u128::from(input) * u128::from(dearest.unwrap_or_default().0);
        let most = u64::try_from(millionths.div_ceil(MILLION)).unwrap_or(u64::MAX);
        (NanoUsd(most), self.output.as_ref().map_or(NanoUsd(0), |rate| rate.at(input)))
    }

    /// These, and what they don't say as others say it.
    pub(super) fn or(self, others: &Self) -> Self {
        let or = |one: Option<Rate>, other: &Option<Rate>| one.or_else(|| other.clone());
        Self {
            input: or(self.input, &others.input),
            output: or(self.output, &others.output),
            cache_read: or(self.cache_read, &others.cache_read),
            cache_write: or(self.cache_write, &others.cache_write),
            cache_write_1h: or(self.cache_write_1h, &others.cache_write_1h),
        }
    }
}

impl Rate {
    /// The same price whatever the input.
    #[must_use]
    pub const fn flat(million: NanoUsd) -> Self {
        Self { base: million, beyond: Vec::new() }
    }

    /// The price of a million tokens in a call with so much input.
    fn at(&self, input: u64) -> NanoUsd {
        let beyond = self.beyond.iter().rev().find(|(threshold, _)| input > *threshold);
        beyond.map_or(self.base, |(_, price)| *price)
    }

    /// `3`, or `3 >200000:6`.
    fn parse(text: &str) -> Result<Self, MoneyParseError> {
        let mut parts = text.split(" >");
        let base = parts.next().unwrap_or_default().parse()?;
        let mut beyond = parts
            .map(|part| {
                let (threshold, price) = part.split_once(':').ok_or(MoneyParseError::NotMoney)?;
                let threshold = threshold.parse().map_err(|_| MoneyParseError::NotMoney)?;
                Ok((threshold, price.parse()?))
            })
            .collect::<Result<Vec<_>, _>>()?;
        beyond.sort_unstable();
        Ok(Self { base, beyond })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Tokens that a price is for.
const MILLION: u128 = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates(json: &str) -> Rates {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let all =
            rates(r#"{"input":"3","output":"15","read":"0.3","write":"3.75","write_1h":"6"}"#);
        let usage = Usage {
            input: 1_000_000,
            output: 100_000,
            cache_read: Some(500_000),
            cache_creation: Some(200_000),
            cache_creation_1h: Some(50_000),
            reasoning: Some(90_000),
            estimated: false,
        };
        // 0.3 M plain, 0.5 M read, 0.15 M written, 0.05 M for an hour, 0.1 M out.
        assert_eq!(all.cost(&usage).to_string(), "3.4125");
        // What has no price of its own costs what it is a part of.
        assert_eq!(rates(r#"{"input":"3","output":"15"}"#).cost(&usage).to_string(), "4.5");
        let without_hour = rates(r#"{"input":"3","write":"3.75"}"#);
        assert_eq!(without_hour.cost(&usage).to_string(), "3.15");
        assert_eq!(Rates::default().cost(&usage), NanoUsd(0));
    }

    #[test]
    fn long_contexts_cost_more_from_the_first_token_beyond() {
        let rates = rates(r#"{"input":"3 >200000:6 >400000:9","output":"15 >200000:22.5"}"#);
        let cost = |input| rates.cost(&Usage { input, output: 1_000, ..Usage::default() }).0;
        assert_eq!(cost(200_000), 600_000_000 + 15_000_000);
        assert_eq!(cost(200_001), 1_200_006_000 + 22_500_000);
        assert_eq!(cost(400_001), 3_600_009_000 + 22_500_000);
    }

    #[test]
    fn the_most_that_input_may_cost_is_by_its_dearest_kind() {
        let rates = rates(r#"{"input":"3 >200000:6","output":"15 >200000:22.5","write":"3.75"}"#);
        assert_eq!(rates.most(1_000), (NanoUsd(3_750_000), NanoUsd(15_000_000_000)));
        assert_eq!(rates.most(200_001).1, NanoUsd(22_500_000_000));
        assert_eq!(Rates::default().most(7), (NanoUsd(0), NanoUsd(0)));
    }

    #[test]
    fn a_call_is_rounded_once() {
        let rates = rates(r#"{"input":"0.0375","output":"0.0375"}"#);
        let cost = |input, output| rates.cost(&Usage { input, output, ..Usage::default() }).0;
        assert_eq!((cost(1, 0), cost(1, 1), cost(1, 2)), (38, 75, 113));
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in ["", "x", "3 >", "3 >a:1", "3 >1", "3 >1:x", "-1"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_usage_overflows(input: u64, output: u64, read: Option<u64>, written: Option<u64>, hour: Option<u64>) {
            let rates = rates(r#"{"input":"18000000000","output":"18000000000","read":"1","write":"2","write_1h":"3"}"#);
            let usage = Usage {
                input, output, cache_read: read, cache_creation: written, cache_creation_1h: hour,
                ..Usage::default()
            };
            let more = Usage { output: output.saturating_add(1), ..usage };
            prop_assert!(rates.cost(&more) >= rates.cost(&usage));
        }
    }
}
