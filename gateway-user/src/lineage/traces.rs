//! Traces that clients say their calls are in. A client may give one to each task, to each request, or to
//! all that a process does: so a trace tells apart what is equal otherwise, and joins alone only what
//! nothing speaks against.

use std::num::NonZero;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::call::{Confidence, Evidence, EvidenceKind, Signal, State, StepId, WorkflowId};

use super::{
    Lineage,
    known::{Known, Part},
    memory::{Memory, Seq},
    place::{self, First, Put},
    resolve,
};

/// A client's id of a trace, hashed.
pub(super) type Trace = NonZero<u64>;

/// The trace that the signals name: by its root run, or by its id.
pub(super) fn named(signals: &[Signal]) -> Option<Trace> {
    let value = |name| signals.iter().find(|it| it.name == name).map(|it| &*it.value);
    let id = value("langsmith-trace").and_then(root_run);
    let id = id.or_else(|| value("traceparent").and_then(trace_id))?;
    NonZero::new(xxh3_64_with_seed(id.to_ascii_lowercase().as_bytes(), 4))
}

/// Of `LangSmith`'s dotted order, in which every run has a time and an id, `20260101T000000000000Z<uuid>`,
/// the root's first. A trace is one task there.
fn root_run(order: &str) -> Option<&str> {
    let root = order.split('.').next()?;
    let (time, id) = root.split_once('Z')?;
    (time.starts_with(|it: char| it.is_ascii_digit()) && id.len() == 36).then_some(id)
}

/// Of W3C's `version-trace-parent-flags`.
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.trim().split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit());
    (is_id && id.bytes().any(|it| it != b'0')).then_some(id)
}

impl Known {
    /// Whether its client said that it is in this trace.
    pub(super) fn is_in(&self, trace: Option<Trace>) -> bool {
        trace.is_some() && self.trace == trace
    }
}

/// Those of the steps that are in the trace; all, if none is. Whether that tells them apart.
pub(super) fn narrow<'a, I>(
    trace: Option<Trace>,
    steps: I,
) -> (impl Iterator<Item = I::Item> + Clone, bool)
where
    I: Iterator<Item = (Seq, &'a Known)> + Clone,
{
    let is_in = move |step: &Known| step.is_in(trace);
    let any = trace.is_some() && steps.clone().any(|(_, step)| is_in(step));
    let tells = any && steps.clone().any(|(_, step)| !is_in(step));
    (steps.filter(move |(_, step)| !tells || is_in(step)), tells)
}

/// Where a conversation stands that is known by its trace alone.
struct Near {
    workflow: WorkflowId,
    from: StepId,
    parents: Vec<StepId>,
    part: Part,
    confidence: f32,
}

impl Memory {
    /// The steps in the trace, if they are of one workflow: a trace that several have had is a process's,
    /// or a user's, and joins nothing.
    pub(super) fn alone_in(&self, trace: Trace) -> Option<Vec<(Seq, &Known)>> {
        let steps = self.traced.get(trace.get().into());
        let steps = steps.filter_map(|seq| Some((seq, self.step(seq)?)));
        let steps: Vec<(Seq, &Known)> = steps.filter(|(_, it)| it.is_in(Some(trace))).collect();
        let workflow = steps.first()?.1.workflow;
        steps.iter().all(|(_, it)| it.workflow == workflow).then_some(steps)
    }
}

impl Lineage {
    /// In the one workflow of its trace, while that is under way: as a sub-agent, where a tool call waits;
    /// as a call beside it, if it does less. It says little, so nothing is learnt from it.
    pub(super) fn put_traced(&mut self, first: &First<'_>) -> Option<Put> {
        let Near { workflow, from, parents, part, confidence } = self.near(first)?;
        let confidence = Confidence::new(confidence);
        let because = Evidence::new(EvidenceKind::TraceId, confidence, Some(from));
        let mut placement = self.within(workflow, confidence, vec![because])?;
        placement.parents = parents;
        Some(Put { placement, part, under: None, sure: confidence, covers: 0 })
    }

    fn near(&self, first: &First<'_>) -> Option<Near> {
        let (history, memory) = (first.history, &self.memory);
        if first.begun_elsewhere || first.probes() || self.manners.serves_users(history.kind) {
            return None;
        }
        let steps = memory.alone_in(history.trace?)?;
        let workflow = steps.first()?.1.workflow;
        let session = memory.flow(workflow)?.session;
        // The like of who works on the task works on another one.
        let is_like = |step: &Known| step.part == Part::Main && step.kind == history.kind;
        // Who names a session names the same, or none.
        let names = place::names_session(first.prompt);
        let is_another = names && first.named.is_none_or(|named| named.session != session);
        let contradicts = |step: &Known| is_like(step) || step.names_session != names;
        let is_under_way = memory.state(workflow) == State::Active;
        if is_another || !is_under_way || steps.iter().any(|(_, step)| contradicts(step)) {
            return None;
        }
        let fresh = steps.iter().map(|(_, step)| *step);
        let fresh = fresh.filter(|step| resolve::is_fresh(first.at, step));
        under_waiting(fresh.clone()).or_else(|| {
            let mut fresh = fresh.filter(|step| first.is_aside(step));
            let beside = fresh.next_back()?;
            let (from, part) = (beside.id, Part::Aside);
            Some(Near { workflow, from, parents: Vec::new(), part, confidence: SURE })
        })
    }
}

/// Under what waits last for the results of tool calls: the call, if it is the only one.
fn under_waiting<'a>(steps: impl DoubleEndedIterator<Item = &'a Known> + Clone) -> Option<Near> {
    let mut waiting = steps.rev().filter(|step| step.is_waiting() && step.failure().is_none());
    let last = waiting.next()?;
    let confidence = if waiting.next().is_none() { SURE } else { SURE / 2.0 };
    let parent = match &*last.tools {
        [only] => only.step,
        _ => last.id,
    };
    let (workflow, from) = (last.workflow, last.id);
    Some(Near { workflow, from, parents: vec![parent], part: Part::Nested, confidence })
}

/// How sure it is that a conversation belongs to the workflow of its trace.
const SURE: f32 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(name: &'static str, value: &str) -> Signal {
        Signal { name, value: value.to_owned() }
    }

    #[test]
    fn a_trace_is_known_by_its_id_whatever_span_asks() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent =
            |id: &str, span: &str| named(&[signal("traceparent", &format!("00-{id}-{span}-01"))]);
        let one = parent(id, "00f067aa0ba902b7");
        assert!(one.is_some());
        assert_eq!(parent(&id.to_uppercase(), "1111111111111111"), one);
        for bad in ["", "0", &"0".repeat(32), &"g".repeat(32)] {
            assert_eq!(parent(bad, "00f067aa0ba902b7"), None, "{bad}");
        }
        assert_eq!(named(&[signal("session-id", id)]), None);
    }

    #[test]
    fn a_langsmith_trace_is_known_by_its_root_and_says_more_than_the_transport() {
        let root = "20260101T000000000000Z0c1f1a4e-0000-4000-8000-000000000001";
        let child = format!("{root}.20260101T000001000000Z0c1f1a4e-0000-4000-8000-000000000002");
        let order = |value: &str| named(&[signal("langsmith-trace", value)]);
        assert!(order(root).is_some());
        assert_eq!(order(&child), order(root));
        assert_eq!(order("abc"), None);
        let traceparent = format!("00-{}-00f067aa0ba902b7-01", "a".repeat(32));
        let both = [signal("traceparent", &traceparent), signal("langsmith-trace", root)];
        assert_eq!(named(&both), order(root));
    }
}
