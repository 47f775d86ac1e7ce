//! Calls that are made again.

use super::*;
use crate::call::SideEffects;

#[test]
fn a_retry_that_asks_another_model_falls_back_on_it() {
    let mut traffic = Traffic::new();
    let mut ask = |model: &str| {
        traffic.wait(1);
        let prompt = Prompt { model: Some(model.into()), ..prompt(&[user("a")]) };
        let call = traffic.lineage.place(traffic.now, &prompt);
        traffic.fail(&call, 503);
        call
    };
    let [first, second, third] = ["m", "m", "n"].map(&mut ask);
    let reason = |call: &Placement| call.retry.map(|retry| (retry.of_step_id, retry.reason));
    assert_eq!(reason(&first), None);
    assert_eq!(reason(&second), Some((first.step, RetryReason::Overloaded)));
    assert_eq!(reason(&third), Some((first.step, RetryReason::FallbackModel)));
}

#[test]
fn the_same_call_after_a_failure_is_a_retry() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["x"]);
    let (_, end) = traffic.turn(&[user("a")], &plan);
    let history = [user("a"), plan, result("x", "r")];
    let first = traffic.ask(&history);
    assert_eq!(traffic.fail(&first, 503).state, State::Failed);
    let second = traffic.ask(&history);
    assert_eq!(traffic.fail(&second, 429).state, State::Failed);
    let third = traffic.ask_again(&history, Some(2));
    assert_eq!(traffic.answer(&third, &says("done")).state, State::Done);

    let of_step_id = first.step;
    let reason = RetryReason::Overloaded;
    assert_eq!(
        second.retry,
        Some(Retry {
            of_step_id,
            reason,
            attempt: 1,
            side_effects: SideEffects::default(),
            replayed: false
        })
    );
    let reason = RetryReason::RateLimit;
    assert_eq!(
        third.retry,
        Some(Retry {
            of_step_id,
            reason,
            attempt: 2,
            side_effects: SideEffects::default(),
            replayed: false
        })
    );
    assert_eq!([&second.parents, &third.parents], [&steps(&end), &steps(&end)]);
    assert_eq!([second.workflow, third.workflow], [first.workflow; 2]);
    assert!(second.answered.is_empty());
}

#[test]
fn a_failed_first_call_is_retried_in_its_workflow_once() {
    let mut traffic = Traffic::new();
    let first = traffic.ask(&[user("a")]);
    traffic.fail(&first, 500);
    let (second, third) = (traffic.ask(&[user("a")]), traffic.ask(&[user("a")]));
    assert_eq!((second.workflow, second.opens_workflow), (first.workflow, false));
    assert!(third.opens_workflow, "the retry is in flight, so this is somebody else");
}

#[test]
fn a_call_long_after_a_failure_is_a_new_one() {
    let mut traffic = Traffic::new();
    let first = traffic.ask(&[user("a")]);
    traffic.fail(&first, 500);
    traffic.wait(3_600_000);
    assert!(traffic.ask(&[user("a")]).opens_workflow);
}

#[test]
fn a_client_that_says_it_tries_again_is_believed() {
    let mut traffic = Traffic::new();
    let first = traffic.ask_again(&[user("a")], Some(0));
    let second = traffic.ask_again(&[user("a")], Some(1));
    assert_eq!(second.workflow, first.workflow);
    assert_eq!(second.retry.map(|retry| retry.reason), Some(RetryReason::ClientAbort));
}

#[test]
fn each_failure_has_its_reason() {
    let with = |status, failure, complete| {
        let answer = Answer { complete, ..Answer::default() };
        Outcome { answer, status, failure }.fault()
    };
    assert_eq!(with(Some(200), None, true), None);
    assert_eq!(with(Some(200), Some(Failure::ClientGone), true), None);
    assert_eq!(with(Some(200), None, false), None);
    assert_eq!(with(Some(401), None, true), Some(RetryReason::Auth));
    assert_eq!(with(Some(408), None, true), Some(RetryReason::Timeout));
    assert_eq!(with(Some(400), None, true), Some(RetryReason::Rejected));
    assert_eq!(with(Some(429), None, true), Some(RetryReason::RateLimit));
    assert_eq!(with(Some(529), None, true), Some(RetryReason::Overloaded));
    assert_eq!(with(None, None, false), Some(RetryReason::ConnReset));
    assert_eq!(with(None, Some(Failure::ConnReset), false), Some(RetryReason::ConnReset));
    assert_eq!(with(None, Some(Failure::ClientGone), false), Some(RetryReason::Timeout));
    assert_eq!(with(Some(200), Some(Failure::ClientGone), false), Some(RetryReason::ClientAbort));
    let cut = with(Some(200), Some(Failure::Truncated), false);
    assert_eq!(cut, Some(RetryReason::StreamTruncated));
}

#[test]
fn a_truncated_answer_opens_no_tool_steps_and_its_retry_is_what_goes_on() {
    let mut traffic = Traffic::new();
    let plan = calls("plan", &["x"]);
    let first = traffic.ask(&[user("a")]);
    let mut cut = outcome(&plan);
    cut.answer.complete = false;
    cut.failure = Some(Failure::Truncated);
    let end = traffic.end(&first, &cut);
    assert_eq!((end.tools.len(), end.kind, end.state), (0, StepKind::Planner, State::Failed));
    let (_, end) = traffic.turn(&[user("a")], &plan);
    let next = traffic.ask(&[user("a"), plan, result("x", "r")]);
    assert_eq!(next.parents, steps(&end));
}
