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
    memory::{Memory, Seq},
    resolve,
};

/// What a tool call is: its name and its arguments, hashed.
pub(super) type Deed = u128;

pub(super) fn deed(name: &str, arguments: u128) -> Deed {
    let seed = xxh3_128_with_seed(&arguments.to_le_bytes(), 0);
    #[allow(clippy::cast_possible_truncation, reason = "a hash of a hash")]
    xxh3_128_with_seed(name.as_bytes(), seed as u64)
}

impl Lineage {
    /// A tool, or another agent, has been called: says which step that is. It is to be finished by
    /// [`finish_tool`](Self::finish_tool).
    pub fn place_tool(&mut self, at: Timestamp, invocation: &Invocation) -> Placement {
        let asked = invocation.tool.as_deref().zip(invocation.arguments);
        let open =
            asked.and_then(|(name, arguments)| self.memory.open_call(at, deed(name, arguments)));
        open.and_then(|open| self.place_opened(&open)).unwrap_or_else(|| self.place_alone())
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
            self.memory.unmake(step, from);
        }
        let failed = fault || outcome.answer.error.is_some();
        let state = match self.memory.flow(workflow) {
            Some(_) => self.memory.state(workflow),
            None if failed => State::Failed,
            None => State::Done,
        };
        Completion { kind: StepKind::Tool, tools: Vec::new(), state }
    }

    fn place_opened(&mut self, open: &OpenCall) -> Option<Placement> {
        let model = self.memory.step_mut(open.step)?;
        let call = model.tools.get_mut(open.call)?;
        call.made = true;
        let (from, step, workflow) = (model.id, call.step, model.workflow);
        let flow = self.memory.flow(workflow)?;
        let confidence = Confidence::new(if open.is_sole { 0.97 } else { 0.5 });
        let kind = EvidenceKind::ToolArguments;
        Some(Placement {
            workflow,
            session: flow.session,
            trace: flow.trace,
            step,
            parents: vec![from],
            opens_workflow: false,
            kind: StepKind::Tool,
            confidence,
            evidence: vec![Evidence { kind, confidence, from_step_id: Some(from) }],
            retry: None,
            answered: Vec::new(),
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
            kind: StepKind::Tool,
            confidence,
            evidence: vec![Evidence { kind, confidence, from_step_id: None }],
            retry: None,
            answered: Vec::new(),
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
    /// A call has to be made again: it failed, or the server wants to know more first.
    fn unmake(&mut self, step: StepId, from: Option<StepId>) {
        let model = from.and_then(|from| self.find(from)).and_then(|seq| self.step_mut(seq));
        let call = model.and_then(|model| model.tools.iter_mut().find(|call| call.step == step));
        if let Some(call) = call {
            call.made = false;
        }
    }

    /// Of several, the one that waits longest, unless it looks abandoned beside a fresher one.
    fn open_call(&self, at: Timestamp, deed: Deed) -> Option<OpenCall> {
        let steps = self.opened.get(deed).filter_map(|seq| Some((seq, self.step(seq)?)));
        let mut open = steps
            .flat_map(|(seq, step)| {
                let calls = step.tools.iter().enumerate();
                let open = calls
                    .filter(move |(_, call)| call.deed == deed && !call.made && !call.answered);
                open.map(move |(call, _)| (seq, call, resolve::is_fresh(at, step)))
            })
            .take(limits::LINEAGE_CANDIDATES);
        let first = open.next()?;
        let (mut fresh, mut last, mut is_sole) = (first.2.then_some(first), first, true);
        for other in open {
            // Equal calls of one answer are as good as one: whichever is made, is made.
            is_sole &= other.0 == first.0;
            fresh = fresh.or(other.2.then_some(other));
            last = other;
        }
        let (step, call, _) = fresh.unwrap_or(last);
        Some(OpenCall { step, call, is_sole })
    }
}

/// What MCP's result says of a call that is to be made again with more in it (2026-07-28).
const INPUT_REQUIRED: &str = "input_required";
