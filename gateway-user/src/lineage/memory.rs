//! What lineage remembers of one agent: steps, and the indexes that lead to them.

use std::{collections::VecDeque, num::NonZero};

use crate::{
    call::{SpreadMap, State, StepId, Timestamp, WorkflowId},
    limits,
};

use super::{
    index::Index,
    known::{Ended, Flow, Known, Phase},
    late::Awaited,
    resolve::{self, Returned},
    starts::Starts,
    values::Flowing,
};

/// The number of a model step in the order of placement, from 0. It is never given twice.
pub(super) type Seq = u64;

/// The model steps of an agent that are remembered, oldest first, each index that leads to them,
/// and the workflows that they belong to. A step that is forgotten leaves every index, and a
/// workflow goes with its last step, so the steps' bounds hold everything.
#[derive(Debug)]
pub(super) struct Memory {
    /// In boxes, since room for more of them is as much again.
    steps: VecDeque<Box<Known>>,
    /// The number of the first of `steps`.
    oldest: Seq,
    by_id: Index,
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
    /// By how a value in it begins.
    pub(super) passed: Index,
    pub(super) starts: Starts,
    /// By an answer to it, alone.
    pub(super) said: Index,
    /// Those that wait to be told from where they go on, by the history up to its last answer.
    pub(super) awaiting: Index,
    /// By the trace that its client said it is in.
    pub(super) traced: Index,
    flows: SpreadMap<WorkflowId, Flow>,
    /// When something was asked last of which next to nothing was to come.
    probed_at: Option<Timestamp>,
    held: Held,
    /// The most steps, and the most chains, tool calls and parents that all steps together hold, and
    /// for each a few values.
    bound: usize,
    evicted: u64,
}

impl Memory {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            steps: VecDeque::new(),
            oldest: 0,
            by_id: Index::default(),
            asked: Index::default(),
            answered: Index::default(),
            called: Index::default(),
            opened: Index::default(),
            named: Index::default(),
            passed: Index::default(),
            starts: Starts::default(),
            said: Index::default(),
            awaiting: Index::default(),
            traced: Index::default(),
            flows: SpreadMap::default(),
            probed_at: None,
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
    pub(super) fn size(&mut self) -> [usize; 12] {
        let Self { by_id, asked, answered, called, opened, named, passed, said, .. } = self;
        let (awaiting, traced) = (&mut self.awaiting, &mut self.traced);
        let indexes =
            [by_id, asked, answered, called, opened, named, passed, said, awaiting, traced];
        let mut sizes = [0; 12];
        let own = [self.steps.len(), self.flows.len()];
        let all = own.into_iter().chain(indexes.map(Index::size));
        sizes.iter_mut().zip(all).for_each(|(size, it)| *size = it);
        sizes
    }

    pub(super) fn find(&self, id: StepId) -> Option<Seq> {
        self.by_id.get(id.0.into()).find(|&seq| self.step(seq).is_some_and(|step| step.id == id))
    }

    /// Whether something may have been asked lately only to prepare what comes: seldom.
    pub(super) fn was_probed(&self, at: Timestamp) -> bool {
        self.probed_at.is_some_and(|probed| at.since(probed).0 <= resolve::ABANDONED_MICROS)
    }

    /// The steps that something happened to in that time, newest first, as far as none is older.
    pub(super) fn lately(&self, at: Timestamp, micros: u64) -> impl Iterator<Item = Seq> {
        let steps =
            (0..self.next()).rev().zip(self.steps.iter().rev()).take(limits::LINEAGE_CANDIDATES);
        steps.take_while(move |(_, step)| at.since(step.at).0 <= micros).map(|(seq, _)| seq)
    }

    /// The number that the next step will have.
    pub(super) fn next(&self) -> Seq {
        self.oldest + self.steps.len() as u64
    }

    /// All steps, the oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Known> {
        self.steps.iter().map(Box::as_ref)
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = (&WorkflowId, &Flow)> {
        self.flows.iter()
    }

    pub(super) fn step(&self, seq: Seq) -> Option<&Known> {
        self.steps.get(self.offset(seq)?).map(Box::as_ref)
    }

    pub(super) fn step_mut(&mut self, seq: Seq) -> Option<&mut Known> {
        let offset = self.offset(seq)?;
        self.steps.get_mut(offset).map(Box::as_mut)
    }

    pub(super) fn flow(&self, id: WorkflowId) -> Option<&Flow> {
        self.flows.get(&id)
    }

    /// Where the workflow stands; done, if nothing is known of it.
    pub(super) fn state(&self, id: WorkflowId) -> State {
        self.flows.get(&id).map_or(State::Done, Flow::state)
    }

    /// Remembers a step that starts. `flow` is its workflow's, for the case that this is the first.
    pub(super) fn start(&mut self, mut step: Known, flow: Flow) {
        step.values.shrink_to_fit();
        let seq = self.next();
        let flow = self.flows.entry(step.workflow).or_insert(flow);
        flow.steps += 1;
        flow.running += 1;
        flow.seen = flow.seen.max(step.at);
        if step.probes {
            self.probed_at = self.probed_at.max(Some(step.at));
        }
        self.evicted += self.by_id.insert(step.id.0.into(), seq);
        self.evicted += self.asked.insert(step.asked, seq);
        if let Some(name) = step.conversation {
            self.evicted += self.named.insert(name.get(), seq);
        }
        self.pass(&step.values, seq);
        if let Some(awaited) = &step.awaited {
            self.evicted += self.awaiting.insert(awaited.answer, seq);
        }
        if let Some(trace) = step.trace {
            self.evicted += self.traced.insert(trace.get().into(), seq);
        }
        self.held.values += step.values.len();
        self.held.parents += step.parents.len();
        self.steps.push_back(Box::new(step));
        self.make_room();
    }

    /// Ends a step that is in flight.
    pub(super) fn end(&mut self, seq: Seq, at: Timestamp, phase: Phase, answer: Ended) {
        let Some(offset) = self.offset(seq) else { return };
        let Some(step) = self.steps.get_mut(offset) else { return };
        step.phase = phase;
        step.at = step.at.max(at);
        step.answered = answer.first.and_then(NonZero::new);
        step.others = answer.others;
        step.tools = answer.tools;
        step.response = answer.response.and_then(NonZero::new);
        step.said = answer.said.and_then(NonZero::new);
        self.held.values += answer.values.len();
        step.values.reserve_exact(answer.values.len());
        step.values.extend(&answer.values);
        if let Some(said) = step.said {
            self.evicted += self.said.insert(said.get(), seq);
        }
        if let Some(name) = step.response {
            self.evicted += self.named.insert(name.get(), seq);
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
            flow.seen = flow.seen.max(step.at);
        }
        self.pass(&answer.values, seq);
        self.make_room();
    }

    /// The step says these.
    fn pass(&mut self, values: &[Flowing], seq: Seq) {
        let next = self.next();
        for flowing in values {
            self.evicted += self.passed.insert(flowing.key(), seq);
            self.starts.note(flowing.value.start(), next, self.bound);
        }
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

    /// The tool steps of this one that have these results, and those of them that had none before.
    pub(super) fn answer(&mut self, seq: Seq, results: &[Returned]) -> (Vec<StepId>, Vec<StepId>) {
        let (mut parents, mut answered) = (Vec::new(), Vec::new());
        let Some(step) = self.step_mut(seq) else { return (parents, answered) };
        for result in results {
            let Some(call) = step.tools.get_mut(result.call) else { continue };
            parents.push(call.step);
            if !call.answered {
                call.answered = true;
                answered.push(call.step);
            }
        }
        (parents, answered)
    }

    /// What the step waited for has come.
    pub(super) fn no_longer_awaits(&mut self, seq: Seq) -> Option<Box<Awaited>> {
        let awaited = self.step_mut(seq)?.awaited.take()?;
        self.evicted += self.awaiting.remove(awaited.answer, seq);
        Some(awaited)
    }

    pub(super) fn reparent(&mut self, seq: Seq, parents: Vec<StepId>) {
        let Some(offset) = self.offset(seq) else { return };
        let Some(step) = self.steps.get_mut(offset) else { return };
        self.held.parents += parents.len();
        self.held.parents -= step.parents.len();
        step.parents = parents;
    }

    /// The step belongs to that workflow, which is as given if it was not there before.
    pub(super) fn relocate(&mut self, seq: Seq, workflow: WorkflowId, flow: Flow) {
        let Some(offset) = self.offset(seq) else { return };
        let Some(step) = self.steps.get_mut(offset) else { return };
        if step.workflow == workflow {
            return;
        }
        let was = std::mem::replace(&mut step.workflow, workflow);
        let running = usize::from(step.phase == Phase::InFlight);
        let waiting = usize::from(step.is_waiting());
        let at = step.at;
        let flow = self.flows.entry(workflow).or_insert(flow);
        flow.steps += 1;
        flow.running += running;
        flow.waiting += waiting;
        flow.seen = flow.seen.max(at);
        self.leave(was, running, waiting);
    }

    /// A step leaves its workflow.
    fn leave(&mut self, workflow: WorkflowId, running: usize, waiting: usize) {
        if let Some(flow) = self.flows.get_mut(&workflow) {
            flow.steps -= 1;
            flow.running -= running;
            flow.waiting -= waiting;
            if flow.steps == 0 {
                self.flows.remove(&workflow);
            }
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
        self.evicted += self.by_id.remove(step.id.0.into(), seq);
        self.evicted += self.asked.remove(step.asked, seq);
        for name in step.conversation.into_iter().chain(step.response) {
            self.evicted += self.named.remove(name.get(), seq);
        }
        for chain in step.chains() {
            self.evicted += self.answered.remove(chain, seq);
        }
        for id in step.tools.iter().filter_map(|call| call.id) {
            self.evicted += self.called.remove(id, seq);
        }
        for call in &step.tools {
            self.evicted += self.opened.remove(call.deed, seq);
        }
        for value in &step.values {
            self.evicted += self.passed.remove(value.key(), seq);
        }
        if let Some(said) = step.said {
            self.evicted += self.said.remove(said.get(), seq);
        }
        if let Some(awaited) = &step.awaited {
            self.evicted += self.awaiting.remove(awaited.answer, seq);
        }
        if let Some(trace) = step.trace {
            self.evicted += self.traced.remove(trace.get().into(), seq);
        }
        self.held.values -= step.values.len();
        self.held.parents -= step.parents.len();
        self.held.chains -= step.chains().count();
        self.held.calls -= step.tools.len();
        // What ends after it was forgotten can't be told any more.
        let running = usize::from(step.phase == Phase::InFlight);
        self.leave(step.workflow, running, usize::from(step.is_waiting()));
    }
}

/// How much the steps hold, all together.
#[derive(Debug, Default)]
struct Held {
    parents: usize,
    chains: usize,
    calls: usize,
    values: usize,
}

impl Held {
    fn most(&self) -> usize {
        self.parents.max(self.chains).max(self.calls).max(self.values / VALUES_PER_STEP)
    }
}

/// Values that a step has on average, at most.
const VALUES_PER_STEP: usize = 4;
