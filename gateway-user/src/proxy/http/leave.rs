//! How an exchange that is under way is ended by the gateway.

use std::{mem::take, task::Context};

use super::Http;
use crate::{
    call::Reason,
    proxy::{
        exchange::{Connection, Ended, Exchange},
        h1::Sent,
        refusal::written,
    },
};

impl Http {
    /// Why the exchange that the client waits for, or speaks of, is to end, if it is.
    pub(in crate::proxy) fn poll_cut(&self, cx: &Context<'_>) -> Option<Reason> {
        let held = self.held.as_ref().map(|held| &held.exchange);
        self.exchanges.front().into_iter().chain(held).find_map(|exchange| exchange.poll_cut(cx))
    }

    /// Upstream has been let go, because of that.
    pub(in crate::proxy) fn let_go(&self) {
        let held = self.held.as_ref().map(|held| &held.exchange);
        self.exchanges.front().into_iter().chain(held).for_each(Exchange::let_go);
    }

    /// Whether there are last words for the client.
    pub(in crate::proxy) fn find_last_words(
        &mut self,
        connection: &Connection,
        reason: &Reason,
        sent: Sent,
    ) -> bool {
        let words = self.last_words(connection, reason, sent);
        let found = words.is_some();
        self.last_words = words.unwrap_or_default();
        found
    }

    /// Those that were found.
    pub(in crate::proxy) fn take_last_words(&mut self) -> Vec<u8> {
        take(&mut self.last_words)
    }

    /// The last bytes for the client: an answer if it has got nothing of one, else what ends the one
    /// that it gets. `None` if there are no words for it. Of what was read of the answer, so much
    /// has gone on.
    fn last_words(
        &mut self,
        connection: &Connection,
        reason: &Reason,
        sent: Sent,
    ) -> Option<Vec<u8>> {
        let before_head = self.responses.is_before_head(sent);
        let held = self.held.as_mut().map(|held| &mut held.exchange);
        let exchange = self.exchanges.front_mut().or(held).filter(|exchange| exchange.is_call())?;
        exchange.call_off(connection, reason);
        if !exchange.is_answering() {
            let before_head = before_head || exchange.is_gathered();
            return before_head.then(|| written(&exchange.refuse(connection, reason)));
        }
        let sent = if exchange.is_filtered() { Sent::Reframed } else { self.gone.unwrap_or(sent) };
        let words = exchange.last_words(connection, reason);
        exchange.finish(connection, Ended::Cut);
        let (words, filler) = words?;
        self.responses.end_with(&words, filler, sent)
    }
}
