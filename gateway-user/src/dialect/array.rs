//! A JSON array whose items are the events of a stream, read as their bytes pass, cut anywhere: how
//! Gemini streams to clients that don't ask for server-sent events.

use std::fmt;

use super::{frames::Event, kept::Kept};

/// Cuts a stream into the items of its array. It looks at brackets and quotes only: whether an item
/// is JSON is for whoever reads it. Holds at most one item, of up to `limit` bytes. One that lies
/// whole in one slice is handed out from there, without a copy. A stream without the array around
/// its items is read like one with it: servers report errors so.
pub(super) struct Parser {
    limit: usize,
    place: Place,
    /// Objects and arrays of the item that are open.
    depth: u64,
    /// The beginning of an item whose end has not come.
    item: Kept,
}

/// Where in the stream the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Between,
    Item,
    Text,
    /// In a text, after a backslash.
    Escaped,
}

impl Parser {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, place: Place::Between, depth: 0, item: Kept::default() }
    }

    /// More of the stream: `on_event` is called for each item that ends in it. An item that never
    /// ends is none.
    pub(super) fn feed(&mut self, bytes: &[u8], mut on_event: impl FnMut(Event<'_>)) {
        let (mut start, mut at) = (0, 0);
        while let Some(&byte) = bytes.get(at) {
            match self.place {
                Place::Between if is_between(byte) => {}
                Place::Between => {
                    self.place = Place::Item;
                    start = at;
                    continue;
                }
                Place::Item if self.depth == 0 && is_between(byte) && byte != b'[' => {
                    self.end(bytes.get(start..at).unwrap_or_default(), &mut on_event);
                }
                Place::Item => {
                    if self.item_byte(byte) {
                        self.end(bytes.get(start..=at).unwrap_or_default(), &mut on_event);
                    }
                }
                Place::Text => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let Some(end) = memchr::memchr2(b'"', b'\\', rest) else { break };
                    at += end;
                    self.place =
                        if rest.get(end) == Some(&b'"') { Place::Item } else { Place::Escaped };
                }
                Place::Escaped => self.place = Place::Text,
            }
            at += 1;
        }
        if self.place != Place::Between {
            self.item.push(bytes.get(start..).unwrap_or_default(), self.limit);
        }
    }

    /// Whether the item ends with this byte of it.
    fn item_byte(&mut self, byte: u8) -> bool {
        match byte {
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            b'"' => self.place = Place::Text,
            _ => {}
        }
        false
    }

    fn end(&mut self, rest: &[u8], on_event: &mut impl FnMut(Event<'_>)) {
        if self.item.is_empty() && rest.len() <= self.limit {
            on_event(Event::Data(rest));
        } else {
            self.item.push(rest, self.limit);
            let overflowed = self.item.overflowed;
            on_event(if overflowed { Event::TooLarge } else { Event::Data(&self.item.bytes) });
            self.item.reset();
        }
        self.place = Place::Between;
        self.depth = 0;
    }
}

/// Whether a byte between items belongs to the array, or is blank.
const fn is_between(byte: u8) -> bool {
    matches!(byte, b'[' | b',' | b']' | b' ' | b'\t' | b'\n' | b'\r')
}

/// Its size only: streams are private.
impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").field("item", &self.item.bytes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Each item; `None` for one that is too large.
    fn items<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Option<String>> {
        let mut parser = Parser::new(limit);
        let mut items = Vec::new();
        for piece in pieces {
            parser.feed(piece, |event| {
                items.push(match event {
                    Event::Data(data) => Some(String::from_utf8_lossy(data).into_owned()),
                    Event::TooLarge => None,
                    Event::Named(..) | Event::Message(_) | Event::Broken => unreachable!("neither"),
                });
            });
        }
        items
    }

    #[test]
    fn items_are_handed_out_as_soon_as_they_end() {
        let read = |stream: &str| -> Vec<_> {
            items(100, [stream.as_bytes()]).into_iter().flatten().collect()
        };
        let stream = "[{\"a\":[1,{\"b\":\"]}\\\"\"}]}\n,\r\n{}";
        assert_eq!(read(stream), ["{\"a\":[1,{\"b\":\"]}\\\"\"}]}", "{}"]);
        assert_eq!(read("{\"error\":{}}"), ["{\"error\":{}}"]);
        assert_eq!(read("[{\"a\":\"]"), [""; 0]);
        assert_eq!(read("[1, \"x,y\" ,}]"), ["1", "\"x,y\"", "}"]);
        assert_eq!(read("[]"), [""; 0]);
    }

    #[test]
    fn an_item_beyond_the_bound_is_dropped_and_the_next_one_read() {
        let stream = &b"[{\"a\":\"12345678\"},{\"b\":1}]"[..];
        let read = [None, Some("{\"b\":1}".to_owned())];
        assert_eq!(items(10, [stream]), read);
        assert_eq!(items(10, stream.chunks(1)), read);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<i32>().prop_map(Value::from),
            "[]\\[{}\"\\\\a,]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab\"]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_items_are_those_of_the_array(
            values in prop::collection::vec(prop::collection::btree_map("[ab]", value(), 0..3), 0..5),
            pretty: bool,
            stride in 1_usize..50,
        ) {
            let values = json!(values);
            let stream =
                if pretty { format!("{values:#}") } else { values.to_string() };
            let read = items(10_000, stream.as_bytes().chunks(stride));
            let read: Vec<Value> = read
                .into_iter()
                .map(|item| serde_json::from_str(&item.expect("small")).expect("JSON"))
                .collect();
            prop_assert_eq!(Value::from(read), values);
        }

        #[test]
        fn where_the_stream_is_cut_does_not_matter(
            stream in "[]\\[{}\"\\\\a, ]{0,60}",
            stride in 1_usize..20,
            limit in 1_usize..10,
        ) {
            let whole = items(limit, [stream.as_bytes()]);
            prop_assert_eq!(items(limit, stream.as_bytes().chunks(stride)), whole);
        }
    }
}
