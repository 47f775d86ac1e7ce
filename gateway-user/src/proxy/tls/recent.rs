//! A bounded memory.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// Values by key, so many of them: what was inserted first makes room.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
    bound: usize,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(bound: usize) -> Self {
        Self { values: HashMap::new(), order: VecDeque::new(), bound }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// The value, made if it is not there.
    pub(super) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.make_room(&key);
        self.values.entry(key).or_insert_with(make)
    }

    /// Another value takes the place of the one that is there.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.make_room(&key);
        self.values.insert(key, value);
    }

    fn make_room(&mut self, key: &K) {
        if self.values.contains_key(key) {
            return;
        }
        if self.order.len() >= self.bound
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        self.order.push_back(key.clone());
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.order.iter().filter_map(|key| self.values.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut recent = Recent::new(2);
        for key in [1, 2, 1, 3] {
            recent.entry(key, || key * 10);
        }
        assert_eq!(recent.get(&1), None);
        assert_eq!(recent.values().copied().collect::<Vec<_>>(), [20, 30]);
        *recent.entry(3, || 0) += 1;
        recent.insert(2, 7);
        assert_eq!((recent.get(&2), recent.get(&3)), (Some(&7), Some(&31)));
        assert_eq!(recent.values.len(), 2);
    }
}
