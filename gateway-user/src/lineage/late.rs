//! Evidence that comes late: a call may be read before the end of what it goes on from is noticed. It
//! is placed by what is known then, and corrected by the end.

use crate::{
    call::{Confidence, Evidence, EvidenceKind, SessionId, StepId, StepKind, TraceId, WorkflowId},
    limits,
};

use super::{
    Lineage,
    history::{Chain, History},
    known::{Flow, Known},
    memory::Seq,
    resolve::{self, ResultOf},
    returned::Starter,
};

/// That a step which was placed before is to be seen otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Correction {
    /// Where the step was said to be.
    pub workflow: WorkflowId,
    pub step: StepId,
    pub change: Change,
}

/// What is to be seen otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Kind(StepKind),
    Place(Box<Replaced>),
}

/// Where a step belongs after all.
#[derive(Clone, Debug, PartialEq)]
pub struct Replaced {
    /// The one that it was in, or another.
    pub workflow: WorkflowId,
    pub session: SessionId,
    pub trace: TraceId,
    pub parents: Vec<StepId>,
    /// As in [`super::Placement::under`].
    pub under: Option<Starter>,
    pub confidence: Confidence,
    pub evidence: Vec<Evidence>,
    /// As in [`super::Placement::answered`].
    pub answered: Vec<StepId>,
}

/// What a call holds of an answer that is not known yet.
#[derive(Debug)]
pub(super) struct Awaited {
    /// The history up to that answer.
    pub(super) answer: Chain,
    /// The tool results after it.
    results: Vec<ResultOf>,
}

impl Awaited {
    /// Of a history of which only the first `covers` messages are accounted for.
    pub(super) fn of(history: &History<'_>, covers: usize) -> Option<Box<Self>> {
        let answer = history.last_answer().filter(|&answer| answer > covers)?;
        let results = resolve::results_of(history.after(answer)).collect();
        Some(Box::new(Self { answer: history.upto(answer), results }))
    }
}

impl Lineage {
    /// The step has ended: what has already gone on from it, by a guess, follows it.
    pub(super) fn correct_after(&mut self, seq: Seq) -> Vec<Correction> {
        let Some(step) = self.memory.step(seq) else { return Vec::new() };
        let waiting = step.chains().flat_map(|chain| self.memory.awaiting.get(chain));
        let waiting: Vec<Seq> = waiting.take(limits::LINEAGE_CANDIDATES).collect();
        let corrected = waiting.into_iter().filter(|&child| child > seq);
        corrected.filter_map(|child| self.correct(child, seq)).collect()
    }

    fn correct(&mut self, child: Seq, seq: Seq) -> Option<Correction> {
        let (known, step) = (self.memory.step(child)?, self.memory.step(seq)?);
        let flow = self.memory.flow(step.workflow)?;
        let (workflow, session, trace) = (step.workflow, flow.session, flow.trace);
        // A workflow that has gone on is not torn apart.
        let is_alone = self.memory.flow(known.workflow).is_some_and(|flow| flow.steps == 1);
        if known.workflow != workflow && !is_alone {
            return None;
        }
        let (was, id, from) = (known.workflow, known.id, step.id);
        let confidence = Confidence::new(LATE.min(step.confidence.get()));
        let (part, under) = (step.part, step.under);
        let awaited = self.memory.no_longer_awaits(child)?;
        let tools = &self.memory.step(seq)?.tools;
        let results = resolve::matches(tools, awaited.results.iter().copied());
        let (parents, answered) = self.memory.answer(seq, &results);
        let parents = if parents.is_empty() { vec![from] } else { parents };
        self.memory.go_on(seq);
        self.memory.reparent(child, parents.clone());
        self.memory.relocate(child, workflow, Flow::new(session, trace));
        if let Some(known) = self.memory.step_mut(child) {
            (known.confidence, known.part, known.under) = (confidence, part, under);
        }
        let under = self.starter(under, confidence);
        let kind = EvidenceKind::AnswerEcho;
        let evidence = vec![Evidence { kind, confidence, from_step_id: Some(from) }];
        let place =
            Replaced { workflow, session, trace, parents, under, confidence, evidence, answered };
        Some(Correction { workflow: was, step: id, change: Change::Place(Box::new(place)) })
    }

    /// Makes something else of a step; says so if it is.
    pub(super) fn recast(
        &mut self,
        seq: Seq,
        recast: impl FnOnce(&mut Known),
    ) -> Option<Correction> {
        let known = self.memory.step_mut(seq)?;
        let was = known.step_kind();
        recast(known);
        let (workflow, step, kind) = (known.workflow, known.id, known.step_kind());
        (kind != was).then_some(Correction { workflow, step, change: Change::Kind(kind) })
    }
}

/// How sure it is what a call goes on from, once its end is known.
const LATE: f32 = 0.97;
