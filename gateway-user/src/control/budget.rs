//! What is shown of budgets, and asked of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    call::{Micros, NanoUsd, Timestamp},
    config::Span,
    ledger::{
        self, Balance, Budget, Dimension, Holder, Ledger, Limit, Limits, OnExceed, Scope, Why,
        Window,
    },
};

/// A budget, and how those who hold it stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetInfo {
    pub name: String,
    pub scope: Scope,
    /// The patterns of the agents and the tenants that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<String>,
    /// Absent: it counts for the whole life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    pub on_exceed: OnExceed,
    pub limits: Vec<LimitInfo>,
    /// How many hold it.
    pub holders_total: usize,
    /// The fullest of them, the first first.
    pub holders: Vec<HolderInfo>,
    /// The newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resets: Vec<Reset>,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitInfo {
    /// As the configuration calls it; of tools their pattern.
    pub limit: String,
    pub most: Amount,
}

/// How one holder of a budget stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderInfo {
    pub holder: Holder,
    pub opened_at: Timestamp,
    /// Model calls.
    pub in_flight: u64,
    /// Since when it is stopped, and by which limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    pub spendings: Vec<SpendingInfo>,
}

/// What is spent of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendingInfo {
    pub limit: String,
    pub spent: Amount,
    /// For calls in flight.
    pub held: Amount,
    pub most: Amount,
    /// Of what may be spent, rounded down.
    pub percent: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub at: Timestamp,
    pub limit: String,
}

/// An amount: dollars as a decimal string, a span of time in milliseconds, anything else as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    Count(u64),
    Usd(NanoUsd),
    Span { ms: u64 },
}

/// Who is to spend anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    pub holder: Holder,
    /// Absent: of every budget that it holds itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// That a budget's holder was let spend anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    pub at: Timestamp,
    pub holder: Holder,
    /// The user whose process asked for it.
    pub by_uid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The budgets of which it spends anew.
    pub budgets: Vec<String>,
}

impl BudgetInfo {
    /// All of a ledger, each with so many holders.
    #[must_use]
    pub fn all(ledger: &Ledger, limit: usize) -> Vec<Self> {
        let budgets = ledger.budgets().map(|budget| Self::of(budget, ledger, limit));
        budgets.collect()
    }

    fn of(budget: &Budget, ledger: &Ledger, limit: usize) -> Self {
        let own = ledger.balances().filter(|balance| balance.budget.name == budget.name);
        let mut holders: Vec<HolderInfo> = own.map(|balance| HolderInfo::of(&balance)).collect();
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.fullness()));
        let holders_total = holders.len();
        holders.truncate(limit);
        let own = ledger.resets().filter(|reset| reset.budgets.contains(&budget.name));
        Self {
            name: budget.name.to_string(),
            scope: budget.scope,
            agents: budget.agents.as_ref().map(ToString::to_string),
            tenants: budget.tenants.as_ref().map(ToString::to_string),
            window: match budget.window {
                Window::Life => None,
                Window::Rolling(span) => Some(Span(Duration::from_micros(span.0)).to_string()),
                Window::Calendar(period) => Some(period.as_str().to_owned()),
            },
            on_exceed: budget.on_exceed,
            limits: limits(&budget.limits),
            holders_total,
            holders,
            resets: own.map(Reset::from).collect(),
        }
    }
}

impl HolderInfo {
    fn of(balance: &Balance<'_>) -> Self {
        let limits = &balance.budget.limits;
        let sums = Dimension::ALL.into_iter().filter(|of| limits.amounts[*of] < u64::MAX);
        let sums = sums.map(|of| {
            let figures = [balance.spent[of], balance.held[of], limits.amounts[of]];
            SpendingInfo::of(of.as_str().to_owned(), Limit::Sum(of), figures)
        });
        let tools = limits.tools.iter().zip(balance.tools).enumerate();
        let tools = tools.map(|(at, ((glob, most), spent))| {
            SpendingInfo::of(format!("calls of {glob}"), Limit::Tool(at), [*spent, 0, *most])
        });
        let limit = |limit: Limit| limit.as_str().to_owned();
        Self {
            holder: balance.holder.clone(),
            opened_at: balance.opened,
            in_flight: balance.in_flight,
            stopped: balance.stopped.map(|(at, by)| Stopped { at, limit: limit(by) }),
            spendings: sums.chain(tools).collect(),
        }
    }

    /// Those that are stopped first, then by what is spent.
    fn fullness(&self) -> (bool, u64) {
        let fullest = self.spendings.iter().map(|spending| spending.percent).max();
        (self.stopped.is_some(), fullest.unwrap_or(0))
    }
}

impl SpendingInfo {
    fn of(name: String, limit: Limit, [spent, held, most]: [u64; 3]) -> Self {
        let percent = u128::from(spent) * 100 / u128::from(most.max(1));
        Self {
            limit: name,
            spent: Amount::of(limit, spent),
            held: Amount::of(limit, held),
            most: Amount::of(limit, most),
            percent: u64::try_from(percent).unwrap_or(u64::MAX),
        }
    }
}

fn limits(limits: &Limits) -> Vec<LimitInfo> {
    let info = |limit: Limit, most| LimitInfo {
        limit: limit.as_str().to_owned(),
        most: Amount::of(limit, most),
    };
    let Limits { concurrent_calls, depth, fan_out, repeats, wall_clock, .. } = *limits;
    let sums = Dimension::ALL.into_iter().filter(|of| limits.amounts[*of] < u64::MAX);
    let sums = sums.map(|of| info(Limit::Sum(of), limits.amounts[of]));
    let others = [
        (Limit::ConcurrentCalls, concurrent_calls),
        (Limit::Depth, depth),
        (Limit::FanOut, fan_out),
        (Limit::Repeats, repeats),
        (Limit::WallClock, wall_clock.map(|span| span.0)),
    ];
    let others = others.into_iter().filter_map(|(limit, most)| Some(info(limit, most?)));
    let tools = limits.tools.iter().map(|(glob, most)| LimitInfo {
        limit: format!("calls of {glob}"),
        most: Amount::Count(*most),
    });
    sums.chain(others).chain(tools).collect()
}

impl Amount {
    const fn of(limit: Limit, amount: u64) -> Self {
        match limit {
            Limit::Sum(Dimension::Usd) => Self::Usd(NanoUsd(amount)),
            Limit::WallClock => Self::Span { ms: Micros(amount).0 / 1000 },
            _ => Self::Count(amount),
        }
    }
}

impl From<&ledger::Reset> for Reset {
    fn from(reset: &ledger::Reset) -> Self {
        let ledger::Reset { at, holder, budgets, why } = reset;
        let Why { by_uid, reason } = why.clone();
        let budgets = budgets.iter().map(ToString::to_string).collect();
        Self { at: *at, holder: holder.clone(), by_uid, reason, budgets }
    }
}
