//! A corpus is the same for the same seed, can be read, and is true to itself.

use std::collections::{BTreeMap, BTreeSet};

use turnpike::call::StepKind;

use super::*;
use crate::eval::{
    guess::{Guess, Place},
    judge::judge,
    metrics::Figures,
    read::{Happening, read},
    record::Ended,
};

const PLAN: Plan = Plan { seed: 7, at_once: 20, times: 6 };

#[test]
fn the_same_seed_gives_the_same_corpus() {
    let records = corpus(PLAN);
    assert_eq!(records, corpus(PLAN));
    assert_ne!(records, corpus(Plan { seed: 8, ..PLAN }));
}

#[test]
fn every_exchange_is_understood_and_answers_what_the_truth_says() {
    let records = corpus(PLAN);
    let events = read(&records);
    assert_eq!(events.not_understood, 0);
    let mut asked = BTreeSet::new();
    let mut tools = BTreeMap::new();
    for event in &events.events {
        match &event.what {
            Happening::Asked(_) => {
                asked.insert(event.exchange);
            }
            Happening::Fetched(..) => {
                asked.insert(event.exchange);
                tools.insert(event.exchange, 0);
            }
            Happening::Ended(outcome) => {
                tools.insert(event.exchange, outcome.answer.tool_calls.len());
            }
        }
    }
    for record in records.iter().filter(|record| !record.lost) {
        assert!(asked.contains(&record.exchange), "{record:?}");
        let is_whole = record.ended == Ended::Whole
            && record.response.as_ref().is_some_and(|response| response.status == 200);
        assert!(tools.contains_key(&record.exchange), "{record:?}");
        assert!(is_whole || tools.get(&record.exchange) == Some(&0), "{record:?}");
    }
    let lost: BTreeSet<u64> =
        records.iter().filter(|record| record.lost).map(|record| record.exchange).collect();
    for parent in records.iter().filter_map(|it| it.truth.as_ref()).flat_map(|it| &it.parents) {
        let calls = tools.get(&parent.exchange).copied();
        assert!(lost.contains(&parent.exchange) || parent.call < calls, "{parent:?}");
    }
}

#[test]
fn a_connection_carries_one_exchange_at_a_time_and_several_workflows() {
    let records = corpus(PLAN);
    let mut until: BTreeMap<u64, u64> = BTreeMap::new();
    let mut flows: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for record in &records {
        let before = until.insert(record.connection, record.end_us);
        assert!(before.is_none_or(|before| before < record.start_us));
        let truth = record.truth.as_ref().expect("a truth");
        flows.entry(record.connection).or_default().insert(truth.workflow);
    }
    assert!(flows.values().any(|flows| flows.len() > 3));
}

#[test]
fn who_says_the_truth_is_right_in_everything() {
    let records = corpus(PLAN);
    let known = records.iter().filter_map(|record| Some((record, record.truth.as_ref()?)));
    let guess: Guess = known
        .map(|(record, truth)| {
            let place = Place {
                session: truth.session.into(),
                workflow: truth.workflow.into(),
                parents: truth.parents.clone(),
                kind: truth.kind.unwrap_or(StepKind::Planner),
                retry: truth.retry.as_ref().map(|retry| (Some(retry.of), retry.reason.clone())),
                confidence: Some(1.0),
            };
            (record.exchange, place)
        })
        .collect();
    let verdict = judge(&records, &guess);
    let figures = Figures::of(&verdict);
    let all = [
        figures.edge_precision,
        figures.edge_recall,
        figures.exact_workflows,
        figures.session_purity,
        figures.session_completeness,
        figures.kind_f1,
        figures.retry_f1,
        figures.retry_of_f1,
    ];
    assert_eq!(all, [Some(1.0); 8]);
    assert!(verdict.exchanges.iter().all(|judged| judged.is_right));
}
