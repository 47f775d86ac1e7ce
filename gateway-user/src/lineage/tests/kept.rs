//! Conversations that a server keeps.

use super::*;
use crate::call::Anchor;

/// Asks with what is new, and is answered with a response of that id.
fn turn(
    traffic: &mut Traffic,
    from: impl Into<Option<Anchor>>,
    messages: &[Message],
    (id, message): (&str, &Message),
) -> (Placement, Completion) {
    let call = ask(traffic, from, messages);
    let mut end = outcome(message);
    end.answer.response_id = Some(id.to_owned());
    let completion = traffic.end(&call, &end);
    (call, completion)
}

fn ask(traffic: &mut Traffic, from: impl Into<Option<Anchor>>, messages: &[Message]) -> Placement {
    traffic.wait(1);
    let mut prompt = prompt(messages);
    prompt.terms.goes_on_from = from.into();
    traffic.lineage.place(traffic.now, &prompt)
}

fn after(id: &str) -> Anchor {
    Anchor::Response(id.to_owned())
}

fn within(id: &str) -> Anchor {
    Anchor::Conversation(id.to_owned())
}

#[test]
fn a_call_follows_the_response_that_it_names() {
    let mut traffic = Traffic::new();
    // Two that say the same in all they send.
    let mut flows = ["a", "b"].map(|name| {
        let id = format!("resp_{name}0");
        let (call, end) =
            turn(&mut traffic, None, &[user("go")], (&id, &calls("look", &["call_0"])));
        (id, call, end)
    });
    for round in 1..4 {
        for (at, name) in [(1, "b"), (0, "a")] {
            let (id, first, last) = &mut flows[at];
            let next = format!("resp_{name}{round}");
            let answer = (&*next, &calls("look", &["call_0"]));
            let (call, end) = turn(&mut traffic, after(id), &[result("call_0", "x")], answer);
            assert_eq!((call.workflow, &call.parents), (first.workflow, &steps(last)));
            assert_eq!(call.evidence[0].kind, EvidenceKind::ResponseId);
            assert!(call.confidence.get() > 0.9 && call.answered == steps(last));
            (*id, *last) = (next, end);
        }
    }
    assert_ne!(flows[0].1.session, flows[1].1.session);
}

#[test]
fn a_second_wish_is_a_workflow_of_the_same_session() {
    let mut traffic = Traffic::new();
    let (first, end) = turn(&mut traffic, None, &[user("a")], ("r1", &says("b")));
    assert_eq!(end.kind, StepKind::Final);
    let second = ask(&mut traffic, after("r1"), &[user("c")]);
    assert_eq!((second.session, &second.parents), (first.session, &vec![first.step]));
    assert!(second.opens_workflow && second.workflow != first.workflow);
    // A fork.
    let other = ask(&mut traffic, after("r1"), &[user("d")]);
    assert_eq!(other.session, first.session);
    assert!(other.confidence < second.confidence);
}

#[test]
fn a_client_that_sends_all_again_is_followed_too() {
    let mut traffic = Traffic::new();
    turn(&mut traffic, None, &[user("a")], ("r1", &calls("b", &["c1"])));
    let (call, _) =
        turn(&mut traffic, after("r1"), &[result("c1", "x")], ("r2", &calls("d", &["c2"])));
    let all =
        [user("a"), calls("b", &["c1"]), result("c1", "x"), calls("d", &["c2"]), result("c2", "y")];
    let last = ask(&mut traffic, None, &all);
    assert_eq!((last.workflow, last.opens_workflow), (call.workflow, false));
}

#[test]
fn the_same_words_after_different_responses_are_no_retry() {
    let mut traffic = Traffic::new();
    for id in ["r1", "r2"] {
        turn(&mut traffic, None, &[user("a")], (id, &says(id)));
    }
    let failed = ask(&mut traffic, after("r1"), &[user("more")]);
    traffic.fail(&failed, 500);
    let other = ask(&mut traffic, after("r2"), &[user("more")]);
    assert!(other.retry.is_none() && other.session != failed.session);
    let again = ask(&mut traffic, after("r1"), &[user("more")]);
    assert_eq!(again.retry.map(|retry| retry.of_step_id), Some(failed.step));
}

#[test]
fn responses_that_were_not_seen_join_nothing() {
    let mut traffic = Traffic::new();
    let calls = ["x", "y"].map(|id| ask(&mut traffic, after(id), &[user("go on")]));
    assert!(calls.iter().all(|call| call.opens_workflow && call.parents.is_empty()));
    assert!(calls[0].confidence.get() < 0.9 && calls[0].session != calls[1].session);
    assert_eq!(traffic.lineage.memory.named.get(anchor::response("x")).count(), 0);
}

#[test]
fn a_conversation_goes_on_from_its_last_answer() {
    let mut traffic = Traffic::new();
    let (first, end) = turn(&mut traffic, within("k"), &[user("a")], ("r1", &calls("b", &["c"])));
    let lost = ask(&mut traffic, within("k"), &[result("c", "x")]);
    assert_eq!((lost.workflow, &lost.parents), (first.workflow, &steps(&end)));
    traffic.fail(&lost, 500);
    let again = ask(&mut traffic, within("k"), &[result("c", "x")]);
    assert_eq!(again.retry.map(|retry| retry.of_step_id), Some(lost.step));
    let other = ask(&mut traffic, within("l"), &[result("c2", "x")]);
    assert!(other.opens_workflow && other.session != first.session);
}

#[test]
fn what_only_prepares_is_a_utility_of_its_workflow() {
    let mut traffic = Traffic::new();
    let mut warm = prompt(&[]);
    warm.terms.prewarms = true;
    let warm = traffic.lineage.place(traffic.now, &warm);
    let answer = Answer { response_id: Some("r0".into()), complete: true, ..Answer::default() };
    let end = Outcome { answer, status: Some(200), failure: None };
    assert_eq!(traffic.end(&warm, &end).kind, StepKind::Utility);
    let call = ask(&mut traffic, after("r0"), &[user("a")]);
    assert_eq!((call.session, call.workflow), (warm.session, warm.workflow));
    assert!(!call.opens_workflow && call.parents.is_empty() && call.kind == StepKind::Planner);
}

#[test]
fn names_are_forgotten_with_their_steps() {
    let mut traffic = Traffic::new();
    traffic.lineage = Lineage::bounded(1, 4);
    for n in 0..20 {
        let id = format!("r{n}");
        turn(&mut traffic, within("k"), &[user(&id)], (&id, &says(&id)));
    }
    assert!(traffic.lineage.memory.size()[7] <= 5, "{:?}", traffic.lineage.memory.size());
}
