//! What was learnt lately: a map with a bound, whose oldest entry makes room.

use std::{
    collections::{VecDeque, hash_map::Entry},
    hash::Hash,
};

use crate::call::SpreadMap;

/// At most so many entries.
#[derive(Debug)]
pub(super) struct Recent<K, V, const MOST: usize> {
    known: SpreadMap<K, V>,
    /// Oldest first.
    order: VecDeque<K>,
    evicted: u64,
}

impl<K, V, const MOST: usize> Default for Recent<K, V, MOST> {
    fn default() -> Self {
        Self { known: SpreadMap::default(), order: VecDeque::new(), evicted: 0 }
    }
}

impl<K: Copy + Eq + Hash, V, const MOST: usize> Recent<K, V, MOST> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.known.get_mut(key)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.known.contains_key(key)
    }

    /// The entry, which is made if there is none; and the one that made room for it.
    pub(super) fn learn(&mut self, key: K, value: V) -> (&mut V, Option<(K, V)>) {
        let full = !self.contains(&key) && self.order.len() >= MOST;
        let oldest = if full { self.order.pop_front() } else { None };
        let forgotten = oldest.and_then(|key| self.known.remove_entry(&key));
        self.evicted += u64::from(forgotten.is_some());
        let entry = match self.known.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.order.push_back(key);
                entry.insert(value)
            }
        };
        (entry, forgotten)
    }

    /// All entries, the latest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.iter().rev().filter_map(|key| self.known.get_key_value(key))
    }

    /// Entries that were forgotten to make room.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_what_is_known_stays_as_it_is() {
        let mut recent = Recent::<u64, u64, 2>::default();
        assert_eq!(recent.learn(1, 10), (&mut 10, None));
        assert_eq!(recent.learn(2, 20), (&mut 20, None));
        assert_eq!(recent.learn(1, 11), (&mut 10, None), "it is known");
        assert_eq!(recent.learn(3, 30), (&mut 30, Some((1, 10))));
        assert_eq!((recent.get(&1), recent.get(&2), recent.contains(&3)), (None, Some(&20), true));
        assert_eq!((recent.evicted(), recent.order.len()), (1, 2));
    }
}
