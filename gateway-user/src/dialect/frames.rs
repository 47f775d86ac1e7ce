//! How a streamed response is cut into events.

use super::sse;
use crate::limits::OBSERVED_RESPONSE_BYTES;

/// Cuts a stream into events, at most [`OBSERVED_RESPONSE_BYTES`] each.
#[derive(Debug)]
pub(super) enum Frames {
    Sse(sse::Parser),
}

/// One event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    Data(&'a [u8]),
    /// The same, from a parser that reads names.
    Named(Name<'a>, &'a [u8]),
    /// It was longer than the bound; nothing of it was kept.
    TooLarge,
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
        sse::is(content_type).then(|| Self::Sse(sse::Parser::new(OBSERVED_RESPONSE_BYTES)))
    }

    /// More of the stream: `on_event` is called for each event that ends in it.
    pub(super) fn feed(&mut self, bytes: &[u8], on_event: impl FnMut(Event<'_>)) {
        match self {
            Self::Sse(parser) => parser.feed(bytes, on_event),
        }
    }
}
