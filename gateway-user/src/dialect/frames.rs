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
    /// It was longer than the bound; nothing of it was kept.
    TooLarge,
}

impl Frames {
    /// For a response of this type, if it is a stream.
    pub(super) fn of(content_type: Option<&str>) -> Option<Self> {
        let essence = content_type.and_then(|value| value.split(';').next())?.trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        is("text/event-stream").then(|| Self::Sse(sse::Parser::new(OBSERVED_RESPONSE_BYTES)))
    }

    /// More of the stream: `on_event` is called for each event that ends in it.
    pub(super) fn feed(&mut self, bytes: &[u8], on_event: impl FnMut(Event<'_>)) {
        match self {
            Self::Sse(parser) => parser.feed(bytes, on_event),
        }
    }
}
