//! Server-sent events (WHATWG HTML, section 9.2.6 "Interpreting an event stream"), read as their
//! bytes pass, cut anywhere.

use std::{fmt, mem};

use super::{
    frames::{Event, Name},
    kept::Kept,
};
use crate::limits;

/// Whether a response of this type is a stream of events.
pub(super) fn is(content_type: Option<&str>) -> bool {
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("text/event-stream")
}

/// Cuts a stream into events. Holds at most one line and one event's data, each up to `limit`
/// bytes. An event that lies whole in one slice is handed out from there, without a copy.
pub(super) struct Parser {
    limit: usize,
    /// The beginning of a line whose end has not come.
    line: Kept,
    /// The data of an event whose end has not come.
    data: Kept,
    has_data: bool,
    /// What the event is called, if that is read at all.
    names: Option<Names>,
    /// The last line ended in CR: a LF that follows belongs to it.
    after_cr: bool,
    /// No line has ended yet: a byte order mark may stand at the beginning.
    first_line: bool,
}

impl Parser {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Kept::default(),
            data: Kept::default(),
            has_data: false,
            names: None,
            after_cr: false,
            first_line: true,
        }
    }

    /// The same, for events whose names matter: each is an [`Event::Named`].
    pub(super) fn naming(limit: usize) -> Self {
        Self { names: Some(Names::default()), ..Self::new(limit) }
    }

    /// More of the stream: `on_event` is called for each event that ends in it. An event that
    /// never ends, for want of its empty line, is none.
    pub(super) fn feed<'a>(&mut self, mut bytes: &'a [u8], mut on_event: impl FnMut(Event<'_>)) {
        // The event's one data line so far, while it is still in `bytes`.
        let mut in_place: Option<&'a [u8]> = None;
        while let Some((&first, after_first)) = bytes.split_first() {
            if mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = after_first;
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.line.push(bytes, self.limit);
                break;
            };
            let (head, tail) = bytes.split_at(end);
            self.after_cr = tail.starts_with(b"\r");
            bytes = tail.get(1..).unwrap_or_default();

            if self.line.is_empty() && head.len() <= self.limit {
                match self.field(head) {
                    Field::End => self.end_event(in_place.take(), &mut on_event),
                    Field::Data(value) if in_place.is_none() && !self.has_data => {
                        in_place = Some(value);
                    }
                    Field::Data(value) => {
                        self.spill(in_place.take());
                        self.add_data(value);
                    }
                    Field::Other => {}
                }
            } else {
                self.spill(in_place.take());
                self.line.push(head, self.limit);
                self.end_kept_line(&mut on_event);
            }
        }
        self.spill(in_place);
    }

    fn end_kept_line(&mut self, on_event: &mut impl FnMut(Event<'_>)) {
        let mut line = mem::take(&mut self.line);
        if line.overflowed {
            self.first_line = false;
            self.data.overflow();
        } else {
            match self.field(&line.bytes) {
                Field::End => self.end_event(None, on_event),
                Field::Data(value) => self.add_data(value),
                Field::Other => {}
            }
        }
        line.reset();
        self.line = line;
    }

    fn field<'l>(&mut self, line: &'l [u8]) -> Field<'l> {
        let line = if mem::take(&mut self.first_line) {
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)
        } else {
            line
        };
        if line.is_empty() {
            return Field::End;
        }
        if let Some(value) = value_of(line, b"data") {
            return Field::Data(value);
        }
        if let Some(names) = &mut self.names {
            names.read(line);
        }
        Field::Other
    }

    fn spill(&mut self, in_place: Option<&[u8]>) {
        if let Some(value) = in_place {
            self.add_data(value);
        }
    }

    fn add_data(&mut self, value: &[u8]) {
        if mem::replace(&mut self.has_data, true) {
            self.data.push(b"\n", self.limit);
        }
        self.data.push(value, self.limit);
    }

    fn end_event(&mut self, in_place: Option<&[u8]>, on_event: &mut impl FnMut(Event<'_>)) {
        if self.data.overflowed {
            on_event(Event::TooLarge);
        } else if let Some(data) = in_place.or(self.has_data.then_some(self.data.bytes.as_slice()))
        {
            on_event(match &self.names {
                Some(names) => Event::Named(names.get(), data),
                None => Event::Data(data),
            });
        }
        if let Some(names) = &mut self.names {
            names.reset();
        }
        self.has_data = false;
        self.data.reset();
    }
}

/// Sizes only: streams are private.
impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("line", &self.line.bytes.len())
            .field("data", &self.data.bytes.len())
            .finish_non_exhaustive()
    }
}

/// The value of the line's field, if it is the one of this name.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    match line.strip_prefix(name) {
        Some([b':', b' ', value @ ..] | [b':', value @ ..] | value @ []) => Some(value),
        _ => None,
    }
}

/// What the event that is under way is called.
#[derive(Default)]
struct Names {
    /// The first bytes of its `event` field.
    kind: Vec<u8>,
    has_id: bool,
}

impl Names {
    fn read(&mut self, line: &[u8]) {
        if let Some(kind) = value_of(line, b"event") {
            self.kind.clear();
            self.kind.extend(kind.iter().take(limits::EVENT_NAME_BYTES));
        } else if value_of(line, b"id").is_some() {
            self.has_id = true;
        }
    }

    fn get(&self) -> Name<'_> {
        Name { kind: &self.kind, has_id: self.has_id }
    }

    fn reset(&mut self) {
        self.kind.clear();
        self.has_id = false;
    }
}

/// What a line says.
enum Field<'l> {
    /// The event ends.
    End,
    Data(&'l [u8]),
    /// A comment or a field of another name.
    Other,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data of each event; `None` for one that is too large.
    fn events(limit: usize, pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut parser = Parser::new(limit);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, |event| {
                events.push(match event {
                    Event::Data(data) | Event::Named(_, data) => Some(data.to_vec()),
                    _ => None,
                });
            });
        }
        events
    }

    fn texts(stream: &str) -> Vec<String> {
        let events = events(1024, &[stream.as_bytes()]);
        events.into_iter().flatten().map(|data| String::from_utf8(data).expect("text")).collect()
    }

    #[test]
    fn every_line_end_ends_a_line() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = ["data: a", "", "data: b", "data:c", "", ""].join(end);
            assert_eq!(texts(&stream), ["a", "b\nc"], "{end:?}");
        }
    }

    #[test]
    fn comments_and_other_fields_are_passed_over() {
        let stream = "\u{feff}data: a\n: ping\nevent: x\nid: 7\n\n:\n\ndatum: b\n\ndata\n\n";
        assert_eq!(texts(stream), ["a", ""]);
    }

    /// The name, whether there is an id, and the data of each event.
    fn named(pieces: &[&[u8]]) -> Vec<(Vec<u8>, bool, Vec<u8>)> {
        let mut parser = Parser::naming(1024);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, |event| {
                let Event::Named(name, data) = event else { panic!("{event:?}") };
                events.push((name.kind.to_vec(), name.has_id, data.to_vec()));
            });
        }
        events
    }

    #[test]
    fn names_are_read_where_they_matter_and_end_with_their_event() {
        let stream = b"event: endpoint\ndata: /m\n\ndata:{}\nid: 1\n\nevent:message\ndata: x\n\n";
        let expected = [("endpoint", false, "/m"), ("", true, "{}"), ("message", false, "x")];
        let expected = expected.map(|(kind, id, data)| (kind.into(), id, data.into()));
        assert_eq!(named(&[stream]), expected);
        assert_eq!(named(&stream.chunks(1).collect::<Vec<_>>()), expected);
        let long = [b"event: ".as_slice(), &[b'x'; 1000], b"\ndata: a\n\n"].concat();
        assert_eq!(named(&[&long])[0].0.len(), limits::EVENT_NAME_BYTES);
    }

    #[test]
    fn only_one_space_is_taken_off() {
        assert_eq!(texts("data:  a \n\n"), [" a "]);
    }

    #[test]
    fn an_event_without_its_empty_line_is_none() {
        assert_eq!(texts("data: a\n\ndata: b\n"), ["a"]);
    }

    #[test]
    fn an_event_beyond_the_bound_is_dropped_and_the_next_one_read() {
        let stream =
            b"data: 123456\n\ndata: 1\ndata: 2\n\ndata: a\n\ndata:123\ndata:456\ndata:7\n\n";
        let read = events(10, &[stream]);
        assert_eq!(
            read,
            [None, Some(b"1\n2".to_vec()), Some(b"a".to_vec()), Some(b"123\n456\n7".to_vec())]
        );
        let read = events(8, &[b"data:123\ndata:456\ndata:78\n\ndata:9\n\n"]);
        assert_eq!(read, [None, Some(b"9".to_vec())]);
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let atom = prop_oneof![
            Just(&b"data: "[..]),
            Just(&b"data:"[..]),
            Just(&b"data"[..]),
            Just(&b"event: x"[..]),
            Just(&b": c"[..]),
            Just(&b"\n"[..]),
            Just(&b"\n\n"[..]),
            Just(&b"\r"[..]),
            Just(&b"\r\n"[..]),
            Just(&b"\xEF\xBB\xBF"[..]),
            Just(&b"abcdef"[..]),
            Just(&b" "[..]),
        ];
        prop::collection::vec(atom, 0..40).prop_map(|atoms| atoms.concat())
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(
            stream in stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            limit in 8_usize..40,
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let bytes: Vec<_> = stream.chunks(1).collect();

            let whole = events(limit, &[&stream]);
            prop_assert_eq!(&events(limit, &pieces), &whole);
            prop_assert_eq!(&events(limit, &bytes), &whole);
        }
    }
}
