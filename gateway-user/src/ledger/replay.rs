//! Records done again, without a ledger: what its accounts come to.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{Amounts, Dimension, Held, Image, Key, Record, Reset, window::Sums};
use crate::{
    call::{Name, Timestamp},
    limits,
};

/// What records lead to.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    pub(super) accounts: HashMap<Key, Image>,
    holds: BTreeMap<u64, Held>,
    /// The oldest first.
    pub(super) resets: VecDeque<Reset>,
    /// The latest time of all.
    pub(super) now: Timestamp,
    /// The number of the next reservation.
    pub(super) next: u64,
    /// Accounts that are not as they were when the replay began.
    changed: BTreeSet<Key>,
    /// Records of what there is not.
    astray: u64,
}

/// All that a replay has come to.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    pub accounts: Vec<(Key, Image)>,
    /// Calls that are held.
    pub holds: Vec<Held>,
    /// The oldest first.
    pub resets: Vec<Reset>,
    pub now: Timestamp,
    pub next: u64,
}

impl Replay {
    /// Begins where another one has come to.
    #[must_use]
    pub fn of(whole: Whole) -> Self {
        let Whole { accounts, holds, resets, now, next } = whole;
        Self {
            accounts: accounts.into_iter().collect(),
            holds: holds.into_iter().map(|held| (held.number, held)).collect(),
            resets: resets.into(),
            now,
            next,
            ..Self::default()
        }
    }

    /// Does again what a record says.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Opened { key, image } => {
                self.now = self.now.max(image.touched);
                self.changed.insert(key.clone());
                self.accounts.insert(key, *image);
            }
            Record::Held(held) => self.hold(held),
            Record::Settled { at, number, spent, tools } => {
                self.now = self.now.max(at);
                let Some(held) = self.take(number) else { return };
                self.spend(&held.keys, at, spent, (&tools, held.tool.as_slice()));
            }
            Record::Withdrawn { number } => drop(self.take(number)),
            Record::Moved { at, number, keys } => {
                self.now = self.now.max(at);
                self.astray += self.with(&keys, |image| image.advance(at));
                match self.holds.get_mut(&number) {
                    Some(held) => held.keys = keys,
                    None => self.astray += 1,
                }
            }
            Record::Transferred { at, from, to, spent, tools } => {
                self.now = self.now.max(at);
                self.astray +=
                    self.with(&from, |image| image.take_back(&sums(image, spent, (&tools, &[]))));
                self.spend(&to, at, spent, (&tools, &[]));
            }
            Record::Marked { at, key, marks } => {
                self.now = self.now.max(at);
                self.astray += self.with(&[key], |image| {
                    image.advance(at);
                    image.marks = marks;
                });
            }
            Record::Reset(reset) => self.reset(reset),
            Record::Forgotten { key } => {
                self.accounts.remove(&key);
                self.changed.insert(key);
            }
        }
    }

    /// Another gateway begins: the calls of the one before have ended with it, and nobody will say what
    /// they came to. What is held for them is spent. If the clock of an earlier one was far ahead, what was
    /// spent by it was spent now: else windows would not end before that time comes.
    pub fn begin(&mut self, at: Timestamp) {
        let was_ahead = self.is_ahead_of(at);
        let at = if was_ahead { at } else { self.now.max(at) };
        self.now = at;
        for (_, held) in std::mem::take(&mut self.holds) {
            let Held { keys, amounts, tool, .. } = held;
            self.astray += self.with(&keys, |image| {
                let tools = image.calls(tool.as_slice());
                image.spend(at, &Sums { amounts, tools });
            });
        }
        if was_ahead {
            self.accounts.values_mut().for_each(|image| image.set_back(at));
            self.changed.extend(self.accounts.keys().cloned());
            self.resets.iter_mut().for_each(|reset| reset.at = reset.at.min(at));
        }
    }

    /// Whether it has come to a time so much later that no clock is merely put right.
    #[must_use]
    pub fn is_ahead_of(&self, now: Timestamp) -> bool {
        self.now > now.after(limits::LEDGER_AHEAD.into())
    }

    /// What follows says everything anew.
    pub fn clear(&mut self) {
        self.changed.extend(self.accounts.drain().map(|(key, _)| key));
        self.holds.clear();
        self.resets.clear();
    }

    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.holds.is_empty() && self.resets.is_empty()
    }

    /// Calls that are held.
    #[must_use]
    pub fn holds(&self) -> impl ExactSizeIterator<Item = &Held> {
        self.holds.values()
    }

    pub fn resets(&self) -> impl Iterator<Item = &Reset> {
        self.resets.iter()
    }

    /// The accounts that are not as they were, as they are. Absent: they are not there any more.
    pub fn changed(&self) -> impl Iterator<Item = (&Key, Option<&Image>)> {
        self.changed.iter().map(|key| (key, self.accounts.get(key)))
    }

    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The number of the next reservation: higher than all that there were.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// How many records were of accounts or calls that there are not.
    #[must_use]
    pub const fn astray(&self) -> u64 {
        self.astray
    }

    fn hold(&mut self, held: Held) {
        let Held { at, number, sameness, enforced, .. } = held;
        self.now = self.now.max(at);
        self.next = self.next.max(number.saturating_add(1));
        // Where all is said anew, calls come before their accounts.
        self.with(&held.keys, |image| {
            image.advance(at);
            image.marks.enforced = enforced;
            if let Some(sameness) = sameness {
                image.remember(sameness);
            }
        });
        self.holds.insert(number, held);
    }

    fn take(&mut self, number: u64) -> Option<Held> {
        let held = self.holds.remove(&number);
        self.astray += u64::from(held.is_none());
        held
    }

    fn spend(&mut self, keys: &[Key], at: Timestamp, spent: Amounts, tools: (&[Name], &[Name])) {
        self.astray += self.with(keys, |image| image.spend(at, &sums(image, spent, tools)));
    }

    fn reset(&mut self, reset: Reset) {
        self.now = self.now.max(reset.at);
        let key = |budget: &Name| Key { budget: budget.clone(), holder: reset.holder.clone() };
        let keys: Vec<Key> = reset.budgets.iter().map(key).collect();
        self.with(&keys, |image| image.reset(reset.at));
        if self.resets.len() >= limits::BUDGET_RESETS {
            self.resets.pop_front();
        }
        self.resets.push_back(reset);
    }

    /// How many of those there are not.
    fn with(&mut self, keys: &[Key], mut change: impl FnMut(&mut Image)) -> u64 {
        let mut missing = 0;
        for key in keys {
            let Some(image) = self.accounts.get_mut(key) else {
                missing += 1;
                continue;
            };
            change(image);
            if !self.changed.contains(key) {
                self.changed.insert(key.clone());
            }
        }
        missing
    }
}

/// What a call came to, as that account counts it: with the tools that its answer calls, and the one that
/// it called itself.
fn sums(image: &Image, spent: Amounts, (emitted, called): (&[Name], &[Name])) -> Sums {
    let more = Amounts::ZERO.with(Dimension::ToolCalls, emitted.len() as u64);
    let mut sums = Sums { amounts: spent.plus(&more), tools: image.calls(emitted) };
    for (sum, more) in sums.tools.iter_mut().zip(image.calls(called)) {
        *sum = sum.saturating_add(more);
    }
    sums
}
