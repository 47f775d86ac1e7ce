//! A little of a call's text, by which its tokens can be counted if nobody reports them.

use std::fmt;

use crate::limits::{SAMPLED_INPUT_BYTES, SAMPLED_OUTPUT_BYTES};

/// The size of a text that passes, and its first `N` bytes. It is private: it is shown nowhere,
/// and gone with the call.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sample<const N: usize> {
    text: String,
    bytes: u64,
    full: bool,
}

/// What is read of a prompt. Of one that goes on a known beginning, it is what follows that.
pub type Asking = Sample<SAMPLED_INPUT_BYTES>;
/// What a model answers: text, reasoning that shows, and tool calls.
pub type Answering = Sample<SAMPLED_OUTPUT_BYTES>;

impl<const N: usize> Sample<N> {
    /// More of the text.
    pub fn push(&mut self, text: &str) {
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        if !self.full && !text.is_empty() {
            let room = N - self.text.len();
            self.text.push_str(&text[..text.floor_char_boundary(room)]);
            // Nothing after what is left out: what is kept is one piece.
            self.full = text.len() >= room;
        }
    }

    /// The same of bytes that should be text: what is kept ends where they are none.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        let beginning = bytes.get(..N).unwrap_or(bytes);
        let text = beginning.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        self.push(text);
        self.full |= text.len() < bytes.len();
        self.pass(bytes.len() - text.len());
    }

    /// More of it, of which only the size is known.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// The other one after this one.
    pub(super) fn append(&mut self, other: &Self) {
        self.push(&other.text);
        self.full |= other.full;
        self.bytes = self.bytes.saturating_add(other.bytes - other.text.len() as u64);
    }

    /// The text's first bytes, cut at a character's end.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Of the whole text.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Sizes only: text is private.
impl<const N: usize> fmt::Debug for Sample<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("bytes", &self.bytes)
            .field("kept", &self.text.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sample_is_a_beginning_and_a_size() {
        let mut sample = Sample::<4>::default();
        sample.push("ab");
        sample.push("");
        sample.push("cßd");
        sample.push("e");
        assert_eq!((sample.text(), sample.bytes()), ("abc", 7));
        assert!(!format!("{sample:?}").contains("abc"));
    }

    #[test]
    fn what_is_not_read_counts_and_bytes_are_kept_as_far_as_they_are_text() {
        let mut sample = Sample::<6>::default();
        sample.push("a");
        sample.pass(10);
        sample.push_bytes(b"b\xffc");
        sample.push("d");
        assert_eq!((sample.text(), sample.bytes()), ("ab", 15));
        let mut long = Sample::<6>::default();
        long.push_bytes("aaaaaéb".as_bytes());
        assert_eq!((long.text(), long.bytes()), ("aaaaa", 8));
        let mut both = Sample::<6>::default();
        both.push("x");
        both.append(&sample);
        both.append(&long);
        assert_eq!((both.text(), both.bytes()), ("xab", 24));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_sample(pieces in prop::collection::vec(".{0,5}", 0..8)) {
            let whole = pieces.concat();
            let (mut one, mut many) = (Sample::<8>::default(), Sample::<8>::default());
            one.push(&whole);
            for piece in &pieces {
                many.push(piece);
            }
            prop_assert_eq!(one.bytes(), whole.len() as u64);
            prop_assert!(one.text().len() <= 8 && whole.starts_with(one.text()));
            prop_assert_eq!(one.text(), many.text());
            prop_assert_eq!(one.bytes(), many.bytes());
        }
    }
}
