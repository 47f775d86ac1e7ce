//! What the gateway reports, as a guess that can be judged: its steps are found among the exchanges by
//! what both sides saw of each.

use std::collections::{BTreeMap, HashMap};

use turnpike::call::StepKind;

use super::serve::Exchange;
use crate::{
    eval::{
        guess::{Guess, Place},
        record::StepRef,
    },
    trace::{Step, Workflow},
};

/// The places of the exchanges that the gateway has told of.
pub(super) fn guess(workflows: &[Workflow], exchanges: &[Exchange]) -> Guess {
    let found = found(workflows, exchanges);
    let by_number: HashMap<u64, &Exchange> =
        exchanges.iter().map(|it| (it.record.exchange, it)).collect();
    let steps = steps(workflows, &found, &by_number);
    let mut names = Names::default();
    let mut guess = Guess::new();
    for workflow in workflows {
        for step in &workflow.steps {
            let Some(exchange) = found.get(&*step.step_id) else { continue };
            let of = |id: &String| steps.get(id.as_str()).copied();
            let place = Place {
                session: names.number(&workflow.summary.session_id),
                workflow: names.number(&workflow.summary.workflow_id),
                parents: step.parent_step_ids.iter().filter_map(of).collect(),
                kind: kind(step),
                retry: step.retry.as_ref().map(|retry| {
                    (of(&retry.of_step_id).map(|step| step.exchange), retry.reason.clone())
                }),
                confidence: step.confidence,
            };
            guess.insert(*exchange, place);
        }
    }
    guess
}

/// The processes that have made exchanges, which only the gateway knows.
pub(super) fn processes(workflows: &[Workflow], exchanges: &[Exchange]) -> HashMap<u64, u32> {
    let found = found(workflows, exchanges);
    let steps = workflows.iter().flat_map(|workflow| &workflow.steps);
    steps.filter_map(|step| Some((*found.get(&*step.step_id)?, step.pid?))).collect()
}

/// The exchanges of steps: by the connection and the request, and among equal ones of these by order.
fn found<'a>(workflows: &'a [Workflow], exchanges: &[Exchange]) -> HashMap<&'a str, u64> {
    let mut seen: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for it in exchanges {
        let key = (it.peer, it.request_sha256.as_str());
        seen.entry(key).or_default().push(it.record.exchange);
    }
    let mut told: BTreeMap<_, Vec<&Step>> = BTreeMap::new();
    for step in workflows.iter().flat_map(|workflow| &workflow.steps) {
        if let (Some(local), Some(sha256)) = (step.upstream_local, &step.request_sha256) {
            told.entry((local, sha256.as_str())).or_default().push(step);
        }
    }
    let mut found = HashMap::new();
    for (key, mut steps) in told {
        steps.sort_by_key(|step| step.exchange_seq);
        let exchanges = seen.remove(&key).unwrap_or_default();
        found.extend(steps.into_iter().map(|step| &*step.step_id).zip(exchanges));
    }
    found
}

/// What each step is: an exchange, or a tool call in the answer of one.
fn steps<'a>(
    workflows: &'a [Workflow],
    found: &HashMap<&'a str, u64>,
    exchanges: &HashMap<u64, &Exchange>,
) -> HashMap<&'a str, StepRef> {
    let mut steps: HashMap<&str, StepRef> =
        found.iter().map(|(id, exchange)| (*id, StepRef::exchange(*exchange))).collect();
    for step in workflows.iter().flat_map(|workflow| &workflow.steps) {
        let call_id = step.tool.as_ref().and_then(|tool| tool.call_id.as_ref());
        let from = step.parent_step_ids.first().and_then(|id| found.get(&**id));
        if let (Some(call_id), Some(from)) = (call_id, from) {
            let calls = exchanges.get(from).map_or(&[][..], |it| &it.calls);
            // What a model has called, and what is done about it then, is one step.
            if let Some(at) = calls.iter().position(|id| id == call_id) {
                steps.insert(&step.step_id, StepRef::call(*from, at));
            }
        }
    }
    steps
}

fn kind(step: &Step) -> StepKind {
    serde_json::from_value(step.kind.clone().into()).unwrap_or(StepKind::Utility)
}

/// Numbers for ids.
#[derive(Debug, Default)]
struct Names<'a>(HashMap<&'a str, u128>);

impl<'a> Names<'a> {
    fn number(&mut self, name: &'a str) -> u128 {
        let next = self.0.len() as u128;
        *self.0.entry(name).or_insert(next)
    }
}
