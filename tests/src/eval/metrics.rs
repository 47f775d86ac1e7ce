//! What verdicts come to, in figures.

use std::{
    collections::BTreeMap,
    ops::{Add, AddAssign},
};

use serde::Serialize;
use turnpike::call::StepKind;

use super::judge::{Group, Judged, JudgedWorkflow, Tally, Verdict};

/// Shares, from 0 to 1. Absent where there is nothing to have a share of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    pub exchanges: usize,
    pub workflows: usize,
    /// Of all edges that are said to be, those that are.
    pub edge_precision: Option<f64>,
    /// Of all edges that are, those that are said to be.
    pub edge_recall: Option<f64>,
    /// Of all true workflows, those that are put together just right.
    pub exact_workflows: Option<f64>,
    /// Of all exchanges, those whose true session is the most frequent one in their said session.
    pub session_purity: Option<f64>,
    /// Of all exchanges, those whose said session is the most frequent one in their true session.
    /// Purity alone is perfect where every exchange is a session of its own.
    pub session_completeness: Option<f64>,
    /// The mean over the kinds that there are of each one's F1.
    pub kind_f1: Option<f64>,
    /// F1 of retries: right with the right first try and reason.
    pub retry_f1: Option<f64>,
    /// F1 of retries: right with the right first try.
    pub retry_of_f1: Option<f64>,
    /// F1 of each kind.
    pub kinds: BTreeMap<String, f64>,
}

/// How many of the placements that were given a confidence in a range are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reliability {
    pub from: f64,
    pub to: f64,
    pub placements: usize,
    pub right: usize,
}

impl Figures {
    pub fn of(verdict: &Verdict) -> Self {
        Self::over(&verdict.exchanges.iter(), verdict.workflows.iter())
    }

    /// For each group that the key tells.
    pub fn by(verdict: &Verdict, key: fn(&Group) -> &str) -> BTreeMap<String, Self> {
        let mut groups: BTreeMap<&str, (Vec<&Judged>, Vec<&JudgedWorkflow>)> = BTreeMap::new();
        for judged in &verdict.exchanges {
            groups.entry(key(&judged.group)).or_default().0.push(judged);
        }
        for workflow in &verdict.workflows {
            groups.entry(key(&workflow.group)).or_default().1.push(workflow);
        }
        let figures = |(exchanges, workflows): (Vec<&Judged>, Vec<&JudgedWorkflow>)| {
            Self::over(&exchanges.into_iter(), workflows.into_iter())
        };
        groups.into_iter().map(|(group, both)| (group.to_owned(), figures(both))).collect()
    }

    fn over<'a>(
        exchanges: &(impl Iterator<Item = &'a Judged> + Clone),
        workflows: impl Iterator<Item = &'a JudgedWorkflow> + Clone,
    ) -> Self {
        let count = exchanges.clone().count();
        let flows = workflows.clone().count();
        let sum = |tally: fn(&Judged) -> Tally| {
            exchanges.clone().map(tally).fold(Tally::default(), Add::add)
        };
        let having = |has: fn(&Judged) -> bool| exchanges.clone().filter(|it| has(it)).count();
        let edges = sum(|judged| judged.edges);
        let kinds = kinds(exchanges.clone());
        let mean = kinds.values().sum::<f64>();
        Self {
            exchanges: count,
            workflows: flows,
            edge_precision: share(edges.right, edges.said),
            edge_recall: share(edges.right, edges.there),
            exact_workflows: share(workflows.filter(|workflow| workflow.exact).count(), flows),
            session_purity: share(having(|judged| judged.is_pure), count),
            session_completeness: share(having(|judged| judged.is_together), count),
            kind_f1: (!kinds.is_empty()).then(|| mean / float(kinds.len())),
            retry_f1: sum(|judged| judged.retry).f1(),
            retry_of_f1: sum(|judged| judged.retry_of).f1(),
            kinds,
        }
    }
}

/// F1 of each kind that there is.
fn kinds<'a>(exchanges: impl Iterator<Item = &'a Judged>) -> BTreeMap<String, f64> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for (kind, said) in exchanges.filter_map(|judged| judged.kind) {
        let right = usize::from(said == Some(kind));
        *tallies.entry(name(kind)).or_default() += Tally { right, said: 0, there: 1 };
        if let Some(said) = said {
            *tallies.entry(name(said)).or_default() += Tally { right: 0, said: 1, there: 0 };
        }
    }
    let there = tallies.into_iter().filter(|(_, tally)| tally.there > 0);
    there.filter_map(|(kind, tally)| Some((kind, tally.f1()?))).collect()
}

fn name(kind: StepKind) -> String {
    let name = serde_json::to_value(kind).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Reliability {
    pub fn share(&self) -> Option<f64> {
        share(self.right, self.placements)
    }
}

/// By tenths of confidence, the surest first.
pub fn reliability(verdict: &Verdict) -> Vec<Reliability> {
    let mut tenths = [Reliability::default(); 10];
    for (at, tenth) in tenths.iter_mut().enumerate() {
        (tenth.from, tenth.to) = (float(at) / 10.0, float(at + 1) / 10.0);
    }
    for judged in &verdict.exchanges {
        let Some(confidence) = judged.confidence else { continue };
        // What was computed as 0.9 may be a little less.
        let confidence = f64::from(confidence) + 1e-6;
        if let Some(tenth) = tenths.iter_mut().rev().find(|tenth| confidence >= tenth.from) {
            tenth.placements += 1;
            tenth.right += usize::from(judged.is_right);
        }
    }
    tenths.into_iter().rev().filter(|tenth| tenth.placements > 0).collect()
}

impl Tally {
    /// Absent if there is nothing, and nothing is said to be.
    fn f1(self) -> Option<f64> {
        share(2 * self.right, self.said + self.there)
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            right: self.right + other.right,
            said: self.said + other.said,
            there: self.there + other.there,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole))
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: StepKind, said: StepKind, confidence: f32, is_right: bool) -> Judged {
        Judged {
            group: Group::default(),
            edges: Tally { right: 1, said: 2, there: 4 },
            is_pure: true,
            is_together: is_right,
            kind: Some((kind, Some(said))),
            retry: Tally { right: 1, said: 1, there: 3 },
            retry_of: Tally::default(),
            confidence: Some(confidence),
            is_right,
        }
    }

    fn verdict() -> Verdict {
        let exchanges = vec![
            judged(StepKind::Planner, StepKind::Planner, 0.9, true),
            judged(StepKind::Final, StepKind::Planner, 0.3, false),
            judged(StepKind::Final, StepKind::Final, 1.0, false),
        ];
        let workflow = |exact| JudgedWorkflow { group: Group::default(), exact };
        Verdict { exchanges, workflows: vec![workflow(true), workflow(false)] }
    }

    #[test]
    fn figures_are_shares_of_what_there_is_and_of_what_is_said() {
        let figures = Figures::of(&verdict());
        assert_eq!((figures.edge_precision, figures.edge_recall), (Some(0.5), Some(0.25)));
        assert_eq!(figures.exact_workflows, Some(0.5));
        assert_eq!(figures.session_purity, Some(1.0));
        assert_eq!(figures.session_completeness, Some(1.0 / 3.0));
        assert_eq!((figures.retry_f1, figures.retry_of_f1), (Some(0.5), None));
        let kinds = BTreeMap::from([("final".into(), 2.0 / 3.0), ("planner".into(), 2.0 / 3.0)]);
        assert_eq!(figures.kinds, kinds);
        assert_eq!(Figures::by(&verdict(), |group| &group.case).get(""), Some(&figures));
    }

    #[test]
    fn confidence_is_counted_by_tenths() {
        let counts: Vec<(f64, usize, usize)> = reliability(&verdict())
            .iter()
            .map(|tenth| (tenth.from, tenth.placements, tenth.right))
            .collect();
        assert_eq!(counts, [(0.9, 2, 1), (0.3, 1, 0)]);
    }
}
