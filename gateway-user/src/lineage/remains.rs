//! What remains of workflows when nothing else is remembered of them: their last steps, as hashes, by
//! which a call that goes on from one of them is recognised.
//!
//! Whoever is killed or stopped must not begin anew because the gateway did. So the steps of such
//! workflows outlast it, and are known again before the first call is placed. Nothing that was said is in
//! them, and no hash that somebody could make who knows what was said: those are under the salt.

use std::{collections::HashSet, num::NonZero};

use serde::{Deserialize, Serialize};

use crate::{
    call::{Confidence, RetryReason, SessionId, StepId, Timestamp, TraceId, WorkflowId},
    limits,
};

use super::{
    Lineage,
    history::Chain,
    known::{Call, Ended, Flow, Known, Part, Phase},
    memory::{Memory, Seq},
    sessions::Opened,
};

/// What remains of a workflow, or of all of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remains {
    /// The oldest first.
    steps: Vec<Remnant>,
    /// By what its clients name the session, hashed, and what has opened it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<(u128, SessionId, StepId)>,
    /// Steps that there was no room for.
    #[serde(default)]
    left_out: u64,
}

/// A model step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Remnant {
    id: StepId,
    workflow: WorkflowId,
    session: SessionId,
    trace: TraceId,
    asked_at: Timestamp,
    at: Timestamp,
    part: Part,
    depth: u16,
    confidence: Confidence,
    phase: Phase,
    model: Option<u64>,
    instructions: u64,
    names_session: bool,
    offers_tools: bool,
    says_little: bool,
    asked: Chain,
    /// One for each choice.
    answered: Vec<Chain>,
    said: Option<NonZero<u128>>,
    conversation: Option<NonZero<u128>>,
    response: Option<NonZero<u128>>,
    tools: Vec<Emitted>,
    client_retry: u32,
    first_try: Option<StepId>,
    attempt: u32,
    spent_tries: u32,
    retried: bool,
    continued: bool,
}

/// A tool call that it emitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Emitted {
    step: StepId,
    id: Option<u128>,
    deed: u128,
    made: bool,
    answered: bool,
}

impl Remains {
    /// Whether nothing could be recognised by them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.names.is_empty()
    }

    /// How much room they take.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Steps that there was no room for.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// When something last happened there.
    #[must_use]
    pub fn last(&self) -> Timestamp {
        self.steps.iter().map(|step| step.at).max().unwrap_or(Timestamp(0))
    }

    /// Has those in it, too, that remained before and are not known any more.
    pub fn and_before(&mut self, before: &Self) {
        let own: HashSet<StepId> = self.steps.iter().map(|step| step.id).collect();
        let lost = before.steps.iter().filter(|step| !own.contains(&step.id));
        let mut steps: Vec<Remnant> = lost.cloned().collect();
        steps.append(&mut self.steps);
        let lost =
            before.names.iter().filter(|(name, ..)| !self.names.iter().any(|it| it.0 == *name));
        let lost: Vec<_> = lost.copied().collect();
        self.names.extend(lost);
        self.names.truncate(limits::REMAINING_NAMES);
        self.left_out = self.left_out.max(before.left_out) + choose(&mut steps);
        self.steps = steps;
    }

    /// Leaves out the oldest steps, so that no more are left than that.
    pub fn shorten(&mut self, most: usize) {
        let gone = self.steps.len().saturating_sub(most);
        self.steps.drain(..gone);
        self.left_out += gone as u64;
    }
}

impl Lineage {
    /// Under another salt, which hashes are made under from now on: where they are kept, it is the same
    /// for the gateway that reads them.
    #[must_use]
    pub fn salted(self, salt: u128) -> Self {
        Self { salt, sessions: self.sessions.salted(salt), ..self }
    }

    /// What is to remain of the workflows of which that is said.
    #[must_use]
    pub fn remains(&self, is_meant: impl Fn(SessionId, WorkflowId) -> bool) -> Remains {
        let all = self.memory.flows();
        let meant = all.filter(|(workflow, flow)| is_meant(flow.session, **workflow));
        let meant: HashSet<WorkflowId> = meant.map(|(workflow, _)| *workflow).collect();
        let of_it = self.memory.all().filter(|step| meant.contains(&step.workflow));
        let of_it = of_it.filter_map(|step| Remnant::of(step, &self.memory));
        let mut steps: Vec<Remnant> = of_it.collect();
        // A session's name leads to workflows that are still to come, a workflow's to none.
        let names = self.sessions.of(|session| is_meant(session, NO_WORKFLOW));
        let names = names.map(|(name, Opened { session, by })| (name, session, by));
        let names: Vec<_> = names.take(limits::REMAINING_NAMES).collect();
        let left_out = choose(&mut steps);
        Remains { steps, names, left_out }
    }

    /// Knows again what remains of workflows that there were before this began.
    pub fn recall(&mut self, remains: &Remains) {
        for remnant in remains.steps.iter().rev().take(limits::REMAINING_STEPS).rev() {
            self.memory.recall(remnant);
        }
        for (name, session, by) in remains.names.iter().take(limits::REMAINING_NAMES) {
            self.sessions.recall(*name, Opened { session: *session, by: *by });
        }
    }
}

/// Of too many steps, those that were answered rather than others: whoever is refused may try as often as
/// it likes, and what it then goes on from is what it was answered. How many are left out.
fn choose(steps: &mut Vec<Remnant>) -> u64 {
    let before = steps.len();
    let answered = steps.iter().filter(|step| step.is_answered()).count();
    let others = before - answered;
    let spared = limits::REMAINING_STEPS.saturating_sub(others);
    let kept = answered.min(spared.max(limits::REMAINING_STEPS / 4 * 3));
    let mut gone_answered = answered - kept;
    let mut gone_others = others.saturating_sub(limits::REMAINING_STEPS - kept);
    steps.retain(|step| {
        let gone = if step.is_answered() { &mut gone_answered } else { &mut gone_others };
        let stays = *gone == 0;
        *gone = gone.saturating_sub(1);
        stays
    });
    (before - steps.len()) as u64
}

impl Memory {
    fn recall(&mut self, remnant: &Remnant) {
        if self.find(remnant.id).is_some() {
            return;
        }
        let seq: Seq = self.next();
        let flow = Flow::new(remnant.session, remnant.trace);
        self.start(remnant.known(), flow);
        let phase = match remnant.phase {
            // Nobody will say what became of it.
            Phase::InFlight => Phase::Failed(RetryReason::ConnReset),
            phase => phase,
        };
        self.end(seq, remnant.at, phase, remnant.ended());
    }
}

impl Remnant {
    fn of(step: &Known, memory: &Memory) -> Option<Self> {
        let flow = memory.flow(step.workflow)?;
        let tools = step.tools.iter().map(|call| {
            let &Call { step, id, deed, made, answered, .. } = call;
            Emitted { step, id, deed, made, answered }
        });
        Some(Self {
            id: step.id,
            workflow: step.workflow,
            session: flow.session,
            trace: flow.trace,
            asked_at: step.asked_at,
            at: step.at,
            part: step.part,
            depth: step.depth,
            confidence: step.confidence,
            phase: step.phase,
            model: step.model,
            instructions: step.instructions,
            names_session: step.names_session,
            offers_tools: step.offers_tools,
            says_little: step.says_little,
            asked: step.asked,
            answered: step.chains().collect(),
            said: step.said,
            conversation: step.conversation,
            response: step.response,
            tools: tools.collect(),
            client_retry: step.client_retry,
            first_try: step.first_try,
            attempt: step.attempt,
            spent_tries: step.spent_tries,
            retried: step.retried,
            continued: step.continued,
        })
    }

    const fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Answered { .. })
    }

    /// The step, as it was before it ended.
    fn known(&self) -> Known {
        Known {
            id: self.id,
            workflow: self.workflow,
            pid: None,
            asked_at: self.asked_at,
            parents: Vec::new(),
            part: self.part,
            under: None,
            depth: self.depth,
            confidence: self.confidence,
            model: self.model,
            instructions: self.instructions,
            kind: 0,
            trace: None,
            names_session: self.names_session,
            offers_tools: self.offers_tools,
            probes: false,
            says_little: self.says_little,
            asked: self.asked,
            conversation: self.conversation,
            response: None,
            answered: None,
            others: Vec::new(),
            tools: Vec::new(),
            phase: Phase::InFlight,
            values: Vec::new(),
            said: None,
            awaited: None,
            at: self.at,
            client_retry: self.client_retry,
            first_try: self.first_try,
            attempt: self.attempt,
            spent_tries: self.spent_tries,
            retried: self.retried,
            continued: self.continued,
            steered: None,
            passed_on: false,
            quoted: false,
        }
    }

    /// How it did.
    fn ended(&self) -> Ended {
        let mut chains = self.answered.iter().take(limits::CHOICES_PER_ANSWER).copied();
        let tools = self.tools.iter().take(limits::TOOL_CALLS_PER_ANSWER).map(|emitted| {
            let &Emitted { step, id, deed, made, answered } = emitted;
            Call { made, answered, ..Call::new(step, id, deed) }
        });
        Ended {
            first: chains.next(),
            others: chains.collect(),
            tools: tools.collect(),
            response: self.response.map(NonZero::get),
            values: Vec::new(),
            said: self.said.map(NonZero::get),
        }
    }
}

/// Which no workflow is: an id is never zero.
const NO_WORKFLOW: WorkflowId = WorkflowId(0);
