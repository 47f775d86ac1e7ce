//! Budgets as a command is given them.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

use super::WrittenLimits;
use crate::ledger::{self, Scope};

/// Budgets for one agent, written like `usd=2,workflow:output_tokens=20000`: each a limit and how much,
/// with a scope before it if that is not the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Asked {
    text: String,
    budgets: Vec<(Scope, ledger::Limits)>,
}

/// The text is no list of budgets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write budgets as usd=2,output_tokens=20000 or workflow:usd=0.50")]
pub struct AskedError(String);

impl Asked {
    /// The budgets, for an agent of that name.
    #[must_use]
    pub fn budgets(&self, agent: &str) -> Vec<ledger::Budget> {
        let budgets = self.budgets.iter().map(|(scope, limits)| {
            let name = format!("run-{agent}-{}", scope.as_str());
            let budget = ledger::Budget::new(name.as_str(), *scope, limits.clone());
            // It has none of a pattern's signs, so it is one for itself.
            ledger::Budget { agents: agent.parse().ok(), ..budget }
        });
        budgets.collect()
    }
}

impl TryFrom<String> for Asked {
    type Error = AskedError;

    fn try_from(text: String) -> Result<Self, AskedError> {
        text.parse()
    }
}

impl From<Asked> for String {
    fn from(asked: Asked) -> Self {
        asked.text
    }
}

impl FromStr for Asked {
    type Err = AskedError;

    fn from_str(text: &str) -> Result<Self, AskedError> {
        let mut scopes: BTreeMap<Scope, toml::Table> = BTreeMap::new();
        for part in text.split(',') {
            let (key, value) =
                part.split_once('=').ok_or_else(|| AskedError(format!("{part:?} has no value")))?;
            let (scope, key) = key.trim().split_once(':').unwrap_or(("agent", key.trim()));
            let scope = Scope::deserialize(toml::Value::from(scope)).map_err(wrong)?;
            let value = match value.trim().parse::<i64>() {
                Ok(number) if key != "usd" => number.into(),
                _ => value.trim().into(),
            };
            if scopes.entry(scope).or_default().insert(key.to_owned(), value).is_some() {
                return Err(AskedError(format!("{key} is given twice")));
            }
        }
        let budgets = scopes.into_iter().map(|(scope, limits)| {
            let limits = WrittenLimits::deserialize(limits).map_err(wrong)?;
            Ok((scope, limits.limits()))
        });
        let budgets = budgets.collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), budgets })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "errors are mapped so")]
fn wrong(error: toml::de::Error) -> AskedError {
    AskedError(error.message().trim().replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Dimension;

    #[test]
    fn limits_are_the_agent_s_unless_they_say_whose() {
        let asked: Asked =
            "usd=2,output_tokens=20000,workflow:usd=0.50,wall_clock=10m".parse().expect("budgets");
        let budgets = asked.budgets("research");
        let [workflow, agent] = &budgets[..] else { panic!("{budgets:?}") };
        assert_eq!((&*workflow.name, workflow.scope), ("run-research-workflow", Scope::Workflow));
        assert_eq!(workflow.limits.amounts[Dimension::Usd], 500_000_000);
        assert_eq!(agent.limits.amounts[Dimension::Usd], 2_000_000_000);
        assert_eq!(agent.limits.amounts[Dimension::OutputTokens], 20_000);
        assert!(agent.limits.wall_clock.is_some());
        assert!(agent.is_for("research", None) && !agent.is_for("web", None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, wanted) in [
            ("usd", "\"usd\" has no value"),
            ("usd=x", "money is written in dollars"),
            ("tokens=1", "unknown field `tokens`"),
            ("cluster:usd=1", "unknown variant `cluster`"),
            ("usd=1,usd=2", "usd is given twice"),
            ("output_tokens=-1", "invalid value"),
        ] {
            let error = text.parse::<Asked>().expect_err(text).to_string();
            assert!(error.contains(wanted) && error.contains("write budgets as"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
