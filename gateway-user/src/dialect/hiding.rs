//! Takes out of a stream what `stream_options.include_usage` adds to it, for a client that did not
//! ask for it: the last chunk, which has usage and no choices, and `"usage":null` in the others
//! (`OpenAI` API reference, "Create chat completion", `stream_options`).

use std::{fmt, mem, ops::Range};

use memchr::memmem;
use serde::de::IgnoredAny;

use super::{NotUnderstood, cursor::Cursor};
use crate::limits::OBSERVED_RESPONSE_BYTES;

/// Filters a stream event by event. What is not taken out stays as it is, byte for byte. An event
/// goes on with its end; one that is longer than [`OBSERVED_RESPONSE_BYTES`] goes on unread.
pub struct Hiding {
    /// The beginning of an event whose end has not come.
    held: Vec<u8>,
    /// How much of it has been looked through for line ends.
    looked: usize,
    /// Where its last line begins. Absent: before it, and it is not blank.
    line: Option<usize>,
    /// Its beginning has gone on.
    unread: bool,
}

impl Default for Hiding {
    fn default() -> Self {
        Self { held: Vec::new(), looked: 0, line: Some(0), unread: false }
    }
}

impl Hiding {
    /// More of the stream; what goes on is put behind `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(end) = self.end_of_event() {
            let event = self.held.get(done..end).unwrap_or_default();
            if mem::take(&mut self.unread) {
                out.extend_from_slice(event);
            } else {
                pass(event, out);
            }
            done = end;
        }
        self.held.drain(..done);
        self.looked -= done;
        self.line = self.line.map(|line| line - done);
        if self.held.len() > OBSERVED_RESPONSE_BYTES {
            self.unread = true;
            self.end(out);
        }
    }

    /// There is no more: what was held goes on.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.line = (self.line == Some(self.held.len())).then_some(0);
        self.looked = 0;
        out.append(&mut self.held);
    }

    /// The end of the next event, behind its blank line.
    fn end_of_event(&mut self) -> Option<usize> {
        loop {
            let rest = self.held.get(self.looked..)?;
            let end = self.looked + memchr::memchr2(b'\n', b'\r', rest)?;
            let crlf = match (self.held.get(end), self.held.get(end + 1)) {
                // Whether there is a LF behind it decides on where the next line begins.
                (Some(b'\r'), None) => return None,
                (Some(b'\r'), Some(b'\n')) => 2,
                _ => 1,
            };
            let is_blank = self.line == Some(end);
            self.looked = end + crlf;
            self.line = Some(self.looked);
            if is_blank {
                return Some(self.looked);
            }
        }
    }
}

/// Sizes only: streams are private.
impl fmt::Debug for Hiding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hiding").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

/// What becomes of an event.
enum Verdict {
    AsItIs,
    Without(Range<usize>),
    Gone,
}

fn pass(event: &[u8], out: &mut Vec<u8>) {
    match data(event).map_or(Verdict::AsItIs, |data| look(event, data)) {
        Verdict::AsItIs => out.extend_from_slice(event),
        Verdict::Without(range) => {
            out.extend_from_slice(event.get(..range.start).unwrap_or_default());
            out.extend_from_slice(event.get(range.end..).unwrap_or_default());
        }
        Verdict::Gone => {}
    }
}

/// Where an event's data is, if it is one line, as it always is, and may hold usage.
fn data(event: &[u8]) -> Option<Range<usize>> {
    memmem::find(event, b"\"usage\"")?;
    let mut found = None;
    let mut from = 0;
    for line in event.split_inclusive(|&byte| byte == b'\n' || byte == b'\r') {
        if let Some(value) = line.strip_prefix(b"data:")
            && found.replace(from + line.len() - value.len()..from + line.len()).is_some()
        {
            return None;
        }
        from += line.len();
    }
    found
}

fn look(event: &[u8], data: Range<usize>) -> Verdict {
    let document = event.get(..data.end).unwrap_or_default();
    let Ok(chunk) = Chunk::read(document, data.start) else { return Verdict::AsItIs };
    let text = |range: Option<&Range<usize>>| range.and_then(|range| event.get(range.clone()));
    match (chunk.usage.as_ref(), text(chunk.usage.as_ref().map(|usage| &usage.value))) {
        (Some(usage), Some(b"null")) => Verdict::Without(usage.member.clone()),
        (Some(_), Some([b'{', ..])) => {
            let choices = text(chunk.choices.as_ref()).unwrap_or_default();
            let choices = choices.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]"));
            let none = choices.is_some_and(|choices| choices.trim_ascii().is_empty());
            if none { Verdict::Gone } else { Verdict::AsItIs }
        }
        _ => Verdict::AsItIs,
    }
}

/// A chunk of an answer, as far as it is looked at.
#[derive(Default)]
struct Chunk {
    choices: Option<Range<usize>>,
    usage: Option<Member>,
}

struct Member {
    value: Range<usize>,
    /// All of it, and the one comma that goes with it.
    member: Range<usize>,
}

impl Chunk {
    fn read(document: &[u8], at: usize) -> Result<Self, NotUnderstood> {
        let mut cursor = Cursor::new(document, at);
        cursor.take(b'{')?;
        let mut chunk = Self::default();
        let mut goes_on = !cursor.takes(b'}');
        // Where the member before ends.
        let mut before = None;
        while goes_on {
            cursor.peek();
            let begin = cursor.at();
            let name = cursor.name()?.0;
            cursor.peek();
            let from = cursor.at();
            cursor.value::<IgnoredAny>()?;
            let end = cursor.at();
            goes_on = cursor.goes_on(b'}')?;
            match &*name {
                "choices" => chunk.choices = Some(from..end),
                "usage" => {
                    let member = match before {
                        Some(before) => before..end,
                        None if goes_on => {
                            cursor.peek();
                            begin..cursor.at()
                        }
                        None => begin..end,
                    };
                    chunk.usage = Some(Member { value: from..end, member });
                }
                _ => {}
            }
            before = Some(end);
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hidden(pieces: &[&[u8]]) -> String {
        let (mut hiding, mut out) = (Hiding::default(), Vec::new());
        for piece in pieces {
            hiding.feed(piece, &mut out);
        }
        hiding.end(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_was_not_asked_for_is_taken_out_and_nothing_else() {
        let stream = "\
            : ping\n\n\
            data: {\"id\": \"a\", \"choices\": [{\"delta\":{\"content\":\"\\\"usage\\\":null\"}}], \"usage\": null}\n\n\
            data: {\"usage\":null,\"choices\":[]}\r\n\r\n\
            event: x\ndata: {\"choices\":[{}] ,\"usage\":null ,\"b\":1}\n\n\
            data: {\"choices\":[{}],\"usage\":{\"total_tokens\":3}}\n\n\
            data: {\"id\":\"a\",\"choices\":[ ],\"usage\":{\"total_tokens\":3}}\n\n\
            data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n\
            data: [DONE]\n\ndata: half \"usage\"";
        let expected = "\
            : ping\n\n\
            data: {\"id\": \"a\", \"choices\": [{\"delta\":{\"content\":\"\\\"usage\\\":null\"}}]}\n\n\
            data: {\"choices\":[]}\r\n\r\n\
            event: x\ndata: {\"choices\":[{}] ,\"b\":1}\n\n\
            data: {\"choices\":[{}],\"usage\":{\"total_tokens\":3}}\n\n\
            data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n\
            data: [DONE]\n\ndata: half \"usage\"";
        assert_eq!(hidden(&[stream.as_bytes()]), expected);
        let bytes: Vec<_> = stream.as_bytes().chunks(1).collect();
        assert_eq!(hidden(&bytes), expected);
    }

    #[test]
    fn an_event_goes_on_with_its_end() {
        let (mut hiding, mut out) = (Hiding::default(), Vec::new());
        hiding.feed(b"data: {}\n", &mut out);
        assert_eq!(out, b"");
        hiding.feed(b"\ndata", &mut out);
        assert_eq!(out, b"data: {}\n\n");
    }

    #[test]
    fn an_event_that_is_too_long_goes_on_unread() {
        let long = vec![b'x'; OBSERVED_RESPONSE_BYTES];
        let end = b"{\"usage\":null}\n\ndata: {\"usage\":null}\n\n";
        let whole = hidden(&[b"data: ", &long, end]);
        let (first, last) = whole.split_at(6 + long.len() + 16);
        assert!(first.ends_with("{\"usage\":null}\n\n"));
        assert_eq!(last, "data: {}\n\n");
    }

    proptest! {
        #[test]
        fn where_it_is_cut_does_not_matter(
            stream in "(data: |\\{\"usage\":null\\}|\\{\"choices\":\\[\\],\"usage\":\\{\\}\\}|\r|\n|\n\n|: x){0,16}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stream = stream.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            prop_assert_eq!(hidden(&pieces), hidden(&[stream]));
        }

        #[test]
        fn without_usage_nothing_changes(stream in "(data: |\\{\"a\":\"usag\"\\}|\r|\n|\n\n|: x){0,16}") {
            prop_assert_eq!(hidden(&[stream.as_bytes()]), stream);
        }
    }
}
