//! How the gateway takes leave of a client.

use std::task::Context;

use super::{Course, Reading, Tap};
use crate::{
    call::Reason,
    proxy::{
        exchange::Ended,
        h1::Sent,
        refusal::{Refusal, written},
        relay::Side,
        way::Kept,
    },
};

impl Tap {
    /// Whether a call has been asked whose answer is not whole yet.
    pub(in crate::proxy) fn awaits_answer(&self) -> bool {
        matches!(&self.reading, Reading::Http(http) if http.awaits_answer())
    }

    /// Whether the exchange that is under way has been told to end; else the task is woken when it is.
    pub(in crate::proxy) fn is_told_to_end(&self, cx: &Context<'_>) -> bool {
        self.told_to_end(cx).is_some()
    }

    /// Upstream has been let go, because of that.
    pub(in crate::proxy) fn let_go(&self) {
        match &self.reading {
            Reading::Http(http) => http.let_go(),
            Reading::WebSocket(dialogue) => dialogue.let_go(),
            Reading::Sniffing(_) | Reading::Tunnel(_) | Reading::Opaque(_) => {}
        }
    }

    fn told_to_end(&self, cx: &Context<'_>) -> Option<Reason> {
        match &self.reading {
            _ if self.course != Course::On => None,
            Reading::Http(http) => http.poll_cut(cx),
            Reading::WebSocket(dialogue) => dialogue.poll_cut(cx),
            Reading::Sniffing(_) | Reading::Tunnel(_) | Reading::Opaque(_) => None,
        }
    }

    /// Ends the exchange that is under way if that is wanted; else the task is woken when it is.
    pub(in crate::proxy) fn poll_cut(&mut self, cx: &Context<'_>) {
        if let Some(reason) = self.told_to_end(cx) {
            self.part(&reason);
        }
    }

    /// Ends the connection now: with words if there are any for what is under way on it, else with a
    /// reset.
    pub(in crate::proxy) fn part(&mut self, reason: &Reason) {
        let sent = if self.asks() { Sent::Decided } else { Sent::All };
        let in_words = match &mut self.reading {
            Reading::Http(http) => http.find_last_words(&self.connection, reason, sent),
            Reading::WebSocket(dialogue) => {
                dialogue.find_last_words(&self.connection, reason, sent == Sent::All)
            }
            _ => false,
        };
        tracing::debug!(connection = %self.connection.id, %reason, in_words, "cut");
        self.cut(Ended::Cut);
        self.of_client = Kept::default();
        self.of_server = Kept::default();
        self.course = if in_words { Course::Parting } else { Course::Cut };
    }

    /// The last bytes for the client, after which the connection ends.
    pub(in crate::proxy) fn take_words(&mut self) -> Vec<u8> {
        match &mut self.reading {
            Reading::Http(http) => http.take_last_words(),
            Reading::WebSocket(dialogue) => dialogue.take_last_words(),
            _ => Vec::new(),
        }
    }

    /// What a client that is refused is answered.
    pub(in crate::proxy) fn answer(&mut self, refusal: Refusal) -> Vec<u8> {
        match &mut self.reading {
            Reading::Http(http) => http.take_reply().as_ref().map(written),
            _ => None,
        }
        .unwrap_or_else(|| refusal.answer())
    }

    /// Puts into `out` what the gateway has to say itself, to whom that side speaks.
    pub(super) fn say(&mut self, side: Side, out: &mut Vec<u8>) {
        match (&mut self.reading, side) {
            _ if self.course != Course::On => {}
            (Reading::Http(http), Side::Client) => {
                out.extend(http.take_again().unwrap_or_default());
            }
            (Reading::Http(http), Side::Upstream) => {
                out.extend_from_slice(http.take_continue().unwrap_or_default());
                out.extend(http.take_said().unwrap_or_default());
            }
            (Reading::WebSocket(dialogue), Side::Upstream) => out.extend(dialogue.take_words()),
            _ => {}
        }
    }
}
