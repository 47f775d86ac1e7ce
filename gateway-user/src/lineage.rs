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
//! - A new conversation that begins with what a **tool call** says is a sub-agent's, under that tool
//!   step; one that begins with what another step **answered** follows it; one that quotes the
//!   **user** of a running workflow under other instructions stands beside it.
//! - What comes late corrects what was said before: see [`Correction`].
//! - A call that no value leads to, of a **process** that carries out a tool call, or that such a process
//!   has started, follows that tool step.
//! - A plain HTTP request for a **URL** that a tool call names is that tool step; any other is none.
//! - Where several steps could be meant, the one counts whose client named the same **trace**; alone, a
//!   trace leads only to the one workflow that has it, while that is under way.
//! - A call that nothing leads to opens a workflow: of the session that its client **names**, if it
//!   names one that is known.
//! - Shared instructions or a shared first question alone never link two calls.
//!
//! `docs/lineage.md` lists the evidence, how sure each is, and the kinds of steps.

mod anchor;
mod counting;
mod fetches;
mod history;
mod ids;
mod index;
mod known;
mod late;
mod manners;
mod memory;
mod place;
mod processes;
mod recent;
mod remains;
mod reports;
mod resolve;
mod returned;
mod servers;
mod sessions;
mod starts;
mod tools;
mod traces;
mod values;

use std::{iter::Sum, num::NonZero};

use crate::{
    call::{
        Answer, Confidence, Evidence, Prompt, Retry, RetryReason, SessionId, State, StepId,
        StepKind, Timestamp, TraceId, WorkflowId,
    },
    limits,
};

use anchor::Anchored;
use counting::Counting;
use fetches::Fetches;
use history::{Chain, History};
use ids::Ids;
use known::{Call, Ended, Flow, Known, Phase};
use late::Awaited;
use manners::Manners;
use memory::Memory;
use place::{First, Put};
use processes::Processes;
use servers::ServerSessions;
use sessions::{Opened, Sessions};
use values::Flowing;

pub use late::{Change, Correction, Replaced};
pub use processes::{Stage, ToolRun};
pub use remains::Remains;
pub use returned::Starter;

/// The calls of one agent. Remembers the last [`limits::LINEAGE_ENTRIES`] model steps, fewer if
/// they call many tools; a call that goes on from one that is forgotten opens a new workflow.
#[derive(Debug)]
pub struct Lineage {
    ids: Ids,
    /// Where each chain starts, and what hashes of what is said are made under.
    salt: Chain,
    memory: Memory,
    sessions: Sessions,
    servers: ServerSessions,
    counting: Counting,
    manners: Manners,
    processes: Processes,
    fetches: Fetches,
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
    /// How deep in sub-agents it is made: 1 outside of them.
    pub depth: u16,
    /// If it begins a sub-agent's conversation: which of those that the same step has started, from 1.
    pub sub_plan: Option<u16>,
    /// The tool call that has started the conversation which it is in, if it surely was that one.
    pub under: Option<Starter>,
    /// [`StepKind::Planner`], until the answer is known, or [`StepKind::Tool`].
    pub kind: StepKind,
    pub confidence: Confidence,
    pub evidence: Vec<Evidence>,
    pub retry: Option<Retry>,
    /// Tries before it that may have had effects: they were not refused, and did not end before
    /// anything came of them.
    pub spent_tries: u32,
    /// Tool steps whose results came with this call, for the first time.
    pub answered: Vec<StepId>,
    /// What earlier placements are to be corrected by.
    pub corrections: Vec<Correction>,
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
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// [`StepKind::Planner`] if it calls tools or its answer is not known, [`StepKind::Final`] if
    /// it is text only, [`StepKind::Utility`] if it only prepares the provider's cache.
    pub kind: StepKind,
    /// The tool steps that the answer opens, each with the model step as its parent.
    pub tools: Vec<OpenedTool>,
    /// Where the workflow stands after it.
    pub state: State,
    /// What earlier placements are to be corrected by.
    pub corrections: Vec<Correction>,
    /// The tool steps that processes carry out already, or have.
    pub runs: Vec<ToolRun>,
}

impl Completion {
    /// One that opens nothing, and after which nothing is seen otherwise.
    const fn of(kind: StepKind, state: State) -> Self {
        Self { kind, tools: Vec::new(), state, corrections: Vec::new(), runs: Vec::new() }
    }
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
    /// Steps, steps in index entries, names of sessions, kinds of agents, and tool calls that name URLs,
    /// that were forgotten to make room.
    pub evicted: u64,
    /// Processes, and tool calls that wait for some, that were forgotten while they mattered.
    pub processes_evicted: u64,
    /// Calls that ended after they had been forgotten, or for the second time.
    pub late: u64,
}

impl Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            evicted: sum.evicted + one.evicted,
            processes_evicted: sum.processes_evicted + one.processes_evicted,
            late: sum.late + one.late,
        })
    }
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
        Self {
            ids,
            salt,
            memory: Memory::new(bound),
            sessions: Sessions::default(),
            servers: ServerSessions::default(),
            counting: Counting::default(),
            manners: Manners::default(),
            processes: Processes::default(),
            fetches: Fetches::default(),
            late: 0,
        }
    }

    /// A model call has been asked: says where it belongs.
    pub fn place(&mut self, at: Timestamp, prompt: &Prompt) -> Placement {
        self.place_of(None, at, prompt)
    }

    /// As [`place`](Self::place), where it is known which process has asked.
    pub fn place_of(&mut self, pid: Option<u32>, at: Timestamp, prompt: &Prompt) -> Placement {
        let anchored = Anchored::find(&self.memory, prompt);
        let start = anchored.map_or(self.salt, |it| it.chain(&self.memory, self.salt));
        let mut history = History::new(self.salt, start, &prompt.messages);
        if history.instructions == 0 {
            // What a server keeps of a conversation may hold them.
            let kept = anchored.and_then(|it| self.memory.step(it.step?));
            history.instructions = kept.map_or(0, |step| step.instructions);
        }
        #[allow(clippy::cast_possible_truncation, reason = "a hash")]
        let tools = prompt.tools_hash.unwrap_or(0) as u64;
        history.kind = history.instructions.rotate_left(1) ^ tools;
        history.trace = traces::named(&prompt.terms.signals);
        let model = resolve::hash_model(prompt);
        let kept = anchored.and_then(|it| it.step);
        let counts = self.counting.note(prompt, &history);
        let again = self.memory.repeated(at, prompt, (&history, kept), counts);
        let may_repeat = |step| self.memory.step(step).is_some_and(|it| it.may_be_repeated_by(pid));
        let again = again.filter(|repeat| may_repeat(repeat.step));
        let put = again.and_then(|repeat| self.put_again(&repeat, model, &history));
        let put = put.or_else(|| {
            let kept = anchored.and_then(|it| it.link(&self.memory));
            let link = kept.or_else(|| self.memory.link(at, &history))?;
            let speaks = history.user_speaks_after(link.covers);
            let forked = if speaks { self.memory.passed_to_fork(at, prompt, &link) } else { None };
            forked
                .and_then(|passed| self.put_fork(&passed, &history))
                .or_else(|| self.put_after(&link, prompt, &history))
        });
        let begun_elsewhere = anchored.is_some() || history.last_answer().is_some();
        let signals = &prompt.terms.signals;
        let mut put = put.unwrap_or_else(|| {
            let named = self.sessions.find(signals);
            let history = &history;
            self.put_first(&First { at, prompt, history, begun_elsewhere, named, pid })
        });
        (put.placement.depth, put.placement.sub_plan) = self.nesting(&put);
        put.placement.under = self.starter(put.under, put.sure);
        let place = &put.placement;
        self.sessions.note(signals, Opened { session: place.session, by: place.step });
        self.processes.settle(&place.answered);
        self.fetches.settle(&place.answered);
        let known = Known {
            pid,
            instructions: history.instructions,
            kind: history.kind,
            trace: history.trace,
            asked: history.whole(),
            conversation: anchored.and_then(|it| it.conversation()).and_then(NonZero::new),
            awaited: Awaited::of(&history, put.covers),
            values: if place.parents.is_empty() { Flowing::asked(prompt) } else { Vec::new() },
            ..Known::new(at, prompt, &put)
        };
        put.placement.kind = known.step_kind();
        self.memory.start(known, Flow::new(put.placement.session, put.placement.trace));
        put.placement
    }

    /// How deep in sub-agents a call that is put there is made, and which sub-agent it begins, if it does.
    fn nesting(&self, put: &Put) -> (u16, Option<u16>) {
        let Some((seq, at)) = put.under else { return (1, None) };
        // What has been forgotten was one level at least.
        let Some(starter) = self.memory.step(seq) else { return (2, None) };
        let this = self.memory.next();
        let begins = starter
            .tools
            .get(usize::from(at))
            .is_some_and(|call| call.started.is_some_and(|started| started.first == this));
        let count = starter.tools.iter().filter(|call| call.started.is_some()).count();
        let sub_plan = begins.then(|| u16::try_from(count).unwrap_or(u16::MAX));
        (starter.depth.saturating_add(1), sub_plan)
    }

    /// A placed call's answer has ended, or failed.
    pub fn finish(&mut self, step: StepId, at: Timestamp, outcome: &Outcome) -> Completion {
        let found = self.memory.find(step).and_then(|seq| Some((seq, self.memory.step(seq)?)));
        let running = found.filter(|(_, known)| known.phase == Phase::InFlight);
        let fault = outcome.fault();
        let mut ended = Ended::default();
        let tools = if fault.is_none() {
            self.ids.open(self.salt, outcome, &mut ended)
        } else {
            Vec::new()
        };
        let is_final = outcome.answer.complete && tools.is_empty();
        let phase = fault.map_or(Phase::Answered { is_final }, Phase::Failed);
        let Some((seq, known)) = running else {
            self.late += 1;
            let state = found.map(|(_, known)| self.memory.state(known.workflow));
            let tools = if found.is_some() { Vec::new() } else { tools };
            let state = state.unwrap_or_else(|| alone(fault, &tools));
            let kind = if phase == LAST { StepKind::Final } else { StepKind::Planner };
            return Completion { tools, ..Completion::of(kind, state) };
        };
        let choices = outcome.answer.choices.iter().take(limits::CHOICES_PER_ANSWER);
        let mut chains = choices.map(|choice| history::extend(known.asked, choice));
        ended.first = chains.next();
        ended.others = chains.collect();
        ended.response = outcome.answer.response_id.as_deref().map(anchor::response);
        if fault.is_none() {
            ended.said = outcome.answer.choices.first().map(|it| history::extend(self.salt, it));
            ended.values.extend(Flowing::answered(&outcome.answer));
        }
        let (workflow, under) = (known.workflow, known.stands_under());
        let waiting = processes::waiting(known, at, &tools, outcome);
        self.fetches.expect(at, fetches::naming(known, at, &tools, outcome));
        self.memory.end(seq, at, phase, ended);
        if let Some(under) = under.filter(|_| phase == LAST) {
            let said = outcome.answer.choices.first().and_then(|choice| choice.content);
            self.note_answer(under, step, said);
        }
        // The step itself may have had to make room, and its workflow with it.
        let Some(kind) = self.memory.step(seq).map(Known::step_kind) else {
            let kind = if phase == LAST { StepKind::Final } else { StepKind::Planner };
            let state = alone(fault, &tools);
            return Completion { tools, ..Completion::of(kind, state) };
        };
        let corrections = self.correct_after(seq);
        let runs = self.expect(waiting);
        Completion { kind, tools, state: self.memory.state(workflow), corrections, runs }
    }

    /// Of sessions, servers, kinds of agents and tool calls that name URLs.
    const fn learnt_and_forgotten(&self) -> u64 {
        let sessions = self.sessions.evicted() + self.servers.evicted();
        self.fetches.evicted() + sessions + self.counting.evicted() + self.manners.evicted()
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            evicted: self.memory.evicted() + self.learnt_and_forgotten(),
            processes_evicted: self.processes.evicted(),
            late: self.late,
        }
    }
}

impl Ids {
    /// A step for each tool call of the answer; what each is found by goes to `ended`.
    fn open(&mut self, salt: Chain, outcome: &Outcome, ended: &mut Ended) -> Vec<OpenedTool> {
        let calls = outcome.answer.tool_calls.iter().take(limits::TOOL_CALLS_PER_ANSWER);
        ended.tools.reserve_exact(calls.len());
        calls
            .map(|call| {
                let step = self.step();
                let id = call.id.as_deref().map(resolve::hash_id);
                let deed = tools::deed(salt, &call.name, call.arguments);
                ended.tools.push(Call::new(step, id, deed));
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

/// Of a step after which there is no more to be done.
const LAST: Phase = Phase::Answered { is_final: true };

#[cfg(test)]
mod tests;
