//! What is right of a guess, exchange by exchange and workflow by workflow.
//!
//! Exchanges that were lost are judged nowhere, nor is what only they could tell: of an exchange that
//! directly follows a lost one the edges are not judged, in truth or guess; its workflow is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use turnpike::call::StepKind;

use super::{
    guess::{Guess, Place},
    record::{Record, StepRef, Truth},
};

/// What is right of one exchange's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub group: Group,
    /// Edges of this exchange: (child, parent) pairs. Of a tool call that the agent makes and a model
    /// asked for, the edge to that model call.
    pub edges: Tally,
    /// Whether most of the session that it is said to be in is of its true session.
    pub is_pure: bool,
    /// Whether most of its true session is where it is said to be.
    pub is_together: bool,
    /// What it is, and what it is said to be, where the truth names a kind.
    pub kind: Option<(StepKind, Option<StepKind>)>,
    /// Right: of the right first try, for the right reason.
    pub retry: Tally,
    /// Right: of the right first try.
    pub retry_of: Tally,
    pub confidence: Option<f32>,
    /// Whether its parents are all right, and its workflow is: the workflow that it is said to be in
    /// was opened by an exchange of its true one, and it opens one just if it is the first that was
    /// seen of its true one.
    pub is_right: bool,
}

/// By what exchanges and workflows are grouped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub case: String,
    pub client: String,
}

/// How many there are, how many are said to be, and how many of those are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub right: usize,
    pub said: usize,
    pub there: usize,
}

/// Whether a workflow was put together just right: what is said to be in it is just what was seen of
/// it, and all its edges are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedWorkflow {
    /// Of its first exchange.
    pub group: Group,
    pub exact: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub exchanges: Vec<Judged>,
    pub workflows: Vec<JudgedWorkflow>,
}

impl std::iter::Sum for Verdict {
    fn sum<I: Iterator<Item = Self>>(verdicts: I) -> Self {
        let mut all = Self::default();
        for verdict in verdicts {
            all.exchanges.extend(verdict.exchanges);
            all.workflows.extend(verdict.workflows);
        }
        all
    }
}

/// Judges the guess. The records are to be in the order in which they started.
pub fn judge(records: &[Record], guess: &Guess) -> Verdict {
    let seen: Vec<(&Record, &Truth)> = records
        .iter()
        .filter(|record| !record.lost)
        .filter_map(|record| Some((record, record.truth.as_ref()?)))
        .collect();
    let lost = records.iter().filter(|record| record.lost).map(|record| record.exchange).collect();
    let context = Context::new(&seen, guess, lost);
    let judged = |(record, truth): &(&Record, &Truth)| context.judge(record, truth);
    let exchanges: Vec<Judged> = seen.iter().map(judged).collect();
    Verdict { workflows: context.workflows(&seen, &exchanges), exchanges }
}

/// What it takes to judge one exchange.
struct Context<'a> {
    guess: &'a Guess,
    lost: HashSet<u64>,
    /// The true session that most of a said one is of, and the other way round.
    most_of_said: HashMap<u128, u64>,
    most_of_true: HashMap<u64, u128>,
    /// The exchange that a workflow was opened by: in truth, and as it is said.
    first: HashMap<u64, u64>,
    said_first: HashMap<u128, (u64, u64)>,
}

impl<'a> Context<'a> {
    fn new(seen: &[(&Record, &Truth)], guess: &'a Guess, lost: HashSet<u64>) -> Self {
        let (mut first, mut said_first) = (HashMap::new(), HashMap::new());
        let (mut said, mut there) = (HashMap::new(), HashMap::new());
        for (record, truth) in seen {
            first.entry(truth.workflow).or_insert(record.exchange);
            let Some(place) = guess.get(&record.exchange) else { continue };
            said_first.entry(place.workflow).or_insert((record.exchange, truth.workflow));
            count(&mut said, place.session, truth.session);
            count(&mut there, truth.session, place.session);
        }
        let (most_of_said, most_of_true) = (most(said), most(there));
        Self { guess, lost, most_of_said, most_of_true, first, said_first }
    }

    fn judge(&self, record: &Record, truth: &Truth) -> Judged {
        let place = self.guess.get(&record.exchange);
        let (edges, edges_right) = self.edges(truth, place);
        let (retry, retry_of) = retry(truth, place);
        let session = place.map(|place| place.session);
        Judged {
            group: Group { case: truth.case.clone(), client: record.client.clone() },
            edges,
            is_pure: session.and_then(|said| self.most_of_said.get(&said)) == Some(&truth.session),
            is_together: session.is_some()
                && session == self.most_of_true.get(&truth.session).copied(),
            kind: truth.kind.map(|kind| (kind, place.map(|place| place.kind))),
            retry,
            retry_of,
            confidence: place.and_then(|place| place.confidence),
            is_right: edges_right
                && place.is_some_and(|place| self.is_in_place(record, truth, place)),
        }
    }

    /// The edges, and whether all are right and none is missing.
    fn edges(&self, truth: &Truth, place: Option<&Place>) -> (Tally, bool) {
        if truth.parents.iter().any(|parent| self.lost.contains(&parent.exchange)) {
            return (Tally::default(), true);
        }
        let there: BTreeSet<StepRef> = truth.parents.iter().copied().collect();
        let said: BTreeSet<StepRef> =
            place.map(|place| place.parents.iter().copied().collect()).unwrap_or_default();
        let right = there.intersection(&said).count();
        (Tally { right, said: said.len(), there: there.len() }, there == said)
    }

    fn is_in_place(&self, record: &Record, truth: &Truth, place: &Place) -> bool {
        let Some(&(opener, of)) = self.said_first.get(&place.workflow) else { return false };
        let opens = self.first.get(&truth.workflow) == Some(&record.exchange);
        of == truth.workflow && opens == (opener == record.exchange)
    }

    fn workflows(&self, seen: &[(&Record, &Truth)], judged: &[Judged]) -> Vec<JudgedWorkflow> {
        let mut there: BTreeMap<u64, (Group, BTreeSet<u64>, bool)> = BTreeMap::new();
        let mut said: HashMap<u128, BTreeSet<u64>> = HashMap::new();
        for ((record, truth), judged) in seen.iter().zip(judged) {
            let edges = judged.edges;
            let right = edges.right == edges.said && edges.right == edges.there;
            let entry = there.entry(truth.workflow);
            let entry = entry.or_insert_with(|| (judged.group.clone(), BTreeSet::new(), true));
            entry.1.insert(record.exchange);
            entry.2 &= right;
            if let Some(place) = self.guess.get(&record.exchange) {
                said.entry(place.workflow).or_default().insert(record.exchange);
            }
        }
        let exact = |members: &BTreeSet<u64>, right: bool| {
            let place = members.first().and_then(|first| self.guess.get(first));
            right && place.and_then(|place| said.get(&place.workflow)) == Some(members)
        };
        let each = there.into_values();
        each.map(|(group, members, right)| JudgedWorkflow { group, exact: exact(&members, right) })
            .collect()
    }
}

fn retry(truth: &Truth, place: Option<&Place>) -> (Tally, Tally) {
    let there = truth.retry.as_ref();
    let said = place.and_then(|place| place.retry.as_ref());
    let (mut of, mut both) = (false, false);
    if let (Some(there), Some((said, reason))) = (there, said) {
        of = *said == Some(there.of);
        both = of && *reason == there.reason;
    }
    let tally = |right: bool| Tally {
        right: right.into(),
        said: said.is_some().into(),
        there: there.is_some().into(),
    };
    (tally(both), tally(of))
}

fn count<K: Eq + std::hash::Hash, V: Ord>(
    counts: &mut HashMap<K, BTreeMap<V, usize>>,
    key: K,
    value: V,
) {
    *counts.entry(key).or_default().entry(value).or_default() += 1;
}

/// The value that is most frequent for each key; of equally frequent ones the first.
fn most<K: Eq + std::hash::Hash, V: Ord>(counts: HashMap<K, BTreeMap<V, usize>>) -> HashMap<K, V> {
    let most = |values: BTreeMap<V, usize>| {
        let values = values.into_iter().rev();
        values.max_by_key(|(_, count)| *count).map(|(value, _)| value)
    };
    counts.into_iter().filter_map(|(key, values)| Some((key, most(values)?))).collect()
}

#[cfg(test)]
mod tests;
