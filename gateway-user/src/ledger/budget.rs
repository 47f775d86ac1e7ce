//! What may be spent, by whom, and what happens when it is not enough.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amounts, Dimension, Holder, Window};
use crate::call::{Glob, Micros, Name, NanoUsd};

/// What each holder of a scope may spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// By which it is known, also to a later gateway that has other limits.
    pub name: Name,
    pub scope: Scope,
    /// Whose calls it is for. Absent: everyone's.
    pub agents: Option<Glob>,
    pub tenants: Option<Glob>,
    pub limits: Limits,
    pub window: Window,
    pub on_exceed: OnExceed,
    /// Percent of a limit of which it is told when they are spent, the lowest first.
    pub thresholds: Vec<u8>,
    /// What a call that does not say how much it may answer is given, as far as that is left.
    pub default_output: u64,
    /// Whether calls may be made of which nobody knows what they cost, where dollars are limited.
    pub allows_unpriced: bool,
    /// It is for nobody any more.
    pub is_over: bool,
}

/// What a budget is for one of each of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Workflow,
    Session,
    Agent,
    Tenant,
    Node,
}

/// The most of everything. What is left out is not limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub amounts: Amounts,
    /// Calls of the tools whose names match, each of these for itself.
    pub tools: Vec<(Glob, u64)>,
    /// Model calls at a time.
    pub concurrent_calls: Option<u64>,
    /// How deep sub-agents may be nested: 1 is none.
    pub depth: Option<u64>,
    /// Sub-agents that one step may start.
    pub fan_out: Option<u64>,
    /// How often the very same call may be made again.
    pub repeats: Option<u64>,
    /// From the first call on.
    pub wall_clock: Option<Micros>,
}

/// What happens when a limit is met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnExceed {
    /// It is told, and nothing else.
    Warn,
    /// Further calls are refused; those in flight end by themselves.
    #[default]
    Deny,
    /// And those in flight are ended.
    Cancel,
}

/// A limit, of whatever kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    Sum(Dimension),
    /// The tools of that place in the list.
    Tool(usize),
    ConcurrentCalls,
    Depth,
    FanOut,
    Repeats,
    WallClock,
    /// Dollars are limited, and what a call costs is not known.
    Price,
    /// No account can be opened.
    Accounts,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            amounts: Amounts::MOST,
            tools: Vec::new(),
            concurrent_calls: None,
            depth: None,
            fan_out: None,
            repeats: None,
            wall_clock: None,
        }
    }
}

impl Limits {
    /// Whether dollars are limited.
    #[must_use]
    pub fn limits_usd(&self) -> bool {
        self.amounts[Dimension::Usd] != u64::MAX
    }
}

impl Budget {
    /// One with these limits, and nothing else said.
    #[must_use]
    pub fn new(name: impl Into<Name>, scope: Scope, limits: Limits) -> Self {
        Self {
            name: name.into(),
            scope,
            agents: None,
            tenants: None,
            limits,
            window: Window::Life,
            on_exceed: OnExceed::default(),
            thresholds: vec![50, 80, 100],
            default_output: DEFAULT_OUTPUT,
            allows_unpriced: false,
            is_over: false,
        }
    }

    /// Whether it is for the calls of that agent.
    #[must_use]
    pub fn is_for(&self, agent: &str, tenant: Option<&str>) -> bool {
        let fits = |glob: &Option<Glob>, name: Option<&str>| {
            glob.as_ref().is_none_or(|glob| name.is_some_and(|name| glob.matches(name)))
        };
        !self.is_over
            && fits(&self.agents, Some(agent))
            && fits(&self.tenants, tenant)
            && (self.scope != Scope::Tenant || tenant.is_some())
    }
}

impl Budget {
    /// Whether it stops what a lineage that is not sure could take for something new.
    #[must_use]
    pub const fn holds_all(&self) -> bool {
        let stops = !matches!(self.on_exceed, OnExceed::Warn);
        stops && matches!(self.scope, Scope::Agent | Scope::Tenant | Scope::Node)
    }

    /// Whether it stops one workflow or session.
    #[must_use]
    pub const fn holds_one(&self) -> bool {
        let stops = !matches!(self.on_exceed, OnExceed::Warn);
        stops && matches!(self.scope, Scope::Workflow | Scope::Session)
    }
}

impl Scope {
    /// Of the budgets that somebody can hold.
    pub(super) const fn of(holder: &Holder) -> Self {
        match holder {
            Holder::Workflow(_) => Self::Workflow,
            Holder::Session(_) => Self::Session,
            Holder::Agent(_) => Self::Agent,
            Holder::Tenant(_) => Self::Tenant,
            Holder::Node => Self::Node,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Session => "session",
            Self::Agent => "agent",
            Self::Tenant => "tenant",
            Self::Node => "node",
        }
    }
}

impl Limit {
    /// As the configuration calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum(dimension) => dimension.as_str(),
            Self::Tool(_) => "tools",
            Self::ConcurrentCalls => "concurrent_calls",
            Self::Depth => "depth",
            Self::FanOut => "fan_out",
            Self::Repeats => "repeats",
            Self::WallClock => "wall_clock",
            Self::Price => "on_unpriced",
            Self::Accounts => "accounts",
        }
    }

    /// An amount of it, for people.
    #[must_use]
    pub fn show(self, amount: u64) -> String {
        match self {
            Self::Sum(Dimension::Usd) | Self::Price => format!("{} USD", NanoUsd(amount)),
            Self::WallClock => format!("{:.1} s", Micros(amount).as_millis() / 1000.0),
            _ => amount.to_string(),
        }
    }
}

/// Tokens of an answer, for calls that say nothing of it.
pub const DEFAULT_OUTPUT: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_for_those_whom_all_its_patterns_match() {
        let glob = |text: &str| Some(text.parse::<Glob>().expect("a pattern"));
        let budget = Budget::new("b", Scope::Agent, Limits::default());
        assert!(budget.is_for("a", None));
        let budget = Budget { agents: glob("re*"), tenants: glob("acme"), ..budget };
        assert!(budget.is_for("research", Some("acme")));
        assert!(!budget.is_for("research", None) && !budget.is_for("web", Some("acme")));
        let tenants = Budget::new("t", Scope::Tenant, Limits::default());
        assert!(tenants.is_for("a", Some("t")) && !tenants.is_for("a", None));
    }

    #[test]
    fn amounts_are_shown_for_people() {
        assert_eq!(Limit::Sum(Dimension::Usd).show(1_500_000_000), "1.5 USD");
        assert_eq!(Limit::WallClock.show(1_500_000), "1.5 s");
        assert_eq!(Limit::Depth.show(4), "4");
    }
}
