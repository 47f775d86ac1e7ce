//! Values that flow: a text that came out in one place, reduced to what it takes to find it again
//! where it goes in.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::limits;

/// A text's beginning, hashed. Runs of blanks count as one, and those at the ends not at all: what
/// passes texts on indents and trims them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    opening: Opening,
    /// Of all `bytes`.
    hash: u64,
    start: Start,
    bytes: u16,
}

/// The first few bytes of a value, by which it is looked up.
pub type Opening = u64;

/// Its very first bytes: what begins otherwise needs no looking up.
pub type Start = u32;

/// A text in which values are looked for.
#[derive(Clone)]
pub struct Passage {
    bytes: Vec<u8>,
    /// Where a value may begin: not in the middle of a word.
    places: Vec<u16>,
}

impl Value {
    /// The text's; `None` if it is too short to be told from others.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let beginning = &text[..text.floor_char_boundary(2 * limits::VALUE_BYTES)];
        let mut bytes = Vec::new();
        squeeze(beginning, &mut bytes);
        bytes.truncate(limits::VALUE_BYTES);
        let start = start(bytes.first_chunk()?);
        let length = u16::try_from(bytes.len()).ok()?;
        let opening = Reach::of(bytes.len())?.opening(&bytes)?;
        Some(Self { opening, hash: xxh3_64_with_seed(&bytes, 0), start, bytes: length })
    }

    /// What an answer says: the whole, and each text in it if it is JSON, as far as that goes, else
    /// each of its lines.
    #[must_use]
    pub fn all_in(answer: &str) -> Vec<Self> {
        let text = answer.trim_ascii();
        let whole = Self::of(text);
        let parts: Vec<Self> = if text.starts_with(['{', '[', '`']) {
            texts_of(text).filter_map(|text| Self::of(&text)).take(VALUES).collect()
        } else {
            lines_of(text).filter_map(Self::of).take(VALUES).collect()
        };
        let parts = parts.into_iter().filter(|part| whole.is_none_or(|it| it.hash != part.hash));
        whole.into_iter().chain(parts).take(VALUES).collect()
    }

    #[must_use]
    pub const fn opening(&self) -> Opening {
        self.opening
    }

    #[must_use]
    pub const fn start(&self) -> Start {
        self.start
    }

    /// How much of the text it stands for, up to [`limits::VALUE_BYTES`].
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

impl Passage {
    /// Of a long text only both ends are looked at.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let most = limits::PASSAGE_BYTES / 2;
        let head = &text[..text.floor_char_boundary(most)];
        let tail =
            &text[text.ceil_char_boundary(text.len().saturating_sub(most)).max(head.len())..];
        let mut bytes = Vec::with_capacity(head.len() + tail.len() + 1);
        squeeze(head, &mut bytes);
        if head.len() + tail.len() < text.len() {
            bytes.push(0);
        } else if head.ends_with(|it: char| it.is_ascii_whitespace()) {
            bytes.push(b' ');
        }
        squeeze(tail, &mut bytes);
        let places = places(&bytes);
        Self { bytes, places }
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Where a value may begin, with each opening that it would have there. Only places are looked at
    /// whose start `may_be` one.
    pub fn openings(
        &self,
        may_be: impl Fn(Start) -> bool,
    ) -> impl Iterator<Item = (usize, Opening)> {
        let starts = self.places.iter().map(|&at| usize::from(at)).filter(move |&at| {
            let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
            bytes.is_some_and(|bytes| may_be(start(bytes)))
        });
        starts.flat_map(|at| {
            let openings = REACHES.map(|reach| reach.opening(&self.bytes[at..]));
            openings.into_iter().flatten().map(move |opening| (at, opening))
        })
    }

    /// Whether the value stands there.
    #[must_use]
    pub fn has(&self, value: &Value, at: usize) -> bool {
        let bytes = at.checked_add(value.bytes()).and_then(|end| self.bytes.get(at..end));
        bytes.is_some_and(|bytes| xxh3_64_with_seed(bytes, 0) == value.hash)
    }
}

/// Nothing of it: text is private.
impl std::fmt::Debug for Passage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passage").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// How many bytes an opening has: few have common ones of the longer kind.
#[derive(Clone, Copy)]
enum Reach {
    Short,
    Long,
}

const REACHES: [Reach; 2] = [Reach::Short, Reach::Long];

impl Reach {
    const fn bytes(self) -> usize {
        match self {
            Self::Short => limits::VALUE_LEAST_BYTES,
            Self::Long => 32,
        }
    }

    /// Of a value of so many bytes.
    fn of(bytes: usize) -> Option<Self> {
        REACHES.into_iter().rev().find(|reach| reach.bytes() <= bytes)
    }

    fn opening(self, bytes: &[u8]) -> Option<Opening> {
        bytes.get(..self.bytes()).map(|bytes| xxh3_64_with_seed(bytes, 1 + self as u64))
    }
}

fn start(bytes: &[u8; limits::VALUE_LEAST_BYTES]) -> Start {
    #[allow(clippy::cast_possible_truncation, reason = "a hash")]
    let hash = xxh3_64_with_seed(bytes, 0) as Start;
    hash
}

/// Where words begin, and what is no part of one.
fn places(bytes: &[u8]) -> Vec<u16> {
    let mut places = vec![0; bytes.len()];
    let mut count = 0;
    let mut in_word = false;
    // Without a branch: where words end can't be foretold.
    for (at, byte) in (0..).zip(bytes) {
        places[count] = at;
        count += usize::from(!in_word);
        in_word = IS_OF_WORD[usize::from(*byte)];
    }
    places.truncate(count);
    places
}

/// Adds the text with single blanks for runs of them, and none at the ends.
fn squeeze(text: &str, to: &mut Vec<u8>) {
    let from = to.len();
    let mut after_blank = true;
    for block in text.as_bytes().chunks(BLOCK) {
        // Most of a text is as it should be.
        if is_squeezed(block) && !(after_blank && block.starts_with(b" ")) {
            to.extend_from_slice(block);
            after_blank = block.ends_with(b" ");
            continue;
        }
        for &byte in block {
            let is_blank = byte.is_ascii_whitespace();
            if !is_blank {
                to.push(byte);
            } else if !after_blank {
                to.push(b' ');
            }
            after_blank = is_blank;
        }
    }
    if after_blank && to.len() > from {
        to.pop();
    }
}

/// Whether there are no blanks in it but single spaces. Looks at all of it, many bytes at a time.
fn is_squeezed(block: &[u8]) -> bool {
    let is_other = |byte: u8| u8::from(byte.wrapping_sub(b'\t') < 5);
    let is_space = |byte: u8| u8::from(byte == b' ');
    let others = block.iter().fold(0, |any, &byte| any | is_other(byte));
    let pairs = block.iter().zip(block.get(1..).unwrap_or_default());
    let doubles = pairs.fold(0, |any, (&one, &next)| any | is_space(one) & is_space(next));
    others | doubles == 0
}

/// Bytes that are squeezed together.
const BLOCK: usize = 32;
/// Of each byte whether it may stand in a word.
const IS_OF_WORD: [bool; 256] = {
    let mut is_of_word = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        is_of_word[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    is_of_word
};

/// The texts in JSON that may break off, names apart.
fn texts_of(json: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find('"')? + 1..];
            let (text, after) = text_of(rest);
            rest = after;
            if !rest.trim_ascii_start().starts_with(':') {
                return Some(text);
            }
        }
    })
}

/// A JSON string behind its first quote, and what follows its last one.
fn text_of(json: &str) -> (String, &str) {
    let mut bytes = json.bytes().enumerate();
    let end = loop {
        match bytes.next() {
            Some((at, b'"')) => break at,
            Some((_, b'\\')) => drop(bytes.next()),
            Some(_) => {}
            None => break json.len(),
        }
    };
    let (written, after) = json.split_at(end);
    let text = serde_json::from_str(&format!("\"{written}\""));
    // What is no JSON after all, or breaks off in an escape, counts as it stands.
    (text.unwrap_or_else(|_| written.to_owned()), after.get(1..).unwrap_or_default())
}

/// The lines of a list, without what numbers or marks them.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let marks = |it: char| it.is_ascii_digit() || it.is_ascii_punctuation() || it == ' ';
    text.lines().map(move |line| line.trim_start_matches(marks))
}

/// Values that one answer, or one call, is taken to pass on.
const VALUES: usize = limits::VALUES_PER_CALL;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_in(value: &str, passage: &str) -> bool {
        let value = Value::of(value).expect("a value");
        let passage = Passage::new(passage);
        let mut openings = passage.openings(|start| start == value.start());
        openings.any(|(at, opening)| opening == value.opening() && passage.has(&value, at))
    }

    #[test]
    fn a_value_is_found_where_it_is_put_into_other_text() {
        let task = "Compare the two\n  offers for the harbour.";
        for passage in [
            task.to_owned(),
            format!("<task>{task}</task>"),
            format!("Your task:\n\t{}\nReport back.", task.replace('\n', "\n    ")),
            format!("{} {task}", "Long instructions. ".repeat(2000)),
        ] {
            assert!(is_in(task, &passage), "{passage}");
        }
        for passage in ["", "Compare the two", &task[1..], &format!("x{task}")] {
            assert!(!is_in(task, passage), "{passage}");
        }
        assert!(is_in("Oslo harbour", "the weather in Oslo harbour?"));
        assert_eq!(Value::of("Oslo"), None);
    }

    #[test]
    fn of_a_long_value_the_beginning_counts() {
        let long = "word ".repeat(limits::VALUE_BYTES);
        assert!(is_in(&long, &format!("{}and more", &long[..limits::VALUE_BYTES + 10])));
    }

    #[test]
    fn an_answer_is_a_value_and_so_is_each_text_in_it() {
        let of = |text| Value::of(text).expect("a value");
        let (one, other) = ("Find the oldest letter", "Read it \"aloud\" twice");
        let json = format!("{{\"steps and more\": [{one:?}, {other:?}], \"id\": 7}}");
        assert_eq!(Value::all_in(&json), [of(&json), of(one), of(other)]);
        let cut = &json[..json.len() - 24];
        assert_eq!(Value::all_in(cut)[..2], [of(cut), of(one)]);
        let list = format!("1. {one}\n - {other}\n");
        assert_eq!(Value::all_in(&list), [of(&list), of(one), of(other)]);
        assert_eq!(Value::all_in(one), [of(one)]);
        assert_eq!(Value::all_in("OK"), []);
    }

    proptest! {
        #[test]
        fn any_text_can_be_looked_through(value in ".{0,300}", around in ".{0,40}") {
            let passage = Passage::new(&format!("{around} {value} {around}"));
            prop_assert!(passage.openings(|_| true).all(|(at, _)| at < passage.bytes()));
            if let Some(value) = Value::of(&value) {
                let mut openings = passage.openings(|start| start == value.start());
                let found = openings.any(|(at, it)| it == value.opening() && passage.has(&value, at));
                prop_assert!(found);
            }
        }

        #[test]
        fn any_answer_has_values(text in ".*", json in r#"[\[{"\\, a-z:]{0,60}"#) {
            prop_assert!(Value::all_in(&text).len() <= VALUES);
            prop_assert!(Value::all_in(&json).len() <= VALUES);
        }
    }
}
