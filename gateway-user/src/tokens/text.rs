//! A text of which some is known.

use super::Tokenizer;

/// A prompt or an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text<'t> {
    /// Some of it.
    pub sample: &'t str,
    /// Of all of it.
    pub bytes: u64,
    /// Those that it is made of, each of which takes some tokens more; 0 for an answer.
    pub messages: u64,
}

impl Text<'_> {
    /// Its tokens: those of the sample, and as many for the rest as that has. A short sample says
    /// little of the rest, which is taken to be more like other texts then.
    #[must_use]
    pub fn count(&self, tokenizer: &Tokenizer) -> u64 {
        let tokens = tokenizer.count(self.sample);
        let sampled = self.sample.len() as u64;
        let rest = u128::from(self.bytes.saturating_sub(sampled));
        let density = u128::from(tokens + USUAL_BYTES / BYTES_PER_TOKEN);
        let rest = rest * density / u128::from(sampled + USUAL_BYTES);
        tokens
            .saturating_add(u64::try_from(rest).unwrap_or(u64::MAX))
            .saturating_add(self.framing())
    }

    /// Its tokens by its size alone.
    #[must_use]
    pub fn guess(&self) -> u64 {
        self.bytes.div_ceil(BYTES_PER_TOKEN).saturating_add(self.framing())
    }

    /// Tokens around messages: `OpenAI`'s cookbook ("How to count tokens with tiktoken") has three
    /// for each, and three that begin the answer.
    const fn framing(&self) -> u64 {
        match self.messages {
            0 => 0,
            messages => messages.saturating_mul(3).saturating_add(3),
        }
    }
}

/// What `OpenAI`'s help says of English: a token is four characters.
const BYTES_PER_TOKEN: u64 = 4;
/// Bytes of a sample that count as much as what is usual.
const USUAL_BYTES: u64 = 256;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::load);

    #[test]
    fn a_known_text_has_its_known_tokens() {
        // As OpenAI's tiktoken counts them with o200k_base.
        for (text, tokens) in [("", 0), ("hello world", 2), ("antidisestablishmentarianism", 6)] {
            assert_eq!(TOKENIZER.count(text), tokens, "{text}");
        }
        let text = Text { sample: "hello world", bytes: 11, messages: 2 };
        assert_eq!(text.count(&TOKENIZER), 2 + 9);
        assert_eq!((text.guess(), Text::default().guess()), (3 + 9, 0));
    }

    #[test]
    fn a_sample_stands_for_its_text() {
        // Prose, code and JSON, each many times as long as a sample.
        let texts = [
            include_str!("../../../ARCHITECTURE.md"),
            include_str!("../store/book.rs"),
            include_str!("../../data/prices/LICENSE"),
        ];
        for text in texts {
            let sample = &text[..text.floor_char_boundary(4096.min(text.len() / 2))];
            let known = Text { sample, bytes: text.len() as u64, messages: 0 };
            let (estimated, exact) = (known.count(&TOKENIZER), TOKENIZER.count(text));
            let error = estimated.abs_diff(exact) * 100 / exact;
            assert!(error <= 25, "{estimated} for {exact}");
        }
    }

    #[test]
    fn a_short_sample_says_little_of_the_rest() {
        let text = Text { sample: "€$%", bytes: 100_000, messages: 0 };
        let tokens = text.count(&TOKENIZER);
        assert!((24_000..27_000).contains(&tokens), "{tokens}");
    }

    proptest! {
        #[test]
        fn any_text_is_counted(sample in ".{0,200}", more: u64, messages: u64) {
            let bytes = (sample.len() as u64).saturating_add(more);
            let text = Text { sample: &sample, bytes, messages };
            prop_assert!(text.count(&TOKENIZER) >= TOKENIZER.count(&sample));
            prop_assert!(text.guess() >= bytes / 4);
        }
    }
}
