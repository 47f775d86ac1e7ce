//! A workflow of the book, and its steps.

use std::sync::Arc;

use crate::{
    call::{
        AgentRef, CallKind, CancelRequest, Confidence, Corrected, Evidence, EvidenceKind, Name,
        SessionId, Settlement, SpreadMap, State, Step, StepId, StepKind, Timestamp, Tool, Totals,
        TraceId, Was, WorkflowId, WorkflowSummary,
    },
    limits,
    lineage::{Change, OpenedTool, Placement, Stage, ToolRun},
};

/// A workflow, as it is kept.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: WorkflowId,
    pub(super) session: SessionId,
    pub(super) trace: TraceId,
    pub(super) agent: Arc<AgentRef>,
    pub(super) wish_hmac: Option<String>,
    pub(super) revision: u64,
    pub(super) state: State,
    pub(super) started_at: Timestamp,
    /// The latest time seen: what follows is never earlier.
    pub(super) seen: Timestamp,
    /// Its wall time is told by the times above.
    pub(super) totals: Totals,
    pub(super) steps: Vec<Step>,
    /// Where the steps after the first [`SCANNED_STEPS`] are.
    by_id: SpreadMap<StepId, usize>,
    /// When it was last touched.
    pub(super) turn: u64,
}

impl Entry {
    pub(super) fn new(
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

    pub(super) fn summary(&self) -> WorkflowSummary {
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

    pub(super) fn position(&self, id: StepId) -> Option<usize> {
        let scanned = self.steps.iter().take(SCANNED_STEPS).position(|step| step.step_id == id);
        scanned.or_else(|| self.by_id.get(&id).copied())
    }

    pub(super) fn find(&self, id: StepId) -> Option<&Step> {
        self.steps.get(self.position(id)?)
    }

    pub(super) fn find_mut(&mut self, id: StepId) -> Option<&mut Step> {
        let at = self.position(id)?;
        self.steps.get_mut(at)
    }

    /// Whether the step is kept.
    pub(super) fn add(&mut self, mut step: Step, most: usize) -> bool {
        if self.steps.len() >= most {
            return false;
        }
        step.started_at = self.earliest(&step).max(step.started_at);
        if self.steps.len() >= SCANNED_STEPS {
            self.by_id.insert(step.step_id, self.steps.len());
        }
        self.steps.push(step);
        true
    }

    /// The clock may have been set back since: nothing starts before what it follows.
    fn earliest(&self, step: &Step) -> Timestamp {
        let parents = step.parent_step_ids.iter().filter_map(|&id| self.find(id));
        parents.map(|parent| parent.started_at).fold(self.started_at, Timestamp::max)
    }

    /// What came of asking upstream to end a call.
    pub(super) fn requested(&mut self, step: StepId, request: CancelRequest) {
        if let Some(cancel) = self.find_mut(step).and_then(|step| step.cancel.as_mut()) {
            cancel.requested(request);
            self.revision += 1;
        }
    }

    /// The step is the process's life, or so much of it as there was until its result was told.
    pub(super) fn ran(&mut self, run: &ToolRun) {
        let Some(earliest) = self.find(run.step).map(|step| self.earliest(step)) else { return };
        let Some(step) = self.find_mut(run.step) else { return };
        let ended = step.duration_ms.map(|duration| step.started_at.after(duration));
        match run.stage {
            Stage::Began => {
                step.started_at = run.at.max(earliest);
                step.pid = Some(run.pid);
                step.evidence.push(run.evidence);
                step.duration_ms = ended.map(|ended| ended.since(step.started_at));
            }
            Stage::Ended => {
                let ended = ended.map_or(run.at, |ended| ended.min(run.at));
                step.duration_ms = Some(ended.since(step.started_at));
                step.settled = true;
                self.seen = self.seen.max(ended);
            }
        }
        self.revision += 1;
    }

    pub(super) fn end_tool(&mut self, id: StepId, at: Timestamp) {
        if let Some(tool) = self.find_mut(id)
            && !tool.settled
        {
            tool.duration_ms = Some(at.since(tool.started_at));
            tool.settled = true;
        }
    }

    /// The step is seen otherwise from now on.
    pub(super) fn correct(&mut self, id: StepId, change: &Change, at: Timestamp) {
        if let Change::Place(place) = change {
            for tool in &place.answered {
                self.end_tool(*tool, at);
            }
        }
        self.revision += 1;
        let workflow = self.id;
        let Some(step) = self.find_mut(id) else { return };
        let mut was = |was| {
            if step.corrections.len() < limits::CORRECTIONS_PER_STEP {
                step.corrections.push(Corrected { at, was });
            }
        };
        match change {
            Change::Kind(kind) => was(Was::Kind(std::mem::replace(&mut step.kind, *kind))),
            Change::Place(place) => {
                if place.workflow != workflow {
                    was(Was::WorkflowId(workflow));
                }
                let parents = std::mem::replace(&mut step.parent_step_ids, place.parents.clone());
                if parents != place.parents {
                    was(Was::ParentStepIds(parents));
                }
                step.confidence = place.confidence;
                step.evidence.clone_from(&place.evidence);
            }
        }
    }

    /// All of the other one belongs to this one. How many steps there was no room for.
    pub(super) fn merge(&mut self, other: Self, most: usize) -> usize {
        self.totals.merge(&other.totals);
        self.seen = self.seen.max(other.seen);
        self.revision += 1;
        let added = other.steps.into_iter().map(|step| self.add(step, most));
        added.filter(|added| !added).count()
    }

    pub(super) fn change(&mut self, at: Timestamp, state: State) {
        self.seen = self.seen.max(at);
        self.revision += 1;
        self.state = state;
    }
}

/// A tool step that an answer has just opened.
pub(super) fn tool_step(tool: &OpenedTool, agent: &str, parent: StepId, at: Timestamp) -> Step {
    Step {
        parent_step_ids: vec![parent],
        tool: Some(Tool { name: tool.name.clone(), call_id: tool.call_id.clone(), server: None }),
        evidence: vec![Evidence {
            kind: EvidenceKind::ToolCallId,
            confidence: Confidence::CERTAIN,
            from_step_id: Some(parent),
        }],
        ..Step::new(tool.step, (StepKind::Tool, CallKind::Tool), Name::shared(agent), at)
    }
}

/// Whether a process carries the tool call out: it lasts as long as that.
fn is_run(step: &Step) -> bool {
    step.evidence.iter().any(|it| it.kind == EvidenceKind::ProcessCommand)
}

/// The call has ended: how, unless a process that carries out a tool call made it and goes on. Whether
/// it had not ended before.
pub(super) fn end(step: &mut Step, settlement: Settlement) -> bool {
    let is_first = !step.settled;
    if is_run(step) {
        step.status = settlement.status;
        step.error = settlement.error;
        return true;
    }
    if is_first {
        settlement.settle(step);
    }
    is_first
}

/// What is known of a tool call that an answer opened, now that it is made, or made again. Its place
/// it has, and the times of the process that makes it.
pub(super) fn carry_out(opened: &mut Step, made: Step) {
    let run = is_run(opened).then(|| opened.clone());
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
    if let Some(run) = run {
        opened.started_at = run.started_at;
        opened.duration_ms = run.duration_ms;
        opened.pid = run.pid;
        opened.settled = run.settled;
    }
}

/// Steps of a workflow that are looked through: a map of them would cost more.
const SCANNED_STEPS: usize = 16;
