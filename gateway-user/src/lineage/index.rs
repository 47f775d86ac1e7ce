//! Indexes of steps.

use std::collections::{VecDeque, hash_map::Entry};

use crate::{call::SpreadMap, limits};

use super::memory::Seq;

/// Steps by something that they have in common, oldest first: by half of its hash, which is a third of
/// an entry less. A step that was removed may still be found for a while.
///
/// The places of most entries are far from the processor. What is to be changed is collected, so that
/// it waits for many of them together instead of for one after the other.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: SpreadMap<u64, Candidates>,
    /// What is still to be entered, oldest first.
    fresh: Vec<(u64, Seq)>,
    /// What is still to be taken out.
    stale: Vec<(u64, Seq)>,
}

/// The steps of one entry: nearly always one, which needs no memory of its own.
#[derive(Debug)]
enum Candidates {
    One(Seq),
    /// In a box, since it is rare and every entry has its size.
    #[allow(clippy::box_collection, reason = "an entry is smaller by half")]
    Many(Box<VecDeque<Seq>>),
}

impl Index {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.fresh.is_empty()
    }

    pub(super) fn get(&self, key: u128) -> impl DoubleEndedIterator<Item = Seq> + Clone {
        let key = half(key);
        let (one, many) = match self.entries.get(&key) {
            None => (None, None),
            Some(Candidates::One(seq)) => (Some(*seq), None),
            Some(Candidates::Many(steps)) => (None, Some(steps)),
        };
        let entered = one.into_iter().chain(many.into_iter().flat_map(|it| it.iter().copied()));
        let fresh = self.fresh.iter().filter(move |(of, _)| *of == key).map(|(_, seq)| *seq);
        entered.chain(fresh)
    }

    /// How many steps had to make room.
    pub(super) fn insert(&mut self, key: u128, seq: Seq) -> u64 {
        let key = half(key);
        let mut of_step = self.fresh.iter().rev().take_while(|(_, other)| *other == seq);
        if of_step.any(|(other, _)| *other == key) {
            return 0;
        }
        self.fresh.push((key, seq));
        if self.fresh.len() < AT_ONCE { 0 } else { self.enter() }
    }

    pub(super) fn remove(&mut self, key: u128, seq: Seq) -> u64 {
        self.stale.push((half(key), seq));
        if self.stale.len() < AT_ONCE { 0 } else { self.take_out() }
    }

    /// How many steps had to make room.
    fn enter(&mut self) -> u64 {
        let fresh = self.fresh.drain(..).map(|(key, seq)| match self.entries.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Candidates::One(seq));
                0
            }
            Entry::Occupied(mut occupied) => occupied.get_mut().add(seq),
        });
        fresh.sum()
    }

    /// How many steps had to make room meanwhile.
    fn take_out(&mut self) -> u64 {
        // What is to be taken out may not have been entered yet.
        let evicted = self.enter();
        for (key, seq) in self.stale.drain(..) {
            let Entry::Occupied(mut entry) = self.entries.entry(key) else { continue };
            if entry.get_mut().take(seq) {
                entry.remove();
            }
        }
        evicted
    }

    /// Entries, once nothing is still to be changed.
    #[cfg(test)]
    pub(super) fn size(&mut self) -> usize {
        self.take_out();
        self.entries.len()
    }
}

impl Candidates {
    /// How many steps had to make room.
    fn add(&mut self, seq: Seq) -> u64 {
        match self {
            Self::One(one) if *one == seq => {}
            Self::One(one) => *self = Self::Many(Box::new(VecDeque::from([*one, seq]))),
            Self::Many(steps) => {
                if steps.back() != Some(&seq) {
                    steps.push_back(seq);
                }
                if steps.len() > limits::LINEAGE_CANDIDATES {
                    steps.pop_front();
                    return 1;
                }
            }
        }
        0
    }

    /// Takes the step out. Whether none is left.
    fn take(&mut self, seq: Seq) -> bool {
        match self {
            Self::One(one) => *one == seq,
            Self::Many(steps) => {
                // Nearly always the first, since the oldest step is forgotten first.
                if let Some(at) = steps.iter().position(|&other| other == seq) {
                    steps.remove(at);
                }
                steps.is_empty()
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a hash")]
const fn half(key: u128) -> u64 {
    key as u64
}

/// Changes that are made together: the call that makes them takes some microseconds longer.
const AT_ONCE: usize = 16;
