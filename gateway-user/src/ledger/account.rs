//! What one holder has spent of one budget.

use std::collections::VecDeque;

use super::{
    Amounts, Ask, Budget, Denial, Denied, Dimension, Holder, Limit, Limits, Wanted, Window,
    record::{Marks, Stop},
    window::{Spent, Sums},
};
use crate::{call::Timestamp, limits};

/// A holder's account under a budget.
#[derive(Debug)]
pub(super) struct Account {
    /// Its budget's place.
    pub(super) budget: usize,
    pub(super) holder: Holder,
    pub(super) spent: Spent,
    /// For calls in flight.
    pub(super) held: Sums,
    /// Model calls that it is held for, and calls of all kinds.
    pub(super) in_flight: u64,
    holds: u64,
    pub(super) opened: Timestamp,
    pub(super) touched: Timestamp,
    pub(super) marks: Marks,
    /// As they were recorded last.
    pub(super) noted: Marks,
    /// How often the last different calls were made, the latest at the back.
    pub(super) made: VecDeque<(u64, u64)>,
}

/// A limit that a call does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Against {
    pub(super) limit: Limit,
    most: u64,
    spent: u64,
    held: u64,
    wanted: u64,
    pub(super) how: Denial,
}

impl Account {
    pub(super) fn new(place: usize, budget: &Budget, holder: Holder, now: Timestamp) -> Self {
        let tools = budget.limits.tools.len();
        Self {
            budget: place,
            holder,
            spent: Spent::new(budget.window, now, tools),
            held: Sums::new(tools),
            in_flight: 0,
            holds: 0,
            opened: now,
            touched: now,
            marks: Marks::default(),
            noted: Marks::default(),
            made: VecDeque::new(),
        }
    }

    /// Brings it to that time.
    pub(super) fn advance(&mut self, budget: &Budget, now: Timestamp) {
        self.touched = now;
        if self.spent.advance(now) {
            self.forget_told(budget);
            // What it met is the limit of a time that is over.
            (self.marks.stopped, self.marks.warned) = (None, false);
        }
    }

    /// It was told of no threshold that it has not come to.
    pub(super) fn forget_told(&mut self, budget: &Budget) {
        for of in Dimension::ALL {
            let reached =
                budget.thresholds.iter().rev().find(|one| self.reaches(budget, of, **one));
            let told = &mut self.marks.told[of as usize];
            *told = (*told).min(reached.copied().unwrap_or(0));
        }
    }

    /// What is left under the limits beside what is held, and beside that.
    pub(super) fn left(&self, limits: &Limits, fixed: &Amounts) -> Amounts {
        let mut left = Amounts::MOST;
        for dimension in Dimension::ALL {
            let most = limits.amounts[dimension];
            if most < u64::MAX {
                let spent = self.spent.sums().amounts[dimension];
                let taken = [spent, self.held.amounts[dimension], fixed[dimension]];
                left[dimension] = taken.into_iter().fold(most, u64::saturating_sub);
            }
        }
        left
    }

    /// What a call does not fit, its answer's tokens aside.
    pub(super) fn against(&self, budget: &Budget, ask: &Ask<'_>) -> Option<Against> {
        let Limits { concurrent_calls, depth, fan_out, repeats, .. } = budget.limits;
        if let Some(Stop { limit, most, .. }) = self.marks.stopped {
            let how = Denial::Stopped;
            return Some(Against { limit, most, spent: 0, held: 0, wanted: 0, how });
        }
        let of_call = |limit, most: Option<u64>, wanted: u64| {
            let most = most.filter(|most| wanted > *most)?;
            Some(Against { limit, most, spent: 0, held: 0, wanted, how: Denial::Exceeded })
        };
        let order = ask.order();
        let unpriced = order.is_some_and(|order| order.price.is_none())
            && budget.limits.limits_usd()
            && !budget.allows_unpriced;
        if unpriced {
            let most = budget.limits.amounts[Dimension::Usd];
            let how = Denial::InFlight;
            return Some(Against { limit: Limit::Price, most, spent: 0, held: 0, wanted: 0, how });
        }
        if let Some(most) = concurrent_calls.filter(|most| self.in_flight >= *most)
            && order.is_some()
        {
            let (limit, held) = (Limit::ConcurrentCalls, self.in_flight);
            let how = Denial::InFlight;
            return Some(Against { limit, most, spent: 0, held, wanted: 1, how });
        }
        of_call(Limit::Depth, depth, ask.depth)
            .or_else(|| of_call(Limit::FanOut, fan_out, ask.sub_plan.unwrap_or(0)))
            .or_else(|| of_call(Limit::Repeats, repeats, self.repeats(ask)))
            .or_else(|| self.sum_against(&budget.limits, &ask.fixed()))
            .or_else(|| self.tool_against(&budget.limits, ask))
    }

    /// The first sum that has no room for so much more.
    pub(super) fn sum_against(&self, limits: &Limits, wanted: &Amounts) -> Option<Against> {
        let (spent, held) = (&self.spent.sums().amounts, &self.held.amounts);
        Dimension::ALL.into_iter().find_map(|of| {
            let limit = Limit::Sum(of);
            Against::of(limit, limits.amounts[of], (spent[of], held[of]), wanted[of])
        })
    }

    fn tool_against(&self, limits: &Limits, ask: &Ask<'_>) -> Option<Against> {
        let Wanted::Tool { name, is_counted } = ask.what else { return None };
        let tools = limits.tools.iter().enumerate().filter(|(_, (glob, _))| glob.matches(name));
        tools.into_iter().find_map(|(at, (_, most))| {
            let spent = self.spent.sums().tools.get(at).copied().unwrap_or(0);
            let held = self.held.tools.get(at).copied().unwrap_or(0);
            Against::of(Limit::Tool(at), *most, (spent, held), (!is_counted).into())
        })
    }

    /// How often the very same call was made before.
    fn repeats(&self, ask: &Ask<'_>) -> u64 {
        let Some(sameness) = ask.repeatable() else { return 0 };
        self.made.iter().find(|(made, _)| *made == sameness).map_or(0, |(_, count)| *count)
    }

    /// A call is made, or turns out to be this one's.
    pub(super) fn hold(&mut self, sums: &Sums, of_model: bool) {
        self.held.add(sums);
        self.in_flight += u64::from(of_model);
        self.holds += 1;
    }

    /// Remembers what was asked, for when it is asked again.
    pub(super) fn remember(&mut self, ask: &Ask<'_>) {
        let Some(sameness) = ask.repeatable() else { return };
        let before = self.made.iter().position(|(made, _)| *made == sameness);
        let count = before.and_then(|at| self.made.remove(at)).map_or(0, |(_, count)| count);
        if self.made.len() >= limits::LEDGER_REPEATS {
            self.made.pop_front();
        }
        self.made.push_back((sameness, count.saturating_add(1)));
    }

    /// A call that was held for is over, or another account's.
    pub(super) fn release(&mut self, sums: &Sums, of_model: bool) {
        self.held.remove(sums);
        self.in_flight = self.in_flight.saturating_sub(of_model.into());
        self.holds = self.holds.saturating_sub(1);
    }

    /// What it has more of than it may.
    pub(super) fn over(&self, limits: &Limits) -> Option<Against> {
        let sums = self.spent.sums();
        if let Some(of) = sums.amounts.over(&limits.amounts) {
            let figures = (sums.amounts[of], 0);
            return Against::of(Limit::Sum(of), limits.amounts[of], figures, 0);
        }
        let tools = limits.tools.iter().zip(&sums.tools).enumerate();
        tools.into_iter().find_map(|(at, ((_, most), spent))| {
            Against::of(Limit::Tool(at), *most, (*spent, 0), 0)
        })
    }

    /// The thresholds that it has come to since it was last asked, with what they are of.
    pub(super) fn passed(&mut self, budget: &Budget) -> Vec<(Dimension, u8)> {
        let mut passed = Vec::new();
        for of in Dimension::ALL {
            if budget.limits.amounts[of] == u64::MAX {
                continue;
            }
            let told = self.marks.told[of as usize];
            let news = budget.thresholds.iter().filter(|one| **one > told);
            for threshold in news.filter(|one| self.reaches(budget, of, **one)) {
                passed.push((of, *threshold));
            }
            if let Some((_, last)) = passed.last().filter(|(last, _)| *last == of) {
                self.marks.told[of as usize] = *last;
            }
        }
        passed
    }

    /// Whether so many percent of a limit are spent.
    fn reaches(&self, budget: &Budget, of: Dimension, percent: u8) -> bool {
        let (most, spent) = (budget.limits.amounts[of], self.spent.sums().amounts[of]);
        spent > 0 && u128::from(spent) * 100 >= u128::from(percent) * u128::from(most)
    }

    /// It has met a limit that holds: stops it, unless its window will let it go on by itself. Whether
    /// that is news.
    pub(super) fn stop(&mut self, budget: &Budget, against: &Against, now: Timestamp) -> bool {
        if matches!(budget.window, Window::Rolling(_)) {
            return self.warn();
        }
        let Against { limit, most, .. } = *against;
        let is_news = self.marks.stopped.is_none();
        self.marks.stopped.get_or_insert(Stop { at: now, limit, most });
        is_news
    }

    /// It has met a limit from which nothing follows. Whether that is news.
    pub(super) const fn warn(&mut self) -> bool {
        !std::mem::replace(&mut self.marks.warned, true)
    }

    /// As if nothing had been spent.
    pub(super) fn reset(&mut self, budget: &Budget, now: Timestamp) {
        self.spent = Spent::new(budget.window, now, budget.limits.tools.len());
        self.opened = now;
        self.marks = Marks { enforced: self.marks.enforced, ..Marks::default() };
        // Whoever records it says so.
        self.noted = self.marks;
        self.made.clear();
    }

    pub(super) const fn is_a_workflow_s(&self) -> bool {
        matches!(self.holder, Holder::Workflow(_))
    }

    pub(super) const fn is_held(&self) -> bool {
        self.holds > 0
    }

    /// Whether it can be forgotten, although calls of it might still come.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        self.is_old(now) && self.marks.stopped.is_none()
    }

    /// Whether it can be forgotten, if no calls of it can come.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        let passes = matches!(self.holder, Holder::Workflow(_) | Holder::Session(_));
        passes && self.holds == 0 && now.since(self.touched) > limits::LEDGER_AGE.into()
    }

    pub(super) fn denied(&self, budget: &Budget, against: &Against) -> Denied {
        let Against { limit, most, spent, held, wanted, how } = *against;
        let tools = match limit {
            Limit::Tool(at) => budget.limits.tools.get(at).map(|(glob, _)| glob.to_string()),
            _ => None,
        };
        Denied {
            budget: budget.name.clone(),
            holder: self.holder.clone(),
            limit,
            tools: tools.map(|tools| format!("calls of {tools}")),
            most,
            spent,
            held,
            wanted,
            how,
        }
    }
}

impl Against {
    /// `None` if there is room for what is wanted.
    fn of(limit: Limit, most: u64, (spent, held): (u64, u64), wanted: u64) -> Option<Self> {
        let alone = spent.saturating_add(wanted);
        if most == u64::MAX || alone.saturating_add(held) <= most {
            return None;
        }
        let how = if alone > most { Denial::Exceeded } else { Denial::InFlight };
        Some(Self { limit, most, spent, held, wanted, how })
    }

    /// That there is no room for a further account.
    pub(super) const fn full() -> Self {
        let (limit, most) = (Limit::Accounts, limits::LEDGER_ACCOUNTS as u64);
        Self { limit, most, spent: most, held: 0, wanted: 1, how: Denial::InFlight }
    }

    /// That a holder's time is over.
    pub(super) const fn time(most: u64, spent: u64) -> Self {
        let (limit, how) = (Limit::WallClock, Denial::Exceeded);
        Self { limit, most, spent, held: 0, wanted: 0, how }
    }
}
