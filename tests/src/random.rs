//! Chance from a seed: the same seed draws the same.

/// A `SplitMix64` sequence.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    /// Whether one of so many is drawn.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.draw().is_multiple_of(count.max(1))
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.draw() % (most.saturating_sub(least) + 1)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.draw() % from.len() as u64).unwrap_or(0);
        &from[at]
    }

    /// Less than that.
    pub fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.draw() % most.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_within_its_bounds() {
        let mut random = Random::new(1);
        assert!((0..100).map(|_| random.between(3, 5)).all(|drawn| (3..=5).contains(&drawn)));
        assert!((0..100).all(|_| random.below(2) < 2 && random.below(0) == 0));
        assert!((0..100).any(|_| random.one_in(10)) && !(0..100).all(|_| random.one_in(10)));
    }
}
