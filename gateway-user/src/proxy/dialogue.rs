//! The calls on a connection that has switched to WebSocket: each message is counted, and read where
//! the upgrade was to an API that is known. The exchange of the upgrade itself is no call.

use std::{mem::take, slice, sync::Arc, task::Context};

use super::{
    agent::{Coverage, add},
    calls::{Arrival, Asking, Calls},
    cut::Cut,
    exchange::{Connection, Ended},
    gate::{CallAdmission, Room},
    ws::{self, Breach, Content, Deflate, Fate, Message, Messages, Peer, WebSocket},
};
use crate::{
    call::{Cause, Reason},
    config::Mode,
    dialect::{Asked, Heard, Refused, Socket, What},
};

/// What the two sides say to one another.
#[derive(Debug)]
pub(super) struct Dialogue {
    frames: WebSocket,
    spoken: Spoken,
    /// Absent: nothing that could be cut is said on it, or there was no room for one more.
    cut: Option<Cut>,
    /// Of the client's message that is held.
    room: Option<Room>,
    /// Frames of our own that the client has still to be sent.
    words: Vec<u8>,
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
/// Why a WebSocket is closed (RFC 6455, section 7.4.1, and what is registered after it).
const POLICY_VIOLATION: u16 = 1008;
const SERVICE_RESTART: u16 = 1012;

impl Spoken {
    /// What will be said on the connection that the exchange asks for.
    pub(super) fn new(socket: Option<Box<Socket>>, asking: Asking) -> Self {
        Self { socket, asking, calls: Calls::default() }
    }

    /// Whether what was heard of the client goes on: as it is, or as this.
    fn admit(&self, connection: &Connection, heard: &Heard, text: &[u8]) -> Result<Fate, Reason> {
        let calls = match heard {
            Heard::Asked(asked) => Ok(slice::from_ref::<Asked>(asked)),
            Heard::NotUnderstood(reason) => Err((*reason).into()),
            Heard::Begun(_) | Heard::Answered(..) => Ok(&[][..]),
        };
        let host = self.asking.host.as_ref();
        let admission = CallAdmission::decide(&connection.agent, host, calls)?;
        let Ok([Asked { what: What::Model(prompt), .. }]) = calls else { return Ok(Fate::Pass) };
        if !admission.changes() {
            return Ok(Fate::Pass);
        }
        let edited = admission.edit(prompt.dialect, text, false)?;
        Ok(edited.map_or(Fate::Pass, |edited| Fate::Instead(edited.body)))
    }

    /// The client's last message does not go on: the frame that tells the client.
    fn refuse(&mut self, connection: &Connection, reason: &Reason) -> Vec<u8> {
        let Some(socket) = &mut self.socket else { return Vec::new() };
        tracing::debug!(connection = %connection.id, %reason, "a call is refused");
        add(&connection.agent.coverage.calls_refused, 1);
        let Refused { text, status, answered } = socket.refuse(reason);
        if let Some(answered) = answered {
            let (ended, status) = (Ended::Whole, Some(status));
            self.calls.answered(connection, Arrival { ended, status, first_byte: None }, answered);
        }
        ws::text(&text)
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
    pub(super) fn new(connection: &Connection, spoken: Spoken, deflate: Option<Deflate>) -> Self {
        let seq = spoken.asking.exchange_seq;
        let can_be_cut = spoken.socket.is_some();
        let cut = can_be_cut.then(|| Cut::list(&connection.agent, connection.id, seq)).flatten();
        Self { frames: WebSocket::new(deflate), spoken, cut, room: None, words: Vec::new() }
    }

    /// The next bytes of one side, which have gone on.
    pub(super) fn sent(
        &mut self,
        connection: &Connection,
        by: Peer,
        bytes: &[u8],
    ) -> Result<(), Breach> {
        let Self { frames, spoken, room, words, .. } = self;
        frames.sent(by, bytes, &mut Listener { connection, spoken, room, words })
    }

    /// The same in enforce: what goes on of them is put into `out`.
    pub(super) fn pass(
        &mut self,
        connection: &Connection,
        by: Peer,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Breach> {
        let Self { frames, spoken, room, words, .. } = self;
        frames.pass(by, bytes, &mut Listener { connection, spoken, room, words }, out)
    }

    /// Whether the client has still to be told of something, before more is heard of it.
    pub(super) const fn has_words(&self) -> bool {
        !self.words.is_empty()
    }

    /// What the client is to be told now.
    pub(super) fn take_words(&mut self) -> Vec<u8> {
        if self.frames.may_tell_client(false) { take(&mut self.words) } else { Vec::new() }
    }

    /// Why it is to end, if it is; else its task is woken when it is told.
    pub(super) fn poll_cut(&self, cx: &Context<'_>) -> Option<Reason> {
        self.cut.as_ref()?.poll(cx).cloned()
    }

    /// Whether there are last words for the client, which are kept then. Of what the server said, all
    /// bytes have gone on, or whole frames.
    pub(super) fn find_last_words(
        &mut self,
        connection: &Connection,
        reason: &Reason,
        bytewise: bool,
    ) -> bool {
        let Some(socket) = &self.spoken.socket else { return false };
        add(&connection.agent.coverage.calls_cut, 1);
        if !self.frames.may_tell_client(bytewise) {
            return false;
        }
        for text in socket.last_words(reason) {
            self.words.extend(ws::text(&text));
        }
        let status = if reason.cause == Cause::Ending { SERVICE_RESTART } else { POLICY_VIOLATION };
        self.words.extend(ws::close(status, &reason.to_string()));
        true
    }

    /// Those that were found.
    pub(super) fn take_last_words(&mut self) -> Vec<u8> {
        take(&mut self.words)
    }

    /// No more is to be read of it. Only the first call counts.
    pub(super) fn finish(&mut self, connection: &Connection, ended: Ended) {
        self.cut = None;
        self.spoken.finish(connection, ended);
    }
}

struct Listener<'a> {
    connection: &'a Connection,
    spoken: &'a mut Spoken,
    room: &'a mut Option<Room>,
    words: &'a mut Vec<u8>,
}

impl Listener<'_> {
    /// What the message means. Servers take a text for what it is in binary, too.
    fn heard(&mut self, message: Message<'_>) -> Vec<Heard> {
        let agent = &self.connection.agent;
        count(&agent.coverage, message);
        let text = whole(message.content);
        let Some(socket) = &mut self.spoken.socket else { return Vec::new() };
        let mut known = agent.known();
        match message.by {
            Peer::Client => socket.client_message(text, &mut known).into_iter().collect(),
            Peer::Server => socket.server_message(text, &mut known),
        }
    }
}

impl Messages for Listener<'_> {
    fn message(&mut self, message: Message<'_>) {
        for heard in self.heard(message) {
            self.spoken.heard(self.connection, heard);
        }
    }

    fn holds(&mut self, by: Peer, bytes: usize) -> bool {
        let agent = &self.connection.agent;
        let asks = agent.mode == Mode::Enforce && by == Peer::Client;
        asks && self.spoken.socket.is_some()
            && self.room.get_or_insert_with(|| Room::new(Arc::clone(agent))).grow(bytes).is_ok()
    }

    fn decide(&mut self, message: Message<'_>) -> Fate {
        *self.room = None;
        let text = whole(message.content).unwrap_or_default();
        let mut fate = Ok(Fate::Pass);
        for heard in self.heard(message) {
            fate = self.spoken.admit(self.connection, &heard, text);
            self.spoken.heard(self.connection, heard);
        }
        fate.unwrap_or_else(|reason| {
            self.words.extend(self.spoken.refuse(self.connection, &reason));
            Fate::Drop
        })
    }

    fn interject(&mut self, by: Peer) -> Vec<u8> {
        if by == Peer::Server { take(self.words) } else { Vec::new() }
    }
}

const fn whole(content: Content<'_>) -> Option<&[u8]> {
    match content {
        Content::Whole(bytes) => Some(bytes),
        Content::TooLarge(_) => None,
    }
}

fn count(coverage: &Coverage, message: Message<'_>) {
    add(&coverage.ws_messages, 1);
    add(&coverage.ws_bytes, message.content.size());
    if let Content::TooLarge(_) = message.content {
        add(&coverage.ws_too_large, 1);
    }
}
