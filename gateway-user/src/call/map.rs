//! Maps by ids and by hashes: keys that are spread evenly as they are.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
};

/// A map whose keys are ids or 128-bit hashes.
pub type SpreadMap<K, V> = HashMap<K, V, Spread>;

/// Hashes with one multiplication. Some keys are hashes of what an agent wrote, so the hash has a
/// secret of its own for each map: nobody can choose keys that fall into one place.
#[derive(Clone, Debug)]
pub struct Spread([u64; 2]);

impl Default for Spread {
    fn default() -> Self {
        let secret = RandomState::new();
        Self([0, 1].map(|half: u64| secret.hash_one(half)))
    }
}

impl BuildHasher for Spread {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { secret: self.0, folded: 0 }
    }
}

/// The hash in the making.
#[derive(Clone, Debug)]
pub struct Folding {
    secret: [u64; 2],
    folded: u64,
}

impl Folding {
    fn fold(&mut self, low: u64, high: u64) {
        let [a, b] = self.secret;
        let product = u128::from(low ^ self.folded ^ a) * u128::from(high ^ b);
        self.folded = low_half(product) ^ low_half(product >> 64);
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.fold(byte.into(), 0);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.fold(number, 0);
    }

    fn write_u128(&mut self, number: u128) {
        self.fold(low_half(number), low_half(number >> 64));
    }

    fn finish(&self) -> u64 {
        self.folded
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the half is what is wanted")]
const fn low_half(number: u128) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn neighbouring_keys_are_spread_and_each_map_spreads_them_otherwise() {
        let (one, other) = (Spread::default(), Spread::default());
        for hash in [&one, &other] {
            let hashes: HashSet<u64> = (0..1000_u128).map(|key| hash.hash_one(key) >> 32).collect();
            assert!(hashes.len() > 990);
        }
        assert_ne!(one.hash_one(7_u64), other.hash_one(7_u64));
    }
}
