//! Chance from a seed, and texts made by it: the same seed gives the same corpus.

use serde_json::{Value, json};

/// A `SplitMix64` sequence.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    /// From `least` to `most`, both included.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.draw() % (most.saturating_sub(least) + 1)
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.draw() % from.len() as u64).unwrap_or(0);
        &from[at]
    }

    /// As long ids are written.
    pub(super) fn hex(&mut self) -> String {
        format!("{:016x}{:08x}", self.draw(), self.draw() >> 32)
    }

    /// So many words, as a sentence.
    pub(super) fn text(&mut self, least: u64, most: u64) -> String {
        let count = self.between(least, most);
        let words: Vec<&str> = (0..count).map(|_| *self.pick(WORDS)).collect();
        let mut text = words.join(" ");
        text.push('.');
        text
    }

    pub(super) fn wish(&mut self) -> String {
        format!("{} {}", self.pick(OPENINGS), self.text(4, 14))
    }

    /// A tool, and what it is to do.
    pub(super) fn tool(&mut self) -> (String, Value) {
        let name = (*self.pick(TOOLS)).to_owned();
        let arguments = match self.between(0, 2) {
            0 => json!({ "query": self.text(2, 5) }),
            1 => {
                json!({ "path": format!("src/{}.rs", self.pick(WORDS)), "line": self.between(1, 400) })
            }
            _ => json!({ "city": self.pick(WORDS), "exact": self.between(0, 1) == 1 }),
        };
        (name, arguments)
    }
}

const OPENINGS: &[&str] = &[
    "Find out about",
    "Please fix",
    "Write a report on",
    "Compare",
    "Explain",
    "Look into",
    "Plan",
    "Book",
];

const TOOLS: &[&str] =
    &["search", "read_file", "write_file", "run", "weather", "fetch", "list_files", "query"];

const WORDS: &[&str] = &[
    "harbour", "engine", "letter", "window", "winter", "river", "parser", "market", "ledger",
    "garden", "signal", "packet", "border", "candle", "bridge", "socket", "forest", "kernel",
    "mirror", "valley", "budget", "meadow", "anchor", "thread", "copper", "island", "memory",
    "tunnel", "orchard", "station", "the", "a", "of", "under", "beside", "before", "after", "new",
    "old", "slow", "quick", "broken", "hidden", "early", "late", "large", "small", "red", "blue",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_says_the_same() {
        let [mut one, mut same, mut other] = [1, 1, 2].map(Random::new);
        assert_eq!(one.wish(), same.wish());
        assert_ne!(one.wish(), other.wish());
        assert!((0..100).map(|_| one.between(3, 5)).all(|drawn| (3..=5).contains(&drawn)));
    }
}
