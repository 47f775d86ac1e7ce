//! What lineage remembers of one agent: steps, and the indexes that lead to them.

use std::collections::{VecDeque, hash_map::Entry};

use crate::{
    call::{RetryReason, SessionId, SpreadMap, State, StepId, Timestamp, TraceId, WorkflowId},
    limits,
};

use super::{anchor::ServerName, history::Chain, tools::Deed};

/// The number of a model step in the order of placement, from 0. It is never given twice.
pub(super) type Seq = u64;

/// The model steps of an agent that are remembered, oldest first, each index that leads to them,
/// and the workflows that they belong to. A step that is forgotten leaves every index, and a
/// workflow goes with its last step, so the steps' bounds hold everything.
#[derive(Debug)]
pub(super) struct Memory {
    steps: VecDeque<Known>,
    /// The number of the first of `steps`.
    oldest: Seq,
    by_id: SpreadMap<StepId, Seq>,
    /// By the history that was sent.
    pub(super) asked: Index,
    /// By that history and the answer to it, as a client would send it back.
    pub(super) answered: Index,
    /// By the id of a tool call that the step emitted, hashed.
    pub(super) called: Index,
    /// By what such a call does.
    pub(super) opened: Index,
    /// By what a server calls it: the response, or the conversation that the step is in.
    pub(super) named: Index,
    flows: SpreadMap<WorkflowId, Flow>,
    held: Held,
    /// The most steps, and the most chains, tool calls and parents that all steps together hold.
    bound: usize,
    evicted: u64,
}

/// What lineage knows of a model step.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: StepId,
    pub(super) workflow: WorkflowId,
    pub(super) parents: Vec<StepId>,
    /// Which model was asked, hashed.
    pub(super) model: Option<u64>,
    pub(super) asked: Chain,
    pub(super) conversation: Option<ServerName>,
    pub(super) response: Option<ServerName>,
    /// Of the first choice.
    pub(super) answered: Option<Chain>,
    /// Of each other one: nearly always none, which needs no memory.
    pub(super) others: Vec<Chain>,
    pub(super) tools: Vec<Call>,
    pub(super) phase: Phase,
    /// Whether nothing was to be generated.
    pub(super) prewarms: bool,
    /// When it was asked, then when it ended.
    pub(super) at: Timestamp,
    /// How often the client said that it had sent this before.
    pub(super) client_retry: u32,
    /// The try that this one repeats, in the end.
    pub(super) first_try: Option<StepId>,
    /// How many tries came before.
    pub(super) attempt: u32,
    /// Whether a later call repeats this one.
    pub(super) retried: bool,
    /// Whether a later call goes on from its answer.
    pub(super) continued: bool,
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
}

/// Where a model step stands.
///
/// ```text
/// InFlight ──answer──→ Answered
///     └────fault─────→ Failed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    running: usize,
    /// Steps whose tool calls wait for their results.
    waiting: usize,
    /// Whether the call that ended last failed.
    failed: bool,
    /// Steps remembered.
    steps: usize,
}

impl Flow {
    pub(super) fn new(session: SessionId, trace: TraceId) -> Self {
        Self { session, trace, running: 0, waiting: 0, failed: false, steps: 0 }
    }

    fn state(&self) -> State {
        match (self.running + self.waiting, self.failed) {
            (0, false) => State::Done,
            (0, true) => State::Failed,
            _ => State::Active,
        }
    }
}

impl Known {
    /// One for each choice.
    fn chains(&self) -> impl Iterator<Item = Chain> + '_ {
        self.answered.into_iter().chain(self.others.iter().copied())
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

    pub(super) fn is_final(&self) -> bool {
        self.phase == Phase::Answered { is_final: true }
    }
}

impl Memory {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            steps: VecDeque::new(),
            oldest: 0,
            by_id: SpreadMap::default(),
            asked: Index::default(),
            answered: Index::default(),
            called: Index::default(),
            opened: Index::default(),
            named: Index::default(),
            flows: SpreadMap::default(),
            held: Held::default(),
            bound,
            evicted: 0,
        }
    }

    /// Steps, and steps in index entries, that were forgotten to make room.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> [usize; 8] {
        let Self { asked, answered, called, opened, named, .. } = self;
        let [asked, answered, called, opened, named] =
            [asked, answered, called, opened, named].map(|index| index.0.len());
        let [steps, ids, flows] = [self.steps.len(), self.by_id.len(), self.flows.len()];
        [steps, ids, flows, asked, answered, called, opened, named]
    }

    pub(super) fn find(&self, id: StepId) -> Option<Seq> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn step(&self, seq: Seq) -> Option<&Known> {
        self.steps.get(self.offset(seq)?)
    }

    pub(super) fn step_mut(&mut self, seq: Seq) -> Option<&mut Known> {
        let offset = self.offset(seq)?;
        self.steps.get_mut(offset)
    }

    pub(super) fn flow(&self, id: WorkflowId) -> Option<&Flow> {
        self.flows.get(&id)
    }

    /// Where the workflow stands; done, if nothing is known of it.
    pub(super) fn state(&self, id: WorkflowId) -> State {
        self.flows.get(&id).map_or(State::Done, Flow::state)
    }

    /// Remembers a step that starts. `flow` is its workflow's, for the case that this is the first.
    pub(super) fn start(&mut self, step: Known, flow: Flow) {
        let seq = self.oldest + self.steps.len() as u64;
        let flow = self.flows.entry(step.workflow).or_insert(flow);
        flow.steps += 1;
        flow.running += 1;
        self.by_id.insert(step.id, seq);
        self.evicted += self.asked.insert(step.asked, seq);
        if let Some(name) = step.conversation {
            self.evicted += self.named.insert(name, seq);
        }
        self.held.parents += step.parents.len();
        self.steps.push_back(step);
        self.make_room();
    }

    /// Ends a step that is in flight.
    pub(super) fn end(&mut self, seq: Seq, at: Timestamp, phase: Phase, answer: Ended) {
        let Some(offset) = self.offset(seq) else { return };
        let Some(step) = self.steps.get_mut(offset) else { return };
        step.phase = phase;
        step.at = step.at.max(at);
        step.answered = answer.first;
        step.others = answer.others;
        step.tools = answer.tools;
        step.response = answer.response;
        if let Some(name) = step.response {
            self.evicted += self.named.insert(name, seq);
        }
        for chain in step.chains() {
            self.evicted += self.answered.insert(chain, seq);
        }
        for id in step.tools.iter().filter_map(|call| call.id) {
            self.evicted += self.called.insert(id, seq);
        }
        for call in &step.tools {
            self.evicted += self.opened.insert(call.deed, seq);
        }
        self.held.chains += step.chains().count();
        self.held.calls += step.tools.len();
        if let Some(flow) = self.flows.get_mut(&step.workflow) {
            flow.running = flow.running.saturating_sub(1);
            flow.waiting += usize::from(step.is_waiting());
            flow.failed = matches!(phase, Phase::Failed(_));
        }
        self.make_room();
    }

    /// Notes that a later call goes on from this step's answer, or from the step without one.
    pub(super) fn go_on(&mut self, seq: Seq) {
        let Some(offset) = self.offset(seq) else { return };
        let Some(step) = self.steps.get_mut(offset) else { return };
        let was_waiting = step.is_waiting();
        step.continued = true;
        if was_waiting && let Some(flow) = self.flows.get_mut(&step.workflow) {
            flow.waiting = flow.waiting.saturating_sub(1);
        }
    }

    fn offset(&self, seq: Seq) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.oldest)?).ok()
    }

    fn make_room(&mut self) {
        while self.steps.len() > self.bound || self.held.most() > self.bound {
            let Some(step) = self.steps.pop_front() else { return };
            self.forget(&step);
            self.oldest += 1;
            self.evicted += 1;
        }
    }

    /// Removes the oldest step, which has left `steps`, from everything that leads to it.
    fn forget(&mut self, step: &Known) {
        let seq = self.oldest;
        self.by_id.remove(&step.id);
        self.asked.remove(step.asked, seq);
        for name in step.conversation.into_iter().chain(step.response) {
            self.named.remove(name, seq);
        }
        for chain in step.chains() {
            self.answered.remove(chain, seq);
        }
        for id in step.tools.iter().filter_map(|call| call.id) {
            self.called.remove(id, seq);
        }
        for call in &step.tools {
            self.opened.remove(call.deed, seq);
        }
        self.held.parents -= step.parents.len();
        self.held.chains -= step.chains().count();
        self.held.calls -= step.tools.len();
        if let Some(flow) = self.flows.get_mut(&step.workflow) {
            flow.steps -= 1;
            // What ends after it was forgotten can't be told any more.
            flow.running -= usize::from(step.phase == Phase::InFlight);
            flow.waiting -= usize::from(step.is_waiting());
            if flow.steps == 0 {
                self.flows.remove(&step.workflow);
            }
        }
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
}

/// How much the steps hold, all together.
#[derive(Debug, Default)]
struct Held {
    parents: usize,
    chains: usize,
    calls: usize,
}

impl Held {
    fn most(&self) -> usize {
        self.parents.max(self.chains).max(self.calls)
    }
}

/// Steps by something that they have in common, oldest first.
#[derive(Debug, Default)]
pub(super) struct Index(SpreadMap<u128, Candidates>);

/// The steps of one entry: nearly always one, which needs no memory of its own.
#[derive(Debug)]
enum Candidates {
    One(Seq),
    /// In a box, since it is rare and every entry has its size.
    #[allow(clippy::box_collection, reason = "an entry is smaller by half")]
    Many(Box<VecDeque<Seq>>),
}

impl Index {
    pub(super) fn get(&self, key: u128) -> impl DoubleEndedIterator<Item = Seq> + Clone {
        let (one, many) = match self.0.get(&key) {
            None => (None, None),
            Some(Candidates::One(seq)) => (Some(*seq), None),
            Some(Candidates::Many(steps)) => (None, Some(steps)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|steps| steps.iter().copied()))
    }

    /// How many steps had to make room.
    fn insert(&mut self, key: u128, seq: Seq) -> u64 {
        match self.0.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Candidates::One(seq));
                0
            }
            Entry::Occupied(mut occupied) => occupied.get_mut().add(seq),
        }
    }

    fn remove(&mut self, key: u128, seq: Seq) {
        let Entry::Occupied(mut entry) = self.0.entry(key) else { return };
        if entry.get_mut().take(seq) {
            entry.remove();
        }
    }
}

impl Candidates {
    /// How many steps had to make room.
    fn add(&mut self, seq: Seq) -> u64 {
        match self {
            Self::One(one) if *one == seq => {}
            Self::One(one) => *self = Self::Many(Box::new(VecDeque::from([*one, seq]))),
            Self::Many(steps) => {
                if steps.back() != Some(&seq) {
                    steps.push_back(seq);
                }
                if steps.len() > limits::LINEAGE_CANDIDATES {
                    steps.pop_front();
                    return 1;
                }
            }
        }
        0
    }

    /// Takes the step out. Whether none is left.
    fn take(&mut self, seq: Seq) -> bool {
        match self {
            Self::One(one) => *one == seq,
            Self::Many(steps) => {
                // Nearly always the first, since the oldest step is forgotten first.
                if let Some(at) = steps.iter().position(|&other| other == seq) {
                    steps.remove(at);
                }
                steps.is_empty()
            }
        }
    }
}
