//! `[[budget]]`: what may be spent, and by whom.

mod asked;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::asked::{Asked, AskedError};
use super::{Span, units::Dollars};
use crate::{
    call::Glob,
    ledger::{self, Amounts, Dimension, OnExceed, Period, Scope, Window},
};

/// One budget. All that fit a call hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub struct BudgetRule(Written);

/// A budget as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// By which it is shown and reset. Absent: its scope, with a number where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// What each has one for itself: a workflow, a session, an agent, a tenant, or this node.
    scope: Scope,
    /// Whose calls it is for. Absent: everyone's.
    #[serde(rename = "match", default, skip_serializing_if = "Match::is_empty")]
    matches: Match,
    limits: WrittenLimits,
    /// For how long it counts: a span of time that moves along ("1h"), or a period of the calendar in UTC
    /// ("hour", "day", "week", "month"). Absent: for the whole life. For agents, tenants and the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<WrittenWindow>,
    /// What happens when a limit is met (enforce; in audit it is only told).
    #[serde(default)]
    on_exceed: OnExceed,
    /// Percent of a limit of which it is told when they are spent.
    #[serde(default = "thresholds", skip_serializing_if = "is_usual")]
    thresholds: Vec<u8>,
    /// Tokens that a call may answer that does not say how many, as far as they are left.
    #[serde(default = "default_output", skip_serializing_if = "is_default_output")]
    default_output_tokens: u64,
    /// What becomes of calls of which nobody knows what they cost, where dollars are limited.
    #[serde(default)]
    on_unpriced: OnUnpriced,
}

/// Whose calls. What is left out fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Match {
    /// The agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Glob>,
    /// The agent's tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<Glob>,
}

/// The most of everything. What is left out is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct WrittenLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    /// Reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    /// Input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u64>,
    /// Dollars, such as "1.50".
    #[serde(skip_serializing_if = "Option::is_none")]
    usd: Option<Dollars>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_calls: Option<u64>,
    /// Each counted once, when a model emits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u64>,
    /// Sub-agents, in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_plans: Option<u64>,
    /// Calls of tools, by patterns for their names: `{ "delete_*" = 3 }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, u64>")]
    tools: BTreeMap<String, u64>,
    /// Model calls at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrent_calls: Option<u64>,
    /// How deep sub-agents may be nested: 1 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u64>,
    /// Sub-agents that one step may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    fan_out: Option<u64>,
    /// How often the very same call may be made again.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<u64>,
    /// From the first call on.
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_clock: Option<Span>,
}

/// A span of time, or a period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
enum WrittenWindow {
    Rolling(Span),
    Calendar(Period),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnUnpriced {
    /// They are refused.
    #[default]
    Deny,
    /// They go on, and cost nothing.
    Allow,
}

/// The budget can't hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum BudgetError {
    #[error("a budget without limits holds nothing; give it one, such as {{ usd = \"1.50\" }}")]
    NoLimits,
    #[error("a budget's name is not empty, and has up to 64 letters, digits, - _ and .")]
    Name,
    #[error("a {0} has a budget for its whole life; leave `window` out, or choose another scope")]
    Window(&'static str),
    #[error("wall_clock counts from the first call on and knows no window; leave one of them out")]
    WallClock,
    #[error("thresholds are percent from 1 to 100, the lowest first")]
    Thresholds,
    #[error("an empty pattern matches no tool; write \"*\" for all of them")]
    Tool,
    #[error("default_output_tokens of 0 would let no call answer")]
    NoOutput,
}

/// The text is no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a window is a span of time, such as \"1h\", or one of \"hour\", \"day\", \"week\", \"month\""
)]
struct WindowError;

impl BudgetRule {
    /// The name that it is given, if it is.
    pub(super) fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    #[must_use]
    pub fn scope(&self) -> Scope {
        self.0.scope
    }

    /// Under that name.
    pub(super) fn budget(&self, name: &str) -> ledger::Budget {
        let rule = &self.0;
        let mut thresholds = rule.thresholds.clone();
        thresholds.sort_unstable();
        ledger::Budget {
            agents: rule.matches.agent.clone(),
            tenants: rule.matches.tenant.clone(),
            window: rule.window.map_or(Window::Life, Into::into),
            on_exceed: rule.on_exceed,
            thresholds,
            default_output: rule.default_output_tokens,
            allows_unpriced: rule.on_unpriced == OnUnpriced::Allow,
            ..ledger::Budget::new(name, self.scope(), rule.limits.limits())
        }
    }
}

impl WrittenLimits {
    fn limits(&self) -> ledger::Limits {
        let mut amounts = Amounts::MOST;
        for (of, most) in [
            (Dimension::InputTokens, self.input_tokens),
            (Dimension::OutputTokens, self.output_tokens),
            (Dimension::TotalTokens, self.total_tokens),
            (Dimension::ReasoningTokens, self.reasoning_tokens),
            (Dimension::Usd, self.usd.map(|usd| usd.0.0)),
            (Dimension::ModelCalls, self.model_calls),
            (Dimension::ToolCalls, self.tool_calls),
            (Dimension::Retries, self.retries),
            (Dimension::SubPlans, self.sub_plans),
        ] {
            amounts[of] = most.unwrap_or(u64::MAX);
        }
        let tools = self.tools.iter();
        ledger::Limits {
            amounts,
            // They were looked at when they were read.
            tools: tools.filter_map(|(glob, most)| Some((glob.parse().ok()?, *most))).collect(),
            concurrent_calls: self.concurrent_calls,
            depth: self.depth,
            fan_out: self.fan_out,
            repeats: self.repeats,
            wall_clock: self.wall_clock.map(|span| span.0.into()),
        }
    }
}

impl TryFrom<Written> for BudgetRule {
    type Error = BudgetError;

    fn try_from(written: Written) -> Result<Self, BudgetError> {
        let Written { name, scope, limits, window, thresholds, default_output_tokens, .. } =
            &written;
        if *limits == WrittenLimits::default() {
            return Err(BudgetError::NoLimits);
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = |name: &String| (1..=64).contains(&name.len()) && name.bytes().all(is_plain);
        if !name.as_ref().is_none_or(fits) {
            return Err(BudgetError::Name);
        }
        if window.is_some() {
            if let Scope::Workflow | Scope::Session = scope {
                return Err(BudgetError::Window(scope.as_str()));
            }
            if limits.wall_clock.is_some() {
                return Err(BudgetError::WallClock);
            }
        }
        if !thresholds.is_sorted() || thresholds.iter().any(|one| !(1..=100).contains(one)) {
            return Err(BudgetError::Thresholds);
        }
        if limits.tools.keys().any(|glob| glob.parse::<Glob>().is_err()) {
            return Err(BudgetError::Tool);
        }
        if *default_output_tokens == 0 {
            return Err(BudgetError::NoOutput);
        }
        Ok(Self(written))
    }
}

impl From<BudgetRule> for Written {
    fn from(rule: BudgetRule) -> Self {
        rule.0
    }
}

impl TryFrom<String> for WrittenWindow {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Self, WindowError> {
        if let Some(period) = Period::ALL.into_iter().find(|period| period.as_str() == text) {
            return Ok(Self::Calendar(period));
        }
        let span: Span = text.parse().map_err(|_| WindowError)?;
        if span.0.is_zero() { Err(WindowError) } else { Ok(Self::Rolling(span)) }
    }
}

impl From<WrittenWindow> for String {
    fn from(window: WrittenWindow) -> Self {
        match window {
            WrittenWindow::Rolling(span) => span.to_string(),
            WrittenWindow::Calendar(period) => period.as_str().to_owned(),
        }
    }
}

impl From<WrittenWindow> for Window {
    fn from(window: WrittenWindow) -> Self {
        match window {
            WrittenWindow::Rolling(span) => Self::Rolling(span.0.into()),
            WrittenWindow::Calendar(period) => Self::Calendar(period),
        }
    }
}

impl Match {
    const fn is_empty(&self) -> bool {
        self.agent.is_none() && self.tenant.is_none()
    }
}

fn thresholds() -> Vec<u8> {
    vec![50, 80, 100]
}

fn is_usual(given: &[u8]) -> bool {
    given == thresholds()
}

const fn default_output() -> u64 {
    ledger::DEFAULT_OUTPUT
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_default_output(given: &u64) -> bool {
    *given == ledger::DEFAULT_OUTPUT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Micros, NanoUsd},
        config::Config,
    };

    #[test]
    fn budgets_are_read_as_they_are_documented() {
        let text = r#"
            [[budget]]
            scope = "workflow"
            match = { agent = "research-*" }
            limits = { output_tokens = 20000, usd = "1.50", tool_calls = 40, wall_clock = "10m", depth = 4 }
            on_exceed = "cancel"
            [[budget]]
            scope = "workflow"
            limits = { tools = { "delete_*" = 3 } }
            [[budget]]
            name = "acme-daily"
            scope = "tenant"
            match = { tenant = "acme" }
            limits = { usd = "100" }
            window = "day"
            on_exceed = "warn"
            thresholds = [90]
            default_output_tokens = 100
            on_unpriced = "allow"
            [[budget]]
            scope = "agent"
            limits = { model_calls = 100 }
            window = "1h"
        "#;
        let config = Config::parse(text).expect("valid");
        let shown = toml::to_string(&config).expect("shows");
        assert_eq!(Config::parse(&shown).expect("valid"), config, "{shown}");
        let budgets = config.budgets();
        let names: Vec<&str> = budgets.iter().map(|budget| &*budget.name).collect();
        assert_eq!(names, ["workflow", "workflow-2", "acme-daily", "agent"]);
        let [first, second, daily, hourly] = &budgets[..] else { unreachable!("four") };
        assert_eq!(first.limits.amounts[Dimension::Usd], NanoUsd(1_500_000_000).0);
        assert_eq!(first.limits.wall_clock, Some(Micros(600_000_000)));
        assert_eq!((first.on_exceed, &*first.thresholds), (OnExceed::Cancel, &[50, 80, 100][..]));
        assert_eq!(second.limits.tools[0].1, 3);
        assert_eq!((daily.window, daily.default_output), (Window::Calendar(Period::Day), 100));
        assert!(daily.allows_unpriced && !hourly.allows_unpriced);
        assert_eq!(hourly.window, Window::Rolling(Micros(3_600_000_000)));
    }

    #[test]
    fn a_mistake_is_named_with_what_to_do() {
        let limits = "limits = { usd = \"1\" }";
        for (budget, hint) in [
            ("scope = \"workflow\"".to_owned(), "missing field `limits`"),
            ("scope = \"workflow\"\nlimits = {}".to_owned(), "give it one"),
            (format!("scope = \"cluster\"\n{limits}"), "unknown variant `cluster`"),
            (format!("scope = \"workflow\"\nwindow = \"day\"\n{limits}"), "leave `window` out"),
            (format!("scope = \"agent\"\nwindow = \"year\"\n{limits}"), "one of \"hour\""),
            (format!("scope = \"agent\"\nwindow = \"0s\"\n{limits}"), "such as \"1h\""),
            (format!("scope = \"agent\"\nname = \"a b\"\n{limits}"), "up to 64 letters"),
            (format!("scope = \"agent\"\nthresholds = [80, 50]\n{limits}"), "the lowest first"),
            (format!("scope = \"agent\"\nthresholds = [0]\n{limits}"), "from 1 to 100"),
            (
                format!("scope = \"agent\"\ndefault_output_tokens = 0\n{limits}"),
                "let no call answer",
            ),
            ("scope = \"agent\"\nlimits = { usd = 1 }".to_owned(), "expected a string"),
            ("scope = \"agent\"\nlimits = { tokens = 1 }".to_owned(), "unknown field `tokens`"),
            ("scope = \"agent\"\nlimits = { tools = { \"\" = 1 } }".to_owned(), "write \"*\""),
            (
                "scope = \"agent\"\nwindow = \"1h\"\nlimits = { wall_clock = \"1h\" }".to_owned(),
                "knows no window",
            ),
        ] {
            let problems =
                Config::parse(&format!("[[budget]]\n{budget}\n")).expect_err("not valid");
            let [problem] = &problems[..] else { panic!("{budget}: {problems:?}") };
            assert!(problem.text.contains(hint), "{budget}: {problem}");
        }
    }

    #[test]
    fn names_are_given_once_and_what_could_slip_out_is_held_by_the_agent_s_budget() {
        let two = "[[budget]]\nname = \"a\"\nscope = \"agent\"\nlimits = { usd = \"1\" }\n";
        let problems = Config::parse(&two.repeat(2)).expect_err("twice");
        assert!(problems[0].text.contains("two budgets are called a"), "{problems:?}");
        let workflow = "[[budget]]\nscope = \"workflow\"\nlimits = { usd = \"1\" }\n";
        assert!(Config::parse(workflow).is_ok());
        let enforced = format!("[defaults]\nmode = \"enforce\"\n{workflow}");
        let problems = Config::parse(&enforced).expect_err("it leaks");
        assert!(problems[0].text.contains("add a [[budget]] with scope"), "{problems:?}");
        assert!(Config::parse(&format!("{enforced}{two}")).is_ok());
    }
}
