//! Tool calls that are made.

use super::*;
use crate::call::{Confidence, EvidenceKind, Invocation, Tool};

impl Agent {
    /// A call of the tool that `plan` asks for, or of another one.
    fn invoke(&mut self, name: &str) -> (Placement, Step) {
        self.now.0 += 1000;
        let invocation = Invocation {
            dialect: Dialect::Mcp,
            operation: Operation::ExecuteTool,
            tool: Some(name.into()),
            arguments: Some(0),
            rpc_id: None,
            signals: Vec::new(),
        };
        let placement = self.lineage.place_tool(self.now, &invocation);
        let server = Some("mcp.test".into());
        let step = Step {
            call: CallKind::Tool,
            dialect: Some(Dialect::Mcp),
            operation: Some(Operation::ExecuteTool),
            tool: Some(Tool { name: name.to_owned(), call_id: None, server }),
            host: Some("mcp.test".into()),
            ..self.step(&placement)
        };
        self.store.insert_placed(&self.reference, &placement, step.clone(), None);
        (placement, step)
    }

    fn done(&mut self, (placement, step): &(Placement, Step)) {
        self.now.0 += 2000;
        let error = Some("tool_error".into());
        let answer = Answer { complete: true, error, ..Answer::default() };
        self.end_tool((placement, step), Outcome { answer, status: Some(200), failure: None });
    }

    fn end_tool(&mut self, (placement, step): (&Placement, &Step), outcome: Outcome) {
        let from = step.parent_step_ids.first().copied();
        let completion = self.lineage.finish_tool(placement.workflow, step.step_id, from, &outcome);
        let settlement = Settlement {
            step_id: step.step_id,
            kind: completion.kind,
            response_model: None,
            response_id: None,
            finish_reasons: vec!["complete".into()],
            error: outcome.answer.error,
            spent: Some(Spent::default()),
            status: outcome.status,
            ttft_ms: None,
            duration_ms: Some(self.now.since(step.started_at)),
        };
        let (agent, workflow) = (&self.reference, placement.workflow);
        self.store.finish(agent, workflow, settlement, &completion, self.now);
    }
}

#[test]
fn a_call_that_a_model_asked_for_is_one_step_with_all_details() {
    let mut agent = Agent::new(&Workflows::new(), "a", 1);
    let first = agent.place(&[user(1)]);
    let opened = agent.finish(&first, &plan()).tools[0].step;
    let made = agent.invoke("search");
    agent.done(&made);
    let flow = agent.get(first.0.workflow);
    assert_eq!(flow.steps.len(), 2);
    let step = &flow.steps[1];
    assert_eq!((step.step_id, &step.parent_step_ids), (opened, &vec![first.1.step_id]));
    let server = Some("mcp.test".into());
    let tool = Tool { name: "search".to_owned(), call_id: Some("x".to_owned()), server };
    assert_eq!(step.tool.as_ref(), Some(&tool));
    assert_eq!((step.dialect, step.operation), (Some(Dialect::Mcp), Some(Operation::ExecuteTool)));
    assert_eq!(step.started_at, made.1.started_at);
    assert_eq!((step.status, step.duration_ms), (Some(200), Some(Micros(2000))));
    assert_eq!((step.error.as_deref(), step.confidence), (Some("tool_error"), Confidence::CERTAIN));
    let kinds: Vec<_> = step.evidence.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [EvidenceKind::ToolCallId, EvidenceKind::ToolArguments]);
    assert_eq!(flow.summary.totals.tool_calls, 1, "when the model asked");
    assert_eq!(flow.summary.state, State::Active, "the model waits");

    // The model's being told does not end it again.
    let second = agent.place(&[user(1), plan(), result()]);
    assert_eq!(agent.get(first.0.workflow).steps[1], *step);
    agent.finish(&second, &done());
    assert_eq!(agent.get(first.0.workflow).summary.state, State::Done);
}

#[test]
fn a_call_that_is_made_again_is_the_same_step() {
    let mut agent = Agent::new(&Workflows::new(), "a", 1);
    let first = agent.place(&[user(1)]);
    agent.finish(&first, &plan());
    let refused = agent.invoke("search");
    agent.end_tool((&refused.0, &refused.1), Outcome { status: Some(401), ..Outcome::default() });
    assert_eq!(agent.get(first.0.workflow).steps[1].status, Some(401));
    let again = agent.invoke("search");
    let running = agent.get(first.0.workflow).steps[1].clone();
    assert_eq!((running.step_id, running.settled, running.status), (refused.0.step, false, None));
    agent.done(&again);
    let flow = agent.get(first.0.workflow);
    let step = &flow.steps[1];
    assert_eq!((flow.steps.len(), step.status, step.evidence.len()), (2, Some(200), 2));
    assert_eq!((step.started_at, flow.summary.totals.tool_calls), (again.1.started_at, 1));
}

#[test]
fn an_answer_that_comes_after_the_model_was_told_ends_nothing_again() {
    let store = Workflows::new();
    let mut agent = Agent::new(&store, "a", 1);
    let first = agent.place(&[user(1)]);
    agent.finish(&first, &plan());
    let made = agent.invoke("search");
    agent.place(&[user(1), plan(), result()]);
    let told = agent.get(first.0.workflow).steps[1].clone();
    assert!(told.settled);
    agent.done(&made);
    assert_eq!(agent.get(first.0.workflow).steps[1], told);
    assert_eq!(store.counters().late, 1);
}

#[test]
fn a_call_that_no_model_asked_for_is_a_workflow_of_one_step() {
    let mut agent = Agent::new(&Workflows::new(), "a", 1);
    let made = agent.invoke("search");
    let running = agent.get(made.0.workflow);
    assert_eq!((running.summary.state, running.summary.totals.tool_calls), (State::Active, 1));
    agent.done(&made);
    let ended = agent.get(made.0.workflow);
    let [step] = &ended.steps[..] else { panic!("{ended:?}") };
    assert_eq!((step.kind, step.call, step.settled), (StepKind::Tool, CallKind::Tool, true));
    assert_eq!(ended.summary.state, State::Failed, "its only call had an error");
    assert_eq!((ended.summary.totals.model_calls, ended.summary.totals.tool_calls), (0, 1));
}
