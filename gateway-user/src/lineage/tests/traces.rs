//! Traces that clients name: they tell apart what is equal, and join alone only what nothing contradicts.

use super::{
    values::{begins, delegates, on, tells},
    *,
};

const WISH: &str = "Write a report on the harbour of the old town";
const TASK: &str = "Find out who built the harbour, and when";

/// The same call, by a client that says in which trace it is.
fn traced(trace: u32, prompt: &Prompt) -> Prompt {
    let mut prompt = prompt.clone();
    let value = format!("00-{trace:032x}-00f067aa0ba902b7-01");
    prompt.terms.signals.push(Signal { name: "traceparent", value });
    prompt
}

fn in_session(session: &str, mut prompt: Prompt) -> Prompt {
    prompt.terms.signals.push(Signal { name: "session-id", value: session.to_owned() });
    prompt
}

fn offers_tools(prompt: &Prompt) -> Prompt {
    Prompt { tools_hash: Some(1), ..prompt.clone() }
}

fn has_trace(call: &Placement) -> bool {
    call.evidence.iter().any(|it| it.kind == EvidenceKind::TraceId)
}

#[test]
fn of_sessions_with_equal_histories_the_one_in_the_same_trace_goes_on() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["call_0"]);
    let root = begins("agent", WISH);
    let one = traffic.exchange(&traced(1, &root), &outcome(&plan)).0;
    let two = traffic.exchange(&traced(2, &root), &outcome(&plan)).0;
    let back = on(&root, &plan, &[result("call_0", "42")]);
    let second = traffic.put(&traced(2, &back));
    let first = traffic.put(&traced(1, &back));
    assert_eq!([first.workflow, second.workflow], [one.workflow, two.workflow]);
    assert!(has_trace(&second) && second.confidence.get() > 0.75);
    assert!(!has_trace(&first), "it was the only one left");
}

#[test]
fn a_trace_that_all_share_or_nobody_else_has_changes_nothing() {
    for traces in [[1, 1, 1], [1, 2, 3]] {
        let mut traffic = Traffic::new();
        let root = begins("agent", WISH);
        let [one, _] = [0, 1].map(|at| {
            traffic.exchange(&traced(traces[at], &root), &outcome(&says("What of it?"))).0
        });
        let back = on(&root, &says("What of it?"), &[user("All of it.")]);
        let next = traffic.put(&traced(traces[2], &back));
        assert_eq!(next.session, one.session, "the oldest");
        assert!(!has_trace(&next) && next.confidence.get() < 0.5);
    }
}

#[test]
fn a_history_counts_for_more_than_a_trace() {
    let mut traffic = Traffic::new();
    let [one, two] = ["a", "b"].map(|it| begins("agent", &format!("{WISH} {it}")));
    let first = traffic.exchange(&traced(1, &one), &outcome(&calls("plan", &["call_0"]))).0;
    traffic.exchange(&traced(2, &two), &outcome(&calls("plan", &["call_0"])));
    let back = on(&one, &calls("plan", &["call_0"]), &[result("call_0", "42")]);
    let next = traffic.put(&traced(2, &back));
    assert_eq!(next.workflow, first.workflow);
    assert!(!has_trace(&next));
}

#[test]
fn of_equal_tasks_the_one_in_the_same_trace_starts_the_sub_agent() {
    let mut traffic = Traffic::new();
    let (_, plan) = delegates(&[TASK]);
    let leads = [1, 2].map(|at| traffic.exchange(&traced(at, &begins("lead", WISH)), &plan).0);
    let workers = [2, 1].map(|at| traffic.put(&traced(at, &begins("worker", TASK))));
    assert_eq!(workers[0].workflow, leads[1].workflow);
    assert!(has_trace(&workers[0]) && workers[0].evidence[0].kind == EvidenceKind::ArgumentPassed);
    assert_eq!(workers[1].workflow, leads[0].workflow);
}

#[test]
fn of_equal_questions_the_one_in_the_same_trace_is_quoted_or_tried_again() {
    let mut traffic = Traffic::new();
    let asks = [1, 2].map(|at| traffic.put(&traced(at, &begins("lead", WISH))));
    let titles = [2, 1].map(|at| traffic.put(&traced(at, &begins("title", WISH))));
    assert_eq!([titles[1].workflow, titles[0].workflow], [asks[0].workflow, asks[1].workflow]);
    for call in &asks {
        traffic.fail(call, 429);
    }
    let again = traffic.put(&traced(1, &begins("lead", WISH)));
    assert_eq!(again.retry.map(|it| it.of_step_id), Some(asks[0].step));
    assert!(has_trace(&again));
}

#[test]
fn a_trace_alone_leads_under_the_one_workflow_that_waits_in_it() {
    let mut traffic = Traffic::new();
    let (_, plan) = delegates(&[TASK]);
    let (lead, planned) = traffic.exchange(&traced(1, &begins("lead", WISH)), &plan);
    let other = begins("worker", "Something that nobody has said in these words");
    let worker = traffic.put(&traced(1, &other));
    assert_eq!((worker.workflow, worker.kind), (lead.workflow, StepKind::Worker));
    assert_eq!(worker.parents, steps(&planned));
    assert!(has_trace(&worker) && worker.confidence.get() <= 0.5);
    let other = begins("writer", "Something else that nobody has said");
    assert!(traffic.put(&traced(2, &other)).opens_workflow, "another trace");
    assert!(traffic.put(&other).opens_workflow, "none");
    // The task itself is told by what the tool call says, after all.
    let sub = traffic.put(&traced(1, &begins("worker", TASK)));
    assert_eq!(sub.evidence[0].kind, EvidenceKind::ArgumentPassed);
}

#[test]
fn a_trace_alone_leads_beside_what_is_in_flight_if_it_does_less() {
    let mut traffic = Traffic::new();
    let lead = traffic.put(&traced(1, &offers_tools(&begins("lead", WISH))));
    let guard = begins("guard", "Is there anything that harms?");
    let aside = traffic.put(&traced(1, &guard));
    assert_eq!((aside.workflow, aside.kind), (lead.workflow, StepKind::Utility));
    assert!(aside.parents.is_empty());
    let other = offers_tools(&begins("other", "Count the ships that came in today"));
    assert!(traffic.put(&traced(1, &other)).opens_workflow, "it does as much");
}

#[test]
fn of_several_probes_the_one_in_the_same_trace_has_prepared_the_call() {
    let mut traffic = Traffic::new();
    let mut probe = prompt(&[system("agent"), user("quota")]);
    probe.terms.max_output = Some(1);
    let probes = [1, 2].map(|at| traffic.exchange(&traced(at, &probe), &outcome(&says("I"))).0);
    let call = traffic.put(&traced(1, &begins("agent", WISH)));
    assert_eq!(call.workflow, probes[0].workflow);
    assert!(has_trace(&call));
}

#[test]
fn a_trace_alone_leads_nowhere_if_anything_speaks_against_it() {
    let (_, plan) = delegates(&[TASK]);
    let lead = traced(1, &begins("lead", WISH));
    let other = traced(1, &begins("worker", "Something that nobody has said in these words"));
    let opens = |before: &[&Prompt], ends: &Outcome, call: &Prompt| {
        let mut traffic = Traffic::new();
        for &prompt in before {
            traffic.exchange(prompt, ends);
        }
        traffic.put(call).opens_workflow
    };
    assert!(!opens(&[&lead], &plan, &other));
    assert!(opens(&[&lead], &tells("Built in 1720."), &other), "it is done");
    assert!(opens(&[&lead], &plan, &traced(1, &begins("lead", "Another wish"))), "its like");
    let like = traced(1, &begins("lead", "Another wish"));
    assert!(opens(&[&lead, &like], &plan, &other), "the trace is of several tasks");
    let named = |session| in_session(session, other.clone());
    assert!(opens(&[&lead], &plan, &named("s")), "a session that is not the lead's");
    let lead = in_session("s", lead.clone());
    assert!(opens(&[&lead], &plan, &named("t")), "another session");
    assert!(opens(&[&lead], &plan, &other), "no session");
    assert!(!opens(&[&lead], &plan, &named("s")));
    let begun = on(&other, &says("Well."), &[user("Go on")]);
    assert!(opens(&[&traced(1, &begins("lead", WISH))], &plan, &begun), "it has begun before");
}

#[test]
fn an_agent_that_users_talk_to_is_not_joined_by_a_trace() {
    let mut traffic = Traffic::new();
    for at in 0..2 {
        traffic
            .exchange(&begins("worker", &format!("A wish of a user's own, {at}")), &tells("Done."));
    }
    let (_, plan) = delegates(&[TASK]);
    traffic.exchange(&traced(1, &begins("lead", WISH)), &plan);
    assert!(traffic.put(&traced(1, &begins("worker", "One more wish"))).opens_workflow);
}
