//! What a sub-agent answers comes back as the result of the tool call that started it. Of calls with
//! equal tasks that tells which one started which.

use std::iter::successors;

use crate::call::{Confidence, Evidence, EvidenceKind, StepId};

use super::{
    Change, Correction, Lineage,
    known::{Call, Known, Part},
    late::Replaced,
    memory::Seq,
    resolve::Returned,
    values::{Flowing, Source},
};

/// A conversation that a tool call started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Started {
    /// Its first step.
    pub(super) first: Seq,
    /// What its last answer says, and the step that gave it.
    answer: Option<(u64, StepId)>,
}

/// The tool call that a conversation stands under: the model step, and the call's place there.
pub(super) type Under = (Seq, u16);

/// The tool call that started a conversation, as others know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Starter {
    pub step: StepId,
    /// The model step that emitted it.
    pub from: StepId,
}

impl Starter {
    /// Unless it could as well be another one.
    pub(super) fn if_likely(self, sure: Confidence) -> Option<Self> {
        Some(self).filter(|_| sure.is_likely())
    }
}

impl Started {
    pub(super) const fn by(first: Seq) -> Self {
        Self { first, answer: None }
    }
}

impl Lineage {
    /// Whether what is under this tool call is beneath that tool step, however deep.
    #[must_use]
    pub fn is_beneath(&self, starter: Starter, step: StepId) -> bool {
        let above = |starter: &Starter| {
            let model = self.memory.step(self.memory.find(starter.from)?)?;
            self.starter(model.under, model.confidence)
        };
        // Each was emitted before the next one.
        successors(Some(starter), above).any(|starter| starter.step == step)
    }

    /// The tool call under which a conversation stands, unless that could as well be another one.
    pub(super) fn starter(&self, under: Option<Under>, sure: Confidence) -> Option<Starter> {
        let (seq, at) = under?;
        let model = self.memory.step(seq).filter(|model| !model.has_twin(at))?;
        let call = model.tools.get(usize::from(at))?;
        Starter { step: call.step, from: model.id }.if_likely(sure)
    }

    /// A step of a sub-agent has answered in text.
    pub(super) fn note_answer(&mut self, under: Under, step: StepId, content: Option<u64>) {
        let call = self.memory.step_mut(under.0);
        let call = call.and_then(|known| known.tools.get_mut(usize::from(under.1)));
        if let Some(started) = call.and_then(|call| call.started.as_mut()) {
            started.answer = content.map(|content| (content, step));
        }
    }

    /// Results have come for calls of this step: what of them sub-agents have answered is evidence;
    /// and if they are other ones than was thought, that is put right.
    pub(super) fn take_back(
        &mut self,
        seq: Seq,
        results: &[Returned],
    ) -> (Vec<Evidence>, Vec<Correction>) {
        let Some(known) = self.memory.step(seq) else { return (Vec::new(), Vec::new()) };
        let moves = moves(&known.tools, results);
        let corrections = self.exchange(seq, &moves);
        let evidence = moves
            .iter()
            .map(|it| Evidence::new(EvidenceKind::AnswerReturned, SURE, Some(it.answered_by)));
        (evidence.collect(), corrections)
    }

    /// Gives the conversations to the calls that they belong to.
    fn exchange(&mut self, seq: Seq, moves: &[Move]) -> Vec<Correction> {
        let Some(known) = self.memory.step_mut(seq) else { return Vec::new() };
        let mut first_steps = Vec::new();
        for it in moves.iter().filter(|it| it.from != it.to) {
            let Some(call) = known.tools.get_mut(it.to) else { continue };
            call.started = Some(it.started);
            first_steps.push((it.started.first, it.to, call.step));
        }
        let replaced = first_steps.into_iter().filter_map(|(first, to, parent)| {
            let to = u16::try_from(to).ok()?;
            self.put_under(first, (seq, to), parent)
        });
        replaced.collect()
    }

    fn put_under(&mut self, first: Seq, under: Under, parent: StepId) -> Option<Correction> {
        let known = self.memory.step_mut(first).filter(|known| known.part == Part::Nested)?;
        known.under = Some(under);
        let (step, workflow, confidence) = (known.id, known.workflow, known.confidence);
        let flow = self.memory.flow(workflow)?;
        let (session, trace) = (flow.session, flow.trace);
        self.memory.reparent(first, vec![parent]);
        let because = Evidence::new(EvidenceKind::AnswerReturned, SURE, Some(parent));
        let place = Replaced {
            workflow,
            session,
            trace,
            parents: vec![parent],
            under: self.starter(Some(under), confidence),
            confidence,
            evidence: vec![because],
            answered: Vec::new(),
        };
        Some(Correction { workflow, step, change: Change::Place(Box::new(place)) })
    }
}

impl Known {
    /// The tool call that started the conversation which the step is in.
    pub(super) fn stands_under(&self) -> Option<Under> {
        self.under.filter(|_| self.part == Part::Nested)
    }

    /// Whether another of its tool calls says all that this one does, and has no result yet: what was
    /// started by the one may have been started by the other.
    fn has_twin(&self, at: u16) -> bool {
        let own = Source::Call(at);
        let mut said = self.values.iter().filter(|it| it.from == own).map(|it| it.value);
        let Some(first) = said.next() else { return false };
        let says_all =
            |from| said.clone().all(|value| self.values.contains(&Flowing { value, from }));
        let mut others = self.values.iter().filter(|it| it.value == first && it.from != own);
        others.any(|it| {
            let Source::Call(other) = it.from else { return false };
            let waits = self.tools.get(usize::from(other)).is_some_and(|call| !call.answered);
            waits && says_all(it.from)
        })
    }
}

/// A conversation that was taken to be started by one call, and was started by this or another one.
struct Move {
    from: usize,
    to: usize,
    started: Started,
    answered_by: StepId,
}

/// Which conversations answered which results. If that does not come out even, nothing is moved.
fn moves(calls: &[Call], results: &[Returned]) -> Vec<Move> {
    let mut taken = vec![false; calls.len()];
    let mut moves = Vec::new();
    for result in results {
        let Some(content) = result.content else { continue };
        let to = result.call;
        if calls.get(to).is_none_or(|call| call.started.is_none()) {
            continue;
        }
        // Its own, if that says the same as another one.
        let order = [to].into_iter().chain(0..calls.len());
        let found = order.into_iter().find_map(|from| {
            let started = calls.get(from)?.started?;
            let (said, by) = started.answer?;
            (said == content && !*taken.get(from)?).then_some((from, started, by))
        });
        let Some((from, started, answered_by)) = found else { continue };
        if let Some(taken) = taken.get_mut(from) {
            *taken = true;
        }
        moves.push(Move { from, to, started, answered_by });
    }
    let (mut from, mut to): (Vec<_>, Vec<_>) = moves.iter().map(|it| (it.from, it.to)).unzip();
    from.sort_unstable();
    to.sort_unstable();
    if from != to {
        moves.retain(|it| it.from == it.to);
    }
    moves
}

/// That the same text comes back is hardly chance.
const SURE: Confidence = Confidence::new(0.95);
