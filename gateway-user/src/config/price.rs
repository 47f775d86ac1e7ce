//! `[[price]]`: what models cost here, whatever the table says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Dollars;
use crate::{
    call::Glob,
    price::{Rate, Rates, Rule},
};

/// One price. Of those that fit a call, the first counts; where none does, the table that comes with
/// turnpike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub struct PriceRule(Written);

impl PriceRule {
    #[must_use]
    pub fn rule(&self) -> Rule {
        let Written { matches, input, output, cache_read, cache_write } = self.0.clone();
        let rate = |money: Dollars| Rate::flat(money.0);
        Rule {
            model: matches.model,
            host: matches.host,
            rates: Rates {
                input: Some(rate(input)),
                output: Some(rate(output)),
                cache_read: cache_read.map(rate),
                cache_write: cache_write.map(rate),
                cache_write_1h: None,
            },
        }
    }
}

/// A price as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "match")]
    matches: Match,
    /// Dollars for a million tokens of input, such as "0.25".
    input: Dollars,
    /// The same of output, reasoning included.
    output: Dollars,
    /// The same of input that is read from the provider's cache. Absent: it costs what input does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_read: Option<Dollars>,
    /// The same of input that is written to it. Absent: it costs what input does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_write: Option<Dollars>,
}

/// What a call must be. What is left out fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Match {
    /// The model, as the server or the client calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Glob>,
    /// The host that the client asks, in lower case and without a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Glob>,
}

/// The price can't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum PriceError {
    #[error("an empty match would give every model this price; say which, or write model = \"*\"")]
    Everything,
    #[error("hosts have no port and no upper case here; write host = \"llm.example.com\"")]
    Host,
}

impl TryFrom<Written> for PriceRule {
    type Error = PriceError;

    fn try_from(written: Written) -> Result<Self, PriceError> {
        let Match { model, host } = &written.matches;
        if model.is_none() && host.is_none() {
            return Err(PriceError::Everything);
        }
        let odd = |character: char| matches!(character, ':' | '/') || character.is_uppercase();
        if host.as_ref().is_some_and(|host| host.as_str().contains(odd)) {
            return Err(PriceError::Host);
        }
        Ok(Self(written))
    }
}

impl From<PriceRule> for Written {
    fn from(rule: PriceRule) -> Self {
        rule.0
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        call::{Timestamp, Usage},
        config::Config,
        price::Purchase,
    };

    #[test]
    fn prices_are_read_as_they_are_documented() {
        let text = r#"
            [[price]]
            match = { model = "gpt-4o*", host = "*.internal" }
            input = "0.10"
            output = "0.40"
            cache_read = "0.000000001"
            cache_write = "0"
            [[price]]
            match = { host = "llm.example.com" }
            input = "0"
            output = "0"
        "#;
        let config = Config::parse(text).expect("valid");
        let shown = toml::to_string(&config).expect("shows");
        assert_eq!(Config::parse(&shown).expect("valid"), config, "{shown}");
        let purchase = Purchase {
            host: Some("a.internal:80"),
            request_model: Some("gpt-4o"),
            ..Purchase::at(Timestamp(0))
        };
        let usage = Usage { input: 1_000_000, output: 1_000_000, ..Usage::default() };
        let usd = config.prices().cost(&purchase, &usage).expect("a price");
        assert_eq!(usd.to_string(), "0.5");
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_what_to_do() {
        let rest = "input = \"1\"\noutput = \"1\"";
        for (price, line, hint) in [
            ("input = \"1\"\noutput = \"1\"", 1, "missing field `match`"),
            ("match = { model = \"a\" }\noutput = \"1\"", 1, "missing field `input`"),
            (&format!("match = {{}}\n{rest}"), 1, "write model = \"*\""),
            (&format!("match = {{ model = \"\" }}\n{rest}"), 2, "an empty pattern"),
            (&format!("match = {{ name = \"a\" }}\n{rest}"), 2, "unknown field `name`"),
            (&format!("match = {{ host = \"a:80\" }}\n{rest}"), 1, "no port"),
            ("match = { model = \"a\" }\ninput = 1.5\noutput = \"1\"", 3, "expected a string"),
            ("match = { model = \"a\" }\ninput = \"$1\"\noutput = \"1\"", 3, "such as \"0.25\""),
            ("match = { model = \"a\" }\ninput = \"-1\"\noutput = \"1\"", 3, "such as \"0.25\""),
            (
                &format!("match = {{ model = \"a\" }}\nreasoning = \"1\"\n{rest}"),
                3,
                "unknown field `reasoning`",
            ),
        ] {
            let problems = Config::parse(&format!("[[price]]\n{price}\n")).expect_err("not valid");
            let [problem] = &problems[..] else { panic!("{price}: {problems:?}") };
            assert_eq!(problem.line, line, "{price}: {problem}");
            assert!(problem.text.contains(hint), "{price}: {problem}");
        }
    }
}
