//! How a call is held against all accounts that pay for it.

use super::{
    Account, Against, Amounts, Ask, Budget, Ceiling, Certainty, Denial, Denied, Dimension, Event,
    Held, Holder, Ledger, Limit, OnExceed, Record, Reservation, Scope, Spending, Standing, Wanted,
    image, window::Sums,
};
use crate::{
    call::{Name, Timestamp},
    limits,
};

/// What is held for a call.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) number: u64,
    pub(super) accounts: Box<[usize]>,
    pub(super) amounts: Amounts,
    /// What of it does not depend on how the call ends.
    counts: Amounts,
    /// The tool that is called, unless that was counted when a model emitted it.
    pub(super) tool: Option<Name>,
    pub(super) of_model: bool,
}

/// How much may be answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// Tokens of one answer, if that is limited.
    pub(super) limit: Option<u64>,
    /// Of all answers together.
    tokens: u64,
    pub(super) ceiling: Option<Ceiling>,
}

impl Hold {
    pub(super) fn held(&self, budget: &Budget) -> Sums {
        let tool = self.tool.as_slice();
        Sums { amounts: self.amounts, tools: calls(budget, tool) }
    }

    /// What is spent when the call has come to that, the tools aside that its answer calls.
    pub(super) fn counted(&self, spending: &Spending<'_>) -> Amounts {
        match spending.certainty {
            Certainty::Held => self.amounts,
            Certainty::Reported | Certainty::Estimated => spending.amounts.plus(&self.counts),
        }
    }

    /// The same, as a budget counts it.
    pub(super) fn spent(&self, budget: &Budget, spending: &Spending<'_>) -> Sums {
        let mut sums = sums(budget, &Spending { amounts: self.counted(spending), ..*spending });
        for (sum, more) in sums.tools.iter_mut().zip(calls(budget, self.tool.as_slice())) {
            *sum = sum.saturating_add(more);
        }
        sums
    }
}

/// What a spending is of a budget.
pub(super) fn sums(budget: &Budget, spending: &Spending<'_>) -> Sums {
    let emitted = Amounts::ZERO.with(Dimension::ToolCalls, spending.tools.len() as u64);
    Sums { amounts: spending.amounts.plus(&emitted), tools: calls(budget, spending.tools) }
}

/// How many of the tools each of a budget's limits on tools is for.
fn calls(budget: &Budget, tools: &[Name]) -> Box<[u64]> {
    image::calls(budget.limits.tools.iter().map(|(glob, _)| glob), tools)
}

impl Ledger {
    /// The time that it is: never before one that it was told.
    pub(super) fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    pub(super) fn account(&mut self, place: usize) -> Option<(&mut Account, &Budget)> {
        let account = self.accounts.get_mut(place)?;
        let budget = self.budgets.get(account.budget)?;
        Some((account, budget))
    }

    /// Brings those accounts to that time.
    pub(super) fn bring(&mut self, now: Timestamp, places: &[usize]) {
        for place in places {
            if let Some((account, budget)) = self.account(*place) {
                account.advance(budget, now);
                self.record_marks(*place);
            }
        }
    }

    /// The accounts of all who pay for a call there, which are opened if they aren't.
    pub(super) fn open(
        &mut self,
        now: Timestamp,
        standing: &Standing,
    ) -> Result<Vec<usize>, Box<Denied>> {
        let budgets = std::sync::Arc::clone(&standing.payers.budgets);
        let mut accounts = Vec::with_capacity(budgets.len());
        for place in budgets.iter() {
            let Some(budget) = self.budgets.get(*place) else { continue };
            let key = (*place, standing.holder(budget.scope));
            if let Some(account) = self.places.get(&key) {
                accounts.push(*account);
                continue;
            }
            let account = Account::new(*place, budget, key.1.clone(), now);
            if self.accounts.len() >= limits::LEDGER_ACCOUNTS && !self.make_room(now) {
                return Err(Box::new(account.denied(&self.budgets[*place], &Against::full())));
            }
            let budget = &self.budgets[*place];
            let at = self.accounts.insert(account);
            if let Some(span) = budget.limits.wall_clock {
                self.deadlines.insert((now.after(span), at));
            }
            self.places.insert(key, at);
            self.record_opened(at);
            accounts.push(at);
        }
        Ok(accounts)
    }

    /// Refuses a call that an account has no room for, its answer's tokens aside. What would be
    /// refused if everything were enforced.
    pub(super) fn require(
        &mut self,
        now: Timestamp,
        accounts: &[usize],
        ask: &Ask<'_>,
    ) -> Result<Option<Box<Denied>>, Box<Denied>> {
        let mut would_deny = None;
        for place in accounts {
            let Some((account, budget)) = self.account(*place) else { continue };
            let Some(against) = account.against(budget, ask) else { continue };
            let denied = Box::new(account.denied(budget, &against));
            let is_hard = ask.enforced && budget.on_exceed != OnExceed::Warn;
            if against.how == Denial::Exceeded {
                account.marks.enforced = ask.enforced;
                self.exceed(now, *place, &against);
            }
            if is_hard {
                return Err(denied);
            }
            would_deny.get_or_insert(denied);
        }
        Ok(would_deny)
    }

    /// How much a call may answer: what it asks for, as far as every account has room for that.
    pub(super) fn bound(
        &mut self,
        now: Timestamp,
        accounts: &[usize],
        ask: &Ask<'_>,
    ) -> Result<Answer, Box<Denied>> {
        let Some(order) = ask.order() else { return Ok(Answer::default()) };
        let choices = order.choices.max(1);
        let fixed = ask.fixed();
        let mut wanted = order.output;
        let mut narrowest: Option<(usize, u64)> = None;
        // Of those that are only told.
        let mut softest: Option<(Name, u64)> = None;
        for place in accounts {
            let Some((account, budget)) = self.account(*place) else { continue };
            let room = order.output_within(&account.left(&budget.limits, &fixed));
            if room == u64::MAX {
                continue;
            }
            wanted = wanted.or(Some(budget.default_output));
            let is_hard = ask.enforced && budget.on_exceed != OnExceed::Warn;
            if is_hard && narrowest.is_none_or(|(_, least)| room < least) {
                narrowest = Some((*place, room));
            } else if !is_hard && softest.as_ref().is_none_or(|(_, least)| room < *least) {
                softest = Some((budget.name.clone(), room));
            }
        }
        let Some(most) = wanted else { return Ok(Answer::default()) };
        let Some((place, room)) = narrowest else {
            let ceiling = softest.map(|(budget, room)| {
                let tokens = most.min(room / choices).saturating_mul(choices);
                Ceiling { budget, tokens, enforced: false }
            });
            return Ok(Answer { limit: None, tokens: most.saturating_mul(choices), ceiling });
        };
        let each = most.min(room / choices);
        if each >= most.min(limits::USEFUL_OUTPUT) {
            let tokens = each.saturating_mul(choices);
            let budget = self.account(place).map(|(_, budget)| budget.name.clone());
            let ceiling = budget.map(|budget| Ceiling { budget, tokens, enforced: true });
            return Ok(Answer { limit: Some(each), tokens, ceiling });
        }
        let least = most.min(limits::USEFUL_OUTPUT).saturating_mul(choices);
        let needed = fixed.plus(&order.output(least));
        let Some((account, budget)) = self.account(place) else { return Ok(Answer::default()) };
        let against = account.sum_against(&budget.limits, &needed).unwrap_or(Against::full());
        let denied = Box::new(account.denied(budget, &against));
        if against.how == Denial::Exceeded {
            account.marks.enforced = ask.enforced;
            self.exceed(now, place, &against);
        }
        Err(denied)
    }

    pub(super) fn hold(
        &mut self,
        accounts: Vec<usize>,
        ask: &Ask<'_>,
        answer: &Answer,
    ) -> Reservation {
        let fixed = ask.fixed();
        let counts = [Dimension::ToolCalls, Dimension::Retries, Dimension::SubPlans];
        let tool = match ask.what {
            Wanted::Tool { name, is_counted: false } => Some(name.into()),
            _ => None,
        };
        let hold = Hold {
            number: self.next,
            accounts: accounts.into(),
            amounts: ask.order().map_or(fixed, |order| fixed.plus(&order.output(answer.tokens))),
            counts: counts.into_iter().fold(Amounts::ZERO, |sum, of| sum.with(of, fixed[of])),
            tool,
            of_model: ask.order().is_some(),
        };
        for place in &hold.accounts {
            let Some((account, budget)) = self.account(*place) else { continue };
            account.hold(&hold.held(budget), hold.of_model);
            account.marks.enforced = ask.enforced;
            account.noted.enforced = ask.enforced;
            if budget.limits.repeats.is_some() {
                account.remember(ask);
            }
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        if self.records.is_some() {
            let (sameness, enforced) = (ask.repeatable(), ask.enforced);
            let record = Record::Held(Held { sameness, enforced, ..self.held(&hold) });
            self.record(|_| record);
        }
        Reservation { place: self.holds.insert(hold), number }
    }

    /// The hold of a reservation, which is over.
    pub(super) fn end(&mut self, reservation: &Reservation) -> Option<Hold> {
        let Reservation { place, number } = *reservation;
        self.holds.get(place).filter(|hold| hold.number == number)?;
        Some(self.holds.remove(place))
    }

    /// Forgets those of these accounts that were only kept because something was held for them.
    pub(super) fn clear_over(&mut self, places: &[usize]) {
        for place in places {
            let over = self.account(*place);
            if over.is_some_and(|(account, budget)| budget.is_over && !account.is_held()) {
                self.forget(*place);
            }
        }
    }

    /// The hold of a reservation, to be changed and put back.
    pub(super) fn take(&mut self, reservation: &Reservation) -> Option<Hold> {
        let hold = self.holds.get_mut(reservation.place)?;
        (hold.number == reservation.number).then(|| std::mem::replace(hold, Hold::none()))
    }

    pub(super) fn put_back(&mut self, reservation: &Reservation, hold: Hold) {
        if let Some(place) = self.holds.get_mut(reservation.place) {
            *place = hold;
        }
    }

    /// Tells what an account's spending has come to, and what follows from that.
    pub(super) fn measure(&mut self, now: Timestamp, place: usize) {
        let Some((account, budget)) = self.account(place) else { return };
        let (passed, over) = (account.passed(budget), account.over(&budget.limits));
        let told = passed.into_iter().map(|(of, percent)| {
            let (budget, holder) = (budget.name.clone(), account.holder.clone());
            Event::Threshold { budget, holder, limit: Limit::Sum(of), percent }
        });
        for event in told.collect::<Vec<_>>() {
            self.tell(event);
        }
        if let Some(against) = over {
            self.exceed(now, place, &against);
        }
        self.record_marks(place);
    }

    /// An account has met a limit.
    pub(super) fn exceed(&mut self, now: Timestamp, place: usize, against: &Against) {
        let Some((account, budget)) = self.account(place) else { return };
        let (action, enforced) = (budget.on_exceed, account.marks.enforced);
        let denied = Box::new(account.denied(budget, against));
        let is_news = if enforced && action != OnExceed::Warn {
            account.stop(budget, against, now)
        } else {
            account.warn()
        };
        if is_news {
            self.tell(Event::Exceeded { denied, action, enforced });
        }
        self.record_marks(place);
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < limits::LEDGER_EVENTS {
            self.events.push(event);
        } else {
            self.lost_events += 1;
        }
    }

    /// Forgets what is not used any more. Whether there was something.
    fn make_room(&mut self, now: Timestamp) -> bool {
        if now < self.full_until {
            return false;
        }
        let before = self.accounts.len();
        for place in 0..self.accounts.capacity() {
            self.forget_idle(now, place);
        }
        // Looking through all of them takes its time.
        self.full_until = now.after(limits::LEDGER_PAUSE.into());
        self.accounts.len() < before
    }

    fn forget_idle(&mut self, now: Timestamp, place: usize) {
        if self.accounts.get(place).is_some_and(|account| account.is_idle(now)) {
            self.forget(place);
        }
    }

    /// Forgets an account that there is, and for which nothing is held.
    pub(super) fn forget(&mut self, place: usize) {
        if let Some(key) = self.key(place) {
            self.record(|_| Record::Forgotten { key });
        }
        let account = self.accounts.remove(place);
        let span = self.budgets.get(account.budget).and_then(|budget| budget.limits.wall_clock);
        if let Some(span) = span {
            self.deadlines.remove(&(account.opened.after(span), place));
        }
        self.places.remove(&(account.budget, account.holder));
    }
}

impl Hold {
    /// In the place of one that is just being changed.
    fn none() -> Self {
        Self {
            number: u64::MAX,
            accounts: Box::default(),
            amounts: Amounts::ZERO,
            counts: Amounts::ZERO,
            tool: None,
            of_model: false,
        }
    }
}

impl Standing {
    /// Who pays for it of each scope.
    fn holder(&self, scope: Scope) -> Holder {
        let Self { payers, session, workflow } = self;
        match (scope, &payers.tenant) {
            (Scope::Workflow, _) => Holder::Workflow(*workflow),
            (Scope::Session, _) => Holder::Session(*session),
            (Scope::Agent, _) => Holder::Agent(payers.agent.clone()),
            (Scope::Tenant, Some(tenant)) => Holder::Tenant(tenant.clone()),
            // Budgets of tenants are for agents that have one.
            (Scope::Tenant, None) | (Scope::Node, _) => Holder::Node,
        }
    }
}
