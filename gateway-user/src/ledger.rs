//! What calls may spend: held before they are made, and settled when they have ended.
//!
//! ```text
//!            reserve                      settle
//!   asked ────────────▶ held (in flight) ────────▶ spent
//!     │                  │        ▲                  │
//!     │ does not fit     └────────┘ reassign         │ over a limit
//!     ▼                  (another workflow's)        ▼
//!   denied ─────────────────────────────────────▶ stopped, until reset
//! ```
//!
//! A call must fit every budget that holds it: its workflow's, its session's, its agent's, its tenant's
//! and the node's. As long as it is not settled it counts with the most that it can come to, so that no
//! order in which calls are made and end can spend more than a limit allows, of what can be bounded
//! before a call. A ledger knows no clock: it is told the time, and never goes back behind one that it
//! was told, so that a clock that is set back gives nothing back.

mod account;
mod amounts;
mod ask;
mod budget;
mod image;
mod keep;
mod pay;
mod record;
mod replay;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use slab::Slab;

use self::{
    account::{Account, Against},
    pay::{Answer, Hold},
};
pub use self::{
    amounts::{Amounts, Dimension},
    ask::{
        Ask, Ceiling, Certainty, Denial, Denied, Event, Granted, Order, Payers, Price, Reservation,
        Spending, Standing, Wanted,
    },
    budget::{Budget, DEFAULT_OUTPUT, Limit, Limits, OnExceed, Scope},
    image::Image,
    record::{Held, Key, Marks, Record, Reset, Why},
    replay::{Replay, Whole},
    window::{Period, Window},
};
pub use crate::call::Holder;
use crate::{
    call::{Name, Timestamp},
    limits,
};

/// The budgets, and what was spent of them.
#[derive(Debug)]
pub struct Ledger {
    budgets: Vec<Budget>,
    accounts: Slab<Account>,
    /// Where the account of a budget's holder is.
    places: HashMap<(usize, Holder), usize>,
    holds: Slab<Hold>,
    /// The number of the next reservation.
    next: u64,
    /// The latest time that it was told.
    now: Timestamp,
    /// When accounts' time is over.
    deadlines: BTreeSet<(Timestamp, usize)>,
    /// Until when there is no room for further accounts.
    full_until: Timestamp,
    events: Vec<Event>,
    lost_events: u64,
    /// Accounts of budgets that there are not.
    aside: BTreeMap<Key, Image>,
    /// The last times that somebody was let spend anew, the oldest first.
    resets: VecDeque<Reset>,
    /// What it did. Absent: it is not to record that.
    records: Option<Vec<Record>>,
}

/// How an account stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance<'l> {
    pub budget: &'l Budget,
    pub holder: &'l Holder,
    pub spent: &'l Amounts,
    /// For each of the budget's limits on tools.
    pub tools: &'l [u64],
    pub held: &'l Amounts,
    pub in_flight: u64,
    pub opened: Timestamp,
    /// Since when it is stopped, and by which limit.
    pub stopped: Option<(Timestamp, Limit)>,
}

impl Ledger {
    #[must_use]
    pub fn new(budgets: Vec<Budget>) -> Self {
        Self {
            budgets,
            accounts: Slab::new(),
            places: HashMap::new(),
            holds: Slab::new(),
            next: 0,
            now: Timestamp(0),
            deadlines: BTreeSet::new(),
            full_until: Timestamp(0),
            events: Vec::new(),
            lost_events: 0,
            aside: BTreeMap::new(),
            resets: VecDeque::new(),
            records: None,
        }
    }

    /// Adds budgets, for agents of which it is asked from now on.
    pub fn add(&mut self, budgets: Vec<Budget>) {
        for budget in budgets {
            // One that is there is the same, however its agent came back: accounts go by its name.
            let same = |one: &&mut Budget| one.name == budget.name && one.scope == budget.scope;
            if let Some(one) = self.budgets.iter_mut().find(same) {
                if one.is_over {
                    *one = budget;
                }
                continue;
            }
            let is_used = |place| self.accounts.iter().any(|(_, account)| account.budget == place);
            let free = (0..self.budgets.len()).find(|place| {
                self.budgets.get(*place).is_some_and(|one| one.is_over) && !is_used(*place)
            });
            let place = free.unwrap_or(self.budgets.len());
            match self.budgets.get_mut(place) {
                Some(free) => *free = budget,
                None => self.budgets.push(budget),
            }
            self.take_up(place);
        }
    }

    /// Ends the budgets of those names, which are for nobody any more.
    pub fn retire(&mut self, names: &[Name]) {
        let budgets = self.budgets.iter_mut().enumerate();
        let over =
            budgets.filter(|(_, budget)| names.contains(&budget.name)).map(|(place, budget)| {
                budget.is_over = true;
                place
            });
        let over: Vec<usize> = over.collect();
        let gone = self
            .accounts
            .iter()
            .filter(|(_, account)| over.contains(&account.budget) && !account.is_held());
        for place in gone.map(|(place, _)| place).collect::<Vec<_>>() {
            self.forget(place);
        }
        self.drop_aside(names);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.budgets().next().is_none()
    }

    /// Those that hold.
    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.iter().filter(|budget| !budget.is_over)
    }

    /// Who pays for the calls of an agent.
    #[must_use]
    pub fn payers(&self, agent: Name, tenant: Option<Name>) -> Payers {
        let budgets = self.budgets.iter().enumerate();
        let own = budgets.filter(|(_, budget)| budget.is_for(&agent, tenant.as_deref()));
        let (mut holds_one, mut holds_all) = (false, false);
        let own = own.map(|(place, budget)| {
            holds_one |= budget.holds_one();
            holds_all |= budget.holds_all();
            place
        });
        let budgets: Arc<[usize]> = own.collect();
        Payers { agent, tenant, budgets, is_leaky: holds_one && !holds_all }
    }

    /// Holds the most that a call can come to, if it fits.
    pub fn reserve(
        &mut self,
        now: Timestamp,
        standing: &Standing,
        ask: &Ask<'_>,
    ) -> Result<Granted, Box<Denied>> {
        let now = self.advance(now);
        let accounts = self.open(now, standing)?;
        self.bring(now, &accounts);
        let would_deny = self.require(now, &accounts, ask)?;
        let answer = self.bound(now, &accounts, ask)?;
        let reservation = self.hold(accounts, ask, &answer);
        let Answer { limit: output, ceiling, .. } = answer;
        Ok(Granted { reservation, output, ceiling, would_deny })
    }

    /// Brings the accounts of who pays there to that time.
    pub fn look(&mut self, now: Timestamp, standing: &Standing) {
        let now = self.advance(now);
        let accounts = self.open(now, standing).unwrap_or_default();
        self.bring(now, &accounts);
    }

    /// A call was not made after all: nothing is held for it, and nothing was spent.
    #[expect(clippy::needless_pass_by_value, reason = "a reservation is given back once")]
    pub fn withdraw(&mut self, reservation: Reservation) {
        let Some(hold) = self.end(&reservation) else { return };
        self.record(|_| Record::Withdrawn { number: hold.number });
        for place in &hold.accounts {
            if let Some((account, budget)) = self.account(*place) {
                account.release(&hold.held(budget), hold.of_model);
            }
        }
        self.clear_over(&hold.accounts);
    }

    /// A call has ended: what it came to is spent, and what was held for it is not held any more. What
    /// that was, the tools aside that its answer calls.
    #[expect(clippy::needless_pass_by_value, reason = "a reservation is settled once")]
    pub fn settle(
        &mut self,
        now: Timestamp,
        reservation: Reservation,
        spending: &Spending<'_>,
    ) -> Amounts {
        let now = self.advance(now);
        let Some(hold) = self.end(&reservation) else { return Amounts::ZERO };
        let (spent, tools) = (hold.counted(spending), spending.tools);
        self.record(|_| {
            let number = hold.number;
            Record::Settled { at: now, number, spent, tools: tools.to_vec() }
        });
        for place in &hold.accounts {
            if let Some((account, budget)) = self.account(*place) {
                account.advance(budget, now);
                account.release(&hold.held(budget), hold.of_model);
                account.spent.add(now, &hold.spent(budget, spending));
                self.measure(now, *place);
            }
        }
        self.clear_over(&hold.accounts);
        spent
    }

    /// A call was another workflow's all along: what is held for it, those hold that pay for it there.
    /// Whether one of them is stopped.
    pub fn reassign(&mut self, now: Timestamp, reservation: &Reservation, to: &Standing) -> bool {
        let now = self.advance(now);
        let Ok(accounts) = self.open(now, to) else { return false };
        let Some(mut hold) = self.take(reservation) else { return false };
        let number = hold.number;
        self.record(|ledger| Record::Moved { at: now, number, keys: ledger.keys(&accounts) });
        for place in &hold.accounts {
            if let Some((account, budget)) = self.account(*place) {
                account.release(&hold.held(budget), hold.of_model);
            }
        }
        let mut stopped = false;
        for place in &accounts {
            if let Some((account, budget)) = self.account(*place) {
                account.advance(budget, now);
                account.hold(&hold.held(budget), hold.of_model);
                stopped |= account.marks.stopped.is_some();
                self.record_marks(*place);
            }
        }
        let before = std::mem::replace(&mut hold.accounts, accounts.into());
        self.put_back(reservation, hold);
        self.clear_over(&before);
        stopped
    }

    /// What a call came to was another workflow's all along.
    pub fn transfer(
        &mut self,
        now: Timestamp,
        (from, to): (&Standing, &Standing),
        spending: &Spending<'_>,
    ) {
        let now = self.advance(now);
        let (Ok(from), Ok(to)) = (self.open(now, from), self.open(now, to)) else { return };
        let left: Vec<usize> = from.iter().copied().filter(|place| !to.contains(place)).collect();
        let come: Vec<usize> = to.iter().copied().filter(|place| !from.contains(place)).collect();
        if left.is_empty() && come.is_empty() {
            return;
        }
        self.record(|ledger| {
            let (from, to) = (ledger.keys(&left), ledger.keys(&come));
            let (spent, tools) = (spending.amounts, spending.tools.to_vec());
            Record::Transferred { at: now, from, to, spent, tools }
        });
        for place in &left {
            if let Some((account, budget)) = self.account(*place) {
                account.spent.remove(&pay::sums(budget, spending));
            }
        }
        for place in &come {
            if let Some((account, budget)) = self.account(*place) {
                account.advance(budget, now);
                account.spent.add(now, &pay::sums(budget, spending));
                self.measure(now, *place);
            }
        }
    }

    /// A workflow, which has spent that, was a part of another one all along: that one is stopped too if
    /// it is. What is held for its calls is to be reassigned.
    pub fn merge(
        &mut self,
        now: Timestamp,
        from: &Standing,
        into: &Standing,
        spent: &Spending<'_>,
    ) {
        self.transfer(now, (from, into), spent);
        let now = self.now;
        let (Ok(from), Ok(into)) = (self.open(now, from), self.open(now, into)) else { return };
        for (from, into) in from.into_iter().zip(into) {
            let stop = self
                .accounts
                .get(from)
                .filter(|one| one.is_a_workflow_s())
                .and_then(|one| one.marks.stopped);
            if let Some(account) = self.accounts.get_mut(into) {
                account.marks.stopped = account.marks.stopped.or(stop);
            }
            self.record_marks(into);
        }
    }

    /// Ends what has lasted as long as it may.
    pub fn tick(&mut self, now: Timestamp) {
        let now = self.advance(now);
        while let Some(&(at, place)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, place));
            if let Some((account, budget)) = self.account(place) {
                let most = budget.limits.wall_clock.unwrap_or_default();
                let against = Against::time(most.0, now.since(account.opened).0);
                self.exceed(now, place, &against);
            }
        }
    }

    /// When it wants to be told the time next, whatever else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// What has happened since it was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// How many events there was no room for.
    #[must_use]
    pub const fn lost_events(&self) -> u64 {
        self.lost_events
    }

    /// Lets a holder spend anew what it has spent: of that budget, or of all that hold it. Absent: it has
    /// spent nothing of those.
    pub fn reset(
        &mut self,
        now: Timestamp,
        holder: &Holder,
        budget: Option<&str>,
        why: Why,
    ) -> Option<Reset> {
        let now = self.advance(now);
        let budgets = &self.budgets;
        let is_meant = |account: &Account| {
            let name = budgets.get(account.budget).map(|budget| &*budget.name);
            account.holder == *holder && (budget.is_none() || budget == name)
        };
        let all = self.accounts.iter().filter(|(_, account)| is_meant(account));
        let places: Vec<usize> = all.map(|(place, _)| place).collect();
        let mut names = Vec::with_capacity(places.len());
        for place in &places {
            let Some((account, budget)) = self.account(*place) else { continue };
            names.push(budget.name.clone());
            let (before, span) = (account.opened, budget.limits.wall_clock);
            account.reset(budget, now);
            if let Some(span) = span {
                self.deadlines.remove(&(before.after(span), *place));
                self.deadlines.insert((now.after(span), *place));
            }
        }
        if names.is_empty() {
            return None;
        }
        let reset = Reset { at: now, holder: holder.clone(), budgets: names, why };
        self.record(|_| Record::Reset(reset.clone()));
        if self.resets.len() >= limits::BUDGET_RESETS {
            self.resets.pop_front();
        }
        self.resets.push_back(reset.clone());
        Some(reset)
    }

    /// Has a holder go on that a limit has stopped, with what it has spent: where it still does not fit
    /// it is stopped again. Whether it was stopped.
    pub fn resume(&mut self, now: Timestamp, holder: &Holder) -> bool {
        let now = self.advance(now);
        let is_stopped =
            |account: &Account| account.holder == *holder && account.marks.stopped.is_some();
        let all = self.accounts.iter().filter(|(_, account)| is_stopped(account));
        let places: Vec<usize> = all.map(|(place, _)| place).collect();
        for place in &places {
            let Some((account, budget)) = self.account(*place) else { continue };
            (account.marks.stopped, account.marks.warned) = (None, false);
            // Its time is as over as it was.
            let end = budget.limits.wall_clock.map(|span| account.opened.after(span));
            self.deadlines.extend(end.map(|end| (end.max(now), *place)));
            self.record_marks(*place);
        }
        !places.is_empty()
    }

    /// How all accounts stand.
    pub fn balances(&self) -> impl Iterator<Item = Balance<'_>> {
        self.accounts.iter().filter_map(|(_, account)| {
            Some(Balance {
                budget: self.budgets.get(account.budget)?,
                holder: &account.holder,
                spent: &account.spent.sums().amounts,
                tools: &account.spent.sums().tools,
                held: &account.held.amounts,
                in_flight: account.in_flight,
                opened: account.opened,
                stopped: account.marks.stopped.map(|stop| (stop.at, stop.limit)),
            })
        })
    }
}
