//! What remains of workflows, and is known again by another gateway.

use super::*;
use crate::call::{Anchor, Terms};

/// Another gateway's, after so many seconds, that knows what remains of a workflow.
fn after(traffic: &Traffic, workflow: WorkflowId, seconds: u64) -> Traffic {
    recalling(&traffic.lineage.remains(|_, own| own == workflow), traffic, seconds)
}

fn recalling(remains: &Remains, traffic: &Traffic, seconds: u64) -> Traffic {
    // As it is kept.
    let kept = serde_json::to_string(remains).expect("it is written");
    let remains: Remains = serde_json::from_str(&kept).expect("it is read");
    let mut lineage = Lineage::new(2).salted(SALT);
    lineage.recall(&remains);
    let now = Timestamp(traffic.now.0 + seconds * 1_000_000);
    Traffic { lineage, now }
}

fn begun() -> Traffic {
    Traffic { lineage: Lineage::new(1).salted(SALT), ..Traffic::new() }
}

#[test]
fn a_conversation_is_recognised_by_what_remains_of_it_and_another_is_not() {
    let mut before = begun();
    let (first, _) = before.turn(&[system("s"), user("a")], &calls("I look", &["call_8f3a2b1c9d"]));
    let result = result("call_8f3a2b1c9d", "found");
    let so_far = [system("s"), user("a"), calls("I look", &["call_8f3a2b1c9d"]), result.clone()];
    let (last, _) = before.turn(&so_far, &says("here it is"));
    let (other, _) = before.turn(&[system("s"), user("b")], &says("that too"));
    assert_eq!(last.workflow, first.workflow);

    let on = [&so_far[..], &[says("here it is"), user("go on")]].concat();
    let mut next = after(&before, first.workflow, 3600);
    let went_on = next.ask(&on);
    assert_eq!(went_on.session, first.session);
    assert!(went_on.opens_workflow, "a new wish of the session");
    // Where what was said before is cut, or not heard to its end.
    for history in [
        vec![system("other"), says("here it is"), user("go on")],
        vec![user("cut"), calls("cut", &["call_8f3a2b1c9d"]), result],
        so_far.to_vec(),
        [&so_far[..], &[says("here"), user("go on")]].concat(),
    ] {
        let mut next = after(&before, first.workflow, 5);
        assert_eq!(next.ask(&history).session, first.session, "{history:?}");
    }
    let mut next = after(&before, first.workflow, 5);
    let bystander = next.ask(&[system("s"), user("b"), says("that too"), user("go on")]);
    assert!(bystander.opens_workflow);
    assert!(![first.session, other.session].contains(&bystander.session));
    let again = next.ask(&[system("s"), user("c")]);
    assert!(again.opens_workflow && again.session != first.session);
}

#[test]
fn a_call_that_was_cut_is_recognised_when_it_is_made_again() {
    let mut before = begun();
    let first = before.ask(&[user("a")]);
    let under_way = before.lineage.remains(|_, own| own == first.workflow);
    let end =
        Outcome { status: Some(200), failure: Some(Failure::Truncated), ..Outcome::default() };
    before.end(&first, &end);
    let ended = before.lineage.remains(|_, own| own == first.workflow);
    for (remains, reason) in
        [(under_way, RetryReason::ConnReset), (ended, RetryReason::StreamTruncated)]
    {
        let again = recalling(&remains, &before, 60).ask(&[user("a")]);
        assert_eq!(again.workflow, first.workflow);
        assert_eq!(again.retry.map(|retry| retry.reason), Some(reason));
        // Later it may be somebody else's, who begins alike.
        let late = recalling(&remains, &before, 3600).ask(&[user("a")]);
        assert_ne!(late.workflow, first.workflow);
    }
}

#[test]
fn what_servers_and_clients_name_leads_to_what_remains() {
    let mut before = begun();
    let (first, _) = before.turn(&[user("a")], &says("b"));
    let answer = Answer {
        response_id: Some("resp_1".into()),
        choices: vec![says("yes")],
        complete: true,
        ..Answer::default()
    };
    let signals = || vec![Signal { name: "session-id", value: "thread 7".into() }];
    let terms = Terms { signals: signals(), ..Terms::default() };
    let named = Prompt { terms: Box::new(terms), ..prompt(&[user("c")]) };
    before.wait(1);
    let second = before.lineage.place(before.now, &named);
    before.end(&second, &Outcome { answer, status: Some(200), failure: None });

    let mut next = after(&before, second.workflow, 60);
    let terms = Terms { goes_on_from: Some(Anchor::Response("resp_1".into())), ..Terms::default() };
    let kept = Prompt { terms: Box::new(terms), ..prompt(&[user("more")]) };
    let went_on = next.lineage.place(next.now, &kept);
    assert_eq!(went_on.session, second.session);
    // A session's name is a session's.
    let fresh = || {
        let terms = Terms { signals: signals(), ..Terms::default() };
        Prompt { terms: Box::new(terms), ..prompt(&[user("something else")]) }
    };
    let mut next = after(&before, first.workflow, 60);
    assert_ne!(next.lineage.place(next.now, &fresh()).session, second.session);
    let session = before.lineage.remains(|session, _| session == second.session);
    let mut next = recalling(&session, &before, 60);
    assert_eq!(next.lineage.place(next.now, &fresh()).session, second.session);
    let text = serde_json::to_string(&session).expect("JSON");
    assert!(!text.contains("thread"), "{text}");
}

#[test]
fn a_tool_that_is_called_only_then_is_the_step_that_asked_for_it() {
    let mut before = begun();
    let (first, end) = before.turn(&[user("a")], &calls("plan", &["call_0", "call_1"]));
    assert_eq!(before.invoke("search", 0).step, end.tools[0].step);
    let mut next = after(&before, first.workflow, 5);
    let made = next.invoke("search", 0);
    assert_eq!((made.workflow, made.step), (first.workflow, end.tools[1].step));
    let other = next.invoke("search", 1);
    assert_ne!(other.session, first.session);
}

#[test]
fn under_another_salt_nothing_of_what_was_said_can_be_told() {
    let mut before = begun();
    let (first, _) = before.turn(&[system("s"), user("a")], &calls("yes", &["call_0"]));
    let mut other = Traffic { lineage: Lineage::new(1).salted(!SALT), ..Traffic::new() };
    other.turn(&[system("s"), user("a")], &calls("yes", &["call_0"]));
    let hashes = |traffic: &Traffic| {
        let remains = traffic.lineage.remains(|_, own| own == first.workflow);
        let json = serde_json::to_string(&remains).expect("JSON");
        ["asked\":", "answered\":[", "said\":", "instructions\":", "deed\":"].map(|name| {
            let (_, value) = json.split_once(&format!("\"{name}")).expect("it is written");
            value.split([',', '}']).next().expect("a value").to_owned()
        })
    };
    for (one, other) in hashes(&before).iter().zip(hashes(&other)) {
        assert!(*one != "null" && *one != other, "{one}");
    }
}

#[test]
fn no_more_remains_than_there_is_room_for_and_answers_first() {
    let mut before = begun();
    let (first, _) = before.turn(&[user("a")], &says("b"));
    let mut history = vec![user("a"), says("b")];
    for turn in 0..3 * limits::REMAINING_STEPS {
        let ask = [&history[..], &[user(&format!("{turn}"))]].concat();
        let call = before.ask(&ask);
        before.fail(&call, 400);
    }
    let remains = before.lineage.remains(|session, _| session == first.session);
    assert_eq!(remains.steps(), limits::REMAINING_STEPS);
    assert_eq!(remains.left_out(), 2 * limits::REMAINING_STEPS as u64 + 1);
    history.push(user("on"));
    assert_eq!(recalling(&remains, &before, 3600).ask(&history).session, first.session);

    let mut longer = before.lineage.remains(|session, _| session == first.session);
    let mut next = recalling(&remains, &before, 1);
    next.turn(&history, &says("c"));
    let mut fresh = next.lineage.remains(|session, _| session == first.session);
    fresh.and_before(&remains);
    assert_eq!(fresh.steps(), limits::REMAINING_STEPS);
    longer.shorten(10);
    assert_eq!(longer.steps(), 10);
}

const SALT: u128 = 0x5a17;
