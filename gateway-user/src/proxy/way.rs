//! What goes on of the bytes that one side sends: all of them at once where they are only looked
//! at, and what has been understood where they are asked about first.

use super::{gate::CallAdmission, h1};

/// What has come from one side and has not gone on.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The beginning of something whose end decides on it: it goes on with that, or not at all.
    undecided: Vec<u8>,
    /// It is a call, which goes on when it is admitted.
    holds: bool,
    /// What is read when it is known how.
    unread: Vec<u8>,
}

/// What becomes of the bytes that were asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    /// The first so many go on as they are. The rest is kept, or was dropped.
    First(usize),
    /// What was written in their place does.
    Instead,
}

/// The way of the bytes of one read.
#[derive(Debug)]
pub(super) struct Way<'a> {
    input: &'a [u8],
    /// How many of them have been read.
    read: usize,
    /// Absent if they have gone on already.
    asked: Option<Asked<'a>>,
}

#[derive(Debug)]
struct Asked<'a> {
    kept: &'a mut Kept,
    /// How many of the input have been passed or dropped.
    done: usize,
    /// What goes on in place of the input, if anything has to be written.
    out: &'a mut Vec<u8>,
    rewritten: bool,
}

impl Kept {
    /// What came and waits to be read.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// To be read when it is known how.
    pub(super) const fn unread(bytes: Vec<u8>) -> Self {
        Self { undecided: Vec::new(), holds: false, unread: bytes }
    }

    pub(super) const fn unread_len(&self) -> usize {
        self.unread.len()
    }

    /// More came that is to be read when it is known how.
    pub(super) fn keep_unread(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }
}

impl<'a> Way<'a> {
    /// Of bytes that have gone on.
    pub(super) const fn gone(input: &'a [u8]) -> Self {
        Self { input, read: 0, asked: None }
    }

    /// Of bytes that wait. `out` must be empty.
    pub(super) const fn asked(input: &'a [u8], kept: &'a mut Kept, out: &'a mut Vec<u8>) -> Self {
        let asked = Asked { kept, done: 0, out, rewritten: false };
        Self { input, read: 0, asked: Some(asked) }
    }

    pub(super) const fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.input.get(self.read..).unwrap_or_default()
    }

    /// So many more have been read.
    pub(super) const fn read(&mut self, count: usize) {
        self.read += count;
    }

    /// All that has been read goes on.
    pub(super) fn pass(&mut self) {
        self.pass_all_but(0);
    }

    /// All that has been read goes on, but for the last so many, which are undecided.
    pub(super) fn pass_all_but(&mut self, undecided: usize) {
        let Some(asked) = self.asked.as_mut().filter(|asked| !asked.kept.holds) else { return };
        // It may have begun in an earlier read.
        let Some(end) = self.read.checked_sub(undecided) else { return };
        let Some(bytes) = self.input.get(asked.done..end).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        if !asked.kept.undecided.is_empty() {
            asked.rewrite(self.input);
            asked.out.append(&mut asked.kept.undecided);
        }
        if asked.rewritten {
            asked.out.extend_from_slice(bytes);
        }
        asked.done = end;
    }

    /// The head that has just been read goes on without the fields of that name.
    pub(super) fn pass_head_without(&mut self, name: &str) {
        let Some(asked) = &mut self.asked else { return };
        asked.rewrite(self.input);
        let head = self.input.get(asked.done..self.read).unwrap_or_default();
        asked.kept.undecided.extend_from_slice(head);
        asked.out.extend(h1::without_field(&asked.kept.undecided, name));
        asked.kept.undecided.clear();
        asked.done = self.read;
    }

    /// The head that has just been read goes on with one more field.
    pub(super) fn pass_head_with(&mut self, name: &str, value: &str) {
        let Some(asked) = &mut self.asked else { return };
        asked.rewrite(self.input);
        let head = self.input.get(asked.done..self.read).unwrap_or_default();
        asked.kept.undecided.extend_from_slice(head);
        asked.out.extend(h1::with_field(&asked.kept.undecided, name, value));
        asked.kept.undecided.clear();
        asked.done = self.read;
    }

    /// What has been read and has not gone on begins a call: it goes on when that is admitted.
    pub(super) const fn hold(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.kept.holds = true;
        }
    }

    /// How many bytes have been read and have not gone on.
    pub(super) fn held(&self) -> usize {
        let Some(asked) = &self.asked else { return 0 };
        asked.kept.undecided.len() + self.read.saturating_sub(asked.done)
    }

    /// These bytes.
    pub(super) fn copy_held(&self) -> Vec<u8> {
        let Some(asked) = &self.asked else { return Vec::new() };
        let last = self.input.get(asked.done..self.read).unwrap_or_default();
        [&asked.kept.undecided, last].concat()
    }

    /// The call goes on: as it is, but for the last so many bytes, which are undecided, or as this; or
    /// none of it does.
    pub(super) fn admit(
        &mut self,
        admission: &CallAdmission,
        undecided: usize,
        instead: Option<&[u8]>,
    ) {
        let Some(asked) = &mut self.asked else { return };
        asked.kept.holds = false;
        match instead {
            _ if !admission.goes_upstream() => self.replace(b""),
            None => self.pass_all_but(undecided),
            Some(bytes) => self.replace(bytes),
        }
    }

    /// These bytes go on in the place of all that has been read.
    pub(super) fn replace(&mut self, bytes: &[u8]) {
        let Some(asked) = &mut self.asked else { return };
        asked.rewrite(self.input);
        asked.kept.undecided.clear();
        asked.out.extend_from_slice(bytes);
        asked.done = self.read;
    }

    /// What goes on. The rest is kept.
    pub(super) fn verdict(self) -> Verdict {
        let Some(asked) = self.asked else { return Verdict::First(self.input.len()) };
        let undecided = self.input.get(asked.done..self.read).unwrap_or_default();
        asked.kept.undecided.extend_from_slice(undecided);
        asked.kept.unread.extend_from_slice(self.input.get(self.read..).unwrap_or_default());
        if asked.rewritten { Verdict::Instead } else { Verdict::First(asked.done) }
    }
}

impl Asked<'_> {
    fn rewrite(&mut self, input: &[u8]) {
        if !std::mem::replace(&mut self.rewritten, true) {
            self.out.extend_from_slice(input.get(..self.done).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes on of a read of which `steps` have been taken.
    fn passed(kept: &mut Kept, input: &[u8], steps: impl Fn(&mut Way<'_>)) -> (bool, Vec<u8>) {
        let mut out = Vec::new();
        let mut way = Way::asked(input, kept, &mut out);
        steps(&mut way);
        match way.verdict() {
            Verdict::First(count) => (true, input[..count].to_vec()),
            Verdict::Instead => (false, out),
        }
    }

    #[test]
    fn what_is_understood_goes_on_as_it_is() {
        let mut kept = Kept::default();
        let all = passed(&mut kept, b"abc", |way| {
            way.read(3);
            way.pass();
        });
        assert_eq!(all, (true, b"abc".to_vec()));
        assert_eq!((kept.undecided.len(), kept.unread_len()), (0, 0));
    }

    #[test]
    fn what_is_undecided_goes_on_with_its_end() {
        let mut kept = Kept::default();
        let first = passed(&mut kept, b"abcd", |way| {
            way.read(4);
            way.pass_all_but(2);
        });
        assert_eq!(first, (true, b"ab".to_vec()));
        let none = passed(&mut kept, b"e", |way| {
            way.read(1);
            way.pass_all_but(3);
        });
        assert_eq!(none, (true, Vec::new()));
        let end = passed(&mut kept, b"fgh", |way| {
            way.read(1);
            way.pass();
            way.read(2);
            way.pass_all_but(1);
        });
        assert_eq!(end, (false, b"cdefg".to_vec()));
        assert_eq!(kept.undecided, b"h");
    }

    #[test]
    fn what_was_not_read_is_kept_apart() {
        let mut kept = Kept::default();
        let first = passed(&mut kept, b"abcdef", |way| {
            way.read(2);
            way.pass();
            way.read(1);
        });
        assert_eq!(first, (true, b"ab".to_vec()));
        assert_eq!((&*kept.undecided, &*kept.unread), (&b"c"[..], &b"def"[..]));
        assert_eq!(kept.take_unread(), b"def");
        assert_eq!(kept.unread_len(), 0);
    }

    #[test]
    fn a_head_goes_on_with_a_field_more_and_the_rest_around_it() {
        let mut kept = Kept::default();
        let begun = passed(&mut kept, b"HTTP/1.1 200 OK\r\nA: 1\r\n", |way| {
            way.read(23);
            way.pass_all_but(23);
        });
        assert_eq!(begun, (true, Vec::new()));
        let end = passed(&mut kept, b"b: 2\r\n\r\nrest", |way| {
            way.read(8);
            way.pass_head_with("x-c", "d");
            way.read(4);
            way.pass();
        });
        let whole = b"HTTP/1.1 200 OK\r\nA: 1\r\nb: 2\r\nx-c: d\r\n\r\nrest";
        assert_eq!(end, (false, whole.to_vec()));
    }

    #[test]
    fn a_head_goes_on_without_a_field_and_the_rest_around_it() {
        let mut kept = Kept::default();
        let begun = passed(&mut kept, b"GET / HTTP/1.1\r\nA: 1\r\n", |way| {
            way.read(22);
            way.pass_all_but(22);
        });
        assert_eq!(begun, (true, Vec::new()));
        let end = passed(&mut kept, b"b: 2\r\nC: 3\r\n\r\nrest", |way| {
            way.read(14);
            way.pass_head_without("B");
            way.read(4);
            way.pass();
        });
        assert_eq!(end, (false, b"GET / HTTP/1.1\r\nA: 1\r\nC: 3\r\n\r\nrest".to_vec()));
        let behind = passed(&mut Kept::default(), b"bodyG\r\nB: 2\r\n\r\n", |way| {
            way.read(4);
            way.pass();
            way.read(11);
            way.pass_head_without("b");
        });
        assert_eq!(behind, (false, b"bodyG\r\n\r\n".to_vec()));
    }
}
