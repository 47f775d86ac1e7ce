//! What lineage knows of a step and of a workflow.

use std::num::NonZero;

use serde::{Deserialize, Serialize};

use crate::call::{
    Confidence, Prompt, RetryReason, SessionId, State, StepId, StepKind, Timestamp, TraceId,
    WorkflowId,
};

use super::{
    anchor::ServerName,
    history::Chain,
    late::Awaited,
    manners::Kind,
    memory::Seq,
    place::{self, Put},
    resolve,
    returned::{Started, Under},
    tools::Deed,
    traces::Trace,
    values::Flowing,
};

/// What lineage knows of a model step.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Known {
    pub(super) id: StepId,
    pub(super) workflow: WorkflowId,
    /// The process that asked, if that is known, and when it did.
    pub(super) pid: Option<u32>,
    pub(super) asked_at: Timestamp,
    pub(super) parents: Vec<StepId>,
    pub(super) part: Part,
    /// The tool call that started the conversation which it is in.
    pub(super) under: Option<Under>,
    /// As in [`super::Placement::depth`].
    pub(super) depth: u16,
    /// How sure it is that it belongs to its workflow.
    pub(super) confidence: Confidence,
    /// Which model was asked, hashed.
    pub(super) model: Option<u64>,
    /// With what instructions, hashed.
    pub(super) instructions: u64,
    pub(super) kind: Kind,
    /// What its client says of it: the trace that it is in, and whether a session.
    pub(super) trace: Option<Trace>,
    pub(super) names_session: bool,
    pub(super) offers_tools: bool,
    /// Whether next to nothing was to be generated, or only a few words.
    pub(super) probes: bool,
    pub(super) says_little: bool,
    pub(super) asked: Chain,
    pub(super) conversation: Option<NonZero<ServerName>>,
    pub(super) response: Option<NonZero<ServerName>>,
    /// Of the first choice.
    pub(super) answered: Option<NonZero<Chain>>,
    /// Of each other one: nearly always none, which needs no memory.
    pub(super) others: Vec<Chain>,
    pub(super) tools: Vec<Call>,
    pub(super) phase: Phase,
    /// What the user, the answer and its tool calls say that may be said again elsewhere.
    pub(super) values: Vec<Flowing>,
    /// The answer alone, hashed, as it would be sent back.
    pub(super) said: Option<NonZero<u128>>,
    /// What it waits for to be told from where it goes on.
    pub(super) awaited: Option<Box<Awaited>>,
    /// When it was asked, then when it ended.
    pub(super) at: Timestamp,
    /// How often the client said that it had sent this before.
    pub(super) client_retry: u32,
    /// The try that this one repeats, in the end.
    pub(super) first_try: Option<StepId>,
    /// How many tries came before.
    pub(super) attempt: u32,
    /// Those of them that may have had effects.
    pub(super) spent_tries: u32,
    /// Whether a later call repeats this one.
    pub(super) retried: bool,
    /// Whether a later call goes on from its answer.
    pub(super) continued: bool,
    /// A later call that brings results, and to which the user says more.
    pub(super) steered: Option<Seq>,
    /// Whether a later one goes on with what it answers, to the same end.
    pub(super) passed_on: bool,
    /// Whether a later call quotes its user beside it.
    pub(super) quoted: bool,
}

/// A tool call that a model step emitted.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) step: StepId,
    /// A hash of the model's id for it.
    pub(super) id: Option<u128>,
    pub(super) deed: Deed,
    /// Whether the agent was seen to make it, and it did not fail.
    pub(super) made: bool,
    /// Whether the model was told its result.
    pub(super) answered: bool,
    /// The last conversation that began with what it says.
    pub(super) started: Option<Started>,
}

impl Call {
    /// One that nothing is known of but what it is.
    pub(super) const fn new(step: StepId, id: Option<u128>, deed: Deed) -> Self {
        Self { step, id, deed, made: false, answered: false, started: None }
    }
}

/// The part that a step plays in its workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// It works on the wish.
    Main,
    /// It works on what a tool call of another step says.
    Nested,
    /// It stands beside: a title, a summary, a probe.
    Aside,
}

/// Where a model step stands.
///
/// ```text
/// InFlight ──answer──→ Answered
///     └────fault─────→ Failed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    InFlight,
    Answered { is_final: bool },
    Failed(RetryReason),
}

/// Where a workflow stands.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) session: SessionId,
    pub(super) trace: TraceId,
    /// Calls without an end.
    pub(super) running: usize,
    /// Steps whose tool calls wait for their results.
    pub(super) waiting: usize,
    /// Whether the call that ended last failed.
    pub(super) failed: bool,
    /// Steps remembered.
    pub(super) steps: usize,
    /// When something last happened in it.
    pub(super) seen: Timestamp,
}

impl Flow {
    pub(super) fn new(session: SessionId, trace: TraceId) -> Self {
        let seen = Timestamp(0);
        Self { session, trace, running: 0, waiting: 0, failed: false, steps: 0, seen }
    }

    pub(super) fn state(&self) -> State {
        match (self.running + self.waiting, self.failed) {
            (0, false) => State::Done,
            (0, true) => State::Failed,
            _ => State::Active,
        }
    }
}

impl Known {
    /// A step that starts.
    pub(super) fn new(at: Timestamp, prompt: &Prompt, put: &Put) -> Self {
        let place = &put.placement;
        Self {
            id: place.step,
            workflow: place.workflow,
            pid: None,
            asked_at: at,
            parents: place.parents.clone(),
            part: put.part,
            under: put.under,
            depth: place.depth,
            confidence: put.sure,
            model: resolve::hash_model(prompt),
            instructions: 0,
            kind: 0,
            trace: None,
            names_session: place::names_session(prompt),
            offers_tools: prompt.tools_hash.is_some(),
            probes: place::probes(prompt),
            says_little: place::says_little(prompt),
            asked: 0,
            conversation: None,
            response: None,
            answered: None,
            others: Vec::new(),
            tools: Vec::new(),
            phase: Phase::InFlight,
            values: Vec::new(),
            said: None,
            awaited: None,
            at,
            client_retry: prompt.client_retry.unwrap_or(0),
            first_try: place.retry.map(|retry| retry.of_step_id),
            attempt: place.retry.map_or(0, |retry| retry.attempt),
            spent_tries: place.spent_tries,
            retried: false,
            continued: false,
            steered: None,
            passed_on: false,
            quoted: false,
        }
    }

    /// One for each choice.
    pub(super) fn chains(&self) -> impl Iterator<Item = Chain> + '_ {
        self.answered.map(NonZero::get).into_iter().chain(self.others.iter().copied())
    }

    /// Whether tool calls wait for their results: they do until a later call goes on from here,
    /// with the results or without them.
    pub(super) fn is_waiting(&self) -> bool {
        !self.tools.is_empty() && !self.continued
    }

    pub(super) fn failure(&self) -> Option<RetryReason> {
        match self.phase {
            Phase::Failed(reason) => Some(reason),
            Phase::InFlight | Phase::Answered { .. } => None,
        }
    }

    /// Whether it may have spent tokens or have had a tool run: unless it was refused, or its connection
    /// ended before an answer.
    pub(super) const fn may_have_effects(&self) -> bool {
        match self.phase {
            Phase::InFlight | Phase::Answered { .. } => true,
            Phase::Failed(reason) => matches!(
                reason,
                RetryReason::Timeout | RetryReason::StreamTruncated | RetryReason::ClientAbort
            ),
        }
    }

    /// Whether a client that counts its retries would make one more of this, and not begin to count
    /// anew. They stop at two, by default, and begin no answer again that had begun.
    pub(super) fn is_retried_by_sdk(&self, count: u32) -> bool {
        let fails_fast = matches!(
            self.phase,
            Phase::Failed(
                RetryReason::RateLimit
                    | RetryReason::Overloaded
                    | RetryReason::Timeout
                    | RetryReason::ConnReset
            )
        );
        count == 0 && fails_fast && self.client_retry < SDK_RETRIES
    }

    /// Whether that process may make the same call again: once it was answered, only the one that
    /// made it. What runs the same program again asks the same, too.
    pub(super) fn may_be_repeated_by(&self, pid: Option<u32>) -> bool {
        let is_answered = matches!(self.phase, Phase::Answered { .. });
        !is_answered || self.pid.zip(pid).is_none_or(|(own, other)| own == other)
    }

    /// What kind of step it is, as far as it has come.
    pub(super) fn step_kind(&self) -> StepKind {
        match self.part {
            Part::Main if self.is_final() && !self.passed_on => StepKind::Final,
            Part::Main => StepKind::Planner,
            Part::Nested => StepKind::Worker,
            Part::Aside => StepKind::Utility,
        }
    }

    /// Whether its answer is text only, and there is no more to be done.
    pub(super) fn is_final(&self) -> bool {
        self.phase == Phase::Answered { is_final: true }
    }
}

/// What an ended step is found by.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Of the first choice, and of the others.
    pub(super) first: Option<Chain>,
    pub(super) others: Vec<Chain>,
    pub(super) tools: Vec<Call>,
    pub(super) response: Option<ServerName>,
    pub(super) values: Vec<Flowing>,
    pub(super) said: Option<u128>,
}

/// How often SDKs repeat a call.
const SDK_RETRIES: u32 = 2;
