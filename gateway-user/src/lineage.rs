//! Where a call belongs: lineage puts an agent's calls back together into workflows, from what
//! came out in one call and went into a later one. Tool-call ids and the conversation itself link
//! them; the connection says nothing, since clients pool theirs.
//!
//! It knows no clock and no socket, and its ids come from a seed: the same calls at the same
//! times are placed the same. There is one [`Lineage`] for each agent, so that what an agent sends
//! never reaches another's workflows.
//!
//! - A call that ends in **tool results** follows the tool steps that it answers. Ids are not
//!   unique (many servers start again at `call_0`), so the history up to the answer that made the
//!   calls decides; the id alone is a last resort.
//! - A call that names the **response or the conversation** that it goes on from, which its server
//!   keeps, follows the answer that was given there last.
//! - Any other call follows the step whose answer it **echoes** last: within the same workflow, or,
//!   when that answer was final and the user says something new, as a new workflow of the session.
//! - The **same conversation** again, after a failure, is a retry and has its first try's place.
//! - A **tool call** that an agent makes is the step that a model's answer opened with the same tool
//!   and the same arguments, if that waits for its result; else a workflow of its own.
//! - Equal first calls are separate workflows. Where they go on with equal histories each keeps to
//!   its own: a call goes on from a step that none has gone on from yet.
//! - A call that nothing leads to opens a workflow: of the session that its client **names**, if it
//!   names one that is known.
//! - Shared instructions or a shared first question alone never link two calls.

mod anchor;
mod history;
mod ids;
mod memory;
mod resolve;
mod sessions;
mod tools;

use crate::{
    call::{
        Answer, Confidence, Evidence, EvidenceKind, Prompt, Retry, RetryReason, SessionId, State,
        StepId, StepKind, Timestamp, TraceId, WorkflowId,
    },
    limits,
};

use anchor::{Anchored, ServerName};
use history::{Chain, History};
use ids::Ids;
use memory::{Call, Ended, Flow, Known, Memory, Phase};
use resolve::{Link, Repeat};
use sessions::{Opened, Sessions};

/// The calls of one agent. Remembers the last [`limits::LINEAGE_ENTRIES`] model steps, fewer if
/// they call many tools; a call that goes on from one that is forgotten opens a new workflow.
#[derive(Debug)]
pub struct Lineage {
    ids: Ids,
    /// Where each chain starts.
    salt: Chain,
    memory: Memory,
    sessions: Sessions,
    late: u64,
}

/// Where a call belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub workflow: WorkflowId,
    pub session: SessionId,
    pub trace: TraceId,
    pub step: StepId,
    /// As in [`crate::call::Step::parent_step_ids`].
    pub parents: Vec<StepId>,
    pub opens_workflow: bool,
    /// [`StepKind::Planner`], until the answer is known, or [`StepKind::Tool`].
    pub kind: StepKind,
    pub confidence: Confidence,
    pub evidence: Vec<Evidence>,
    pub retry: Option<Retry>,
    /// Tool steps whose results came with this call, for the first time.
    pub answered: Vec<StepId>,
}

/// How a model call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub answer: Answer,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    pub failure: Option<Failure>,
}

/// What kept an answer from reaching its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Upstream's connection broke before an answer.
    ConnReset,
    /// The answer ended before its end.
    Truncated,
    /// The client went away first.
    ClientGone,
}

/// What a model call's end means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// [`StepKind::Planner`] if it calls tools or its answer is not known, [`StepKind::Final`] if
    /// it is text only, [`StepKind::Utility`] if it only prepares the provider's cache.
    pub kind: StepKind,
    /// The tool steps that the answer opens, each with the model step as its parent.
    pub tools: Vec<OpenedTool>,
    /// Where the workflow stands after it.
    pub state: State,
}

/// A tool step that an answer opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedTool {
    pub step: StepId,
    pub name: String,
    pub call_id: Option<String>,
}

/// What was hit of the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Steps, steps in index entries, and names of sessions that were forgotten to make room.
    pub evicted: u64,
    /// Calls that ended after they had been forgotten, or for the second time.
    pub late: u64,
}

impl Lineage {
    /// One agent's, with nothing in it yet. Agents are given different seeds, since ids follow from
    /// the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::bounded(seed, limits::LINEAGE_ENTRIES)
    }

    fn bounded(seed: u64, bound: usize) -> Self {
        let mut ids = Ids::new(seed);
        let salt = ids.wide();
        Self { ids, salt, memory: Memory::new(bound), sessions: Sessions::default(), late: 0 }
    }

    /// A model call has been asked: says where it belongs.
    pub fn place(&mut self, at: Timestamp, prompt: &Prompt) -> Placement {
        let anchored = Anchored::find(&self.memory, prompt);
        let start = anchored.map_or(self.salt, |it| it.chain(&self.memory, self.salt));
        let history = History::new(start, &prompt.messages);
        let place = match self.memory.repeated(at, prompt, &history) {
            Some(repeat) => self.place_retry(&repeat, prompt),
            None => None,
        };
        let place = place.or_else(|| {
            let kept = anchored.and_then(|it| it.link(&self.memory));
            let link = kept.or_else(|| self.memory.link(at, &history))?;
            self.place_after(&link, &history)
        });
        let begun_elsewhere = anchored.is_some() || history.last_answer().is_some();
        let signals = &prompt.terms.signals;
        let place = place.unwrap_or_else(|| {
            let named = self.sessions.find(signals);
            self.place_first(&history, begun_elsewhere, named)
        });
        self.sessions.note(signals, Opened { session: place.session, by: place.step });
        let conversation = anchored.and_then(|it| it.conversation());
        self.remember(at, prompt, (&history, conversation), &place);
        place
    }

    /// A placed call's answer has ended, or failed.
    pub fn finish(&mut self, step: StepId, at: Timestamp, outcome: &Outcome) -> Completion {
        let found = self.memory.find(step).and_then(|seq| Some((seq, self.memory.step(seq)?)));
        let running = found.filter(|(_, known)| known.phase == Phase::InFlight);
        let fault = outcome.fault();
        let mut ended = Ended::default();
        let tools = if fault.is_none() { self.ids.open(outcome, &mut ended) } else { Vec::new() };
        let is_final = outcome.answer.complete && tools.is_empty();
        let prewarms = found.is_some_and(|(_, known)| known.prewarms);
        let kind = match fault {
            _ if prewarms => StepKind::Utility,
            None if is_final => StepKind::Final,
            _ => StepKind::Planner,
        };
        let Some((seq, known)) = running else {
            self.late += 1;
            let state = found.map(|(_, known)| self.memory.state(known.workflow));
            let tools = if found.is_some() { Vec::new() } else { tools };
            let state = state.unwrap_or_else(|| alone(fault, &tools));
            return Completion { kind, tools, state };
        };
        let choices = outcome.answer.choices.iter().take(limits::CHOICES_PER_ANSWER);
        let mut chains = choices.map(|choice| history::extend(known.asked, choice));
        ended.first = chains.next();
        ended.others = chains.collect();
        ended.response = outcome.answer.response_id.as_deref().map(anchor::response);
        let workflow = known.workflow;
        let phase = fault.map_or(Phase::Answered { is_final }, Phase::Failed);
        self.memory.end(seq, at, phase, ended);
        // The step itself may have had to make room, and its workflow with it.
        let state = match self.memory.flow(workflow) {
            Some(_) => self.memory.state(workflow),
            None => alone(fault, &tools),
        };
        Completion { kind, tools, state }
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { evicted: self.memory.evicted() + self.sessions.evicted(), late: self.late }
    }

    /// In the place of the call's first try.
    fn place_retry(&mut self, repeat: &Repeat, prompt: &Prompt) -> Option<Placement> {
        let step = self.ids.step();
        let tried = self.memory.step_mut(repeat.step)?;
        tried.retried = true;
        let failure = tried.failure().unwrap_or(RetryReason::ClientAbort);
        let same_model = tried.model == resolve::hash_model(prompt);
        let retry = Retry {
            of_step_id: tried.first_try.unwrap_or(tried.id),
            reason: if same_model { failure } else { RetryReason::FallbackModel },
            attempt: tried.attempt.saturating_add(1),
        };
        let from_step_id = Some(tried.id);
        let confidence = repeat.confidence;
        let (workflow, parents) = (tried.workflow, tried.parents.clone());
        let flow = self.memory.flow(workflow)?;
        Some(Placement {
            workflow,
            session: flow.session,
            trace: flow.trace,
            step,
            parents,
            opens_workflow: false,
            kind: StepKind::Planner,
            confidence,
            evidence: vec![Evidence { kind: EvidenceKind::SameRequest, confidence, from_step_id }],
            retry: Some(retry),
            answered: Vec::new(),
        })
    }

    /// After the step that the call's history leads to.
    fn place_after(&mut self, link: &Link, history: &History<'_>) -> Option<Placement> {
        let known = self.memory.step(link.step)?;
        let flow = self.memory.flow(known.workflow)?;
        let is_new_wish = known.is_final() && history.user_speaks_after(link.covers);
        let (session, from, workflow) = (flow.session, known.id, known.workflow);
        let (workflow, trace) = if is_new_wish {
            (self.ids.workflow(), self.ids.trace())
        } else {
            (workflow, flow.trace)
        };
        let (parents, answered) = self.parents(link, history);
        self.memory.go_on(link.step);
        Some(Placement {
            workflow,
            session,
            trace,
            step: self.ids.step(),
            parents: if parents.is_empty() { vec![from] } else { parents },
            opens_workflow: is_new_wish,
            kind: StepKind::Planner,
            confidence: link.confidence(),
            evidence: link.evidence(from),
            retry: None,
            answered,
        })
    }

    /// The tool steps that the call brings results for, and those of them that had none before.
    fn parents(&mut self, link: &Link, history: &History<'_>) -> (Vec<StepId>, Vec<StepId>) {
        let (mut parents, mut answered) = (Vec::new(), Vec::new());
        if !link.brings_results() {
            return (parents, answered);
        }
        let Some(known) = self.memory.step_mut(link.step) else { return (parents, answered) };
        for at in resolve::matches(&known.tools, history.after(link.covers)) {
            let Some(call) = known.tools.get_mut(at) else { continue };
            parents.push(call.step);
            if !call.answered {
                call.answered = true;
                answered.push(call.step);
            }
        }
        (parents, answered)
    }

    /// As the first call of a workflow of its own.
    fn place_first(
        &mut self,
        history: &History<'_>,
        begun_elsewhere: bool,
        named: Option<Opened>,
    ) -> Placement {
        let is_twin = self.memory.asked.get(history.whole()).next().is_some();
        let confidence = match (is_twin, begun_elsewhere) {
            (true, _) => Confidence::new(0.6),
            // The conversation has begun where it was not seen.
            (false, true) => Confidence::new(0.7),
            (false, false) => Confidence::new(0.95),
        };
        let because = |kind, from_step_id| Evidence { kind, confidence, from_step_id };
        let mut evidence = vec![because(EvidenceKind::NewHistory, None)];
        evidence.extend(named.map(|named| because(EvidenceKind::SessionId, Some(named.by))));
        Placement {
            workflow: self.ids.workflow(),
            session: named.map_or_else(|| self.ids.session(), |named| named.session),
            trace: self.ids.trace(),
            step: self.ids.step(),
            parents: Vec::new(),
            opens_workflow: true,
            kind: StepKind::Planner,
            confidence,
            evidence,
            retry: None,
            answered: Vec::new(),
        }
    }

    fn remember(
        &mut self,
        at: Timestamp,
        prompt: &Prompt,
        (history, conversation): (&History<'_>, Option<ServerName>),
        place: &Placement,
    ) {
        let known = Known {
            id: place.step,
            workflow: place.workflow,
            parents: place.parents.clone(),
            model: resolve::hash_model(prompt),
            asked: history.whole(),
            conversation,
            response: None,
            answered: None,
            others: Vec::new(),
            tools: Vec::new(),
            phase: Phase::InFlight,
            prewarms: prompt.terms.prewarms,
            at,
            client_retry: prompt.client_retry.unwrap_or(0),
            first_try: place.retry.map(|retry| retry.of_step_id),
            attempt: place.retry.map_or(0, |retry| retry.attempt),
            retried: false,
            continued: false,
        };
        self.memory.start(known, Flow::new(place.session, place.trace));
    }
}

impl Ids {
    /// A step for each tool call of the answer; what each is found by goes to `ended`.
    fn open(&mut self, outcome: &Outcome, ended: &mut Ended) -> Vec<OpenedTool> {
        let calls = outcome.answer.tool_calls.iter().take(limits::TOOL_CALLS_PER_ANSWER);
        calls
            .map(|call| {
                let step = self.step();
                let id = call.id.as_deref().map(resolve::hash_id);
                let deed = tools::deed(&call.name, call.arguments);
                ended.tools.push(Call { step, id, deed, made: false, answered: false });
                OpenedTool { step, name: call.name.clone(), call_id: call.id.clone() }
            })
            .collect()
    }
}

impl Outcome {
    /// Why the call failed, if it did. An answer that was read to its end did not, whatever became
    /// of the connection after it.
    #[must_use]
    pub fn fault(&self) -> Option<RetryReason> {
        match (self.status, self.failure) {
            (Some(408), _) => Some(RetryReason::Timeout),
            (Some(429), _) => Some(RetryReason::RateLimit),
            (Some(401 | 403), _) => Some(RetryReason::Auth),
            (Some(500..), _) => Some(RetryReason::Overloaded),
            (Some(400..), _) => Some(RetryReason::Rejected),
            _ if self.answer.complete => None,
            (None, Some(Failure::ClientGone)) => Some(RetryReason::Timeout),
            (_, Some(Failure::Truncated)) => Some(RetryReason::StreamTruncated),
            (_, Some(Failure::ClientGone)) => Some(RetryReason::ClientAbort),
            (_, Some(Failure::ConnReset)) | (None, None) => Some(RetryReason::ConnReset),
            // It came to its end and was not understood.
            (Some(_), None) => None,
        }
    }
}

/// Where a workflow stands of which nothing but this end is known.
fn alone(fault: Option<RetryReason>, tools: &[OpenedTool]) -> State {
    match fault {
        Some(_) => State::Failed,
        None if tools.is_empty() => State::Done,
        None => State::Active,
    }
}

#[cfg(test)]
mod tests;
