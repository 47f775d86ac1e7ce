//! Texts made by chance: the same seed gives the same corpus.

use serde_json::{Value, json};

pub(in crate::eval) use crate::random::Random;

impl Random {
    /// As long ids are written.
    pub(in crate::eval) fn hex(&mut self) -> String {
        format!("{:016x}{:08x}", self.draw(), self.draw() >> 32)
    }

    /// So many words, as a sentence.
    pub(in crate::eval) fn text(&mut self, least: u64, most: u64) -> String {
        let count = self.between(least, most);
        let words: Vec<&str> = (0..count).map(|_| *self.pick(WORDS)).collect();
        let mut text = words.join(" ");
        text.push('.');
        text
    }

    pub(in crate::eval) fn wish(&mut self) -> String {
        format!("{} {}", self.pick(OPENINGS), self.text(4, 14))
    }

    /// A tool, and what it is to do.
    pub(in crate::eval) fn tool(&mut self) -> (String, Value) {
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
