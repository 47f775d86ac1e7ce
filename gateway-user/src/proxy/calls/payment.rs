//! Whether a call may be made, and what it may come to: asked of the budgets that are for it, and of what
//! is said of retries.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Called, Connection};
use crate::{
    call::{Decision, Invocation, Name, Reason, Ruling},
    config::Mode,
    dialect::{Asked, What},
    ledger::{Ask, Ceiling, Wanted},
    lineage::Placement,
    proxy::{
        meter::Meter,
        purse::{Held, Unpaid, Verdict},
        replay::{Key, Replay},
    },
};

/// On which terms a call is made, or why it is not.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) held: Option<Held>,
    pub(super) meter: Option<Meter>,
    /// The most tokens that each of its answers may have, if that is limited.
    pub(super) output: Result<Option<u64>, Reason>,
    pub(super) rulings: Vec<Ruling>,
    /// What it goes beyond without being refused, as its client is told (enforce).
    pub(super) warning: Option<Box<str>>,
    /// What it is answered with. Absent: it goes upstream.
    pub(super) replay: Option<Replay>,
}

impl Terms {
    /// Of a call that nothing is held for.
    pub(super) const fn free() -> Self {
        Self {
            held: None,
            meter: None,
            output: Ok(None),
            rulings: Vec::new(),
            warning: None,
            replay: None,
        }
    }

    /// Holds what the call may come to, if it may be made.
    pub(super) fn of(
        connection: &Connection,
        asked: &Asked,
        placement: &Placement,
        (call, key): (&Called, Option<&Key>),
    ) -> Self {
        let mut terms = Self::free();
        let agent = &connection.agent;
        if let Some(reason) = agent.is_silenced(placement.into()) {
            terms.rulings.push(Ruling::new(Name::shared(Ruling::KILL), Decision::Deny));
            return Self { output: Err(reason), ..terms };
        }
        // Nothing is spent twice, nor at all.
        terms.replay = replay(connection, placement, key);
        if terms.replay.is_some() {
            return terms;
        }
        if let Err(reason) = agent.policing.on_retry.decide(placement.spent_tries) {
            let enforced = agent.mode == Mode::Enforce;
            let decision = if enforced { Decision::Deny } else { Decision::WouldDeny };
            terms.rulings.push(Ruling::new(Name::shared(Ruling::ON_RETRY), decision));
            if enforced {
                return Self { output: Err(reason), ..terms };
            }
        }
        match pay(connection, asked, placement, call) {
            Ok((held, verdict)) => {
                let mut verdict = verdict.unwrap_or_default();
                terms.rulings.extend(verdict.shown(asked.max_output()));
                let warns = verdict.would_deny.as_ref().filter(|_| agent.mode == Mode::Enforce);
                terms.warning = warns.map(|denied| denied.to_string().into());
                terms.meter = metered(connection, asked, verdict.ceiling.take());
                (terms.held, terms.output) = (held, Ok(verdict.output));
            }
            Err(unpaid) => {
                terms.rulings.push(unpaid.ruling());
                terms.output = Err(unpaid.reason());
            }
        }
        terms
    }
}

/// What a try before this one has been answered, or will be, which its client did not wait for.
fn replay(connection: &Connection, placement: &Placement, key: Option<&Key>) -> Option<Replay> {
    let key = key.filter(|_| placement.retry.is_some())?;
    let replays = connection.agent.policing.replays.as_ref()?;
    replays.take(key, connection.recording.clock.now())
}

/// Holds what the call may come to.
fn pay(
    connection: &Connection,
    asked: &Asked,
    placement: &Placement,
    call: &Called,
) -> Result<(Option<Held>, Option<Verdict>), Unpaid> {
    let agent = &connection.agent;
    if !agent.has_budgets() {
        return Ok((None, None));
    }
    let at = connection.recording.clock.now();
    let what = match (call, &asked.what) {
        (Called::Model(order), _) => Wanted::Model(connection.recording.estimator.worst(order, at)),
        (Called::Tool(from), What::Tool(invocation)) => {
            let name = invocation.tool.as_deref().unwrap_or_default();
            Wanted::Tool { name, is_counted: from.is_some() }
        }
        (Called::Tool(_), What::Model(_)) | (Called::Replayed, _) => return Ok((None, None)),
    };
    let ask = Ask {
        what,
        depth: placement.depth.into(),
        sub_plan: placement.sub_plan.map(Into::into),
        is_retry: placement.retry.is_some(),
        sameness: Some(sameness(asked)),
        enforced: agent.mode == Mode::Enforce,
    };
    agent.pay(at, placement.into(), &ask)
}

/// What holds the call's answer to its ceiling. What its provider does besides, or what it fetches, is no
/// part of the answer, and may be told in it.
fn metered(connection: &Connection, asked: &Asked, ceiling: Option<Ceiling>) -> Option<Meter> {
    let What::Model(prompt) = &asked.what else { return None };
    let ceiling = ceiling.filter(|_| asked.unmetered.is_none())?;
    Some(connection.recording.estimator.meter(prompt.model.as_ref(), ceiling))
}

/// Equal for calls that ask the very same. Those of a tool have ids of their own, which their bodies differ
/// in.
fn sameness(asked: &Asked) -> u64 {
    match &asked.what {
        What::Tool(Invocation { tool: Some(tool), arguments: Some(arguments), .. }) => {
            let mut hasher = DefaultHasher::new();
            (&**tool, arguments).hash(&mut hasher);
            hasher.finish()
        }
        What::Tool(_) | What::Model(_) => asked.sha256.short(),
    }
}
