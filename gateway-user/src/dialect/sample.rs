//! A little of a call's text, by which its tokens can be counted if nobody reports them.

mod fewest;

use std::fmt;

use fewest::Fewest;

use crate::limits::{SAMPLED_INPUT_BYTES, SAMPLED_OUTPUT_BYTES};

/// The size of a text that passes, and its first `N` bytes. It is private: it is shown nowhere,
/// and gone with the call. The tokens of one that is `COUNTED` are, too, as far as they are certain.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sample<const N: usize, const COUNTED: bool = false> {
    text: String,
    bytes: u64,
    full: bool,
    /// How much of what is kept was thought before anything was said.
    thought: usize,
    fewest: Fewest,
    /// They are not, for all that.
    uncounted: bool,
}

/// What is read of a prompt. Of one that goes on a known beginning, it is what follows that.
pub type Asking = Sample<SAMPLED_INPUT_BYTES>;
/// What a model answers: text, reasoning that shows, and tool calls.
pub type Answering = Sample<SAMPLED_OUTPUT_BYTES, true>;

impl Answering {
    /// Of what comes whole: nothing is held to a limit while it comes, and counting takes longer than all
    /// else that is done with a text.
    pub(super) fn uncounted() -> Self {
        Self { uncounted: true, ..Self::default() }
    }
}

impl<const N: usize, const COUNTED: bool> Sample<N, COUNTED> {
    /// More of the text.
    pub fn push(&mut self, text: &str) {
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        if self.counts() {
            self.fewest.push(text);
        }
        if !self.full && !text.is_empty() {
            let room = N - self.text.len();
            let more = &text[..text.floor_char_boundary(room)];
            if more.len() > self.text.capacity() - self.text.len() {
                // By doubling, but to no more than it can need.
                self.text.reserve_exact(more.len().max(self.text.capacity()).min(room));
            }
            self.text.push_str(more);
            // Nothing after what is left out: what is kept is one piece.
            self.full = text.len() >= room;
        }
    }

    /// More of what a model thinks.
    pub(super) fn think(&mut self, text: &str) {
        let has_spoken = self.text.len() > self.thought;
        self.push(text);
        if !has_spoken {
            self.thought = self.text.len();
        }
    }

    /// The same, without room for more: it is complete.
    pub(crate) fn shrunk(mut self) -> Self {
        self.text.shrink_to_fit();
        self
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
        if self.counts() {
            self.fewest.pass(bytes);
        }
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

    /// The same without what was thought before anything was said.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.text[self.thought..]
    }

    const fn counts(&self) -> bool {
        COUNTED && !self.uncounted
    }

    /// Of the whole text.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The fewest tokens that the whole text can have; of one that is not counted, none.
    #[must_use]
    pub const fn fewest(&self) -> u64 {
        self.fewest.tokens()
    }
}

/// Sizes only: text is private.
impl<const N: usize, const COUNTED: bool> fmt::Debug for Sample<N, COUNTED> {
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
    fn no_more_room_is_taken_than_is_needed() {
        let mut sample = Sample::<100>::default();
        for pushed in 1..=20 {
            sample.push("123456");
            assert!(sample.text.capacity() <= 100.min(12 * pushed), "after {pushed}");
        }
        assert_eq!(sample.text().len(), 100);
        let mut little = Sample::<100>::default();
        (0..3).for_each(|_| little.push("1234567"));
        assert_eq!(little.shrunk().text.capacity(), 21);
    }

    #[test]
    fn what_was_thought_first_is_not_said() {
        let mut sample = Sample::<8>::default();
        sample.think("hm");
        sample.think("m");
        assert_eq!((sample.text(), sample.said()), ("hmm", ""));
        sample.push("yes");
        sample.think("no");
        assert_eq!((sample.text(), sample.said()), ("hmmyesno", "yesno"));
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
