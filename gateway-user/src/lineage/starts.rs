//! How the values begin that are remembered: at nearly every place of a text it says that none can.

use crate::call::Start;

use super::memory::Seq;

/// A set of starts. It may say of one that it holds it although it doesn't, and forgets one some time
/// after the last value is forgotten that had it.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// A bit for each, in each of two generations, of which the older one goes as a whole. Empty until
    /// there is any.
    words: Vec<[u64; 2]>,
    recent: usize,
    /// The step by which the next generation begins.
    until: Seq,
}

impl Starts {
    /// A step has such a value. It will be forgotten once there are `bound` steps after `next`.
    pub(super) fn note(&mut self, start: Start, next: Seq, bound: usize) {
        if next >= self.until {
            self.until = next + bound as Seq;
            self.recent ^= 1;
            self.words.resize(WORDS, [0; 2]);
            for word in &mut self.words {
                word[self.recent] = 0;
            }
        }
        if let Some(word) = self.words.get_mut(place(start)) {
            word[self.recent] |= bit(start);
        }
    }

    pub(super) fn may_hold(&self, start: Start) -> bool {
        self.words.get(place(start)).is_some_and(|[one, other]| (one | other) & bit(start) != 0)
    }
}

fn place(start: Start) -> usize {
    start as usize % WORDS
}

/// By other bits than the place.
const fn bit(start: Start) -> u64 {
    1 << (start >> 26)
}

/// 128 KiB: of as many steps as are remembered, with two values each, a fifth of the bits are set.
const WORDS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_held_for_as_long_as_its_step_is_remembered_and_not_for_ever() {
        const BOUND: usize = 10;
        let mut starts = Starts::default();
        assert!(!starts.may_hold(1));
        // The step before the next one begins with its own number.
        let number = |step: Seq| Start::try_from(step).expect("small").wrapping_mul(0x9e37_79b9);
        for next in 1..100 {
            starts.note(number(next), next, BOUND);
            let oldest = next.saturating_sub(BOUND as Seq).max(1);
            assert!((oldest..=next).all(|step| starts.may_hold(number(step))), "{next}");
        }
        assert!(!starts.may_hold(number(50)));
    }
}
