//! Budgets of agents: those of the configuration, and those that a command asks for.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{Gateway, GatewayError};
use crate::{
    app::kernel::ToState,
    attach::pins::HeldAgent,
    call::{Micros, Timestamp},
    config::{Config, Mode},
    control::{
        api::Peer,
        budget::{BudgetInfo, Reset, ResetRequest},
        model::{Kept, Refusal},
    },
    ledger::{Ledger, Why},
    limits,
    proxy::{self, Agents, Clock, Purse},
    state::{Health, State, StateError},
};

/// What may be spent, and where that is kept. Several `run`s may go on beside a daemon, and only one
/// gateway at a time can have the state directory: theirs end with them.
pub(super) fn open(
    config: &Config,
    embedded: bool,
    clock: Clock,
    agents: Agents,
) -> Result<(Purse, Option<State>), StateError> {
    if embedded {
        return Ok((Purse::new(Ledger::new(config.budgets()), agents), None));
    }
    let (state, replay) = State::open(&config.daemon.state_dir, clock.now())?;
    if replay.astray() > 0 {
        tracing::warn!(records = replay.astray(), "records of budgets are of what there is not");
    }
    let ledger = Ledger::restored(config.budgets(), replay);
    Ok((Purse::kept(ledger, agents, Arc::new(ToState(state.clone()))), Some(state)))
}

/// Tells the purse the time, so that what has lasted as long as it may ends without a call. The runtime
/// ends it.
pub(super) fn keep_time(purse: Purse, clock: Clock) {
    tokio::spawn(async move {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            purse.tick(clock.now());
        }
    });
}

impl Gateway {
    /// Forgets what was spent of budgets that have not been there for long, once all agents that there
    /// were have been taken over with theirs; and by workflows that no call can belong to any more, since
    /// nothing remains of them.
    pub(super) fn tidy_budgets(&self) {
        let now = self.0.context.recording.clock.now();
        let age = Micros::from(limits::LEDGER_ASIDE_AGE);
        let remembrance = self.remembrance();
        let aside = self.0.purse.with(|ledger| {
            ledger.tidy(now, |holder| remembrance.recognises(holder));
            ledger.tidy_aside(Timestamp(now.since(Timestamp(age.0)).0));
            ledger.aside()
        });
        if aside > 0 {
            tracing::info!(
                accounts = aside,
                "what was spent of budgets that are gone is kept for them"
            );
        }
    }

    /// Where what is spent is kept, and whether it is.
    pub(super) fn kept(&self) -> Option<Kept> {
        let health = self.0.state.as_ref()?.health();
        let Health { directory, journal_bytes, unwritten, problem } = health;
        Some(Kept { directory, journal_bytes, unwritten, problem })
    }

    /// Writes down what is spent, for the next gateway.
    pub(super) async fn close_budgets(&self) {
        let Some(state) = self.0.state.clone() else { return };
        let gateway = self.clone();
        // It does not panic, and there is nothing to do about it if it did.
        let _ = tokio::task::spawn_blocking(move || {
            // Estimates that are under way are still to be settled.
            gateway.0.context.recording.settle();
            gateway.0.purse.tick(gateway.0.context.recording.clock.now());
            if state.health().problem.is_some() {
                gateway.0.purse.with(|ledger| state.begin_anew(&ledger.whole()));
            }
            state.end();
        })
        .await;
    }

    /// The agent, held to the budgets that are for it.
    pub(super) fn held_to_budgets(
        &self,
        agent: proxy::Agent,
        held: &HeldAgent,
    ) -> Result<proxy::Agent, GatewayError> {
        let purse = &self.0.purse;
        let own = held.budget.as_ref().map(|asked| asked.budgets(&held.name)).unwrap_or_default();
        purse.with(|ledger| ledger.add(own));
        if purse.with(|ledger| ledger.is_empty()) {
            return Ok(agent);
        }
        let tenant = held.tenant.as_deref().map(Into::into);
        let payers = purse.payers(held.name.as_str().into(), tenant.clone());
        if held.mode == Mode::Enforce && payers.is_leaky() {
            self.end_budgets(held);
            return Err(GatewayError::NoAgentBudget(held.name.clone()));
        }
        Ok(agent.paying(purse.clone(), tenant))
    }

    /// How all budgets stand, each with so many of its holders.
    pub(super) fn budgets(&self, limit: usize) -> Vec<BudgetInfo> {
        self.0.purse.with(|ledger| BudgetInfo::all(ledger, limit))
    }

    /// Lets somebody spend anew, and remembers who wanted that and why.
    pub(super) fn reset_budget(&self, peer: Peer, request: ResetRequest) -> Result<Reset, Refusal> {
        let ResetRequest { holder, budget, reason } = request;
        let at = self.0.context.recording.clock.now();
        let why = Why { by_uid: peer.uid, reason };
        let reset = self.0.purse.with(|ledger| ledger.reset(at, &holder, budget.as_deref(), why));
        let Some(reset) = reset.as_ref().map(Reset::from) else {
            let budget =
                budget.map_or_else(|| "any budget".into(), |name| format!("budget {name}"));
            let error = format!("{holder} has spent nothing of {budget}");
            return Err(Refusal::new(error).fix("see `turnpike budget list`"));
        };
        tracing::info!(%holder, budgets = ?reset.budgets, by_uid = peer.uid, reason = reset.reason, "spends anew");
        Ok(reset)
    }

    /// Ends the budgets that were for an agent alone.
    pub(super) fn end_budgets(&self, held: &HeldAgent) {
        let own = held.budget.as_ref().map(|asked| asked.budgets(&held.name)).unwrap_or_default();
        let names: Vec<_> = own.into_iter().map(|budget| budget.name).collect();
        self.0.purse.with(|ledger| ledger.retire(&names));
    }
}

/// By how much an end may come late.
const PERIOD: Duration = Duration::from_millis(100);
