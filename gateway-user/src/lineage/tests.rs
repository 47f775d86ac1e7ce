//! Each rule by behaviour; `beneath`, under which tool call a call is; `fetches`, those for URLs that tool
//! calls name; `kept`, those for conversations that servers keep; `retries`, those for calls that are made
//! again; `tools`, those for tool calls that are made; `traces`, those for traces that clients name;
//! `values`, those for values that flow; `processes`, those for what processes do; `remains`, what outlasts
//! it; `simulation` plays them against each other.

mod beneath;
mod fetches;
mod kept;
mod processes;
mod remains;
mod retries;
mod simulation;
mod tools;
mod traces;
mod values;

use super::*;
use crate::call::{Dialect, EvidenceKind, Message, Operation, Role, Signal, ToolCall};

/// One agent's traffic, a millisecond between any two things that happen.
struct Traffic {
    lineage: Lineage,
    now: Timestamp,
}

impl Traffic {
    fn new() -> Self {
        Self { lineage: Lineage::new(1), now: Timestamp(1_000_000_000) }
    }

    fn wait(&mut self, millis: u64) {
        self.now.0 += millis * 1000;
    }

    fn ask(&mut self, messages: &[Message]) -> Placement {
        self.ask_again(messages, None)
    }

    fn ask_again(&mut self, messages: &[Message], client_retry: Option<u32>) -> Placement {
        self.wait(1);
        self.lineage.place(self.now, &Prompt { client_retry, ..prompt(messages) })
    }

    fn answer(&mut self, call: &Placement, message: &Message) -> Completion {
        self.end(call, &outcome(message))
    }

    fn fail(&mut self, call: &Placement, status: u16) -> Completion {
        self.end(call, &Outcome { status: Some(status), ..Outcome::default() })
    }

    fn end(&mut self, call: &Placement, outcome: &Outcome) -> Completion {
        self.wait(1);
        self.lineage.finish(call.step, self.now, outcome)
    }

    /// Asks and is answered.
    fn turn(&mut self, messages: &[Message], answer: &Message) -> (Placement, Completion) {
        let call = self.ask(messages);
        let end = self.answer(&call, answer);
        (call, end)
    }
}

fn message(role: Role, text: &str) -> Message {
    let hash = resolve::hash_id(&format!("{role:?} {text}"));
    let content = Some(xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
    Message { role, hash, content, tool_calls: Vec::new(), tool_result: None }
}

fn system(text: &str) -> Message {
    message(Role::System, text)
}

fn user(text: &str) -> Message {
    message(Role::User, text)
}

fn says(text: &str) -> Message {
    message(Role::Assistant, text)
}

/// An answer that calls a tool under each of these ids.
fn calls(text: &str, ids: &[&str]) -> Message {
    let tool_calls = ids.iter().map(|&id| id.to_owned()).collect();
    Message { tool_calls, ..says(&format!("{text} {ids:?}")) }
}

fn result(id: &str, text: &str) -> Message {
    Message { tool_result: Some(id.to_owned()), ..message(Role::Tool, &format!("{id} {text}")) }
}

fn prompt(messages: &[Message]) -> Prompt {
    Prompt {
        dialect: Dialect::OpenaiChat,
        operation: Operation::Chat,
        model: Some("m".into()),
        stream: true,
        messages: messages.to_vec(),
        tools_hash: None,
        wish: None,
        client_retry: None,
        terms: Box::default(),
    }
}

fn outcome(message: &Message) -> Outcome {
    let call = |id: &String| ToolCall {
        id: Some(id.clone()),
        name: "search".to_owned(),
        arguments: 0,
        values: Vec::new(),
        commands: Vec::new(),
        urls: Vec::new(),
    };
    let answer = Answer {
        tool_calls: message.tool_calls.iter().map(call).collect(),
        choices: vec![message.clone()],
        complete: true,
        ..Answer::default()
    };
    Outcome { answer, status: Some(200), failure: None }
}

fn steps(end: &Completion) -> Vec<StepId> {
    end.tools.iter().map(|tool| tool.step).collect()
}

fn join(parts: &[&[Message]]) -> Vec<Message> {
    parts.concat()
}

#[test]
fn what_nothing_leads_to_is_in_the_session_that_its_client_names() {
    let mut traffic = Traffic::new();
    let mut ask = |text: &str, session: &str| {
        let mut prompt = prompt(&[user(text)]);
        prompt.terms.signals = vec![Signal { name: "session-id", value: session.into() }];
        traffic.wait(1);
        traffic.lineage.place(traffic.now, &prompt)
    };
    let [first, title, other] =
        [("a", "x"), ("title of a", "x"), ("b", "y")].map(|(a, b)| ask(a, b));
    assert_eq!(title.session, first.session);
    assert!(title.opens_workflow && title.workflow != first.workflow && title.parents.is_empty());
    assert_eq!(title.evidence[1].kind, EvidenceKind::SessionId);
    assert_eq!(title.evidence[1].from_step_id, Some(first.step));
    assert_ne!(other.session, first.session);
    // What went on from another session stays there.
    traffic.answer(&other, &says("c"));
    let mut on = prompt(&[user("b"), says("c"), user("d")]);
    on.terms.signals = vec![Signal { name: "session-id", value: "x".into() }];
    assert_eq!(traffic.lineage.place(traffic.now, &on).session, other.session);
    let mut elsewhere = Lineage::new(2);
    assert_ne!(elsewhere.place(traffic.now, &on).session, first.session, "another agent's");
}

#[test]
fn a_first_call_opens_a_workflow_and_a_session() {
    let mut traffic = Traffic::new();
    let call = traffic.ask(&[system("s"), user("a")]);
    assert!(call.opens_workflow && call.parents.is_empty() && call.retry.is_none());
    assert_eq!(call.evidence[0].kind, EvidenceKind::NewHistory);
    assert_eq!(call.kind, StepKind::Planner);
}

#[test]
fn tool_results_follow_the_tool_steps_that_they_answer() {
    let mut traffic = Traffic::new();
    let start = [system("s"), user("a")];
    let plan = calls("plan", &["x", "y"]);
    let (first, end) = traffic.turn(&start, &plan);
    assert_eq!((end.kind, end.state), (StepKind::Planner, State::Active));
    assert_eq!(end.tools[0].call_id.as_deref(), Some("x"));

    let history = join(&[&start, &[plan, result("x", "1"), result("y", "2")]]);
    let (second, last) = traffic.turn(&history, &says("done"));
    assert_eq!(second.workflow, first.workflow);
    assert_eq!((second.session, second.trace), (first.session, first.trace));
    assert_eq!(second.parents, steps(&end));
    assert_eq!(second.answered, steps(&end));
    assert!(!second.opens_workflow && second.confidence.get() > 0.9);
    assert_eq!((last.kind, last.state), (StepKind::Final, State::Done));
}

#[test]
fn tool_results_answer_only_once() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["x", "y"]);
    let (_, end) = traffic.turn(&[user("a")], &plan);
    let one = [user("a"), plan.clone(), result("x", "1")];
    assert_eq!(traffic.ask(&one).answered, steps(&end)[..1]);
    let both = [user("a"), plan, result("x", "1"), result("y", "1"), result("y", "1")];
    let second = traffic.ask(&both);
    assert_eq!(second.parents, steps(&end));
    assert_eq!(second.answered, steps(&end)[1..]);
}

#[test]
fn results_without_ids_answer_the_calls_in_order() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["x", "y"]);
    let mut answer = outcome(&plan);
    answer.answer.tool_calls.iter_mut().for_each(|call| call.id = None);
    let first = traffic.ask(&[user("a")]);
    let end = traffic.end(&first, &answer);
    let second =
        traffic.ask(&[user("a"), plan, message(Role::Tool, "1"), message(Role::Tool, "2")]);
    assert_eq!(second.parents, steps(&end));
}

#[test]
fn reused_tool_call_ids_are_told_apart_by_the_history() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["call_0"]);
    let (a, a_end) = traffic.turn(&[system("s"), user("a")], &plan);
    let (b, b_end) = traffic.turn(&[system("s"), user("b")], &plan);
    let b2 = traffic.ask(&[system("s"), user("b"), plan.clone(), result("call_0", "r")]);
    let a2 = traffic.ask(&[system("s"), user("a"), plan, result("call_0", "r")]);
    assert_eq!((a2.workflow, a2.parents), (a.workflow, steps(&a_end)));
    assert_eq!((b2.workflow, b2.parents), (b.workflow, steps(&b_end)));
}

#[test]
fn an_edited_history_is_found_by_its_question_and_then_by_id_alone() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["call_0"]);
    let (a, a_end) = traffic.turn(&[user("a")], &plan);
    let (b, b_end) = traffic.turn(&[user("b")], &calls("plan", &["call_b7c1d2e3"]));
    let edited = calls("other words", &["call_0"]);
    let a2 = traffic.ask(&[user("a"), edited.clone(), result("call_0", "r")]);
    assert_eq!((a2.workflow, &a2.parents), (a.workflow, &steps(&a_end)));
    let edited = calls("other words", &["call_b7c1d2e3"]);
    let b2 = traffic.ask(&[user("summary of b"), edited, result("call_b7c1d2e3", "r")]);
    assert_eq!((b2.workflow, &b2.parents), (b.workflow, &steps(&b_end)));
    assert_eq!(b2.evidence[0].kind, EvidenceKind::ToolCallId);
}

#[test]
fn an_id_that_many_emit_links_nothing_alone() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["call_0"]);
    for text in ["a", "b"] {
        traffic.turn(&[user(text)], &plan);
        traffic.turn(&[user(text), plan.clone(), result("call_0", "r")], &says("done"));
    }
    let stranger = traffic.ask(&[user("c"), plan, result("call_0", "r")]);
    assert!(stranger.opens_workflow);
}

#[test]
fn a_second_wish_is_a_new_workflow_of_the_session() {
    let mut traffic = Traffic::new();
    let (first, _) = traffic.turn(&[system("s"), user("a")], &says("done"));
    let second = traffic.ask(&[system("s"), user("a"), says("done"), user("b")]);
    assert!(second.opens_workflow);
    assert_ne!((second.workflow, second.trace), (first.workflow, first.trace));
    assert_eq!(second.session, first.session);
    assert_eq!(second.parents, [first.step]);
    assert_eq!(second.evidence[0].kind, EvidenceKind::AnswerEcho);
}

#[test]
fn a_user_who_speaks_before_the_tools_do_stays_in_the_workflow() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["x"]);
    let (first, _) = traffic.turn(&[user("a")], &plan);
    let (second, end) = traffic.turn(&[user("a"), plan, user("never mind")], &says("fine"));
    assert_eq!((second.workflow, second.parents), (first.workflow, vec![first.step]));
    assert_eq!(end.state, State::Done, "the tool's result will not come any more");
}

#[test]
fn going_on_after_a_final_answer_without_a_new_wish_stays_in_the_workflow() {
    let mut traffic = Traffic::new();
    let (first, _) = traffic.turn(&[user("a")], &says("half"));
    let second = traffic.ask(&[user("a"), says("half")]);
    assert_eq!((second.workflow, second.opens_workflow), (first.workflow, false));
}

#[test]
fn an_edited_answer_keeps_the_session() {
    let mut traffic = Traffic::new();
    let (first, _) = traffic.turn(&[system("s"), user("a")], &says("done"));
    let second = traffic.ask(&[system("s"), user("a"), says("DONE"), user("b")]);
    assert_eq!((second.session, second.parents), (first.session, vec![first.step]));
    assert!(second.opens_workflow && second.confidence.get() < 0.7);
    assert_eq!(second.evidence[0].kind, EvidenceKind::HistoryPrefix);
}

#[test]
fn a_question_that_grows_before_its_answer_stays_in_the_workflow() {
    let mut traffic = Traffic::new();
    let first = traffic.ask(&[user("a")]);
    traffic.fail(&first, 500);
    let second = traffic.ask(&[user("a"), user("b")]);
    assert_eq!((second.workflow, second.opens_workflow), (first.workflow, false));
}

#[test]
fn a_question_that_two_sessions_asked_links_to_neither() {
    let mut traffic = Traffic::new();
    traffic.turn(&[user("a")], &says("x"));
    traffic.turn(&[user("a")], &says("y"));
    assert!(traffic.ask(&[user("a"), says("z"), user("b")]).parents.is_empty());
}

#[test]
fn shared_instructions_link_nothing() {
    let mut traffic = Traffic::new();
    let (bare, _) = traffic.turn(&[system("s")], &says("ready"));
    let (a, _) = traffic.turn(&[system("s"), user("a")], &says("done"));
    let b = traffic.ask(&[system("s"), user("b")]);
    let shared_head = traffic.ask(&[system("s"), user("c"), user("d")]);
    let other_tail = traffic.ask(&[system("s"), user("c"), user("e")]);
    let sessions = [bare, a, b, shared_head, other_tail].map(|call| call.session);
    for (at, session) in sessions.iter().enumerate() {
        assert!(!sessions[..at].contains(session), "call {at} joined an earlier one");
    }
}

#[test]
fn the_same_first_call_twice_is_two_workflows() {
    let mut traffic = Traffic::new();
    let first = traffic.ask(&[user("a")]);
    let second = traffic.ask(&[user("a")]);
    traffic.answer(&first, &says("done"));
    traffic.answer(&second, &says("done"));
    let third = traffic.ask_again(&[user("a")], Some(0));
    assert!(second.opens_workflow && second.retry.is_none());
    assert!(third.opens_workflow && third.retry.is_none());
    assert_ne!(first.session, second.session);
    assert!(second.confidence < first.confidence);
}

#[test]
fn twins_with_equal_answers_each_go_on_in_their_own_workflow() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["call_0"]);
    let start = [system("s"), user("a")];
    let (a, b) = (traffic.ask(&start), traffic.ask(&start));
    let a_end = traffic.answer(&a, &plan);
    let b_end = traffic.answer(&b, &plan);

    let history = join(&[&start, &[plan, result("call_0", "r")]]);
    let (a2, b2) = (traffic.ask(&history), traffic.ask(&history));
    assert_eq!((a2.workflow, &a2.parents), (a.workflow, &steps(&a_end)));
    assert_eq!((b2.workflow, &b2.parents), (b.workflow, &steps(&b_end)));
    assert!(a2.confidence.get() <= 0.5);

    traffic.answer(&a2, &says("done"));
    traffic.answer(&b2, &says("done"));
    let wish = join(&[&history, &[says("done"), user("more")]]);
    let (a3, b3) = (traffic.ask(&wish), traffic.ask(&wish));
    assert_eq!([a3.session, b3.session], [a.session, b.session]);
    assert_eq!([a3.parents, b3.parents], [vec![a2.step], vec![b2.step]]);
}

#[test]
fn an_abandoned_twin_does_not_take_a_fresher_ones_results() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["call_0"]);
    traffic.turn(&[user("a")], &plan);
    traffic.wait(120_000);
    let (fresh, _) = traffic.turn(&[user("a")], &plan);
    let next = traffic.ask(&[user("a"), plan, result("call_0", "r")]);
    assert_eq!(next.workflow, fresh.workflow);
}

#[test]
fn the_same_follow_up_twice_is_placed_beside_the_first() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["x"]);
    traffic.turn(&[user("a")], &plan);
    let history = [user("a"), plan, result("x", "r")];
    let (first, second) = (traffic.ask(&history), traffic.ask(&history));
    assert_eq!((second.workflow, &second.parents), (first.workflow, &first.parents));
    assert!(second.retry.is_none() && second.answered.is_empty());
    assert!(second.confidence < first.confidence);
}

#[test]
fn each_of_several_choices_can_be_gone_on_from() {
    let mut traffic = Traffic::new();
    let first = traffic.ask(&[user("a")]);
    let mut answer = outcome(&says("one"));
    answer.answer.choices.push(says("two"));
    traffic.end(&first, &answer);
    for text in ["two", "one"] {
        assert_eq!(traffic.ask(&[user("a"), says(text), user("b")]).parents, [first.step]);
    }
}

#[test]
fn a_rewound_conversation_stays_in_its_session() {
    let mut traffic = Traffic::new();
    let (first, _) = traffic.turn(&[user("a")], &says("done"));
    traffic.turn(&[user("a"), says("done"), user("b")], &says("b done"));
    let other = traffic.ask(&[user("a"), says("done"), user("c")]);
    assert_eq!((other.session, other.parents), (first.session, vec![first.step]));
}

#[test]
fn a_workflow_is_active_until_its_last_call_has_ended() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["x"]);
    traffic.turn(&[user("a")], &plan);
    let history = [user("a"), plan, result("x", "r")];
    let (one, two) = (traffic.ask(&history), traffic.ask(&history));
    assert_eq!(traffic.answer(&one, &says("done")).state, State::Active);
    assert_eq!(traffic.answer(&two, &says("done")).state, State::Done);
}

#[test]
fn an_end_that_comes_twice_changes_nothing() {
    let mut traffic = Traffic::new();
    let (first, _) = traffic.turn(&[user("a")], &calls("plan", &["x"]));
    let again = traffic.answer(&first, &calls("plan", &["x"]));
    assert_eq!((again.tools.len(), again.state), (0, State::Active));
    assert_eq!(traffic.lineage.counters().late, 1);
}

#[test]
fn an_empty_conversation_is_placed_by_itself() {
    let mut traffic = Traffic::new();
    let first = traffic.ask(&[]);
    traffic.fail(&first, 500);
    assert!(traffic.ask_again(&[], Some(1)).opens_workflow);
}

#[test]
fn a_flood_keeps_within_the_bounds() {
    const BOUND: usize = 50;
    let mut traffic = Traffic::new();
    traffic.lineage = Lineage::bounded(1, BOUND);
    let many: Vec<String> = (0..30).map(|n| format!("call_{n}")).collect();
    let ids: Vec<&str> = many.iter().map(String::as_str).collect();
    for n in 0..1000 {
        let start = [user(&(n % 300).to_string())];
        let plan = calls("plan", &ids[..n % 30]);
        let (first, _) = traffic.turn(&start, &plan);
        let results: Vec<Message> = plan.tool_calls.iter().map(|id| result(id, "r")).collect();
        traffic.ask(&join(&[&start, &[plan], &results]));
        traffic.answer(&first, &says("again"));
        assert!(traffic.lineage.memory.size().into_iter().all(|size| size <= BOUND), "{n}");
    }
    assert!(traffic.lineage.counters().evicted > 900);
}

#[test]
fn an_answer_with_more_than_the_bound_is_cut_to_it() {
    let mut traffic = Traffic::new();
    let ids: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (_, end) = traffic.turn(&[user("a")], &calls("plan", &ids));
    assert_eq!(end.tools.len(), limits::TOOL_CALLS_PER_ANSWER);
}

#[test]
fn equal_calls_without_end_keep_within_the_bounds() {
    let mut traffic = Traffic::new();
    for _ in 0..2 * limits::LINEAGE_CANDIDATES {
        traffic.turn(&[user("a")], &calls("plan", &["call_0"]));
    }
    assert_eq!(traffic.lineage.counters().evicted, 5 * limits::LINEAGE_CANDIDATES as u64);
}

#[test]
fn a_call_that_ends_after_it_was_forgotten_is_counted() {
    let mut traffic = Traffic::new();
    traffic.lineage = Lineage::bounded(1, 1);
    let first = traffic.ask(&[user("a")]);
    traffic.ask(&[user("b")]);
    let end = traffic.answer(&first, &calls("plan", &["x"]));
    assert_eq!((end.kind, end.state, end.tools.len()), (StepKind::Planner, State::Active, 1));
    assert_eq!(traffic.lineage.counters(), Counters { evicted: 1, processes_evicted: 0, late: 1 });
}

#[test]
fn agents_with_neighbouring_seeds_have_different_ids() {
    let mut ids = std::collections::HashSet::new();
    for seed in 0..100 {
        let mut lineage = Lineage::new(seed);
        for n in 0..10_u64 {
            let call = lineage.place(Timestamp(n), &prompt(&[user("a")]));
            assert!(ids.insert(call.step.0) && ids.insert(call.workflow.0));
        }
    }
}
