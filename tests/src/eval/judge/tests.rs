//! What is right, and how much of it counts.

use super::*;
use crate::eval::record::{Bytes, Ended, Request, Retry};

fn record(exchange: u64, workflow: u64, parents: &[StepRef]) -> Record {
    Record {
        exchange,
        agent: String::new(),
        client: String::new(),
        pid: 0,
        connection: 0,
        start_us: exchange,
        end_us: exchange + 1,
        request: Request {
            method: String::new(),
            target: String::new(),
            headers: Vec::new(),
            body: Bytes::default(),
        },
        response: None,
        ended: Ended::Whole,
        lost: false,
        truth: Some(Truth {
            session: workflow,
            workflow,
            case: "case".to_owned(),
            parents: parents.to_vec(),
            kind: Some(StepKind::Planner),
            retry: None,
        }),
    }
}

fn place(workflow: u128, parents: &[StepRef]) -> Place {
    Place {
        session: workflow,
        workflow,
        parents: parents.to_vec(),
        kind: StepKind::Planner,
        retry: None,
        confidence: Some(0.95),
    }
}

fn exact(verdict: &Verdict) -> Vec<bool> {
    verdict.workflows.iter().map(|workflow| workflow.exact).collect()
}

#[test]
fn a_workflow_is_exact_if_all_of_it_and_nothing_else_is_in_its_place() {
    let after = [StepRef::call(0, 0)];
    let records = [record(0, 7, &[]), record(1, 7, &after), record(2, 8, &[])];
    let right = Guess::from([(0, place(1, &[])), (1, place(1, &after)), (2, place(2, &[]))]);
    let verdict = judge(&records, &right);
    assert_eq!(exact(&verdict), [true, true]);
    assert!(verdict.exchanges.iter().all(|judged| judged.is_right && judged.is_pure));
    assert_eq!(verdict.exchanges[1].edges, Tally { right: 1, said: 1, there: 1 });

    let mixed = Guess::from([(0, place(1, &[])), (1, place(1, &after)), (2, place(1, &[]))]);
    let verdict = judge(&records, &mixed);
    assert_eq!(exact(&verdict), [false, false]);
    let right: Vec<bool> = verdict.exchanges.iter().map(|judged| judged.is_right).collect();
    assert_eq!(right, [true, true, false]);
    assert!(!verdict.exchanges[2].is_pure && verdict.exchanges[2].is_together);

    let other = [StepRef::exchange(0)];
    let astray = Guess::from([(0, place(1, &[])), (1, place(1, &other)), (2, place(2, &[]))]);
    let verdict = judge(&records, &astray);
    assert_eq!(exact(&verdict), [false, true]);
    assert_eq!(verdict.exchanges[1].edges, Tally { right: 0, said: 1, there: 1 });
}

#[test]
fn what_was_not_understood_is_missing() {
    let records = [record(0, 7, &[]), record(1, 7, &[StepRef::exchange(0)])];
    let verdict = judge(&records, &Guess::from([(0, place(1, &[]))]));
    assert_eq!(exact(&verdict), [false]);
    assert_eq!(verdict.exchanges[1].edges, Tally { right: 0, said: 0, there: 1 });
    assert_eq!(verdict.exchanges[1].kind, Some((StepKind::Planner, None)));
}

#[test]
fn edges_to_what_was_lost_are_not_judged() {
    let mut records = [record(0, 7, &[]), record(1, 7, &[]), record(2, 7, &[StepRef::call(1, 0)])];
    records[1].lost = true;
    let guess = Guess::from([(0, place(1, &[])), (2, place(1, &[StepRef::exchange(0)]))]);
    let verdict = judge(&records, &guess);
    assert_eq!(verdict.exchanges.len(), 2);
    assert_eq!(verdict.exchanges[1].edges, Tally::default());
    assert_eq!(exact(&verdict), [true]);
}

#[test]
fn a_retry_is_right_if_its_first_try_and_its_reason_are() {
    let mut records = [record(0, 7, &[]), record(1, 7, &[])];
    if let Some(truth) = &mut records[1].truth {
        truth.retry = Some(Retry { of: 0, reason: "timeout".to_owned() });
    }
    let said = |reason: &str| {
        let retry = Some((Some(0), reason.to_owned()));
        let guess = Guess::from([(0, place(1, &[])), (1, Place { retry, ..place(1, &[]) })]);
        let judged = judge(&records, &guess).exchanges.swap_remove(1);
        (judged.retry.right, judged.retry_of.right)
    };
    assert_eq!(said("timeout"), (1, 1));
    assert_eq!(said("client_abort"), (0, 1));
}
