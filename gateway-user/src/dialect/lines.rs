//! Lines, each a JSON document (NDJSON), read as their bytes pass, cut anywhere.

use std::fmt;

use super::{frames::Event, kept::Kept};

/// Cuts a stream into lines; blank ones are passed over. Holds at most one line, of up to `limit`
/// bytes. A line that lies whole in one slice is handed out from there, without a copy.
pub(super) struct Parser {
    limit: usize,
    /// The beginning of a line whose end has not come.
    line: Kept,
}

impl Parser {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, line: Kept::default() }
    }

    /// More of the stream: `on_event` is called for each line that ends in it.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut on_event: impl FnMut(Event<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.line.is_empty() && line.len() <= self.limit {
                hand_out(line, &mut on_event);
            } else {
                self.line.push(line, self.limit);
                self.end(&mut on_event);
            }
        }
        self.line.push(bytes, self.limit);
    }

    /// The stream has ended: its last line may do without an end.
    pub(super) fn end(&mut self, mut on_event: impl FnMut(Event<'_>)) {
        if self.line.overflowed {
            on_event(Event::TooLarge);
        } else {
            hand_out(&self.line.bytes, on_event);
        }
        self.line.reset();
    }
}

fn hand_out(line: &[u8], mut on_event: impl FnMut(Event<'_>)) {
    let line = line.trim_ascii();
    if !line.is_empty() {
        on_event(Event::Data(line));
    }
}

/// Its size only: streams are private.
impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").field("line", &self.line.bytes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each line; `None` for one that is too large.
    fn lines<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Option<Vec<u8>>> {
        let mut parser = Parser::new(limit);
        let mut lines = Vec::new();
        let mut take = |event: Event<'_>| {
            lines.push(match event {
                Event::Data(data) => Some(data.to_vec()),
                Event::TooLarge => None,
                Event::Named(..) | Event::Message(_) | Event::Broken => unreachable!("neither"),
            });
        };
        for piece in pieces {
            parser.feed(piece, &mut take);
        }
        parser.end(&mut take);
        lines
    }

    #[test]
    fn lines_are_handed_out_and_blank_ones_are_not() {
        let line = |text: &str| Some(text.as_bytes().to_vec());
        let read = lines(8, [&b"{}\r\n\n \n{\"a\":1}\n123456789\n[]"[..]]);
        assert_eq!(read, [line("{}"), line("{\"a\":1}"), None, line("[]")]);
        assert_eq!(lines(8, [&b"123456789"[..]]), [None]);
        assert!(lines(8, []).is_empty());
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(
            stream in "[ab \n\r]{0,60}",
            stride in 1_usize..20,
            limit in 1_usize..10,
        ) {
            let whole = lines(limit, [stream.as_bytes()]);
            prop_assert_eq!(lines(limit, stream.as_bytes().chunks(stride)), whole);
        }
    }
}
