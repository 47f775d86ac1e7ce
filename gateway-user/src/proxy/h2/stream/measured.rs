//! How much of an answer goes on, where not all of it may.

use std::mem::take;

use bytes::Bytes;

use super::Sight;
use crate::{call, proxy::exchange::Exchange};

impl Sight<'_> {
    /// How many of the bytes go on, with all that waited before.
    pub(super) fn response_body(&mut self, bytes: &[u8]) -> usize {
        self.count(bytes.len());
        let exchange = self.exchange.as_mut();
        exchange.map_or(bytes.len(), |it| it.response_body(self.connection, bytes))
    }

    pub(super) fn body_ended(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.body_ended(self.connection);
        }
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.exchange.as_ref().is_some_and(Exchange::is_exceeded)
    }

    pub(super) fn take_warning(&mut self) -> Option<(&'static str, Box<str>)> {
        self.exchange.as_mut()?.take_warning()
    }

    /// Why the answer is to end, if it has become too long.
    pub(super) fn take_excess(&mut self) -> Option<call::Reason> {
        self.exchange.as_mut()?.take_excess()
    }

    /// What goes on of an answer of which some may have to wait; without any bytes, of what waited.
    pub(super) fn sift(&mut self, bytes: Option<&Bytes>) -> Bytes {
        let Some(bytes) = bytes else {
            self.body_ended();
            let waited = take(&mut self.waiting);
            return if self.is_exceeded() { Bytes::new() } else { waited.into() };
        };
        let gone = self.response_body(bytes).min(bytes.len());
        let goes_on = match (gone, self.waiting.is_empty()) {
            (0, _) => Bytes::new(),
            (_, true) => bytes.slice(..gone),
            (_, false) => {
                [&*take(&mut self.waiting), bytes.get(..gone).unwrap_or_default()].concat().into()
            }
        };
        if !self.is_exceeded() {
            self.waiting.extend_from_slice(bytes.get(gone..).unwrap_or_default());
        }
        goes_on
    }

    /// The same of one of which not all goes on.
    pub(super) fn filter(&mut self, bytes: Option<&Bytes>) -> Bytes {
        let gone = bytes.map(|bytes| self.response_body(bytes).min(bytes.len()));
        if bytes.is_none() {
            self.body_ended();
        }
        let bytes = match (bytes, gone) {
            (Some(bytes), Some(gone)) if self.is_exceeded() => bytes.get(..gone),
            (Some(bytes), _) => Some(&**bytes),
            (None, _) if self.is_exceeded() => return Bytes::new(),
            (None, _) => None,
        };
        self.exchange.as_mut().map(|exchange| exchange.filter(bytes)).unwrap_or_default().into()
    }
}
