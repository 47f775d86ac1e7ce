//! Tool calls that are made.

use super::*;
use crate::{
    call::{Confidence, Evidence, EvidenceKind, Invocation, Tool, Url},
    lineage::{Stage, ToolRun},
};

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

    /// A request for what the plan's tool call names, by a process.
    fn fetch(&mut self, pid: u32) -> (Placement, Step) {
        self.now.0 += 1000;
        let page = Url::of(PAGE).expect("a URL");
        let placement = self.lineage.place_fetch(Some(pid), self.now, page).expect("it is named");
        let step = Step {
            call: CallKind::Tool,
            dialect: None,
            operation: Some(Operation::ExecuteTool),
            host: Some("docs.test".into()),
            pid: Some(pid),
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
            cancel: None,
            too_long: None,
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

#[test]
fn a_command_that_a_process_runs_is_a_step_from_its_beginning_to_its_end() {
    let store = Workflows::new();
    let mut agent = Agent::new(&store, "a", 1);
    let first = agent.place(&[user(1)]);
    let step = agent.finish(&first, &plan()).tools[0].step;
    let (workflow, opened) = (first.0.workflow, agent.now);
    let evidence = Evidence {
        kind: EvidenceKind::ProcessCommand,
        confidence: Confidence::new(0.95),
        from_step_id: Some(first.0.step),
    };
    let run = |stage, millis: u64| {
        let at = Timestamp(opened.0 + millis * 1000);
        ToolRun { workflow, step, pid: 7, at, stage, evidence }
    };
    store.ran(&agent.reference, &run(Stage::Began, 3));
    let running = agent.get(workflow).steps[1].clone();
    assert_eq!((running.pid, running.started_at), (Some(7), run(Stage::Began, 3).at));
    assert_eq!((running.duration_ms, running.settled), (None, false));
    assert_eq!(running.evidence.last(), Some(&evidence));
    store.ran(&agent.reference, &run(Stage::Ended, 10));
    let ended = agent.get(workflow).steps[1].clone();
    assert_eq!((ended.duration_ms, ended.settled), (Some(Micros(7000)), true));
    // The model's being told does not end it again.
    agent.now = run(Stage::Ended, 50).at;
    agent.place(&[user(1), plan(), result()]);
    assert_eq!(agent.get(workflow).steps[1], ended);
    assert_eq!(agent.get(workflow).summary.totals.tool_calls, 1);
}

#[test]
fn a_url_that_is_fetched_is_the_step_of_the_tool_call_that_names_it() {
    let mut agent = Agent::new(&Workflows::new(), "a", 1);
    let first = agent.place(&[user(1)]);
    let opened = agent.finish(&first, &plan()).tools[0].step;
    let fetch = agent.fetch(7);
    let outcome = Outcome { answer: Answer::default(), status: Some(200), failure: None };
    agent.end_tool((&fetch.0, &fetch.1), outcome);
    agent.place(&[user(1), plan(), result()]);
    let flow = agent.get(first.0.workflow);
    let step = &flow.steps[1];
    assert_eq!((step.step_id, &step.parent_step_ids), (opened, &vec![first.1.step_id]));
    let tool = Tool { name: "search".to_owned(), call_id: Some("x".to_owned()), server: None };
    assert_eq!((step.tool.as_ref(), step.host.as_deref()), (Some(&tool), Some("docs.test")));
    assert_eq!((step.kind, step.call, step.settled), (StepKind::Tool, CallKind::Tool, true));
    assert_eq!((step.status, step.duration_ms), (Some(200), Some(Micros(0))));
    let kinds: Vec<_> = step.evidence.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [EvidenceKind::ToolCallId, EvidenceKind::UrlFetched]);
    assert_eq!(flow.steps[2].parent_step_ids, [opened]);
    assert_eq!((flow.steps.len(), flow.summary.totals.tool_calls), (3, 1), "when the model asked");
}

#[test]
fn what_a_command_fetches_does_not_end_it() {
    for ends_first in [false, true] {
        let store = Workflows::new();
        let mut agent = Agent::new(&store, "a", 1);
        let first = agent.place(&[user(1)]);
        let step = agent.finish(&first, &plan()).tools[0].step;
        let workflow = first.0.workflow;
        let evidence = Evidence {
            kind: EvidenceKind::ProcessCommand,
            confidence: Confidence::CERTAIN,
            from_step_id: Some(first.0.step),
        };
        let run = |agent: &mut Agent, stage| {
            agent.now.0 += 1000;
            let run = ToolRun { workflow, step, pid: 7, at: agent.now, stage, evidence };
            store.ran(&agent.reference, &run);
            agent.now
        };
        let began = run(&mut agent, Stage::Began);
        let fetch = agent.fetch(8);
        let outcome = Outcome { answer: Answer::default(), status: Some(200), failure: None };
        let mut ended = began;
        if ends_first {
            ended = run(&mut agent, Stage::Ended);
        }
        agent.end_tool((&fetch.0, &fetch.1), outcome);
        if !ends_first {
            assert!(!agent.get(workflow).steps[1].settled, "the command goes on");
            ended = run(&mut agent, Stage::Ended);
        }
        let kept = agent.get(workflow).steps[1].clone();
        assert_eq!((kept.pid, kept.status, kept.settled), (Some(7), Some(200), true));
        assert_eq!((kept.started_at, kept.duration_ms), (began, Some(ended.since(began))));
        assert_eq!((kept.evidence.len(), kept.host.as_deref()), (3, Some("docs.test")));
        assert_eq!(store.counters().late, 0);
    }
}

#[test]
fn a_process_that_goes_on_after_its_result_was_told_has_ended_with_that() {
    let store = Workflows::new();
    let mut agent = Agent::new(&store, "a", 1);
    let first = agent.place(&[user(1)]);
    let step = agent.finish(&first, &plan()).tools[0].step;
    let (workflow, opened) = (first.0.workflow, agent.now);
    let told = agent.place(&[user(1), plan(), result()]).1.started_at;
    let evidence = Evidence {
        kind: EvidenceKind::ProcessCommand,
        confidence: Confidence::CERTAIN,
        from_step_id: None,
    };
    // Before its parent's beginning, too: the clocks differ.
    for (stage, at) in [(Stage::Began, Timestamp(1)), (Stage::Ended, Timestamp(told.0 + 5))] {
        store.ran(&agent.reference, &ToolRun { workflow, step, pid: 7, at, stage, evidence });
    }
    let kept = agent.get(workflow).steps[1].clone();
    assert_eq!(kept.started_at, first.1.started_at);
    assert_eq!(kept.duration_ms, Some(told.since(first.1.started_at)));
    assert!(opened > first.1.started_at && kept.settled);
}
