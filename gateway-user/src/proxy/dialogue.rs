//! The calls on a connection that has switched to WebSocket: each message is counted, and read where
//! the upgrade was to an API that is known. The exchange of the upgrade itself is no call.

use std::{mem::take, slice, sync::Arc, task::Context};

use super::{
    calls::{Arrival, Asking, Calls, Placed},
    coverage::{Coverage, add},
    cut::{Cut, SinceTold},
    exchange::{Connection, Ended},
    gate::{CallAdmission, Room},
    meter::Meter,
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
    rooms: Rooms,
    /// Frames of our own that the client has still to be sent.
    words: Vec<u8>,
}

/// For the message of each side that is held.
#[derive(Debug, Default)]
struct Rooms {
    of_client: Option<Room>,
    of_server: Option<Room>,
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

    /// Whether what was heard of the client goes on: as it is, or as this. What it asks is placed.
    fn admit(
        &mut self,
        connection: &Connection,
        heard: Heard,
        text: &[u8],
        cut: Option<&Cut>,
    ) -> Result<Fate, Reason> {
        let host = self.asking.host.as_ref();
        let decide = |calls| CallAdmission::decide(&connection.agent, host, calls, false);
        let asked = match heard {
            Heard::Asked(asked) => asked,
            Heard::NotUnderstood(why) => {
                let admission = decide(Err(why.into()));
                self.heard(connection, heard, cut);
                return admission.map(|_| Fate::Pass);
            }
            Heard::Begun(_) | Heard::Answered(..) => {
                let admission = decide(Ok(&[]));
                self.heard(connection, heard, cut);
                return admission.map(|_| Fate::Pass);
            }
        };
        let admission = decide(Ok(slice::from_ref::<Asked>(&asked)));
        let most = asked.max_output();
        let dialect = match &asked.what {
            What::Model(prompt) => Some(prompt.dialect),
            What::Tool(_) => None,
        };
        let placed = self.asked(connection, *asked, admission.is_ok(), cut);
        let admission = admission?.within(placed.output?, most);
        let Some(dialect) = dialect.filter(|_| admission.changes()) else { return Ok(Fate::Pass) };
        let edited = admission.edit(dialect, text, false)?;
        Ok(edited.map_or(Fate::Pass, |edited| Fate::Instead(edited.body)))
    }

    fn asked(
        &mut self,
        connection: &Connection,
        asked: Asked,
        wanted: bool,
        cut: Option<&Cut>,
    ) -> Placed {
        let started = connection.recording.clock.now();
        let asking = Asking { started, ..self.asking.clone() };
        let placed = self.calls.asked(connection, &asking, asked, wanted);
        let goes = placed.output.is_ok() || connection.agent.mode == Mode::Audit;
        if let (true, Some(cut), Some(stand)) = (goes, cut, placed.stand) {
            cut.belongs(stand);
        }
        placed
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

    /// Something was said that goes on whatever it means.
    fn heard(&mut self, connection: &Connection, heard: Heard, cut: Option<&Cut>) {
        let now = connection.recording.clock.now();
        match heard {
            Heard::Asked(asked) => drop(self.asked(connection, *asked, true, cut)),
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

    /// Why it is to end, if an answer has come to more than is held for its call.
    fn look(&mut self) -> Option<Reason> {
        let mut reason = None;
        for (key, progress) in self.socket.iter().flat_map(|socket| socket.progress()) {
            if let Some(meter) = self.calls.meter_of(key)
                && meter.look(progress)
                && meter.is_enforced()
            {
                reason.get_or_insert_with(|| meter.reason());
            }
        }
        reason
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
        let clock = connection.recording.clock;
        let can_be_cut = spoken.socket.is_some();
        let cut =
            can_be_cut.then(|| Cut::list(&connection.agent, connection.id, seq, clock)).flatten();
        Self {
            frames: WebSocket::new(deflate),
            spoken,
            cut,
            rooms: Rooms::default(),
            words: Vec::new(),
        }
    }

    /// The next bytes of one side, which have gone on.
    pub(super) fn sent(
        &mut self,
        connection: &Connection,
        by: Peer,
        bytes: &[u8],
    ) -> Result<(), Breach> {
        let Self { frames, spoken, cut, rooms, words } = self;
        let cut = cut.as_ref();
        frames.sent(by, bytes, &mut Listener { connection, spoken, cut, rooms, words })
    }

    /// The same in enforce: what goes on of them is put into `out`.
    pub(super) fn pass(
        &mut self,
        connection: &Connection,
        by: Peer,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Breach> {
        let Self { frames, spoken, cut, rooms, words } = self;
        let cut = cut.as_ref();
        frames.pass(by, bytes, &mut Listener { connection, spoken, cut, rooms, words }, out)
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

    /// Its upstream has been let go, because it is to end.
    pub(super) fn let_go(&self) {
        if let Some(cut) = &self.cut {
            cut.let_go();
        }
    }

    /// Whether there are last words for the client, which are kept then. Of what the server said, all
    /// bytes have gone on, or whole frames.
    pub(super) fn find_last_words(
        &mut self,
        connection: &Connection,
        reason: &Reason,
        bytewise: bool,
    ) -> bool {
        let told = self.cut.as_ref().and_then(Cut::since_told);
        let told = told.unwrap_or_else(|| SinceTold::now(connection.recording.clock.now()));
        self.spoken.calls.call_off(reason, told, None);
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
    cut: Option<&'a Cut>,
    rooms: &'a mut Rooms,
    words: &'a mut Vec<u8>,
}

impl Listener<'_> {
    /// Whether what was heard of the server goes on: not with what makes an answer longer than it may
    /// be. Then the dialogue ends, since nothing ends a single answer.
    fn measure(&mut self, heard: Vec<Heard>, too_large: bool) -> Fate {
        for heard in heard {
            self.spoken.heard(self.connection, heard, self.cut);
        }
        if too_large {
            self.spoken.calls.meters().for_each(Meter::overflow);
        }
        let Some(reason) = self.spoken.look() else { return Fate::Pass };
        self.cut.into_iter().for_each(|cut| cut.tell(&reason));
        Fate::Drop
    }

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
            self.spoken.heard(self.connection, heard, self.cut);
        }
        self.spoken.look();
    }

    fn holds(&mut self, by: Peer, bytes: usize) -> bool {
        let agent = &self.connection.agent;
        let asks = agent.mode == Mode::Enforce && self.spoken.socket.is_some();
        let room = match by {
            Peer::Client => &mut self.rooms.of_client,
            Peer::Server if self.spoken.calls.are_metered() => &mut self.rooms.of_server,
            Peer::Server => return false,
        };
        asks && room.get_or_insert_with(|| Room::new(Arc::clone(agent))).grow(bytes).is_ok()
    }

    fn decide(&mut self, message: Message<'_>) -> Fate {
        let text = whole(message.content);
        let heard = self.heard(message);
        if message.by == Peer::Server {
            self.rooms.of_server = None;
            return self.measure(heard, text.is_none());
        }
        self.rooms.of_client = None;
        let mut fate = Ok(Fate::Pass);
        for heard in heard {
            let text = text.unwrap_or_default();
            fate = self.spoken.admit(self.connection, heard, text, self.cut);
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
