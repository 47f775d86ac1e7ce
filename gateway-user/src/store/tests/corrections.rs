//! What is seen otherwise later.

use super::*;
use crate::call::Was;

fn user(hash: u128) -> Message {
    message(Role::User, hash, None)
}

fn says(hash: u128) -> Message {
    message(Role::Assistant, hash, None)
}

#[test]
fn a_step_that_is_put_after_others_later_tells_what_was_said_before() {
    let store = Workflows::default();
    let mut agent = Agent::new(&store, "a", 1);
    let plan = message(Role::Assistant, 2, Some("call_0"));
    let first = agent.place(&[user(1)]);
    let result = message(Role::Tool, 3, Some("call_0"));
    let hasty = agent.place(&[user(1), plan.clone(), result]);
    assert_eq!(hasty.1.parent_step_ids, [first.1.step_id]);
    let end = agent.finish(&first, &plan);
    agent.finish(&hasty, &says(4));

    let workflow = agent.get(first.0.workflow);
    let step = |id| workflow.steps.iter().find(|step| step.step_id == id).expect("is kept");
    let (tool, last) = (step(end.tools[0].step), step(hasty.1.step_id));
    assert_eq!(last.parent_step_ids, [tool.step_id]);
    assert!(tool.settled, "its result has come");
    let was: Vec<&Was> = last.corrections.iter().map(|it| &it.was).collect();
    assert_eq!(was, [&Was::ParentStepIds(vec![first.1.step_id])]);
    let json = serde_json::to_value(&last.corrections[0]).expect("JSON");
    assert_eq!(json["was"], json!({ "parent_step_ids": [first.1.step_id.to_string()] }));
}

#[test]
fn a_workflow_that_is_a_part_of_another_one_is_found_there_with_all_that_it_spent() {
    let store = Workflows::default();
    let mut agent = Agent::new(&store, "a", 1);
    let [one, other] = [(); 2].map(|()| agent.place(&[user(1)]));
    // Two could be meant, and neither has answered yet.
    let stray = agent.place(&[user(1), says(2), user(3)]);
    assert!(stray.0.opens_workflow);
    agent.finish(&other, &says(2));
    let ids = |workflow: &Workflow| -> Vec<StepId> {
        workflow.steps.iter().map(|step| step.step_id).collect()
    };
    let whole = agent.get(other.0.workflow);
    assert_eq!(ids(&whole), [other.1.step_id, stray.1.step_id]);
    assert_eq!(agent.get(stray.0.workflow).summary, whole.summary, "by its old id, too");
    assert_eq!(store.list(&Filter::default()).len(), 2);

    agent.finish(&stray, &says(4));
    let whole = agent.get(other.0.workflow);
    assert_eq!((whole.summary.totals.model_calls, whole.summary.totals.input_tokens), (2, 20));
    let was: Vec<&Was> = whole.steps[1].corrections.iter().map(|it| &it.was).collect();
    assert_eq!(was[0], &Was::WorkflowId(stray.0.workflow));
    assert_eq!(ids(&agent.get(one.0.workflow)), [one.1.step_id]);
    assert_eq!(store.counters().late, 0);
}

#[test]
fn a_step_that_was_not_the_last_is_no_final_one() {
    let store = Workflows::default();
    let mut agent = Agent::new(&store, "a", 1);
    let first = agent.place(&[user(1)]);
    let end = agent.finish(&first, &says(2));
    assert_eq!(end.kind, StepKind::Final);
    agent.place(&[user(1), says(2)]);
    let step = &agent.get(first.0.workflow).steps[0];
    assert_eq!(step.kind, StepKind::Planner);
    assert_eq!(step.corrections[0].was, Was::Kind(StepKind::Final));
}
