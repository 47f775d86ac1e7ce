//! Several recordings made one, in which they are under way at the same time, in processes of one agent.

use crate::eval::record::{Record, StepRef, Truth};

/// The recordings by so many; the last ones with some of the first, so that each has as many. None if
/// there are not as many in all.
pub(super) fn groups(
    recordings: Vec<Vec<Record>>,
    together: usize,
) -> impl Iterator<Item = Vec<Record>> {
    let count = recordings.len();
    let starts = if together == 0 || together > count { 0..0 } else { 0..count };
    starts.step_by(together.max(1)).map(move |start| {
        let group: Vec<&[Record]> =
            recordings.iter().cycle().skip(start).take(together).map(Vec::as_slice).collect();
        interleave(&group)
    })
}

/// All begin at the same time, and keep their own pace.
fn interleave(recordings: &[&[Record]]) -> Vec<Record> {
    let mut all = Vec::new();
    for (at, records) in recordings.iter().enumerate() {
        let begins = records.iter().map(|record| record.start_us).min().unwrap_or_default();
        let move_it = Move { by: (at as u64 + 1) * ROOM, at, begins };
        all.extend(records.iter().map(|record| move_it.record(record)));
    }
    all.sort_by_key(|record| (record.start_us, record.exchange));
    all
}

/// What makes a recording's numbers its own.
#[derive(Clone, Copy)]
struct Move {
    by: u64,
    at: usize,
    begins: u64,
}

impl Move {
    fn record(self, record: &Record) -> Record {
        let mut moved = record.clone();
        moved.exchange += self.by;
        moved.connection += self.by;
        moved.pid += u32::try_from(self.at).unwrap_or_default();
        moved.start_us = START_US + (record.start_us - self.begins);
        moved.end_us = START_US + record.end_us.saturating_sub(self.begins);
        if let Some(truth) = &mut moved.truth {
            self.truth(truth);
        }
        moved
    }

    fn truth(self, truth: &mut Truth) {
        truth.session += self.by;
        truth.workflow += self.by;
        for parent in &mut truth.parents {
            *parent = StepRef { exchange: parent.exchange + self.by, ..*parent };
        }
        if let Some(retry) = &mut truth.retry {
            retry.of += self.by;
        }
    }
}

/// No recording has as many of anything.
const ROOM: u64 = 1 << 24;
/// Some time in 2026.
const START_US: u64 = 1_780_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::generate::{Plan, corpus};

    #[test]
    fn each_keeps_its_own_truth_and_all_run_at_once() {
        let recordings: Vec<Vec<Record>> =
            (1..=3).map(|seed| corpus(Plan { seed, at_once: 3, times: 1 })).collect();
        let counts: Vec<usize> = recordings.iter().map(Vec::len).collect();
        let groups: Vec<Vec<Record>> = groups(recordings.clone(), 2).collect();
        let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        assert_eq!(sizes, [counts[0] + counts[1], counts[2] + counts[0]]);
        let numbers: std::collections::BTreeSet<u64> =
            groups[0].iter().map(|record| record.exchange).collect();
        assert_eq!(numbers.len(), groups[0].len());
        for record in &groups[0] {
            let truth = record.truth.as_ref().expect("a truth");
            assert!(truth.parents.iter().all(|parent| numbers.contains(&parent.exchange)));
        }
        assert!(groups[0].is_sorted_by_key(|record| record.start_us));
        assert_eq!(super::groups(recordings, 4).count(), 0);
    }
}
