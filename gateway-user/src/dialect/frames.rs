//! How a streamed response is cut into events.

use super::{array, event_stream, lines, sse};
use crate::limits::OBSERVED_RESPONSE_BYTES;

/// Cuts a stream into events, at most [`OBSERVED_RESPONSE_BYTES`] each.
#[derive(Debug)]
pub(super) enum Frames {
    Sse(sse::Parser),
    Lines(lines::Parser),
    Array(array::Parser),
    EventStream(event_stream::Parser),
}

/// One event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    Data(&'a [u8]),
    Message(event_stream::Message<'a>),
    /// The same, from a parser that reads names.
    Named(Name<'a>, &'a [u8]),
    /// It was longer than the bound; nothing of it was kept.
    TooLarge,
    /// The framing is broken: nothing after this is read.
    Broken,
}

/// What an event is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// Its `event` field, as far as it is kept; empty without one.
    pub(super) kind: &'a [u8],
    /// Whether it has an id, from which a stream that broke can be taken up again.
    pub(super) has_id: bool,
}

impl Frames {
    /// For a response of this type, if it is a stream.
    pub(super) fn of(content_type: Option<&str>) -> Option<Self> {
        let essence = content_type.and_then(|value| value.split(';').next())?.trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        match () {
            () if is("text/event-stream") => {
                Some(Self::Sse(sse::Parser::new(OBSERVED_RESPONSE_BYTES)))
            }
            () if is("application/x-ndjson") => {
                Some(Self::Lines(lines::Parser::new(OBSERVED_RESPONSE_BYTES)))
            }
            () if is("application/vnd.amazon.eventstream") => {
                Some(Self::EventStream(event_stream::Parser::new(OBSERVED_RESPONSE_BYTES)))
            }
            () => None,
        }
    }

    /// For a response that is an array of events.
    pub(super) fn array() -> Self {
        Self::Array(array::Parser::new(OBSERVED_RESPONSE_BYTES))
    }

    /// More of the stream: `on_event` is called for each event that ends in it.
    pub(super) fn feed(&mut self, bytes: &[u8], on_event: impl FnMut(Event<'_>)) {
        match self {
            Self::Sse(parser) => parser.feed(bytes, on_event),
            Self::Lines(parser) => parser.feed(bytes, on_event),
            Self::Array(parser) => parser.feed(bytes, on_event),
            Self::EventStream(parser) => parser.feed(bytes, on_event),
        }
    }

    /// The stream has ended: `on_event` is called for an event that ends with it.
    pub(super) fn end(&mut self, on_event: impl FnMut(Event<'_>)) {
        match self {
            Self::Lines(parser) => parser.end(on_event),
            Self::Sse(_) | Self::Array(_) | Self::EventStream(_) => {}
        }
    }
}
