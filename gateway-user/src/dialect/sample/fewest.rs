//! The fewest tokens that a text can have, counted as it passes.
//!
//! Tokenizers cut a text into words before anything else, by the patterns of `cl100k` and `o200k` and of
//! those made after them (Llama's, Qwen's, `DeepSeek`'s), and no token lies across two of them: letters
//! with the one sign before them, up to three digits, a row of signs. So there are as many tokens as such
//! words at least. Prose has a quarter more, since long words have several; an answer whose limit is
//! compared with this is never taken for longer than it is.

/// A text, as far as it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fewest {
    /// Of a token: some characters are less than one.
    eighths: u64,
    last: Class,
    /// Characters of the word that is under way.
    run: u32,
}

/// What the first byte of a character says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Class {
    /// A space or the end of a line, which goes with the word behind it.
    #[default]
    Space,
    Letter,
    Digit,
    /// A sign, of which a row is a word.
    Sign,
    /// Of a script without spaces: a word of several has several tokens.
    Ideograph,
    Emoji,
    /// No first byte.
    Inside,
}

/// A token.
const ONE: u64 = 8;
/// Of a token: the least that an ideograph, or a syllable of Hangul, takes on average.
const IDEOGRAPH: u64 = 3;
const EMOJI: u64 = 4;
/// Letters of a word that may be a single token. Eight further ones are another.
const LONG_WORD: u32 = 16;
/// Digits that may be a single token.
const DIGITS: u32 = 3;

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Letter; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte {
            0..=0x20 | 0x7f => Class::Space,
            0x30..=0x39 => Class::Digit,
            // Of ASCII; then those of Latin-1, and dashes, quotes, arrows and lines.
            0x21..=0x2f | 0x3a..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e | 0xc2 | 0xe2 => Class::Sign,
            0x80..=0xbf => Class::Inside,
            0xe3..=0xed | 0xef => Class::Ideograph,
            0xf0..=0xff => Class::Emoji,
            _ => Class::Letter,
        };
        byte += 1;
    }
    classes
};

impl Fewest {
    /// More of the text.
    pub(super) fn push(&mut self, text: &str) {
        for &byte in text.as_bytes() {
            match (CLASSES[usize::from(byte)], self.last) {
                (Class::Inside, _) => {}
                (Class::Space, _) => self.last = Class::Space,
                // As in "don't", which may be one token.
                (Class::Sign, Class::Letter) if byte == b'\'' => {}
                (Class::Letter, Class::Letter) => {
                    self.run += 1;
                    self.eighths += u64::from(self.run > LONG_WORD);
                }
                // It goes with the sign before it.
                (Class::Letter, Class::Sign) if self.run == 1 => self.begin(Class::Letter, 0),
                (Class::Digit, Class::Digit) if self.run < DIGITS => self.run += 1,
                (Class::Sign, Class::Sign) => self.run = self.run.saturating_add(1),
                (Class::Ideograph, _) => self.begin(Class::Letter, IDEOGRAPH),
                (Class::Emoji, _) => self.begin(Class::Space, EMOJI),
                (class, _) => self.begin(class, ONE),
            }
        }
    }

    /// More of it, of which only the size is known.
    pub(super) const fn pass(&mut self, bytes: usize) {
        self.eighths = self.eighths.saturating_add(bytes as u64);
    }

    pub(super) const fn tokens(self) -> u64 {
        self.eighths / ONE
    }

    const fn begin(&mut self, class: Class, eighths: u64) {
        self.last = class;
        self.run = 1;
        self.eighths += eighths;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(text: &str) -> u64 {
        let mut fewest = Fewest::default();
        fewest.push(text);
        fewest.tokens()
    }

    #[test]
    fn words_are_counted_as_tokenizers_cut_them() {
        for (text, fewest) in [
            ("", 0),
            ("archive archive archive", 3),
            ("Don't panic.", 3),
            ("a.b.c", 3),
            ("call(self, name)", 5),
            ("1234567", 3),
            ("    \n\n\t  x = 1;\n", 4),
            ("----------------", 1),
            ("antidisestablishmentarianism", 2),
            ("人工智能正在改变世界", 3),
            ("😀😀", 1),
        ] {
            assert_eq!(tokens(text), fewest, "{text}");
        }
        let mut unread = Fewest::default();
        unread.pass(80);
        assert_eq!(unread.tokens(), 10);
    }

    proptest! {
        #[test]
        fn where_it_is_cut_does_not_matter(pieces in prop::collection::vec(".{0,6}", 0..8)) {
            let mut fewest = Fewest::default();
            for piece in &pieces {
                fewest.push(piece);
            }
            prop_assert_eq!(fewest.tokens(), tokens(&pieces.concat()));
        }
    }
}
