mod corrections;
mod tools;

use serde_json::json;

use super::*;
use crate::{
    call::{
        Answer, CallKind, Dialect, Mention, Message, Micros, Name, NanoUsd, Operation, Prompt,
        Role, StepKind, ToolCall, Totals, Url, Usage,
    },
    lineage::{Lineage, Outcome},
};

/// What every tool call names.
const PAGE: &str = "https://docs.test/page";

/// One agent, its lineage, and the store that is told of both.
struct Agent {
    lineage: Lineage,
    store: Workflows,
    reference: AgentRef,
    now: Timestamp,
}

impl Agent {
    fn new(store: &Workflows, name: &str, seed: u64) -> Self {
        let reference = AgentRef {
            name: name.to_owned(),
            cgroup: format!("/{name}"),
            container_id: None,
            pod: None,
        };
        let now = Timestamp(1_700_000_000_000_000);
        Self { lineage: Lineage::new(seed), store: store.clone(), reference, now }
    }

    fn place(&mut self, messages: &[Message]) -> (Placement, Step) {
        self.now.0 += 1000;
        let prompt = Prompt {
            dialect: Dialect::OpenaiChat,
            operation: Operation::Chat,
            model: None,
            stream: false,
            messages: messages.to_vec(),
            tools_hash: None,
            wish: None,
            client_retry: None,
            terms: Box::default(),
        };
        let placement = self.lineage.place(self.now, &prompt);
        let step = self.step(&placement);
        let hmac = Some("00ff".to_owned());
        self.store.insert_placed(&self.reference, &placement, step.clone(), hmac);
        (placement, step)
    }

    fn finish(&mut self, call: &(Placement, Step), answer: &Message) -> Completion {
        let usage = Usage { input: 10, output: 5, cache_read: Some(4), ..Usage::default() };
        let spent = Spent { usage: Some(usage), usd: Some(NanoUsd(7)), ..Spent::default() };
        self.end(call, answer, Some(spent))
    }

    fn end(
        &mut self,
        (placement, step): &(Placement, Step),
        answer: &Message,
        spent: Option<Spent>,
    ) -> Completion {
        self.now.0 += 2000;
        let url = Url::of(PAGE).map(|url| Mention { url, is_whole: true });
        let call = |id: &String| ToolCall {
            id: Some(id.clone()),
            name: "search".to_owned(),
            arguments: 0,
            values: Vec::new(),
            commands: Vec::new(),
            urls: url.into_iter().collect(),
        };
        let answer = Answer {
            choices: vec![answer.clone()],
            tool_calls: answer.tool_calls.iter().map(call).collect(),
            complete: true,
            ..Answer::default()
        };
        let outcome = Outcome { answer, status: Some(200), failure: None };
        let completion = self.lineage.finish(step.step_id, self.now, &outcome);
        let duration_ms = Some(self.now.since(step.started_at));
        let settlement = Settlement {
            step_id: step.step_id,
            kind: completion.kind,
            response_model: None,
            response_id: None,
            finish_reasons: Vec::new(),
            error: None,
            spent,
            status: Some(200),
            ttft_ms: None,
            duration_ms,
            cancel: None,
            too_long: None,
        };
        let (agent, workflow) = (&self.reference, placement.workflow);
        self.store.finish(agent, workflow, settlement, &completion, self.now);
        completion
    }

    fn step(&self, placement: &Placement) -> Step {
        Step {
            parent_step_ids: placement.parents.clone(),
            confidence: placement.confidence,
            dialect: Some(Dialect::OpenaiChat),
            operation: Some(Operation::Chat),
            evidence: placement.evidence.clone(),
            retry: placement.retry,
            ..Step::new(
                placement.step,
                (placement.kind, CallKind::Model),
                Name::shared(&self.reference.name),
                self.now,
            )
        }
    }

    fn get(&self, workflow: WorkflowId) -> Workflow {
        self.store.get(&workflow.to_string()).expect("is kept")
    }
}

fn message(role: Role, hash: u128, id: Option<&str>) -> Message {
    let id = id.map(str::to_owned);
    let (tool_calls, tool_result) = match role {
        Role::Assistant => (id.into_iter().collect(), None),
        _ => (Vec::new(), id),
    };
    Message { role, hash, content: None, tool_calls, tool_result }
}

fn user(hash: u128) -> Message {
    message(Role::User, hash, None)
}

fn plan() -> Message {
    message(Role::Assistant, 1_000_001, Some("x"))
}

fn done() -> Message {
    message(Role::Assistant, 1_000_002, None)
}

fn result() -> Message {
    message(Role::Tool, 1_000_003, Some("x"))
}

#[test]
fn a_workflow_grows_step_by_step() {
    let mut agent = Agent::new(&Workflows::new(), "a", 1);
    let first = agent.place(&[user(1)]);
    let id = first.0.workflow;
    let started = agent.get(id);
    assert_eq!((started.summary.state, started.summary.ended_at), (State::Active, None));
    assert_eq!(started.summary.totals.model_calls, 1);

    let tool = agent.finish(&first, &plan()).tools[0].step;
    let waiting = agent.get(id);
    assert_eq!(waiting.summary.state, State::Active);
    assert_eq!(waiting.steps[1].parent_step_ids, [first.1.step_id]);
    assert_eq!((waiting.steps[1].step_id, waiting.steps[1].settled), (tool, false));

    let second = agent.place(&[user(1), plan(), result()]);
    let answered = agent.get(id);
    assert_eq!(answered.steps[1].duration_ms, Some(Micros(1000)));
    assert!(answered.steps[1].settled && !answered.steps[2].settled);

    agent.finish(&second, &done());
    let ended = agent.get(id);
    assert_eq!(ended.summary.state, State::Done);
    assert_eq!(ended.summary.ended_at, Some(agent.now));
    assert_eq!(ended.steps[2].kind, StepKind::Final);
    let totals = ended.summary.totals;
    assert_eq!((totals.model_calls, totals.tool_calls), (2, 1));
    assert_eq!((totals.input_tokens, totals.output_tokens), (20, 10));
    assert_eq!((totals.cache_read_tokens, totals.wall_ms), (8, Micros(5000)));
    let revisions = [started, waiting, answered, ended].map(|flow| flow.summary.revision);
    assert!(revisions.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_workflow_is_written_as_the_contract_says() {
    let mut agent = Agent::new(&Workflows::new(), "a", 1);
    let first = agent.place(&[user(1)]);
    let completion = agent.finish(&first, &plan());
    let (flow, step) = (&first.0, first.1.step_id);
    let written = serde_json::to_value(agent.get(flow.workflow)).expect("is JSON");
    let expected = json!({
        "workflow_id": flow.workflow, "session_id": flow.session, "trace_id": flow.trace,
        "revision": 2, "agent": {"name": "a", "cgroup": "/a"}, "state": "active",
        "started_at": "2023-11-14T22:13:20.001000Z", "wish_hmac": "00ff",
        "totals": {
            "model_calls": 1, "tool_calls": 1, "input_tokens": 10, "output_tokens": 5,
            "cache_read_tokens": 4, "cache_creation_tokens": 0, "reasoning_tokens": 0,
            "usd": "0.000000007", "wall_ms": 2.0,
        },
        "steps": [
            {
                "step_id": step, "parent_step_ids": [], "confidence": flow.confidence,
                "kind": "planner", "call": "model", "agent": "a", "dialect": "openai_chat",
                "operation": "chat", "started_at": "2023-11-14T22:13:20.001000Z",
                "duration_ms": 2.0, "status": 200, "usd": "0.000000007", "settled": true,
                "usage": {
                    "input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 4,
                    "estimated": false,
                },
                "evidence": [{"kind": "new_history", "confidence": flow.confidence}],
            },
            {
                "step_id": completion.tools[0].step, "parent_step_ids": [step],
                "confidence": 1.0, "kind": "tool", "call": "tool", "agent": "a",
                "tool": {"name": "search", "call_id": "x"},
                "started_at": "2023-11-14T22:13:20.003000Z", "settled": false,
                "evidence": [{"kind": "tool_call_id", "confidence": 1.0, "from_step_id": step}],
            },
        ],
    });
    assert_eq!(written, expected);
    let read: Workflow = serde_json::from_value(written).expect("reads back");
    assert_eq!(read, agent.get(flow.workflow));
}

#[test]
fn lists_are_filtered_and_newest_first() {
    let store = Workflows::new();
    let (mut a, mut b) = (Agent::new(&store, "a", 1), Agent::new(&store, "b", 2));
    let first = a.place(&[user(1)]);
    a.finish(&first, &done());
    b.now = a.now;
    let second = b.place(&[user(1)]);
    a.now = b.now;
    let third = a.place(&[user(2)]);
    let ids = |filter| -> Vec<WorkflowId> {
        store.list(&filter).iter().map(|summary| summary.workflow_id).collect()
    };
    let [one, two, three] = [&first, &second, &third].map(|call| call.0.workflow);
    assert_eq!(ids(Filter::default()), [three, two, one]);
    assert_eq!(ids(Filter { limit: Some(2), ..Filter::default() }), [three, two]);
    let agent = Some("b".to_owned());
    assert_eq!(ids(Filter { agent, ..Filter::default() }), [two]);
    assert_eq!(ids(Filter { state: Some(State::Done), ..Filter::default() }), [one]);
    let session = Some(third.0.session);
    assert_eq!(ids(Filter { session, ..Filter::default() }), [three]);
    let all: Vec<WorkflowId> =
        store.all(&Filter::default()).iter().map(|flow| flow.summary.workflow_id).collect();
    assert_eq!(all, [three, two, one]);
}

#[test]
fn a_workflow_is_found_by_a_prefix_that_is_only_its_own() {
    let store = Workflows::new();
    let mut agent = Agent::new(&store, "a", 1);
    for n in 0..100 {
        agent.place(&[user(n)]);
    }
    let id = agent.place(&[user(1000)]).0.workflow;
    let text = id.to_string();
    assert_eq!(store.get(&text[..12]).map(|flow| flow.summary.workflow_id), Ok(id));
    assert_eq!(store.get(&text.to_uppercase()).map(|flow| flow.summary.workflow_id), Ok(id));
    assert!(matches!(store.get(&text[..1]), Err(FindError::Ambiguous(2..))));
    let other = format!("{:016x}", id.0 ^ 1);
    for wrong in ["", "xyz", "+f", "é", &other, &format!("{text}0")] {
        assert_eq!(store.get(wrong), Err(FindError::NotFound), "{wrong}");
    }
}

#[test]
fn the_workflow_idle_for_longest_makes_room() {
    let store = Workflows::bounded(Bounds { workflows: 2, steps_per_workflow: 9, steps: 99 });
    let mut agent = Agent::new(&store, "a", 1);
    let calls = [1, 2].map(|n| agent.place(&[user(n)]));
    agent.finish(&calls[0], &plan());
    let third = agent.place(&[user(3)]);
    assert!(store.get(&calls[0].0.workflow.to_string()).is_ok(), "was touched after the second");
    assert!(store.get(&third.0.workflow.to_string()).is_ok());
    agent.finish(&calls[1], &done());
    assert_eq!(store.get(&calls[1].0.workflow.to_string()), Err(FindError::NotFound));
    assert_eq!(store.counters(), Counters { evicted: 1, late: 1, steps_dropped: 0 });
}

#[test]
fn one_agent_does_not_take_anothers_room() {
    let store = Workflows::bounded(Bounds { workflows: 2, steps_per_workflow: 9, steps: 99 });
    let (mut a, mut b) = (Agent::new(&store, "a", 1), Agent::new(&store, "b", 2));
    let kept = a.place(&[user(1)]).0.workflow;
    for n in 0..10 {
        b.place(&[user(n)]);
    }
    assert_eq!(a.get(kept).summary.agent.name, "a");
    assert_eq!(store.list(&Filter::default()).len(), 3);
}

#[test]
fn steps_over_the_bound_count_but_are_not_kept() {
    let store = Workflows::bounded(Bounds { workflows: 9, steps_per_workflow: 2, steps: 99 });
    let mut agent = Agent::new(&store, "a", 1);
    let first = agent.place(&[user(1)]);
    agent.finish(&first, &plan());
    let second = agent.place(&[user(1), plan(), result()]);
    agent.finish(&second, &done());
    let flow = agent.get(first.0.workflow);
    assert_eq!((flow.steps.len(), flow.summary.totals.model_calls), (2, 2));
    assert_eq!((flow.summary.totals.output_tokens, flow.summary.state), (10, State::Done));
    assert_eq!(store.counters().steps_dropped, 1);
}

#[test]
fn all_steps_of_an_agent_keep_within_their_bound() {
    let store = Workflows::bounded(Bounds { workflows: 99, steps_per_workflow: 9, steps: 10 });
    let mut agent = Agent::new(&store, "a", 1);
    for n in 0..50 {
        let call = agent.place(&[user(n)]);
        agent.finish(&call, &plan());
        assert!(
            store.all(&Filter::default()).iter().map(|flow| flow.steps.len()).sum::<usize>() <= 10
        );
    }
    assert_eq!(store.counters().evicted, 45);
}

#[test]
fn an_end_that_comes_twice_counts_once() {
    let mut agent = Agent::new(&Workflows::new(), "a", 1);
    let call = agent.place(&[user(1)]);
    agent.finish(&call, &done());
    agent.finish(&call, &done());
    assert_eq!(agent.get(call.0.workflow).summary.totals.output_tokens, 5);
    assert_eq!(agent.store.counters().late, 1);
}

#[test]
fn what_a_call_spent_may_be_told_after_its_end() {
    let mut agent = Agent::new(&Workflows::new(), "a", 1);
    let first = agent.place(&[user(1)]);
    let id = first.0.workflow;
    agent.end(&first, &plan(), None);
    let ended = agent.get(id);
    assert!(!ended.steps[0].settled && ended.steps[0].duration_ms.is_some());
    assert_eq!(ended.summary.totals, Totals { wall_ms: Micros(2000), ..calls(1, 1) });
    // What follows meanwhile is not touched by it.
    let second = agent.place(&[user(1), plan(), result()]);
    let before = agent.get(id);
    let usage = Usage { input: 9, output: 1, estimated: true, ..Usage::default() };
    let spent = Spent { usage: Some(usage), unpriced: true, ..Spent::default() };
    agent.store.spend(&agent.reference, id, first.1.step_id, spent);
    let after = agent.get(id);
    assert_eq!((after.steps[0].usage, after.steps[0].unpriced), (Some(usage), true));
    assert!(after.steps[0].settled && after.summary.revision > before.summary.revision);
    assert_eq!((after.summary.state, &after.steps[1..]), (State::Active, &before.steps[1..]));
    agent.finish(&second, &done());
    let totals = agent.get(id).summary.totals;
    assert_eq!((totals.input_tokens, totals.output_tokens), (19, 6));
    assert_eq!((totals.usd, totals.unpriced_calls), (Some(NanoUsd(7)), 1));
    // Only once.
    agent.store.spend(&agent.reference, id, first.1.step_id, spent);
    agent.store.spend(&agent.reference, WorkflowId(1), first.1.step_id, spent);
    assert_eq!(agent.get(id).summary.totals, totals);
    assert_eq!(agent.store.counters().late, 2);
}

fn calls(model_calls: u64, tool_calls: u64) -> Totals {
    Totals { model_calls, tool_calls, ..Totals::default() }
}

#[test]
fn a_clock_that_is_set_back_does_not_show() {
    let mut agent = Agent::new(&Workflows::new(), "a", 1);
    let first = agent.place(&[user(1)]);
    agent.finish(&first, &plan());
    let before = agent.get(first.0.workflow);
    agent.now.0 -= 1_000_000;
    let second = agent.place(&[user(1), plan(), result()]);
    agent.finish(&second, &done());
    let flow = agent.get(first.0.workflow);
    let order = [&first, &second].map(|call| call.0.step);
    assert_eq!([flow.steps[0].step_id, flow.steps[2].step_id], order, "the tool's is between");
    assert_eq!(flow.steps[1].duration_ms, Some(Micros(0)));
    assert!(flow.summary.ended_at >= flow.steps.iter().map(|step| step.started_at).max());
    assert!(flow.summary.totals.wall_ms >= before.summary.totals.wall_ms);
}

#[test]
fn a_forgotten_agent_leaves_nothing() {
    let store = Workflows::new();
    let mut agent = Agent::new(&store, "a", 1);
    let call = agent.place(&[user(1)]);
    assert_eq!(store.forget_agent("a"), 1);
    agent.finish(&call, &done());
    assert_eq!((store.all(&Filter::default()), store.forget_agent("a")), (Vec::new(), 0));
}

#[test]
fn many_threads_share_the_store() {
    let store = Workflows::new();
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let store = &store;
            scope.spawn(move || {
                let mut agent = Agent::new(store, &format!("agent {}", seed / 2), seed);
                for n in 0..100 {
                    let call = agent.place(&[user(n)]);
                    agent.finish(&call, &done());
                }
            });
        }
    });
    let done = store.list(&Filter { state: Some(State::Done), ..Filter::default() });
    assert_eq!(done.len(), 800);
}
