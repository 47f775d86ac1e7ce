//! What the gateway says in upstream's place, in the dialect of an exchange.

use std::{mem::replace, task::Context};

use memchr::memmem;

use super::{Connection, Ended, Exchange, Response};
use crate::{
    call::{Cause, Dialect, Name, Reason},
    dialect::{
        Asked, Asker, Observer, ResponseInfo, Session, What,
        cut::{self, Place},
        gather::Gathering,
        hiding::Hiding,
        refusal::{Caller, Reply, accepted, broken, reply, unanswered},
    },
    proxy::{
        coverage::add,
        cut::{Cut, SinceTold, Stand},
        gate::Change,
    },
};

/// What it takes to say something.
#[derive(Debug)]
pub(super) struct Voice {
    /// Without its id.
    caller: Caller,
    /// In which it may be answered in another exchange.
    session: Option<Session>,
    seq: u64,
    /// Absent where there was no room for one more.
    cut: Option<Cut>,
    answer: Answer,
    /// Of the answer, if it is a stream whose events are known.
    place: Option<Place>,
}

/// What becomes of an answer to a request that was changed.
#[derive(Debug)]
enum Answer {
    /// The client gets what comes.
    AsItIs,
    /// This is what the gateway asked for, and the client did not.
    Changed(Change),
    /// A stream of which the usage is taken out.
    Hidden(Hiding),
    /// A stream of which the client gets what it comes to.
    Gathered(Box<Gathering>),
    /// The server did not take the request. What it says may be about that.
    Doubted(Vec<u8>),
    /// It did not, and is asked again without; whether it took that.
    Unasked(Option<bool>),
}

impl Voice {
    pub(super) fn of(connection: &Connection, seq: u64, observer: Option<&Observer>) -> Self {
        let dialect = observer.and_then(Observer::dialect);
        Self {
            caller: Caller { dialect, ..Caller::default() },
            session: observer.and_then(Observer::session),
            seq,
            cut: Cut::list(&connection.agent, connection.id, seq, connection.recording.clock),
            answer: Answer::AsItIs,
            place: None,
        }
    }

    /// The request was understood.
    pub(super) fn asked(&mut self, asked: &[Asked]) {
        let tools = asked.iter().filter_map(|asked| match &asked.what {
            What::Tool(invocation) => Some(invocation),
            What::Model(_) => None,
        });
        // What hands in several is told the reason under the first one's id.
        if let Some(invocation) = tools.take(1).next() {
            self.caller.dialect = Some(invocation.dialect);
            self.caller.rpc_id.clone_from(&invocation.rpc_id);
            self.caller.calls_tool = invocation.tool.is_some();
        }
    }

    /// One of its calls belongs there, and ends with what it is a part of.
    pub(super) fn belongs(&self, stand: Stand) {
        if let Some(cut) = &self.cut {
            cut.belongs(stand);
        }
    }

    /// The request was not understood, but who asks.
    pub(super) fn asked_by(&mut self, asker: &Asker) {
        self.caller.dialect = Some(asker.dialect);
        self.caller.rpc_id = Some(asker.rpc_id.clone());
        self.caller.calls_tool = asker.calls_tool;
    }

    /// Whether an answer is awaited in a stream that its client has not asked for.
    pub(super) const fn asks_for_stream(&self) -> bool {
        matches!(self.answer, Answer::Changed(Change::Stream))
    }

    pub(super) fn answered(&mut self, response: &Response<'_>) {
        self.place = Place::new(response.content_type, response.content_encoding);
        let refused = matches!(response.status, 400 | 422);
        if let Answer::Unasked(taken) = &mut self.answer {
            *taken = Some(!refused);
        }
        if let Answer::Changed(change) = self.answer {
            self.answer = match (response.status, change) {
                (200..300, Change::Usage) if self.place.as_ref().is_some_and(Place::has_events) => {
                    Answer::Hidden(Hiding::default())
                }
                (200..300, Change::Stream) => self.gathered(response),
                _ if refused => Answer::Doubted(Vec::new()),
                _ => Answer::AsItIs,
            };
        }
    }

    /// What becomes of an answer that was to be a stream.
    fn gathered(&self, response: &Response<'_>) -> Answer {
        let gathering = self.caller.dialect.and_then(|dialect| {
            let Response { status, content_type, content_encoding, .. } = *response;
            let response = ResponseInfo { status, content_type, content_encoding, signals: &[] };
            Gathering::of(dialect, &response)
        });
        gathering.map_or(Answer::AsItIs, |gathering| Answer::Gathered(Box::new(gathering)))
    }

    /// These bytes came of the answer's body; they go on, unless they are filtered.
    pub(super) fn passed(&mut self, bytes: &[u8]) {
        if let Some(cut) = &self.cut {
            cut.answered(bytes.len());
        }
        match (&mut self.answer, &mut self.place) {
            (Answer::Hidden(_) | Answer::Gathered(_), _) => {}
            (Answer::Doubted(heard), _) => {
                let room = HEARD_BYTES.saturating_sub(heard.len());
                heard.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            }
            (_, Some(place)) => place.passed(bytes),
            (_, None) => {}
        }
    }

    /// Where its answer is.
    pub(super) const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Its answer has gone on up to there, unless it is filtered.
    pub(super) fn went_on(&mut self, to: &Place) {
        match (&self.answer, &mut self.place) {
            (Answer::Hidden(_) | Answer::Gathered(_) | Answer::Doubted(_), _) | (_, None) => {}
            (_, Some(place)) => place.clone_from(to),
        }
    }

    fn caller(&self, connection: &Connection) -> Caller {
        let request_id = format!("req_turnpike_{:x}_{}", connection.id.0, self.seq);
        Caller { request_id, ..self.caller.clone() }
    }

    /// Whether its answer, of which nothing has come, will be as its client wants it, and in one piece.
    pub(super) const fn awaits_document(&self) -> bool {
        matches!(self.answer, Answer::AsItIs | Answer::Unasked(_))
    }

    /// From now on somebody else can be told that the call is to end.
    pub(super) const fn take_cut(&mut self) -> Option<Cut> {
        self.cut.take()
    }

    /// Nothing more will be said.
    pub(super) fn silence(&mut self, connection: &Connection, host: Option<&Name>) {
        self.cut = None;
        let shy = match &self.answer {
            Answer::Doubted(heard) => OPTION.iter().any(|name| memmem::find(heard, name).is_some()),
            Answer::Unasked(taken) => *taken == Some(true),
            _ => false,
        };
        if let Some(host) = host.filter(|_| shy) {
            tracing::info!(%host, "does not take a request for a stream, or for its usage; it is left alone from now on");
            connection.agent.policing.note_shy(host);
        }
    }
}

/// Says of an answer that a budget would not have allowed it, did it not only warn.
const WARNING: &str = "x-turnpike-warning";

/// Bytes of an error that are looked through.
const HEARD_BYTES: usize = 16 * 1024;

/// What an error is about if that was added to the request.
const OPTION: [&[u8]; 2] = [b"stream_options", b"include_usage"];

impl Exchange {
    pub(in crate::proxy) fn dialect(&self) -> Option<Dialect> {
        self.voice.as_ref().and_then(|voice| voice.caller.dialect)
    }

    /// Its request goes on with this change.
    pub(in crate::proxy) fn changed(&mut self, change: Change) {
        if let Some(voice) = &mut self.voice {
            voice.answer = Answer::Changed(change);
        }
        if change == Change::Stream {
            self.calls.stream(true);
        }
    }

    /// Its request is sent again as its client sent it: the server did not take it otherwise.
    pub(in crate::proxy) fn asked_again(&mut self) {
        if let Some(voice) = &mut self.voice {
            if voice.asks_for_stream() {
                self.calls.stream(false);
            }
            voice.answer = Answer::Unasked(None);
        }
    }

    /// What its client is to be told in the head of its answer, in a field of that name.
    pub(in crate::proxy) fn take_warning(&mut self) -> Option<(&'static str, Box<str>)> {
        Some((WARNING, self.warning.take()?))
    }

    /// Whether its answer goes on filtered: see [`Exchange::filter`].
    pub(in crate::proxy) fn is_filtered(&self) -> bool {
        self.voice.as_ref().is_some_and(|voice| matches!(voice.answer, Answer::Hidden(_)))
    }

    /// Its answer goes on as it is, since it is framed so that no byte of it can be left out, or put
    /// in.
    pub(in crate::proxy) fn leave_as_it_is(&mut self) {
        self.ear = None;
        if let Some(voice) = &mut self.voice
            && let Answer::Hidden(_) = voice.answer
        {
            voice.answer = Answer::AsItIs;
        }
    }

    /// What goes on of these bytes of the answer's body, or, without any, of those that wait for
    /// more.
    pub(in crate::proxy) fn filter(&mut self, bytes: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(voice) = &mut self.voice
            && let Answer::Hidden(hiding) = &mut voice.answer
        {
            match bytes {
                Some(bytes) => hiding.feed(bytes, &mut out),
                None => hiding.end(&mut out),
            }
            if let Some(place) = &mut voice.place {
                place.passed(&out);
            }
        }
        out
    }

    /// Whether its client gets what its answer comes to, once that is whole.
    pub(in crate::proxy) fn is_gathered(&self) -> bool {
        self.voice.as_ref().is_some_and(|voice| matches!(voice.answer, Answer::Gathered(_)))
    }

    /// These bytes of such an answer have come.
    pub(in crate::proxy) fn gather(&mut self, bytes: &[u8]) {
        if let Some(voice) = &mut self.voice
            && let Answer::Gathered(gathering) = &mut voice.answer
        {
            gathering.feed(bytes);
        }
    }

    /// Such an answer has ended: its document, or what the client is told if it comes to none.
    pub(in crate::proxy) fn take_gathered(
        &mut self,
        connection: &Connection,
    ) -> Option<Result<Vec<u8>, Reply>> {
        let voice = self.voice.as_mut()?;
        let answer = replace(&mut voice.answer, Answer::AsItIs);
        let Answer::Gathered(gathering) = answer else {
            voice.answer = answer;
            return None;
        };
        let gathered = gathering.end();
        let caller = voice.caller(connection);
        self.finish(connection, Ended::Whole);
        Some(gathered.map_err(|why| {
            tracing::debug!(connection = %connection.id, %why, "a stream comes to no answer");
            broken(&caller, &why)
        }))
    }

    /// What its client is told in the place of the answer of a try before it, which has not come.
    pub(in crate::proxy) fn without_replay(&self, connection: &Connection) -> Reply {
        let caller = self.voice.as_ref().map(|voice| voice.caller(connection));
        unanswered(&caller.unwrap_or_default())
    }

    /// Why it is to end before its answer does, if it is; else its task is woken when it is told, or
    /// when there is something to be [said](Self::take_said) in its answer.
    pub(in crate::proxy) fn poll_cut(&self, cx: &Context<'_>) -> Option<Reason> {
        self.poll_said(cx);
        self.cut()?.poll(cx).cloned()
    }

    /// Its upstream has been let go, because it is to end.
    pub(in crate::proxy) fn let_go(&self) {
        if let Some(cut) = self.cut() {
            cut.let_go();
        }
    }

    /// By which it can be ended, whatever it is.
    fn cut(&self) -> Option<&Cut> {
        let of_call = self.voice.as_ref().and_then(|voice| voice.cut.as_ref());
        of_call.or_else(|| self.other.as_ref()?.cut())
    }

    /// It is ended by the gateway while it is under way, for that reason: to be said before it is
    /// [refused](Self::refuse), or gets its [last words](Self::last_words).
    pub(in crate::proxy) fn call_off(&mut self, connection: &Connection, reason: &Reason) {
        let cut = self.voice.as_ref().and_then(|voice| voice.cut.as_ref());
        let told = cut.and_then(Cut::since_told);
        let told = told.unwrap_or_else(|| SinceTold::now(connection.recording.clock.now()));
        self.calls.call_off(reason, told, self.status);
    }

    /// It is answered by the gateway: with what.
    pub(in crate::proxy) fn refuse(&mut self, connection: &Connection, reason: &Reason) -> Reply {
        let caller = self.voice.as_ref().map(|voice| voice.caller(connection));
        let reply = reply(&caller.unwrap_or_default(), reason);
        self.replied(connection, reply)
    }

    /// The same, of a request that has not gone upstream. A client that waits for its answer in another
    /// exchange is told there.
    pub(in crate::proxy) fn turn_away(
        &mut self,
        connection: &Connection,
        reason: &Reason,
    ) -> Reply {
        if self.is_told_elsewhere(connection, reason) {
            self.replied(connection, accepted())
        } else {
            self.refuse(connection, reason)
        }
    }

    fn is_told_elsewhere(&self, connection: &Connection, reason: &Reason) -> bool {
        let Some(voice) = &self.voice else { return false };
        let Some(session) = voice.session.filter(|_| voice.caller.rpc_id.is_some()) else {
            return false;
        };
        // Then the other exchange ends too.
        if reason.cause == Cause::Ending {
            return false;
        }
        let agent = &connection.agent;
        let event = cut::message(&voice.caller(connection), reason);
        agent.policing.inboxes.send(agent, &(self.asking.host.clone(), session), event)
    }

    fn replied(&mut self, connection: &Connection, reply: Reply) -> Reply {
        add(&connection.agent.coverage.calls_refused, 1);
        if self.status.is_some() {
            // What has come of its answer has been spent.
            self.finish(connection, Ended::Cut);
            return reply;
        }
        // An error to whoever reads it, whatever its status is in this dialect.
        if let Some(observer) = &mut self.observer {
            observer.response_head(&ResponseInfo {
                status: 403,
                content_type: None,
                content_encoding: None,
                signals: &[],
            });
        }
        self.status = Some(reply.status);
        self.finish(connection, Ended::Whole);
        reply
    }

    /// The bytes that end its answer here, and what may follow them; `None` if it has no words for
    /// that.
    pub(in crate::proxy) fn last_words(
        &mut self,
        connection: &Connection,
        reason: &Reason,
    ) -> Option<(Vec<u8>, Option<u8>)> {
        add(&connection.agent.coverage.calls_cut, 1);
        let voice = self.voice.as_ref()?;
        let place = voice.place.as_ref()?;
        let words = place.last_words(&voice.caller(connection), reason).ok()?;
        Some((words, place.filler()))
    }
}
