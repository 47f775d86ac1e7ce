use std::time::Duration;

use super::*;
use crate::{
    call::{
        AgentRef, Answer, Dialect, Name, Operation, Prompt, Segments, Settlement, Step, Terms,
        Timestamp,
    },
    dialect::{Answering, Asking},
    lineage::{Completion, Placement},
    proxy::{
        calls::Arrival,
        exchange::Ended,
        spend::{Due, Order},
    },
};

/// Longer than anything here may take. Its end is a failure.
const PATIENCE: Duration = Duration::from_mins(1);

/// Passes on what calls spent.
struct Told(SyncSender<(StepId, Spent)>);

impl Recorder for Told {
    fn placed(&self, _: &AgentRef, _: &Placement, _: Step, _: Option<String>) {}
    fn finished(&self, _: &AgentRef, _: WorkflowId, _: Settlement, _: &Completion, _: Timestamp) {}
    fn spent(&self, _: &AgentRef, _: WorkflowId, step: StepId, spent: Spent) {
        self.0.send((step, spent)).expect("somebody listens");
    }
}

fn estimator() -> (Estimator, Receiver<(StepId, Spent)>) {
    let (told, heard) = mpsc::sync_channel(10);
    (Estimator::new(Prices::default(), Arc::new(Told(told))), heard)
}

fn agent() -> Arc<Agent> {
    let reference =
        AgentRef { name: "a".into(), cgroup: "/a".into(), container_id: None, pod: None };
    Arc::new(Agent::new(1, reference, 1))
}

/// Asks `gpt-4o` at its maker's: one message with this text.
fn prompt(text: &str) -> Prompt {
    Prompt {
        dialect: Dialect::OpenaiChat,
        operation: Operation::Chat,
        model: Some("gpt-4o".into()),
        stream: true,
        messages: vec![crate::call::Message {
            role: crate::call::Role::User,
            hash: 1,
            content: None,
            tool_calls: Vec::new(),
            tool_result: None,
        }],
        tools_hash: None,
        wish: None,
        client_retry: None,
        terms: Box::new(Terms {
            segments: Segments { messages: text.len() as u64, ..Segments::default() },
            ..Terms::default()
        }),
    }
}

fn order(prompt: &Prompt, text: &str) -> Order {
    let mut sample = Asking::default();
    sample.push(text);
    Order::new(Some("api.openai.com".into()), prompt, sample)
}

fn said(text: &str) -> Answering {
    let mut sample = Answering::default();
    sample.push(text);
    sample
}

fn bill(asked: &str, answer: &Answer, answered: &str) -> Bill {
    order(&prompt(asked), asked).bill(answer, said(answered), Timestamp(0))
}

fn open(agent: &Arc<Agent>, step: u64, bill: Bill) -> Open {
    Open {
        agent: Arc::clone(agent),
        workflow: WorkflowId(1),
        step: StepId(step),
        bill,
        held: None,
        tools: Vec::new(),
        at: Timestamp(0),
    }
}

const HELLO: &str = "The quick brown fox jumps over the lazy dog.";

#[test]
fn what_nobody_reported_is_counted() {
    let (estimator, heard) = estimator();
    let agent = agent();
    estimator.estimate(open(&agent, 1, bill(HELLO, &Answer::default(), HELLO)));
    let (step, spent) = heard.recv_timeout(PATIENCE).expect("it is told");
    // The sentence has ten tokens; its message takes six more.
    let usage = Usage { input: 16, output: 10, estimated: true, ..Usage::default() };
    assert_eq!((step, spent.usage), (StepId(1), Some(usage)));
    assert_eq!(spent.usd.expect("a price").to_string(), "0.00014");
    assert_eq!((spent.unpriced, spent.uncounted_parts), (false, None));
    assert_eq!(estimator.estimates().calls, 1);
    let coverage = agent.coverage.snapshot();
    assert_eq!((coverage.calls_estimated, coverage.calls_unpriced), (1, 0));
}

#[test]
fn what_was_reported_so_far_is_completed() {
    let (estimator, heard) = estimator();
    let agent = agent();
    let estimate = |step, input, output| {
        let usage = Usage { input, output, cache_read: Some(3), ..Usage::default() };
        let answer = Answer { usage: Some(usage), ..Answer::default() };
        estimator.estimate(open(&agent, step, bill(HELLO, &answer, HELLO)));
        let usage = heard.recv_timeout(PATIENCE).expect("it is told").1.usage.expect("an estimate");
        assert!(usage.estimated && usage.cache_read == Some(3));
        (usage.input, usage.output)
    };
    assert_eq!(estimate(1, 500, 1), (500, 10), "as when a message has begun");
    assert_eq!(estimate(2, 500, 40), (500, 40), "as by servers that report as they go");
    assert_eq!(estimate(3, 0, 0), (16, 10));
}

#[test]
fn no_more_is_estimated_than_was_asked_for() {
    let (estimator, heard) = estimator();
    let mut prompt = prompt(HELLO);
    prompt.terms.max_output = Some(3);
    prompt.terms.choices = Some(2);
    prompt.terms.other_parts = 1;
    let bill = order(&prompt, HELLO).bill(&Answer::default(), said(HELLO), Timestamp(0));
    estimator.estimate(open(&agent(), 1, bill));
    let (_, spent) = heard.recv_timeout(PATIENCE).expect("it is told");
    assert_eq!(spent.usage.expect("an estimate").output, 6);
    assert_eq!(spent.uncounted_parts, Some(1));
}

#[test]
fn estimates_follow_what_is_reported() {
    let (estimator, heard) = estimator();
    let agent = agent();
    for _ in 0..20 {
        let usage = Usage { input: 160, output: 5, ..Usage::default() };
        let answer = Answer { usage: Some(usage), complete: true, ..Answer::default() };
        let spent = estimator.reported(&agent, bill(HELLO, &answer, HELLO), usage);
        assert_eq!((spent.usage, spent.unpriced), (Some(usage), false));
    }
    estimator.settle();
    estimator.estimate(open(&agent, 1, bill(HELLO, &Answer::default(), HELLO)));
    let usage = heard.recv_timeout(PATIENCE).expect("it is told").1.usage.expect("an estimate");
    assert_eq!((usage.input, usage.output), (160, 5));
    let estimates = estimator.estimates();
    let [(model, accuracy)] = &estimates.accuracy[..] else { panic!("{estimates:?}") };
    assert_eq!((&**model, accuracy.inputs, accuracy.outputs), ("gpt-4o", 16, 16));
    // The first was 144 of 160 off and 5 of 5, the others not at all.
    assert_eq!((accuracy.input_error, accuracy.output_error), (900 / 16, 1000 / 16));
}

#[test]
fn images_teach_nothing_of_text() {
    let (estimator, _heard) = estimator();
    let mut prompt = prompt(HELLO);
    prompt.terms.other_parts = 2;
    let usage = Usage { input: 2000, output: 10, ..Usage::default() };
    let answer = Answer { usage: Some(usage), complete: true, ..Answer::default() };
    let bill = order(&prompt, HELLO).bill(&answer, said(HELLO), Timestamp(0));
    let spent = estimator.reported(&agent(), bill, usage);
    assert_eq!(spent.uncounted_parts, None, "they are in what is reported");
    estimator.settle();
    let (_, accuracy) = estimator.estimates().accuracy.remove(0);
    assert_eq!((accuracy.inputs, accuracy.outputs), (0, 1));
}

#[test]
fn where_no_call_can_wait_the_size_tells() {
    let (estimator, heard) = estimator();
    let (jobs, _nobody) = mpsc::sync_channel(1);
    estimator.jobs.set(Some(jobs)).expect("none was needed yet");
    let agent = agent();
    estimator.estimate(open(&agent, 1, bill(HELLO, &Answer::default(), HELLO)));
    assert!(heard.try_recv().is_err(), "it waits");
    estimator.estimate(open(&agent, 2, bill(HELLO, &Answer::default(), HELLO)));
    let (step, spent) = heard.try_recv().expect("it is told at once");
    let usage = Usage { input: 11 + 6, output: 11, estimated: true, ..Usage::default() };
    assert_eq!((step, spent.usage), (StepId(2), Some(usage)));
    let estimates = estimator.estimates();
    assert_eq!((estimates.calls, estimates.by_size), (1, 1));
    assert_eq!(agent.bounds.hits(Bound::Estimates), 1);
}

#[test]
fn without_a_thread_the_size_tells() {
    let (estimator, heard) = estimator();
    estimator.jobs.set(None).expect("none was needed yet");
    estimator.estimate(open(&agent(), 1, bill(HELLO, &Answer::default(), HELLO)));
    assert_eq!(heard.try_recv().expect("it is told").1.usage.expect("an estimate").output, 11);
    estimator.settle();
}

#[test]
fn a_model_nobody_knows_is_unpriced() {
    let (estimator, _heard) = estimator();
    let mut prompt = prompt(HELLO);
    prompt.model = Some(Name::from("my-own"));
    let usage = Usage { input: 1, output: 1, ..Usage::default() };
    let answer = Answer { usage: Some(usage), complete: true, ..Answer::default() };
    let bill = order(&prompt, HELLO).bill(&answer, said(""), Timestamp(0));
    let agent = agent();
    let spent = estimator.reported(&agent, bill, usage);
    assert_eq!((spent.usd, spent.unpriced), (None, true));
    assert_eq!(agent.coverage.snapshot().calls_unpriced, 1);
}

#[test]
fn what_is_due_is_told_by_how_a_call_ended() {
    let usage = Usage { input: 1, output: 1, ..Usage::default() };
    let nothing = Answer::default();
    let partly = Answer { usage: Some(usage), ..Answer::default() };
    let whole = Answer { complete: true, ..partly.clone() };
    let finished = Answer { finish_reasons: vec!["stop".into()], ..partly.clone() };
    let begun = Answer { usage: Some(Usage { estimated: true, ..usage }), ..whole.clone() };
    let failed = Answer { error: Some("overloaded".into()), ..Answer::default() };
    let (ok, cut, gone) = (Ended::Whole, Ended::Cut, Ended::ClientGone);
    for (what, answer, text, read, ended, status, due) in [
        ("reported", &whole, HELLO, true, ok, Some(200), Due::Reported(usage)),
        ("cut after its report", &finished, HELLO, true, cut, Some(200), Due::Reported(usage)),
        ("ended without its report", &begun, HELLO, true, ok, Some(200), Due::Estimate),
        ("cut before", &partly, HELLO, true, cut, Some(200), Due::Estimate),
        ("not reported", &nothing, HELLO, true, ok, Some(200), Due::Estimate),
        ("given up", &nothing, "", true, gone, None, Due::Estimate),
        ("never answered", &nothing, "", true, cut, None, Due::Nothing),
        ("lost sight of", &nothing, "", true, Ended::Unseen, None, Due::Nothing),
        ("refused", &nothing, "", true, ok, Some(429), Due::Nothing),
        ("broken", &nothing, "", true, ok, Some(500), Due::Nothing),
        ("an error with 200", &failed, "", true, ok, Some(200), Due::Nothing),
        ("an error midway", &failed, HELLO, true, ok, Some(200), Due::Estimate),
        ("not readable", &nothing, "", false, ok, Some(200), Due::Nothing),
        ("not readable any more", &nothing, HELLO, false, ok, Some(200), Due::Estimate),
    ] {
        let how = Arrival { ended, status, first_byte: None };
        let asked = order(&prompt(HELLO), HELLO);
        assert_eq!(asked.due(answer, &said(text), read, how), due, "{what}");
    }
    let how = Arrival { ended: ok, status: Some(200), first_byte: None };
    let mut free = prompt(HELLO);
    free.operation = Operation::CountTokens;
    let mut background = prompt(HELLO);
    background.terms.background = true;
    let mut prewarming = prompt(HELLO);
    prewarming.terms.prewarms = true;
    for prompt in [&free, &prewarming] {
        assert_eq!(order(prompt, HELLO).due(&nothing, &said(""), true, how), Due::Nothing);
    }
    // What was made in the background is reported by another exchange, or nobody knows of it.
    let unseen = Arrival { ended: Ended::Unseen, status: None, first_byte: None };
    let left = Arrival { ended: gone, ..unseen };
    for how in [how, unseen, left] {
        let due = order(&background, HELLO).due(&nothing, &said(""), true, how);
        assert_eq!(due, Due::Unknown);
    }
    for (answer, status) in [(&failed, 200), (&nothing, 429)] {
        let how = Arrival { status: Some(status), ..how };
        let due = order(&background, HELLO).due(answer, &said(""), true, how);
        assert_eq!(due, Due::Nothing);
    }
    for fetched in [&whole, &finished] {
        let due = order(&background, HELLO).due(fetched, &said(""), true, how);
        assert_eq!(due, Due::Reported(usage));
    }
}
