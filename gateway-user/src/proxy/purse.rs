//! The ledger, as calls use it: held before a call goes upstream, settled when it is known what it came
//! to, moved when it turns out to be another workflow's.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    agent::{Agent, Agents},
    cut::{Stand, UnderWay},
    touched::Touched,
};
use crate::{
    call::{Cause, Decision, Holder, Name, Reason, Ruling, Spent, StepId, Timestamp},
    ledger::{
        Amounts, Ask, Ceiling, Certainty, Denied, Dimension, Event, Granted, Ledger, Limit,
        OnExceed, Payers, Record, Reservation, Spending, Standing, Wanted,
    },
    limits,
    lineage::Correction,
};

/// Where what a ledger records is kept, so that it outlasts the gateway. Told in the order in which it was
/// done, while nothing else is done to the ledger.
pub trait Journal: fmt::Debug + Send + Sync {
    /// Keeps what can wait for a moment.
    fn keep(&self, records: &[Record]);
    /// Has it written, with all before it, when it returns. Else why it could not be.
    fn write(&self, records: &[Record]) -> Result<(), String>;
    /// Whether it is to be told everything anew, since it could not write what it was told.
    fn wants_all(&self) -> bool;
    /// Begins anew with records that say everything.
    fn begin_anew(&self, records: &[Record]);
}

/// The ledger of the gateway. Clones are the same.
#[derive(Clone, Debug)]
pub struct Purse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: Mutex<Ledger>,
    /// Absent: what it records is kept nowhere.
    journal: Option<Arc<dyn Journal>>,
    /// Whose calls are ended when a limit says so.
    agents: Agents,
    touched: Touched,
}

/// An agent's part in it.
#[derive(Debug)]
pub(super) struct Payer {
    purse: Purse,
    tenant: Option<Name>,
    payers: Mutex<Payers>,
    paid: Mutex<AllPaid>,
}

/// What was held or spent for the last steps of an agent.
#[derive(Debug, Default)]
struct AllPaid {
    steps: HashMap<StepId, Paid>,
    /// The oldest first.
    order: VecDeque<StepId>,
}

/// What was held or spent for a step, and by whom.
#[derive(Debug)]
struct Paid {
    standing: Standing,
    state: State,
}

#[derive(Debug)]
enum State {
    Held(Reservation),
    Spent { amounts: Amounts, tools: Vec<Name> },
}

/// What is held for a call that goes upstream. Dropped without being settled, it is spent.
#[derive(Debug)]
#[must_use]
pub(super) struct Held {
    // Not the agent, which may keep it.
    payer: Arc<Payer>,
    step: StepId,
    of_model: bool,
}

/// Why a call may not be made.
#[derive(Debug)]
pub(super) enum Unpaid {
    /// It does not fit.
    Denied(Box<Denied>),
    /// What it spends could not be written down.
    Unwritten(String),
}

/// What a ledger says of a call.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The most tokens that each of its answers may have, if that is limited.
    pub(super) output: Option<u64>,
    /// The same of all its answers, whatever upstream makes of that.
    pub(super) ceiling: Option<Ceiling>,
    /// What it would not fit if everything were enforced.
    pub(super) would_deny: Option<Box<Denied>>,
}

impl Purse {
    #[must_use]
    pub fn new(ledger: Ledger, agents: Agents) -> Self {
        Self(Arc::new(Inner {
            ledger: Mutex::new(ledger),
            journal: None,
            agents,
            touched: Touched::default(),
        }))
    }

    /// One whose ledger's records are kept.
    #[must_use]
    pub fn kept(ledger: Ledger, agents: Agents, journal: Arc<dyn Journal>) -> Self {
        let journal = Some(journal);
        Self(Arc::new(Inner {
            ledger: Mutex::new(ledger),
            journal,
            agents,
            touched: Touched::default(),
        }))
    }

    /// Who would pay for the calls of an agent.
    #[must_use]
    pub fn payers(&self, agent: Name, tenant: Option<Name>) -> Payers {
        self.ledger().payers(agent, tenant)
    }

    /// Lets time pass: what has lasted as long as it may ends, and what waits to be written is.
    pub fn tick(&self, now: Timestamp) {
        self.with(|ledger| {
            ledger.tick(now);
            self.write(ledger);
        });
    }

    /// Has everything written that there is.
    fn write(&self, ledger: &mut Ledger) {
        let Some(journal) = &self.0.journal else { return };
        let records = ledger.take_records();
        if journal.wants_all() {
            journal.begin_anew(&ledger.whole());
        } else {
            // Who is to know of it asks the journal.
            let _ = journal.write(&records);
        }
    }

    /// The ledger, to look at or to change by hand. What follows from a change is brought about.
    pub fn with<T>(&self, body: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = self.ledger();
        let result = body(&mut ledger);
        if let Some(journal) = &self.0.journal {
            let records = ledger.take_records();
            if !records.is_empty() {
                journal.keep(&records);
            }
        }
        let events = ledger.take_events();
        // Calls that end settle on their own threads.
        drop(ledger);
        for event in events {
            self.act(&event);
        }
        result
    }

    /// Holds the most that a call can come to, if it fits and that can be written down.
    fn reserve(
        &self,
        now: Timestamp,
        standing: &Standing,
        ask: &Ask<'_>,
    ) -> Result<Granted, Unpaid> {
        self.with(|ledger| {
            let granted = ledger.reserve(now, standing, ask);
            let granted = granted.inspect_err(|denied| self.0.touched.note(&denied.holder))?;
            let Some(journal) = &self.0.journal else { return Ok(granted) };
            match journal.write(&ledger.take_records()) {
                // Nothing is refused there; what is lost of it is counted.
                Err(error) if ask.enforced => {
                    ledger.withdraw(granted.reservation);
                    Err(Unpaid::Unwritten(error))
                }
                _ => Ok(granted),
            }
        })
    }

    /// The workflows and sessions that were stopped, or of which calls were refused or have ended since
    /// they were, since this was last asked.
    #[must_use]
    pub fn touched(&self) -> &Touched {
        &self.0.touched
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&self, event: &Event) {
        match event {
            Event::Threshold { budget, holder, limit, percent } => {
                let limit = limit.as_str();
                tracing::info!(%budget, %holder, limit, percent, "a threshold of a budget is passed");
            }
            Event::Exceeded { denied, action, enforced } => {
                let Denied { budget, holder, limit, .. } = &**denied;
                let limit = limit.as_str();
                tracing::warn!(%budget, %holder, limit, ?action, enforced, "a limit is met");
                if *enforced && *action != OnExceed::Warn {
                    self.0.touched.note(holder);
                }
                if *enforced && *action == OnExceed::Cancel {
                    let (all, why) = (self.0.agents.all(), reason(denied));
                    let cut: usize = all.iter().map(|agent| agent.cut_of(holder, &why, None)).sum();
                    tracing::info!(%budget, %holder, cut, "its calls under way are ended");
                }
            }
        }
    }
}

impl Payer {
    pub(super) fn new(purse: Purse, agent: Name, tenant: Option<Name>) -> Self {
        let payers = purse.ledger().payers(agent, tenant.clone());
        Self { purse, tenant, payers: Mutex::new(payers), paid: Mutex::default() }
    }

    /// The agent has another name from now on.
    pub(super) fn rename(&self, agent: Name) {
        let payers = self.purse.ledger().payers(agent, self.tenant.clone());
        *self.payers.lock().unwrap_or_else(PoisonError::into_inner) = payers;
    }

    fn standing(&self, stand: Stand) -> Option<Standing> {
        let payers = self.payers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Stand { session, workflow, .. } = stand;
        (!payers.is_free()).then_some(Standing { payers, session, workflow })
    }

    fn paid(&self) -> MutexGuard<'_, AllPaid> {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steps turn out to belong elsewhere.
    fn correct(&self, now: Timestamp, correction: &Correction, under_way: &UnderWay) {
        let Some(stand) = Stand::corrected(correction) else { return };
        let mut paid = self.paid();
        let Some(Paid { standing, state }) = paid.steps.get_mut(&correction.step) else { return };
        let Some(to) = self.standing(stand).filter(|to| to != standing) else { return };
        let from = std::mem::replace(standing, to.clone());
        let is_stopped = self.purse.with(|ledger| match state {
            State::Held(reservation) => ledger.reassign(now, reservation, &to),
            State::Spent { amounts, tools } => {
                let certainty = Certainty::Reported;
                let spending = Spending { amounts: *amounts, tools, certainty };
                ledger.merge(now, &from, &to, &spending);
                false
            }
        });
        drop(paid);
        if is_stopped {
            let text =
                format!("workflow {}, to which this call belongs, is stopped", stand.workflow);
            under_way.cut_where(&Reason::new(Cause::Budget, text), |one| one.step == stand.step);
        }
    }
}

impl Unpaid {
    /// As its client is told.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Denied(denied) => reason(denied),
            Self::Unwritten(error) => Reason::new(Cause::Budget, error.clone()),
        }
    }

    /// As it is shown of the call.
    pub(super) fn ruling(&self) -> Ruling {
        let rule = match self {
            Self::Denied(denied) => denied.budget.clone(),
            Self::Unwritten(_) => Name::shared(Ruling::STATE),
        };
        Ruling::new(rule, Decision::Deny)
    }
}

impl From<Box<Denied>> for Unpaid {
    fn from(denied: Box<Denied>) -> Self {
        Self::Denied(denied)
    }
}

impl Verdict {
    /// As it is shown of a call that asks for so many tokens in each answer.
    pub(super) fn shown(&self, asked: Option<u64>) -> impl Iterator<Item = Ruling> {
        let denied = self.would_deny.as_ref();
        let would_deny = denied.map(|it| Ruling::new(it.budget.clone(), Decision::WouldDeny));
        let is_less = |most: &u64| asked.is_none_or(|asked| asked > *most);
        let clamped = self.output.filter(is_less);
        let clamp = clamped.map(|_| Ruling::new(Name::shared("budget"), Decision::Clamp));
        would_deny.into_iter().chain(clamp)
    }
}

impl Agent {
    /// Whether a budget is for it.
    pub(super) fn has_budgets(&self) -> bool {
        self.payer.is_some()
    }

    /// Holds what a call may come to, before it goes upstream; or says why it may not. Nothing is held
    /// where no budget is for this agent.
    pub(super) fn pay(
        &self,
        now: Timestamp,
        stand: Stand,
        ask: &Ask<'_>,
    ) -> Result<(Option<Held>, Option<Verdict>), Unpaid> {
        let Some(payer) = &self.payer else { return Ok((None, None)) };
        let Some(standing) = payer.standing(stand) else { return Ok((None, None)) };
        let granted = payer.purse.reserve(now, &standing, ask)?;
        let Granted { reservation, output, ceiling, would_deny } = granted;
        payer.paid().insert(stand.step, Paid { standing, state: State::Held(reservation) });
        let of_model = matches!(ask.what, Wanted::Model(_));
        let held = Held { payer: Arc::clone(payer), step: stand.step, of_model };
        Ok((Some(held), Some(Verdict { output, ceiling, would_deny })))
    }

    /// Follows what was found out later: budgets do, and so does what ends a workflow's calls.
    pub(super) fn correct(self: &Arc<Self>, now: Timestamp, corrections: &[Correction]) {
        for correction in corrections {
            if let Some(stand) = Stand::corrected(correction) {
                self.policing.under_way.moved(stand);
                self.waiting.moved(stand);
                if let Some(reason) = self.follow_kills(correction.workflow, stand) {
                    self.policing.under_way.cut_where(&reason, |one| one.step == stand.step);
                    self.recall(&reason, |one| one.step == stand.step);
                }
            }
            if let Some(payer) = &self.payer {
                payer.correct(now, correction, &self.policing.under_way);
            }
        }
    }
}

impl Held {
    /// The call came to that, and its answer calls those tools.
    pub(super) fn settle(self, now: Timestamp, spent: &Spent, tools: Vec<Name>) {
        // It was made, whatever came of it.
        let made = Amounts::ZERO.with(Dimension::ModelCalls, self.of_model.into());
        let amounts = spent
            .usage
            .map_or(made, |usage| Amounts::of_model(&usage, spent.usd.unwrap_or_default()));
        let estimated = spent.usage.is_some_and(|usage| usage.estimated);
        let certainty = if estimated { Certainty::Estimated } else { Certainty::Reported };
        self.close(now, amounts, tools, certainty);
    }

    fn close(&self, now: Timestamp, amounts: Amounts, tools: Vec<Name>, certainty: Certainty) {
        // Until it is settled: who finds out meanwhile that it belongs elsewhere waits.
        let mut paid = self.payer.paid();
        let Some(Paid { state, standing }) = paid.steps.get_mut(&self.step) else { return };
        let before = std::mem::replace(state, State::Spent { amounts, tools: Vec::new() });
        let State::Held(reservation) = before else {
            *state = before;
            return;
        };
        let spending = Spending { amounts, tools: &tools, certainty };
        let purse = &self.payer.purse;
        let own = [Holder::Workflow(standing.workflow), Holder::Session(standing.session)];
        let amounts = purse.with(|ledger| {
            // What it was answered can be gone on from, too.
            own.iter().filter(|it| ledger.is_stopped(it)).for_each(|it| purse.touched().note(it));
            ledger.settle(now, reservation, &spending)
        });
        *state = State::Spent { amounts, tools };
    }
}

impl AllPaid {
    fn insert(&mut self, step: StepId, paid: Paid) {
        self.steps.insert(step, paid);
        self.order.push_back(step);
        if self.order.len() <= limits::PAID_STEPS_PER_AGENT {
            return;
        }
        let Some(oldest) = self.order.pop_front() else { return };
        match self.steps.get(&oldest).map(|paid| &paid.state) {
            // It is still to be settled.
            Some(State::Held(_)) => self.order.push_back(oldest),
            _ => drop(self.steps.remove(&oldest)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Nobody said what it came to. The ledger knows what time it is at least.
        self.close(Timestamp(0), Amounts::ZERO, Vec::new(), Certainty::Held);
    }
}

/// Why a call may not be made, as its client is told.
fn reason(denied: &Denied) -> Reason {
    let cause = match denied.limit {
        Limit::WallClock => Cause::Deadline,
        Limit::Repeats => Cause::Loop,
        _ => Cause::Budget,
    };
    Reason::new(cause, denied.to_string())
}
