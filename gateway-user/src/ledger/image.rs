//! An account as it is kept while no ledger has it: with all that it takes to count on in it, whatever
//! the budgets of today are.

use serde::{Deserialize, Serialize};

use super::{
    Account, Budget, Holder, Limit, Limits, OnExceed, Window,
    record::{Marks, Stop, is_default, micros},
    window::{Spent, Sums},
};
use crate::{
    call::{Glob, Name, Timestamp},
    limits,
};

/// An account's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    terms: Terms,
    spent: Spent,
    #[serde(with = "micros")]
    opened: Timestamp,
    /// When it was last used.
    #[serde(with = "micros")]
    pub(super) touched: Timestamp,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) marks: Marks,
    /// How often the last different calls were made, the latest at the back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    made: Vec<(u64, u64)>,
}

/// What a budget says of how it is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Terms {
    #[serde(default, skip_serializing_if = "is_default")]
    window: Window,
    /// Those whose calls are limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Glob>,
    /// Whether it matters how often the very same call is made.
    #[serde(default, skip_serializing_if = "is_default")]
    repeats: bool,
}

impl Image {
    /// Of an account of that budget.
    pub(super) fn of(account: &Account, budget: &Budget) -> Self {
        Self {
            terms: Terms::of(budget),
            spent: account.spent.clone(),
            opened: account.opened,
            touched: account.touched,
            marks: account.marks,
            made: account.made.iter().copied().collect(),
        }
    }

    /// The account again, under the budget as it is today. Whether that counts as before.
    pub(super) fn account(
        self,
        (place, budget): (usize, &Budget),
        holder: Holder,
        now: Timestamp,
    ) -> (Account, bool) {
        let same = self.terms == Terms::of(budget);
        let Self { terms, spent, opened, touched, mut marks, made } = self;
        let stopped = marks.stopped;
        marks.stopped = marks.stopped.and_then(|stop| stop.today(&terms, budget));
        let mut account = Account::new(place, budget, holder, opened);
        account.spent = if same { spent } else { terms.convert(spent, budget, now) };
        account.touched = touched;
        account.made = made.into_iter().rev().take(limits::LEDGER_REPEATS).rev().collect();
        account.marks = marks;
        // A limit may have been raised: it is told again when that one is spent.
        account.forget_told(budget);
        // That a stop holds no longer is to be written down.
        account.noted = Marks { stopped, ..account.marks };
        (account, same)
    }

    pub(super) fn spend(&mut self, now: Timestamp, spent: &Sums) {
        self.advance(now);
        self.spent.add(now, spent);
    }

    pub(super) fn take_back(&mut self, spent: &Sums) {
        self.spent.remove(spent);
    }

    pub(super) fn advance(&mut self, now: Timestamp) {
        self.touched = self.touched.max(now);
        if self.spent.advance(now) {
            // As of a live account.
            (self.marks.stopped, self.marks.warned) = (None, false);
        }
    }

    /// It is not as late as it was taken to be.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        self.spent.set_back(now);
        (self.opened, self.touched) = (self.opened.min(now), self.touched.min(now));
        if let Some(stop) = &mut self.marks.stopped {
            stop.at = stop.at.min(now);
        }
    }

    pub(super) fn reset(&mut self, now: Timestamp) {
        self.spent = Spent::new(self.terms.window, now, self.terms.tools.len());
        self.opened = now;
        self.marks = Marks { enforced: self.marks.enforced, ..Marks::default() };
        self.made.clear();
    }

    /// A call is made that is the same as all of that number.
    pub(super) fn remember(&mut self, sameness: u64) {
        if !self.terms.repeats {
            return;
        }
        let before = self.made.iter().position(|(made, _)| *made == sameness);
        let count = before.map_or(0, |at| self.made.remove(at).1);
        if self.made.len() >= limits::LEDGER_REPEATS {
            self.made.remove(0);
        }
        self.made.push((sameness, count.saturating_add(1)));
    }

    /// How many of the tools each of the limits on tools is for.
    pub(super) fn calls(&self, tools: &[Name]) -> Box<[u64]> {
        calls(&self.terms.tools, tools)
    }
}

impl Terms {
    fn of(budget: &Budget) -> Self {
        Self {
            window: budget.window,
            tools: budget.limits.tools.iter().map(|(glob, _)| glob.clone()).collect(),
            repeats: budget.limits.repeats.is_some(),
        }
    }

    /// What counted under these terms, as a budget of today counts it: all of it as if it were spent now,
    /// where its time is another one, so that nothing is given back.
    fn convert(&self, mut spent: Spent, budget: &Budget, now: Timestamp) -> Spent {
        let before = |glob: &Glob| self.tools.iter().position(|one| one == glob);
        let tools: Vec<_> = budget.limits.tools.iter().map(|(glob, _)| before(glob)).collect();
        if self.window == budget.window {
            spent.sort_tools(&tools);
            return spent;
        }
        spent.advance(now);
        spent.sort_tools(&tools);
        let mut fresh = Spent::new(budget.window, now, tools.len());
        fresh.add(now, spent.sums());
        fresh
    }
}

impl Stop {
    /// If it still is one: whoever has raised the limit has let its holder go on.
    fn today(self, terms: &Terms, budget: &Budget) -> Option<Self> {
        let limit = match self.limit {
            Limit::Tool(at) => {
                let glob = terms.tools.get(at)?;
                let tools = &budget.limits.tools;
                Limit::Tool(tools.iter().position(|(one, _)| one == glob)?)
            }
            other => other,
        };
        let rolls = matches!(budget.window, Window::Rolling(_));
        let most = budget.limits.most(limit).filter(|most| *most <= self.most)?;
        (budget.on_exceed != OnExceed::Warn && !rolls).then_some(Self { limit, most, ..self })
    }
}

impl Limits {
    /// The most of it, if it is limited.
    fn most(&self, limit: Limit) -> Option<u64> {
        match limit {
            Limit::Sum(of) => Some(self.amounts[of]).filter(|most| *most != u64::MAX),
            Limit::Tool(at) => self.tools.get(at).map(|(_, most)| *most),
            Limit::ConcurrentCalls => self.concurrent_calls,
            Limit::Depth => self.depth,
            Limit::FanOut => self.fan_out,
            Limit::Repeats => self.repeats,
            Limit::WallClock => self.wall_clock.map(|most| most.0),
            Limit::Price | Limit::Accounts => None,
        }
    }
}

/// How many of the tools each of those patterns is for.
pub(super) fn calls<'a>(globs: impl IntoIterator<Item = &'a Glob>, tools: &[Name]) -> Box<[u64]> {
    let count = |glob: &Glob| tools.iter().filter(|tool| glob.matches(tool)).count();
    globs.into_iter().map(|glob| count(glob) as u64).collect()
}
