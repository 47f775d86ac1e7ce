//! The workflows of one agent.

use std::collections::{BTreeMap, HashMap};

use crate::{
    call::{
        AgentRef, CallKind, Confidence, Evidence, EvidenceKind, State, Step, StepId, StepKind,
        Timestamp, Tool, Totals, Usage, Workflow, WorkflowId, WorkflowSummary,
    },
    lineage::{Completion, OpenedTool, Placement},
};

use super::{Counters, Filter};

/// One agent's workflows. The one idle for longest makes room.
#[derive(Debug)]
pub(super) struct Book {
    entries: BTreeMap<WorkflowId, Entry>,
    /// The workflows by the turn at which each was last touched.
    idle: BTreeMap<u64, WorkflowId>,
    turn: u64,
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

#[derive(Debug)]
struct Entry {
    summary: WorkflowSummary,
    steps: Vec<Step>,
    by_id: HashMap<StepId, usize>,
    /// The latest time seen: what follows is never earlier.
    seen: Timestamp,
    turn: u64,
}

impl Book {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            entries: BTreeMap::new(),
            idle: BTreeMap::new(),
            turn: 0,
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
        self.entries.range(low..=high).map(|(&id, _)| id)
    }

    pub(super) fn summaries(&self, filter: &Filter) -> impl Iterator<Item = &WorkflowSummary> {
        self.entries.values().map(|entry| &entry.summary).filter(|summary| {
            filter.session.is_none_or(|session| session == summary.session_id)
                && filter.state.is_none_or(|state| state == summary.state)
        })
    }

    /// A copy, with the steps in the order in which they started.
    pub(super) fn workflow(&self, id: WorkflowId) -> Option<Workflow> {
        let entry = self.entries.get(&id)?;
        let mut steps = entry.steps.clone();
        steps.sort_by_key(|step| step.started_at);
        Some(Workflow { summary: entry.summary.clone(), steps })
    }

    pub(super) fn place(
        &mut self,
        agent: &AgentRef,
        placement: &Placement,
        step: Step,
        wish_hmac: Option<String>,
    ) {
        let at = step.started_at;
        // Also for a workflow that had made room and goes on: its rest is better than nothing.
        let entry = self
            .entries
            .entry(placement.workflow)
            .or_insert_with(|| Entry::new(agent, placement, at, wish_hmac));
        for id in &placement.answered {
            entry.end_tool(*id, at);
        }
        entry.summary.totals.model_calls += 1;
        entry.change(at, State::Active);
        let kept = entry.add(step, self.bounds.steps_per_workflow);
        self.count(usize::from(kept), usize::from(!kept));
        self.touch(placement.workflow);
        self.make_room();
    }

    pub(super) fn finish(
        &mut self,
        workflow: WorkflowId,
        mut step: Step,
        completion: &Completion,
        at: Timestamp,
    ) {
        let Some(entry) = self.entries.get_mut(&workflow) else {
            self.counters.late += 1;
            return;
        };
        let id = step.step_id;
        if entry.find(id).is_some_and(|kept| kept.settled) {
            self.counters.late += 1;
            return;
        }
        let at = at.max(step.started_at);
        step.kind = completion.kind;
        step.settled = true;
        let totals = &mut entry.summary.totals;
        add_usage(totals, step.usage.as_ref());
        totals.tool_calls += completion.tools.len() as u64;
        entry.change(at, completion.state);
        let agent = step.agent.clone();
        if let Some(kept) = entry.find_mut(id) {
            step.started_at = kept.started_at;
            *kept = step;
        }
        let (mut kept, mut dropped) = (0, 0);
        for tool in &completion.tools {
            if entry.add(tool_step(tool, &agent, id, at), self.bounds.steps_per_workflow) {
                kept += 1;
            } else {
                dropped += 1;
            }
        }
        self.count(kept, dropped);
        self.touch(workflow);
        self.make_room();
    }

    fn count(&mut self, kept: usize, dropped: usize) {
        self.steps += kept;
        self.counters.steps_dropped += dropped as u64;
    }

    /// Makes the workflow the last to go.
    fn touch(&mut self, id: WorkflowId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.turn += 1;
        self.idle.remove(&entry.turn);
        self.idle.insert(self.turn, id);
        entry.turn = self.turn;
    }

    fn make_room(&mut self) {
        while self.entries.len() > self.bounds.workflows || self.steps > self.bounds.steps {
            let Some((_, id)) = self.idle.pop_first() else { return };
            if let Some(entry) = self.entries.remove(&id) {
                self.steps -= entry.steps.len();
                self.counters.evicted += 1;
            }
        }
    }
}

impl Entry {
    fn new(
        agent: &AgentRef,
        placement: &Placement,
        at: Timestamp,
        wish_hmac: Option<String>,
    ) -> Self {
        let summary = WorkflowSummary {
            workflow_id: placement.workflow,
            session_id: placement.session,
            trace_id: placement.trace,
            revision: 0,
            agent: agent.clone(),
            state: State::Active,
            started_at: at,
            ended_at: None,
            wish_hmac,
            totals: Totals::default(),
        };
        Self { summary, steps: Vec::new(), by_id: HashMap::new(), seen: at, turn: 0 }
    }

    fn find(&self, id: StepId) -> Option<&Step> {
        self.steps.get(*self.by_id.get(&id)?)
    }

    fn find_mut(&mut self, id: StepId) -> Option<&mut Step> {
        self.steps.get_mut(*self.by_id.get(&id)?)
    }

    /// Whether the step is kept.
    fn add(&mut self, mut step: Step, most: usize) -> bool {
        if self.steps.len() >= most {
            return false;
        }
        // The clock may have been set back since: nothing starts before what it follows.
        let parents = step.parent_step_ids.iter().filter_map(|&id| self.find(id));
        let starts = parents.map(|parent| parent.started_at);
        step.started_at = starts.fold(step.started_at.max(self.summary.started_at), Timestamp::max);
        self.by_id.insert(step.step_id, self.steps.len());
        self.steps.push(step);
        true
    }

    fn end_tool(&mut self, id: StepId, at: Timestamp) {
        if let Some(tool) = self.find_mut(id)
            && !tool.settled
        {
            tool.duration_ms = Some(at.since(tool.started_at));
            tool.settled = true;
        }
    }

    fn change(&mut self, at: Timestamp, state: State) {
        self.seen = self.seen.max(at);
        let summary = &mut self.summary;
        summary.revision += 1;
        summary.state = state;
        summary.ended_at = (state != State::Active).then_some(self.seen);
        summary.totals.wall_ms = self.seen.since(summary.started_at);
    }
}

/// A tool step that an answer has just opened.
fn tool_step(tool: &OpenedTool, agent: &str, parent: StepId, at: Timestamp) -> Step {
    Step {
        step_id: tool.step,
        parent_step_ids: vec![parent],
        confidence: Confidence::CERTAIN,
        kind: StepKind::Tool,
        call: CallKind::Tool,
        agent: agent.to_owned(),
        dialect: None,
        operation: None,
        request_model: None,
        response_model: None,
        response_id: None,
        request_sha256: None,
        tool: Some(Tool { name: tool.name.clone(), call_id: tool.call_id.clone() }),
        host: None,
        original_dst: None,
        upstream_local: None,
        pid: None,
        connection_id: None,
        exchange_seq: None,
        started_at: at,
        ttft_ms: None,
        duration_ms: None,
        status: None,
        finish_reasons: Vec::new(),
        usage: None,
        settled: false,
        evidence: vec![Evidence {
            kind: EvidenceKind::ToolCallId,
            confidence: Confidence::CERTAIN,
            from_step_id: Some(parent),
        }],
        retry: None,
    }
}

fn add_usage(totals: &mut Totals, usage: Option<&Usage>) {
    let Some(usage) = usage else { return };
    let sums = [
        (&mut totals.input_tokens, usage.input),
        (&mut totals.output_tokens, usage.output),
        (&mut totals.cache_read_tokens, usage.cache_read.unwrap_or(0)),
        (&mut totals.cache_creation_tokens, usage.cache_creation.unwrap_or(0)),
        (&mut totals.reasoning_tokens, usage.reasoning.unwrap_or(0)),
    ];
    for (sum, tokens) in sums {
        *sum = sum.saturating_add(tokens);
    }
}
