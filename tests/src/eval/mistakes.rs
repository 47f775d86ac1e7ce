//! What the engine gets wrong, counted: where to look first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::{
    guess::Guess,
    record::{Record, StepRef},
};

/// Exchanges that are in a wrong place in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mistake {
    pub case: String,
    /// The case of the workflow that they were put in, if that is somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub astray_in: Option<String>,
    pub client: String,
    /// How many parents they have, and are said to have.
    pub parents: usize,
    pub said: usize,
    /// In hundredths.
    pub confidence: Option<u32>,
}

/// Each mistake with how often it was made, the most frequent first. What is in its workflow and has
/// its parents is right here, though its workflow may be torn.
pub fn count(corpora: &[Vec<Record>], guesses: &[Guess]) -> Vec<(Mistake, usize)> {
    let mut counts = BTreeMap::new();
    for (records, guess) in corpora.iter().zip(guesses) {
        count_in(records, guess, &mut counts);
    }
    let mut counts: Vec<(Mistake, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn count_in(records: &[Record], guess: &Guess, counts: &mut BTreeMap<Mistake, usize>) {
    let lost: BTreeSet<u64> =
        records.iter().filter(|record| record.lost).map(|record| record.exchange).collect();
    let mut openers: HashMap<u128, (u64, &str)> = HashMap::new();
    for record in records.iter().filter(|record| !record.lost) {
        let Some((truth, place)) = record.truth.as_ref().zip(guess.get(&record.exchange)) else {
            continue;
        };
        let (opener, case) =
            *openers.entry(place.workflow).or_insert((truth.workflow, &truth.case));
        let is_told = !truth.parents.iter().any(|parent| lost.contains(&parent.exchange));
        let is_astray = opener != truth.workflow;
        if is_astray || (is_told && sorted(&place.parents) != sorted(&truth.parents)) {
            let mistake = Mistake {
                case: truth.case.clone(),
                astray_in: is_astray.then(|| case.to_owned()),
                client: record.client.clone(),
                parents: truth.parents.len(),
                said: place.parents.len(),
                confidence: place.confidence.map(hundredths),
            };
            *counts.entry(mistake).or_default() += 1;
        }
    }
}

fn sorted(parents: &[StepRef]) -> BTreeSet<StepRef> {
    parents.iter().copied().collect()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a confidence is from 0 to 1"
)]
fn hundredths(confidence: f32) -> u32 {
    (confidence * 100.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{
        generate::{Plan, corpus},
        guess::Guesser as _,
        read::read,
        replay::Engine,
    };

    #[test]
    fn mistakes_are_counted_and_lost_parents_are_none() {
        let records = corpus(Plan { seed: 1, at_once: 5, times: 2 });
        let guess = Engine { seed: 1 }.guess(&read(&records));
        let records = [records];
        let all = count(&records, std::slice::from_ref(&guess));
        assert!(all.windows(2).all(|two| two[0].1 >= two[1].1));
        // Whoever says the truth of all parents and workflows makes none.
        let mut truthful = guess;
        for record in &records[0] {
            if let (Some(truth), Some(place)) = (&record.truth, truthful.get_mut(&record.exchange))
            {
                place.parents.clone_from(&truth.parents);
                place.workflow = truth.workflow.into();
            }
        }
        assert_eq!(count(&records, &[truthful]), []);
    }
}
