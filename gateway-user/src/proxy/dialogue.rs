//! The calls on a connection that has switched to WebSocket: each message is counted, and read where
//! the upgrade was to an API that is known. The exchange of the upgrade itself is no call.

use super::{
    agent::{Coverage, add},
    calls::{Arrival, Asking, Calls},
    exchange::{Connection, Ended},
    ws::{Breach, Content, Deflate, Kind, Message, Messages, Peer, WebSocket},
};
use crate::dialect::{Heard, Socket};

/// What the two sides say to one another.
#[derive(Debug)]
pub(super) struct Dialogue {
    frames: WebSocket,
    spoken: Spoken,
}

/// What of it are calls.
#[derive(Debug)]
pub(super) struct Spoken {
    /// Absent: it speaks no API that is known, or is over.
    socket: Option<Box<Socket>>,
    asking: Asking,
    calls: Calls,
}

/// The status of the upgrade, which is that of each answer on it that has none of its own.
const SWITCHING_PROTOCOLS: u16 = 101;

impl Spoken {
    /// What will be said on the connection that the exchange asks for.
    pub(super) fn new(socket: Option<Box<Socket>>, asking: Asking) -> Self {
        Self { socket, asking, calls: Calls::default() }
    }

    fn heard(&mut self, connection: &Connection, heard: Heard) {
        let now = connection.recording.clock.now();
        match heard {
            Heard::Asked(asked) => {
                let asking = Asking { started: now, ..self.asking.clone() };
                self.calls.asked(connection, &asking, *asked);
            }
            Heard::Begun(key) => self.calls.begun(key, now),
            Heard::Answered(answered, status) => {
                let status = Some(status.unwrap_or(SWITCHING_PROTOCOLS));
                let arrival = Arrival { ended: Ended::Whole, status, first_byte: None };
                self.calls.answered(connection, arrival, *answered);
            }
            Heard::NotUnderstood(reason) => {
                tracing::debug!(connection = %connection.id, %reason, "call not understood");
                add(&connection.agent.coverage.calls_not_understood, 1);
            }
        }
    }

    fn finish(&mut self, connection: &Connection, ended: Ended) {
        let Some(socket) = self.socket.take() else { return };
        for answered in socket.end() {
            let has_begun = self.calls.has_begun(answered.key);
            let status = has_begun.then_some(SWITCHING_PROTOCOLS);
            let arrival = Arrival { ended, status, first_byte: None };
            self.calls.answered(connection, arrival, answered);
        }
    }
}

impl Dialogue {
    /// A connection just after the head of its 101 (Switching Protocols).
    pub(super) fn new(spoken: Spoken, deflate: Option<Deflate>) -> Self {
        Self { frames: WebSocket::new(deflate), spoken }
    }

    /// The next bytes of one side.
    pub(super) fn sent(
        &mut self,
        connection: &Connection,
        by: Peer,
        bytes: &[u8],
    ) -> Result<(), Breach> {
        let mut listener = Listener { connection, spoken: &mut self.spoken };
        self.frames.sent(by, bytes, &mut listener)
    }

    /// No more is to be read of it. Only the first call counts.
    pub(super) fn finish(&mut self, connection: &Connection, ended: Ended) {
        self.spoken.finish(connection, ended);
    }
}

struct Listener<'a> {
    connection: &'a Connection,
    spoken: &'a mut Spoken,
}

impl Messages for Listener<'_> {
    fn message(&mut self, message: Message<'_>) {
        let agent = &self.connection.agent;
        count(&agent.coverage, message);
        let text = match message.content {
            Content::Whole(text) => Some(text),
            Content::TooLarge(_) => None,
        };
        let Some(socket) = self.spoken.socket.as_mut().filter(|_| message.kind == Kind::Text)
        else {
            return;
        };
        let mut known = agent.known();
        let heard: Vec<Heard> = match message.by {
            Peer::Client => socket.client_message(text, &mut known).into_iter().collect(),
            Peer::Server => socket.server_message(text, &mut known),
        };
        drop(known);
        for heard in heard {
            self.spoken.heard(self.connection, heard);
        }
    }
}

fn count(coverage: &Coverage, message: Message<'_>) {
    add(&coverage.ws_messages, 1);
    add(&coverage.ws_bytes, message.content.size());
    if let Content::TooLarge(_) = message.content {
        add(&coverage.ws_too_large, 1);
    }
}
