//! How a connection ends of itself, and what that means for what is under way on it.

use super::{Reading, Tap};
use crate::proxy::{coverage::OpaqueReason, exchange::Ended, relay::Side};

impl Tap {
    /// The client sends no more.
    pub(in crate::proxy) fn client_ended(&mut self) {
        self.client_ended = true;
        match &mut self.reading {
            // A connection that carried nothing is no blind spot.
            Reading::Sniffing(sniffer) if !sniffer.is_empty() => {
                self.not_told(OpaqueReason::Unknown);
            }
            Reading::Http(http) => http.never_again(),
            _ => {}
        }
    }

    /// The server sends no more.
    pub(in crate::proxy) fn server_ended(&mut self) {
        let how = if self.client_ended { Ended::ClientGone } else { Ended::Cut };
        match &mut self.reading {
            Reading::Http(http) => http.server_ended(&self.connection, how),
            Reading::WebSocket(dialogue) => dialogue.finish(&self.connection, how),
            Reading::Sniffing(_) | Reading::Tunnel(_) | Reading::Opaque(_) => {}
        }
    }

    /// The connection broke, on that side.
    pub(in crate::proxy) fn broken(&mut self, side: Side) {
        self.cut(match side {
            Side::Client => Ended::ClientGone,
            Side::Upstream => Ended::Cut,
        });
    }

    pub(super) fn cut(&mut self, how: Ended) {
        match &mut self.reading {
            Reading::Http(http) => http.cut(&self.connection, how),
            Reading::WebSocket(dialogue) => dialogue.finish(&self.connection, how),
            Reading::Sniffing(_) | Reading::Tunnel(_) | Reading::Opaque(_) => {}
        }
    }
}
