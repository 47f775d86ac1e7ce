//! The workflows of one agent.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    call::{
        AgentRef, CallKind, Confidence, Evidence, EvidenceKind, Name, SessionId, Settlement, Spent,
        SpreadMap, State, Step, StepId, StepKind, Timestamp, Tool, Totals, TraceId, Workflow,
        WorkflowId, WorkflowSummary,
    },
    lineage::{Completion, OpenedTool, Placement},
};

use super::{Counters, Filter};

/// One agent's workflows. The one idle for longest makes room.
#[derive(Debug)]
pub(super) struct Book {
    /// As it was last named: workflows share it.
    agent: Option<Arc<AgentRef>>,
    /// In boxes: the map moves what it holds.
    entries: SpreadMap<WorkflowId, Box<Entry>>,
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

/// A workflow, as it is kept.
#[derive(Debug)]
struct Entry {
    id: WorkflowId,
    session: SessionId,
    trace: TraceId,
    agent: Arc<AgentRef>,
    wish_hmac: Option<String>,
    revision: u64,
    state: State,
    started_at: Timestamp,
    /// The latest time seen: what follows is never earlier.
    seen: Timestamp,
    /// Its wall time is told by the times above.
    totals: Totals,
    steps: Vec<Step>,
    /// Where the steps after the first [`SCANNED_STEPS`] are.
    by_id: SpreadMap<StepId, usize>,
    /// When it was last touched.
    turn: u64,
}

impl Book {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            agent: None,
            entries: SpreadMap::default(),
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
        self.entries.keys().copied().filter(move |id| (low..=high).contains(id))
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
        let entry = self.entries.get(&id)?;
        let mut steps = entry.steps.clone();
        steps.sort_by_key(|step| step.started_at);
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
        self.make_room();
    }

    pub(super) fn finish(
        &mut self,
        workflow: WorkflowId,
        settlement: Settlement,
        completion: &Completion,
        at: Timestamp,
    ) {
        let Some(entry) = self.entries.get_mut(&workflow) else {
            self.counters.late += 1;
            return;
        };
        let id = settlement.step_id;
        let spent = settlement.spent;
        let mut at = at;
        match entry.find_mut(id) {
            Some(kept) if kept.settled => {
                self.counters.late += 1;
                return;
            }
            Some(kept) => {
                at = at.max(kept.started_at);
                settlement.settle(kept);
            }
            // It was over the bound: it counts only.
            None => {}
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
        entry.turn = self.idle.touch(workflow);
        self.count(kept, dropped);
        self.make_room();
    }

    /// What a call spent that has ended before.
    pub(super) fn spend(&mut self, workflow: WorkflowId, step: StepId, spent: Spent) {
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

impl Idle {
    /// Makes the workflow the last to go; gives its turn.
    fn touch(&mut self, id: WorkflowId) -> u64 {
        self.turn += 1;
        self.touched.push_back((self.turn, id));
        self.turn
    }
}

impl Entry {
    fn new(
        agent: Arc<AgentRef>,
        placement: &Placement,
        at: Timestamp,
        wish_hmac: Option<String>,
    ) -> Self {
        Self {
            id: placement.workflow,
            session: placement.session,
            trace: placement.trace,
            agent,
            wish_hmac,
            revision: 0,
            state: State::Active,
            started_at: at,
            seen: at,
            totals: Totals::default(),
            // Many workflows have one step.
            steps: Vec::with_capacity(1),
            by_id: SpreadMap::default(),
            turn: 0,
        }
    }

    fn summary(&self) -> WorkflowSummary {
        WorkflowSummary {
            workflow_id: self.id,
            session_id: self.session,
            trace_id: self.trace,
            revision: self.revision,
            agent: AgentRef::clone(&self.agent),
            state: self.state,
            started_at: self.started_at,
            ended_at: (self.state != State::Active).then_some(self.seen),
            wish_hmac: self.wish_hmac.clone(),
            totals: Totals { wall_ms: self.seen.since(self.started_at), ..self.totals },
        }
    }

    fn position(&self, id: StepId) -> Option<usize> {
        let scanned = self.steps.iter().take(SCANNED_STEPS).position(|step| step.step_id == id);
        scanned.or_else(|| self.by_id.get(&id).copied())
    }

    fn find(&self, id: StepId) -> Option<&Step> {
        self.steps.get(self.position(id)?)
    }

    fn find_mut(&mut self, id: StepId) -> Option<&mut Step> {
        let at = self.position(id)?;
        self.steps.get_mut(at)
    }

    /// Whether the step is kept.
    fn add(&mut self, mut step: Step, most: usize) -> bool {
        if self.steps.len() >= most {
            return false;
        }
        // The clock may have been set back since: nothing starts before what it follows.
        let parents = step.parent_step_ids.iter().filter_map(|&id| self.find(id));
        let starts = parents.map(|parent| parent.started_at);
        step.started_at = starts.fold(step.started_at.max(self.started_at), Timestamp::max);
        if self.steps.len() >= SCANNED_STEPS {
            self.by_id.insert(step.step_id, self.steps.len());
        }
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
        self.revision += 1;
        self.state = state;
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
        agent: Name::shared(agent),
        dialect: None,
        operation: None,
        request_model: None,
        response_model: None,
        response_id: None,
        request_sha256: None,
        tool: Some(Tool { name: tool.name.clone(), call_id: tool.call_id.clone(), server: None }),
        host: None,
        original_dst: None,
        upstream_local: None,
        pid: None,
        connection_id: None,
        stream_id: None,
        exchange_seq: None,
        started_at: at,
        ttft_ms: None,
        duration_ms: None,
        status: None,
        finish_reasons: Vec::new(),
        error: None,
        usage: None,
        uncounted_parts: None,
        usd: None,
        unpriced: false,
        unmetered: None,
        settled: false,
        evidence: vec![Evidence {
            kind: EvidenceKind::ToolCallId,
            confidence: Confidence::CERTAIN,
            from_step_id: Some(parent),
        }],
        retry: None,
    }
}

/// What is known of a tool call that an answer opened, now that it is made, or made again. Its place
/// it has.
fn carry_out(opened: &mut Step, made: Step) {
    let server = made.tool.and_then(|tool| tool.server);
    let tool = opened.tool.take().map(|tool| Tool { server, ..tool });
    let mut evidence = std::mem::take(&mut opened.evidence);
    let news =
        made.evidence.into_iter().filter(|it| evidence.iter().all(|old| old.kind != it.kind));
    let news: Vec<_> = news.collect();
    evidence.extend(news);
    *opened = Step {
        parent_step_ids: std::mem::take(&mut opened.parent_step_ids),
        confidence: opened.confidence,
        started_at: opened.started_at.max(made.started_at),
        tool,
        evidence,
        ..Step { tool: None, evidence: Vec::new(), ..made }
    };
}

/// Steps of a workflow that are looked through: a map of them would cost more.
const SCANNED_STEPS: usize = 16;
/// Places in the order of idleness, for each workflow, at which the stale ones are swept out.
const STALE_FACTOR: usize = 4;
/// Workflows below which sweeping is not worth it.
const MIN_SWEPT: usize = 64;
