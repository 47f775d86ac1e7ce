//! Where a tool call that an agent makes belongs: it is one that a model's answer asked for, if that
//! one has the same tool and the same arguments and no result yet; else nothing is known of it, and
//! it is a workflow of its own.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::{
    call::{
        Confidence, Evidence, EvidenceKind, Invocation, State, StepId, StepKind, Timestamp,
        WorkflowId,
    },
    limits,
};

use super::{
    Completion, Lineage, Outcome, Placement,
    history::Chain,
    known::Known,
    memory::{Memory, Seq},
    place, resolve,
    servers::Fit,
};

/// What a tool call is: its name and its arguments, hashed under a salt.
pub(super) type Deed = u128;

pub(super) fn deed(salt: Chain, name: &str, arguments: u128) -> Deed {
    let seed = xxh3_128_with_seed(&(salt ^ arguments).to_le_bytes(), 0);
    #[allow(clippy::cast_possible_truncation, reason = "a hash of a hash")]
    xxh3_128_with_seed(name.as_bytes(), seed as u64)
}

impl Lineage {
    /// A tool, or another agent, has been called: says which step that is. It is to be finished by
    /// [`finish_tool`](Self::finish_tool).
    pub fn place_tool(&mut self, at: Timestamp, invocation: &Invocation) -> Placement {
        self.place_tool_of(None, at, invocation)
    }

    /// As [`place_tool`](Self::place_tool), where it is known which process has called it.
    pub fn place_tool_of(
        &mut self,
        pid: Option<u32>,
        at: Timestamp,
        invocation: &Invocation,
    ) -> Placement {
        let asked = invocation.tool.as_deref().zip(invocation.arguments);
        let signals = &invocation.signals;
        let fit = |step: &Known| {
            let session = self.memory.session(step);
            session.map_or(Fit::Open, |session| self.servers.fit(signals, session, step.kind))
        };
        let open = asked.and_then(|(name, arguments)| {
            self.memory.open_call(at, deed(self.salt, name, arguments), fit)
        });
        let sole = open.as_ref().filter(|open| open.is_sole);
        let kind = sole.and_then(|open| self.memory.step(open.step)).map(|step| step.kind);
        let place = open.and_then(|open| {
            let confidence = Confidence::new(if open.is_sole { 0.97 } else { 0.5 });
            self.place_opened((open.step, open.call), EvidenceKind::ToolArguments, confidence)
        });
        if let Some(place) = &place {
            // What its server asks for is not the agent's doing.
            self.fetches.settle(&[place.step]);
        }
        if let (Some(place), Some(kind)) = (&place, kind) {
            self.servers.note(signals, place.session, kind);
        }
        let place = place.or_else(|| self.place_in_tool(pid));
        place
            .map_or_else(|| self.place_alone(), |place| Placement { kind: StepKind::Tool, ..place })
    }

    /// A tool call's answer has ended, or failed: of the `step` that [`place_tool`](Self::place_tool)
    /// said, which follows `from`. What the model makes of it is not known yet, so that the workflow,
    /// if a model belongs to it, goes on.
    pub fn finish_tool(
        &mut self,
        workflow: WorkflowId,
        step: StepId,
        from: Option<StepId>,
        outcome: &Outcome,
    ) -> Completion {
        let fault = outcome.fault().is_some();
        if fault || outcome.answer.finish_reasons.iter().any(|reason| *reason == INPUT_REQUIRED) {
            self.memory.set_made(step, from, false);
            self.fetches.reopen(step);
        }
        let failed = fault || outcome.answer.error.is_some();
        let state = match self.memory.flow(workflow) {
            Some(_) => self.memory.state(workflow),
            None if failed => State::Failed,
            None => State::Done,
        };
        Completion::of(StepKind::Tool, state)
    }

    /// As a call of a model step, by its place among those, which is made with this.
    pub(super) fn place_opened(
        &mut self,
        (model, call): (Seq, usize),
        kind: EvidenceKind,
        confidence: Confidence,
    ) -> Option<Placement> {
        let model = self.memory.step_mut(model)?;
        let call = model.tools.get_mut(call)?;
        call.made = true;
        let (from, step, workflow) = (model.id, call.step, model.workflow);
        let (under, sure) = (model.under, place::least(confidence, model.confidence));
        let flow = self.memory.flow(workflow)?;
        Some(Placement {
            workflow,
            session: flow.session,
            trace: flow.trace,
            step,
            parents: vec![from],
            opens_workflow: false,
            depth: 1,
            sub_plan: None,
            under: self.starter(under, sure),
            kind: StepKind::Tool,
            confidence,
            evidence: vec![Evidence { kind, confidence, from_step_id: Some(from) }],
            retry: None,
            spent_tries: 0,
            answered: Vec::new(),
            corrections: Vec::new(),
        })
    }

    fn place_alone(&mut self) -> Placement {
        let confidence = Confidence::new(0.6);
        let kind = EvidenceKind::NewHistory;
        Placement {
            workflow: self.ids.workflow(),
            session: self.ids.session(),
            trace: self.ids.trace(),
            step: self.ids.step(),
            parents: Vec::new(),
            opens_workflow: true,
            depth: 1,
            sub_plan: None,
            under: None,
            kind: StepKind::Tool,
            confidence,
            evidence: vec![Evidence { kind, confidence, from_step_id: None }],
            retry: None,
            spent_tries: 0,
            answered: Vec::new(),
            corrections: Vec::new(),
        }
    }
}

/// A call that a model asked for, and nobody has made yet.
#[derive(Debug)]
struct OpenCall {
    step: Seq,
    /// The place among the step's calls.
    call: usize,
    /// Whether no other could be meant.
    is_sole: bool,
}

impl Memory {
    /// A call that a model asked for is made; or has to be made again: it failed, or the server wants
    /// to know more first.
    pub(super) fn set_made(&mut self, step: StepId, from: Option<StepId>, made: bool) {
        let model = from.and_then(|from| self.find(from)).and_then(|seq| self.step_mut(seq));
        let call = model.and_then(|model| model.tools.iter_mut().find(|call| call.step == step));
        if let Some(call) = call {
            call.made = made;
        }
    }

    /// Of several, those that fit best, and of these the one that waits longest, unless it looks
    /// abandoned beside a fresher one.
    fn open_call(
        &self,
        at: Timestamp,
        deed: Deed,
        fit: impl Fn(&Known) -> Fit,
    ) -> Option<OpenCall> {
        let steps = self.opened.get(deed).filter_map(|seq| Some((seq, self.step(seq)?)));
        let open = steps.flat_map(|(seq, step)| {
            let calls = step.tools.iter().enumerate();
            let open =
                calls.filter(move |(_, call)| call.deed == deed && !call.made && !call.answered);
            open.map(move |(call, _)| (seq, call, step))
        });
        let open: Vec<_> = open.take(limits::LINEAGE_CANDIDATES).collect();
        let best = open.iter().map(|(_, _, step)| fit(step)).min()?;
        let fitting: Vec<_> = open.into_iter().filter(|(_, _, step)| fit(step) == best).collect();
        let (first, last) = (fitting.first()?, fitting.last()?);
        let fresh = fitting.iter().find(|(_, _, step)| resolve::is_fresh(at, step));
        // Equal calls of one answer are as good as one: whichever is made, is made.
        let is_sole = fitting.iter().all(|(seq, _, _)| *seq == first.0);
        let (step, call, _) = *fresh.unwrap_or(last);
        Some(OpenCall { step, call, is_sole })
    }
}

/// What MCP's result says of a call that is to be made again with more in it (2026-07-28).
const INPUT_REQUIRED: &str = "input_required";
