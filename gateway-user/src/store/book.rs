//! The workflows of one agent.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    call::{
        AgentRef, CallKind, CancelRequest, Settlement, SideEffects, Spent, SpreadMap, State, Step,
        StepId, Timestamp, Workflow, WorkflowId, WorkflowSummary,
    },
    limits,
    lineage::{Change, Completion, Correction, Placement, ToolRun},
};

use super::{
    Counters, Filter,
    entry::{Entry, carry_out, end, tool_step},
};

/// One agent's workflows. The one idle for longest makes room.
#[derive(Debug)]
pub(super) struct Book {
    /// As it was last named: workflows share it.
    agent: Option<Arc<AgentRef>>,
    /// In boxes: the map moves what it holds.
    entries: SpreadMap<WorkflowId, Box<Entry>>,
    /// Workflows that turned out to be parts of others.
    merged: Merged,
    idle: Idle,
    /// Steps kept, over all workflows.
    steps: usize,
    bounds: Bounds,
    counters: Counters,
}

/// How much one agent may keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) workflows: usize,
    pub(super) steps_per_workflow: usize,
    pub(super) steps: usize,
}

/// The workflows in the order in which they were touched. A workflow that is touched again stays in
/// its old places too, until they come to the front or are swept out.
#[derive(Debug, Default)]
struct Idle {
    touched: VecDeque<(u64, WorkflowId)>,
    turn: u64,
}

/// Which workflow each one was merged into, oldest first.
#[derive(Debug, Default)]
struct Merged {
    into: SpreadMap<WorkflowId, WorkflowId>,
    order: VecDeque<WorkflowId>,
}

impl Book {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            agent: None,
            entries: SpreadMap::default(),
            merged: Merged::default(),
            idle: Idle::default(),
            steps: 0,
            bounds,
            counters: Counters::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn ids(
        &self,
        low: WorkflowId,
        high: WorkflowId,
    ) -> impl Iterator<Item = WorkflowId> {
        let own = self.entries.keys().copied();
        let all = own.chain(self.merged.kept(&self.entries));
        all.filter(move |id| (low..=high).contains(id))
    }

    pub(super) fn summaries(&self, filter: &Filter) -> impl Iterator<Item = WorkflowSummary> {
        let wanted = self.entries.values().filter(|entry| {
            filter.session.is_none_or(|session| session == entry.session)
                && filter.state.is_none_or(|state| state == entry.state)
        });
        wanted.map(|entry| entry.summary())
    }

    /// A copy, with the steps in the order in which they started.
    pub(super) fn workflow(&self, id: WorkflowId) -> Option<Workflow> {
        let entry = self.entries.get(&self.merged.whole(id))?;
        let mut steps = entry.steps.clone();
        steps.sort_by_key(|step| step.started_at);
        SideEffects::tell(&mut steps);
        Some(Workflow { summary: entry.summary(), steps })
    }

    pub(super) fn place(
        &mut self,
        agent: &AgentRef,
        placement: &Placement,
        step: Step,
        wish_hmac: Option<String>,
    ) {
        let at = step.started_at;
        let agent = self.agent(agent);
        // Also for a workflow that had made room and goes on: its rest is better than nothing.
        let entry = self
            .entries
            .entry(placement.workflow)
            .or_insert_with(|| Box::new(Entry::new(agent, placement, at, wish_hmac)));
        for id in &placement.answered {
            entry.end_tool(*id, at);
        }
        match step.call {
            CallKind::Model => entry.totals.model_calls += 1,
            // What a model emitted was counted then.
            CallKind::Tool if placement.opens_workflow => entry.totals.tool_calls += 1,
            CallKind::Tool | CallKind::Other => {}
        }
        entry.change(at, State::Active);
        let (kept, dropped) = if let Some(opened) = entry.find_mut(step.step_id) {
            carry_out(opened, step);
            (0, 0)
        } else if entry.add(step, self.bounds.steps_per_workflow) {
            (1, 0)
        } else {
            (0, 1)
        };
        entry.turn = self.idle.touch(placement.workflow);
        self.count(kept, dropped);
        self.correct(&placement.corrections, at);
        self.make_room();
    }

    /// What was said before turned out to be otherwise.
    fn correct(&mut self, corrections: &[Correction], at: Timestamp) {
        for Correction { workflow, step, change } in corrections {
            let part = self.merged.whole(*workflow);
            let Some(entry) = self.entries.get_mut(&part) else { continue };
            entry.correct(*step, change, at);
            if let Change::Place(place) = change
                && place.workflow != part
                && let Some(whole) = self.entries.get(&place.workflow).map(|whole| whole.id)
            {
                self.merge(part, whole);
            }
        }
    }

    fn merge(&mut self, part: WorkflowId, whole: WorkflowId) {
        let Some(other) = self.entries.remove(&part) else { return };
        let most = self.bounds.steps_per_workflow;
        let dropped = self.entries.get_mut(&whole).map_or(0, |entry| entry.merge(*other, most));
        self.steps -= dropped;
        self.count(0, dropped);
        self.merged.note(part, whole);
    }

    pub(super) fn finish(
        &mut self,
        workflow: WorkflowId,
        settlement: Settlement,
        completion: &Completion,
        at: Timestamp,
    ) {
        let workflow = self.merged.whole(workflow);
        let Some(entry) = self.entries.get_mut(&workflow) else {
            self.counters.late += 1;
            return;
        };
        let id = settlement.step_id;
        let spent = settlement.spent;
        let mut at = at;
        // If it is not there it was over the bound, and counts only.
        if let Some(kept) = entry.find_mut(id) {
            at = at.max(kept.started_at);
            if !end(kept, settlement) {
                self.counters.late += 1;
                return;
            }
        }
        if let Some(spent) = spent {
            entry.totals.add(&spent);
        }
        entry.totals.tool_calls += completion.tools.len() as u64;
        entry.change(at, completion.state);
        let (mut kept, mut dropped) = (0, 0);
        for tool in &completion.tools {
            let step = tool_step(tool, &entry.agent.name, id, at);
            if entry.add(step, self.bounds.steps_per_workflow) {
                kept += 1;
            } else {
                dropped += 1;
            }
        }
        for run in &completion.runs {
            entry.ran(run);
        }
        entry.turn = self.idle.touch(workflow);
        self.count(kept, dropped);
        self.correct(&completion.corrections, at);
        self.make_room();
    }

    /// What a call spent that has ended before.
    pub(super) fn spend(&mut self, workflow: WorkflowId, step: StepId, spent: Spent) {
        let workflow = self.merged.whole(workflow);
        let Some(entry) = self.entries.get_mut(&workflow) else {
            self.counters.late += 1;
            return;
        };
        match entry.find_mut(step) {
            Some(kept) if kept.settled => {
                self.counters.late += 1;
                return;
            }
            Some(kept) => spent.settle(kept),
            // It was over the bound: it counts only.
            None => {}
        }
        entry.totals.add(&spent);
        entry.revision += 1;
    }

    /// What came of asking upstream to end a call.
    pub(super) fn requested(&mut self, workflow: WorkflowId, step: StepId, request: CancelRequest) {
        let workflow = self.merged.whole(workflow);
        if let Some(entry) = self.entries.get_mut(&workflow) {
            entry.requested(step, request);
        }
    }

    /// A process carries out a tool call, or has.
    pub(super) fn ran(&mut self, run: &ToolRun) {
        let workflow = self.merged.whole(run.workflow);
        if let Some(entry) = self.entries.get_mut(&workflow) {
            entry.ran(run);
        }
    }

    /// What workflows share of the agent; anew if it is another than before.
    fn agent(&mut self, agent: &AgentRef) -> Arc<AgentRef> {
        match &self.agent {
            Some(known) if **known == *agent => Arc::clone(known),
            _ => Arc::clone(self.agent.insert(Arc::new(agent.clone()))),
        }
    }

    fn count(&mut self, kept: usize, dropped: usize) {
        self.steps += kept;
        self.counters.steps_dropped += dropped as u64;
    }

    fn make_room(&mut self) {
        while self.entries.len() > self.bounds.workflows || self.steps > self.bounds.steps {
            let Some((turn, id)) = self.idle.touched.pop_front() else { return };
            if self.entries.get(&id).is_some_and(|entry| entry.turn == turn)
                && let Some(entry) = self.entries.remove(&id)
            {
                self.steps -= entry.steps.len();
                self.counters.evicted += 1;
            }
        }
        if self.idle.touched.len() > STALE_FACTOR * self.entries.len().max(MIN_SWEPT) {
            let entries = &self.entries;
            let last = |&(turn, id): &(u64, WorkflowId)| {
                entries.get(&id).is_some_and(|entry| entry.turn == turn)
            };
            self.idle.touched.retain(last);
        }
    }
}

impl Merged {
    fn note(&mut self, part: WorkflowId, whole: WorkflowId) {
        if self.order.len() >= limits::MERGED_WORKFLOWS_PER_AGENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.into.remove(&oldest);
        }
        self.into.insert(part, whole);
        self.order.push_back(part);
    }

    /// Those that are found in one of these.
    fn kept<'a>(
        &'a self,
        entries: &'a SpreadMap<WorkflowId, Box<Entry>>,
    ) -> impl Iterator<Item = WorkflowId> + 'a {
        let merged = self.order.iter().copied();
        merged.filter(|id| entries.contains_key(&self.whole(*id)))
    }

    /// The workflow that it is a part of, or itself.
    fn whole(&self, id: WorkflowId) -> WorkflowId {
        let mut whole = id;
        // One that others were merged into may have been merged itself.
        for _ in 0..self.order.len() {
            match self.into.get(&whole) {
                Some(next) => whole = *next,
                None => break,
            }
        }
        whole
    }
}

impl Idle {
    /// Makes the workflow the last to go; gives its turn.
    fn touch(&mut self, id: WorkflowId) -> u64 {
        self.turn += 1;
        self.touched.push_back((self.turn, id));
        self.turn
    }
}

/// Places in the order of idleness, for each workflow, at which the stale ones are swept out.
const STALE_FACTOR: usize = 4;
/// Workflows below which sweeping is not worth it.
const MIN_SWEPT: usize = 64;
