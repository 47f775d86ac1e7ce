//! Command lines, as far as it takes to tell whether a process runs what a model asked for.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::limits;

/// A command line: a hash of each of its words. What divides words, quotes them, or only means
/// something to a shell is no part of them, nor are directories, so that `sh -c 'cd /x && ./run.sh "a"'`
/// has the words of `run.sh a`. The text itself is not kept.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Command {
    words: Box<[u32]>,
    /// Where what a shell is given to run begins (`sh -c`), if it is one.
    script: Option<usize>,
    /// Whether there was more of it.
    is_cut: bool,
}

/// How a process's command line and the one that was asked for are alike, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// The process has the beginning, at the end of what is known of its own.
    Begins,
    /// The process is given a part.
    Part,
    /// The process is given all of it, among others.
    Whole,
    /// They are the same.
    Same,
}

impl Command {
    /// From text. `None` if there is no word in it.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        Self::of_words(text.split(divides), false)
    }

    /// From the beginning of a text, which may end in the middle of a word.
    #[must_use]
    pub fn of_beginning(text: &str) -> Option<Self> {
        let end = text.rfind(divides)?;
        Self::of_words(text.get(..end)?.split(divides), true)
    }

    /// From the arguments of a process, each with a zero after it. `is_cut`: there were more.
    #[must_use]
    pub fn of_arguments(arguments: &[u8], is_cut: bool) -> Option<Self> {
        let text = String::from_utf8_lossy(arguments);
        if is_cut { Self::of_beginning(&text) } else { Self::of_text(&text) }
    }

    fn of_words<'a>(words: impl Iterator<Item = &'a str>, is_cut: bool) -> Option<Self> {
        let mut words = words.filter_map(last_part).peekable();
        words.peek()?;
        let mut hashes = Vec::new();
        let mut script = None;
        for word in words.by_ref().take(limits::COMMAND_WORDS) {
            let is_flag = word.strip_prefix('-').is_some_and(|flags| {
                flags.ends_with('c') && flags.bytes().all(|flag| flag.is_ascii_lowercase())
            });
            #[expect(clippy::cast_possible_truncation, reason = "a part of a hash is one, too")]
            hashes.push(xxh3_64(word.as_bytes()) as u32);
            if is_flag && hashes.len() == 2 {
                script = Some(2);
            }
        }
        Some(Self { words: hashes.into(), script, is_cut: is_cut || words.next().is_some() })
    }

    /// How a process that has this command line is like the command that was asked for.
    #[must_use]
    pub fn likeness(&self, asked: &Self) -> Option<Likeness> {
        let (own, asked) = (&*self.words, &*asked.words);
        let script = self.script.and_then(|at| own.get(at..)).filter(|script| !script.is_empty());
        // Programs have several names: python3 is python3.11, too.
        let given = own.get(1..).filter(|given| given.len() >= MEANT);
        let forms = || [Some(own), script, given].into_iter().flatten();
        if forms().any(|form| form == asked) {
            return Some(Likeness::Same);
        }
        if asked.len() >= MEANT && holds(own, asked) {
            return Some(Likeness::Whole);
        }
        if forms().any(|form| form.len() >= MEANT && holds(asked, form)) {
            return Some(Likeness::Part);
        }
        let begins = self.is_cut
            && (MEANT_IF_CUT..own.len())
                .any(|len| asked.get(..len).is_some_and(|beginning| own.ends_with(beginning)));
        begins.then_some(Likeness::Begins)
    }
}

/// What it says is nobody's business.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

fn divides(character: char) -> bool {
    character.is_whitespace() || character.is_control() || "'\"`\\;|&()<>{}$".contains(character)
}

/// The word without the directories before it; none if there is nothing else.
fn last_part(word: &str) -> Option<&str> {
    let word = word.trim_end_matches('/');
    let part = word.rsplit_once('/').map_or(word, |(_, part)| part);
    (!part.is_empty()).then_some(part)
}

fn holds(all: &[u32], part: &[u32]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// Words from which on it is no accident that one command line is part of another.
const MEANT: usize = 2;
/// The same, where only a beginning can be compared.
const MEANT_IF_CUT: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(text: &str) -> Command {
        Command::of_text(text).expect("there are words")
    }

    fn likeness(arguments: &[&str], text: &str) -> Option<Likeness> {
        let line = arguments.join("\0") + "\0";
        Command::of_arguments(line.as_bytes(), false).expect("as above").likeness(&asked(text))
    }

    #[test]
    fn a_process_runs_what_was_asked_for_however_it_is_started() {
        let same = Some(Likeness::Same);
        assert_eq!(likeness(&["python3", "sub.py", "--n", "3"], "python3 sub.py --n 3"), same);
        assert_eq!(
            likeness(&["/usr/bin/python3.11", "./sub.py", "a b"], "python3 sub.py 'a b'"),
            Some(Likeness::Part)
        );
        assert_eq!(likeness(&["/bin/sh", "-c", "ls"], "ls"), same);
        assert_eq!(
            likeness(&["bash", "-lc", "cd /x && python sub.py"], "cd /x && python sub.py"),
            same
        );
        assert_eq!(likeness(&["ls"], "ls"), same);
        assert_eq!(likeness(&["/bin/sh", "/app/run.sh", "a"], "./run.sh a"), same, "a script");
    }

    #[test]
    fn one_may_be_part_of_the_other() {
        let wrapped = ["bash", "-c", "source /tmp/env && eval 'make test' < /dev/null && pwd -P"];
        assert_eq!(likeness(&wrapped, "make test"), Some(Likeness::Whole));
        assert_eq!(
            likeness(&["python", "sub.py"], "cd /x; python sub.py | tee out"),
            Some(Likeness::Part)
        );
    }

    #[test]
    fn one_word_in_common_is_an_accident() {
        assert_eq!(likeness(&["git", "status"], "how does git work"), None);
        assert_eq!(likeness(&["git"], "how does git work"), None);
        assert_eq!(likeness(&["sh", "-c", "git status; date"], "git"), None);
        assert_eq!(likeness(&["cat", "notes.txt"], "notes.txt"), None);
    }

    #[test]
    fn what_is_cut_is_known_by_its_beginning() {
        let line = b"bash\0-c\0source env && eval 'one two three four five si";
        let line = Command::of_arguments(line, true).expect("there are words");
        let of = |text| line.likeness(&asked(text));
        assert_eq!(of("one two three four five six seven"), Some(Likeness::Begins));
        assert_eq!(of("three four five six"), None);
        assert_eq!(of("one two three four"), Some(Likeness::Whole));
        let bare = Command::of_arguments(b"bash\0-c\0one two thr", true).expect("as above");
        assert_eq!(bare.likeness(&asked("one two three four")), Some(Likeness::Part));
    }

    #[test]
    fn what_has_no_word_is_no_command() {
        assert_eq!(Command::of_text(" \n'' // ; "), None);
        assert_eq!(Command::of_arguments(b"\0\0", false), None);
        assert_eq!(Command::of_arguments(b"", true), None);
    }

    proptest! {
        #[test]
        fn any_arguments_can_be_read_and_are_like_themselves(line: Vec<u8>, is_cut: bool, text: String) {
            let command = Command::of_arguments(&line, is_cut);
            if let Some(command) = &command {
                prop_assert!(command.words.len() <= limits::COMMAND_WORDS);
                prop_assert_eq!(command.likeness(command), Some(Likeness::Same));
            }
            if let (Some(command), Some(asked)) = (command, Command::of_text(&text)) {
                let _ = command.likeness(&asked);
            }
        }
    }
}
