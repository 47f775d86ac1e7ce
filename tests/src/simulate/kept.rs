//! What of a simulated ledger would outlast its gateway, and what would not.

use turnpike::ledger::{Amounts, Ledger, Record, Replay, Standing};

use crate::random::Random;

/// What is written of a ledger, and what waits to be.
#[derive(Debug, Default)]
pub(super) struct Kept {
    written: Replay,
    waiting: Vec<Record>,
    /// What was done to calls by records that wait, with the place of each.
    doings: Vec<(usize, Doing)>,
}

/// What was done to a call.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    /// It has ended.
    Ended { call: usize },
    /// It was found to be another workflow's than that.
    Moved { call: usize, from: Standing },
}

impl Kept {
    /// Keeps what a ledger did, until it is written.
    pub(super) fn keep(&mut self, ledger: &mut Ledger, doing: Option<Doing>) {
        let records = ledger.take_records();
        let is_it = |record: &Record| {
            matches!(
                record,
                Record::Settled { .. } | Record::Moved { .. } | Record::Transferred { .. }
            )
        };
        if let Some((place, doing)) = records.iter().position(is_it).zip(doing) {
            self.doings.push((self.waiting.len() + place, doing));
        }
        self.waiting.extend(records);
    }

    /// What is held for the last call that waits.
    pub(super) fn held(&self) -> Option<Amounts> {
        self.waiting.iter().rev().find_map(|record| match record {
            Record::Held(held) => Some(held.amounts),
            _ => None,
        })
    }

    /// Writes what waits.
    pub(super) fn write(&mut self) {
        for record in self.waiting.drain(..) {
            self.written.apply(record);
        }
        self.doings.clear();
    }

    /// Begins anew, with all that the ledger says.
    pub(super) fn begin_anew(&mut self, ledger: &Ledger) {
        *self = Self { waiting: ledger.whole(), ..Self::default() };
        self.write();
    }

    /// The gateway dies, while it writes as many as chance says of the records that wait. What another
    /// one finds, and what was never done for it, the last first.
    pub(super) fn die(&mut self, random: &mut Random) -> (Replay, Vec<Doing>) {
        let mut found = std::mem::take(&mut self.written);
        let whole = random.below(self.waiting.len() + 1);
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().take(whole).for_each(|record| found.apply(record));
        let doings = std::mem::take(&mut self.doings).into_iter();
        let lost = doings.filter(|(place, _)| *place >= whole).map(|(_, doing)| doing);
        (found, lost.rev().collect())
    }

    /// Goes on from what was found.
    pub(super) fn go_on(&mut self, found: Replay) {
        self.written = found;
    }
}
