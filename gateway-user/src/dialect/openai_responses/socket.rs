//! Responses over WebSocket: many calls on one connection, each asked in a message of the client's
//! and answered in events that are those of a stream. `OpenAI`'s guide on its WebSocket mode says
//! that calls on the same lane (`stream_id`) are answered one after the other, and that lanes are
//! not; that a server which was told more while it answered (`response.steer`) may end an answer and
//! begin another one, which nobody asked for in a message of its own.

use std::collections::VecDeque;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    request,
    response::Document,
    stream::{Event, Stream},
};
use crate::{
    call::{Anchor, Dialect, Digest, Prompt, Reason, Role, Signal},
    dialect::{
        Answered, Asked, Asking, CallKey, Known, NotUnderstood, Progress, RequestInfo, What,
        canonical::Json,
        json::{Text, given},
        refusal::{self, Caller},
    },
    limits::{CALLS_PER_SOCKET, LANE_NAME_BYTES, STEERS_PER_SOCKET},
};

/// Reads the messages of one WebSocket.
#[derive(Debug)]
pub struct Socket {
    /// What the request's head says of the session, which is that of each call.
    signals: Vec<Signal>,
    lanes: Vec<Lane>,
    steers: VecDeque<Steer>,
    /// Which lane the last message of the client's put a call on, if it did.
    last: Option<LaneName>,
}

/// What a message means.
#[derive(Debug)]
pub enum Heard {
    /// A call has been read.
    Asked(Box<Asked>),
    /// The first of a call's answer has come.
    Begun(CallKey),
    /// A call has been answered; the status that its error would have had over HTTP, if it has one.
    Answered(Box<Answered>, Option<u16>),
    /// It should have been a call.
    NotUnderstood(NotUnderstood),
}

/// A lane's name, hashed; one has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LaneName(Option<Json>);

/// Calls that are answered one after the other.
#[derive(Debug, Default)]
struct Lane {
    name: LaneName,
    /// The name, if it is no longer than names are.
    label: Option<Box<str>>,
    calls: VecDeque<Running>,
    /// The id of the answer that ended last, hashed: what comes late of it is no other's.
    ended: Option<Json>,
}

/// A call that is not answered.
#[derive(Debug)]
struct Running {
    /// Absent: it was not understood, but it will be answered.
    key: Option<CallKey>,
    begun: bool,
    stream: Stream,
}

/// What the client is told of a message that does not go on.
#[derive(Debug)]
pub struct Refused {
    /// The event that tells it.
    pub text: String,
    /// The status that it would have had over HTTP.
    pub status: u16,
    /// The call that it was, if it was one that was understood.
    pub answered: Option<Answered>,
}

/// What the user said into an answer.
#[derive(Debug)]
struct Steer {
    prompt: Prompt,
    sample: Asking,
    sha256: Digest,
}

impl Steer {
    /// What was said after it.
    fn add(&mut self, other: Self) {
        let (terms, more) = (&mut self.prompt.terms, &other.prompt.terms);
        terms.segments.messages += more.segments.messages;
        terms.other_parts += more.other_parts;
        terms.unmetered = terms.unmetered.or(more.unmetered);
        self.prompt.messages.extend(other.prompt.messages);
        self.sample.append(&other.sample);
    }

    fn is_into(&self, answer: &str) -> bool {
        let into = &self.prompt.terms.goes_on_from;
        matches!(into, Some(Anchor::Response(id)) if id == answer)
    }
}

/// What kind of message the client sends, and on which lane.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Socket {
    pub(in crate::dialect) fn new(request: &RequestInfo<'_>) -> Self {
        let signals = request.signals.to_vec();
        Self { signals, lanes: Vec::new(), steers: VecDeque::new(), last: None }
    }

    /// A text of the client's; `None` if it was too large to be kept.
    pub fn client_message(&mut self, message: Option<&[u8]>, known: &mut Known) -> Option<Heard> {
        self.last = None;
        let Some(message) = message else { return Some(self.miss(None, NotUnderstood::TooLarge)) };
        let envelope: Envelope<'_> = match serde_json::from_slice(message) {
            Ok(envelope) => envelope,
            Err(error) => return Some(self.miss(None, error.into())),
        };
        let lane = given(envelope.stream_id.as_ref());
        let digest = || Digest(Sha256::digest(message).into());
        let mut sample = Asking::default();
        let request = request::parse(message, &mut sample).map(|prompt| (prompt, digest()));
        match (given(envelope.kind.as_ref()), request) {
            (Some("response.create"), Ok(request)) => {
                Some(self.create(lane, request, sample, known))
            }
            (Some("response.create"), Err(reason)) => Some(self.miss(lane, reason)),
            (Some("response.steer"), Ok((mut prompt, sha256))) => {
                // No others are taken.
                prompt.messages.retain(|message| message.role == Role::User);
                if self.steers.len() == STEERS_PER_SOCKET {
                    self.steers.pop_front();
                }
                self.steers.push_back(Steer { prompt, sample, sha256 });
                None
            }
            _ => None,
        }
    }

    /// A text of the server's; `None` if it was too large to be kept.
    pub fn server_message(&mut self, message: Option<&[u8]>, known: &mut Known) -> Vec<Heard> {
        let event = message.ok_or(NotUnderstood::TooLarge).and_then(Event::parse);
        let mut heard = Vec::new();
        match event {
            Ok(event) => self.event(event, known, &mut heard),
            // Whose it was can't be told.
            Err(reason) => {
                for call in self.lanes.iter_mut().filter_map(|lane| lane.calls.front_mut()) {
                    call.stream.lose(reason);
                }
            }
        }
        heard
    }

    /// The client's last message does not go on.
    pub fn refuse(&mut self, reason: &Reason) -> Refused {
        let last = self.last.take();
        let lane = last.and_then(|name| self.lanes.iter_mut().find(|lane| lane.name == name));
        let status = status(reason);
        let label = lane.as_ref().and_then(|lane| lane.label.as_deref());
        let text = told(label, reason);
        let call = lane.and_then(|lane| lane.calls.pop_back());
        let answered = call.and_then(|Running { key, mut stream, .. }| {
            if let Ok(event) = Event::parse(text.as_bytes()) {
                stream.take(event);
            }
            Some(answered(key?, stream, true))
        });
        Refused { text, status, answered }
    }

    /// How far the answers have come that are under way.
    pub fn progress(&self) -> impl Iterator<Item = (CallKey, Progress)> {
        let calls = self.lanes.iter().filter_map(|lane| lane.calls.front());
        calls.filter_map(|call| Some((call.key?, call.stream.progress())))
    }

    /// The events that tell the client that no call on it goes on.
    #[must_use]
    pub fn last_words(&self, reason: &Reason) -> Vec<String> {
        let waiting = |lane: &Lane| vec![told(lane.label.as_deref(), reason); lane.calls.len()];
        self.lanes.iter().flat_map(waiting).collect()
    }

    /// No more messages come: the calls that are not answered, as far as they are.
    #[must_use]
    pub fn end(self) -> Vec<Answered> {
        let calls = self.lanes.into_iter().flat_map(|lane| lane.calls);
        let answered = calls.filter_map(|call| {
            let key = call.key?;
            Some(answered(key, call.stream, false))
        });
        answered.collect()
    }

    fn create(
        &mut self,
        lane: Option<&str>,
        (mut prompt, sha256): (Prompt, Digest),
        mut sample: Asking,
        known: &mut Known,
    ) -> Heard {
        let key = known.key();
        if !self.wait(lane, Some(key)) {
            return Heard::NotUnderstood(NotUnderstood::TooLarge);
        }
        // What was said before, and not taken up, comes first.
        if let Some(Anchor::Response(previous)) = &prompt.terms.goes_on_from
            && let Some(steer) = take_steers(&mut self.steers, previous)
        {
            sample.append(&steer.sample);
            let (terms, more) = (&mut prompt.terms, &steer.prompt.terms);
            terms.segments.messages += more.segments.messages;
            terms.other_parts += more.other_parts;
            terms.unmetered = terms.unmetered.or(more.unmetered);
            prompt.messages.splice(0..0, steer.prompt.messages);
        }
        Heard::Asked(Box::new(self.asked(key, (prompt, sha256), sample)))
    }

    fn asked(&self, key: CallKey, (mut prompt, sha256): (Prompt, Digest), sample: Asking) -> Asked {
        // A stream without being asked for one.
        prompt.stream = true;
        prompt.terms.signals.extend_from_slice(&self.signals);
        let unmetered = prompt.terms.unmetered;
        let what = What::Model(prompt);
        Asked { key, what, sha256, unmetered, sample, countermand: None, end: None }
    }

    /// A call that is not understood.
    fn miss(&mut self, lane: Option<&str>, reason: NotUnderstood) -> Heard {
        self.wait(lane, None);
        Heard::NotUnderstood(reason)
    }

    /// One more call waits on the lane, if there is room.
    fn wait(&mut self, name: Option<&str>, key: Option<CallKey>) -> bool {
        let waiting: usize = self.lanes.iter().map(|lane| lane.calls.len()).sum();
        if waiting >= CALLS_PER_SOCKET {
            return false;
        }
        let lane = self.lane(name);
        lane.calls.push_back(Running { key, begun: false, stream: Stream::default() });
        self.last = Some(lane.name);
        true
    }

    /// The lane of that name, which may be new. Lanes on which nothing waits make room.
    fn lane(&mut self, name: Option<&str>) -> &mut Lane {
        let label = name.filter(|name| name.len() <= LANE_NAME_BYTES).map(Box::from);
        let name = LaneName::of(name);
        let at = self.lanes.iter().position(|lane| lane.name == name);
        let at = at.unwrap_or_else(|| {
            if self.lanes.len() >= CALLS_PER_SOCKET {
                self.lanes.retain(|lane| !lane.calls.is_empty());
            }
            self.lanes.push(Lane { name, label, ..Lane::default() });
            self.lanes.len() - 1
        });
        &mut self.lanes[at]
    }

    fn event(&mut self, event: Event<'_>, known: &mut Known, heard: &mut Vec<Heard>) {
        let name = LaneName::of(event.lane());
        let by_name = self.lanes.iter().position(|lane| lane.name == name);
        let only = (self.lanes.len() == 1).then_some(0);
        let Some(at) = by_name.or(only) else { return };
        if event.kind() == "response.created" {
            heard.extend(self.lanes.get_mut(at).and_then(|lane| lane.overtaken(&event)));
            heard.extend(self.taken_up(at, &event, known));
        }
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.event(event, heard);
        }
    }

    /// The server begins an answer that goes on from one into which the user spoke.
    fn taken_up(&mut self, at: usize, event: &Event<'_>, known: &mut Known) -> Option<Heard> {
        let response = event.response()?;
        let previous = given(response.previous_response_id.as_ref())?;
        let Steer { mut prompt, sample, sha256 } = take_steers(&mut self.steers, previous)?;
        prompt.model = response.model();
        let key = known.key();
        let stream = Stream::default();
        let lane = self.lanes.get_mut(at)?;
        lane.calls.push_front(Running { key: Some(key), begun: false, stream });
        Some(Heard::Asked(Box::new(self.asked(key, (prompt, sha256), sample))))
    }
}

/// An error as the server itself reports them: clients go by its status, or by its fields.
fn told(lane: Option<&str>, reason: &Reason) -> String {
    let mut event = refusal::event(reason);
    event["status"] = status(reason).into();
    if let Some(lane) = lane {
        event["stream_id"] = lane.into();
    }
    event.to_string()
}

fn status(reason: &Reason) -> u16 {
    let dialect = Some(Dialect::OpenaiResponses);
    refusal::reply(&Caller { dialect, ..Caller::default() }, reason).status
}

/// All that was said into this answer, in one.
fn take_steers(steers: &mut VecDeque<Steer>, previous: &str) -> Option<Steer> {
    let mut taken: Option<Steer> = None;
    for steer in std::mem::take(steers) {
        match &mut taken {
            _ if !steer.is_into(previous) => steers.push_back(steer),
            Some(first) => first.add(steer),
            None => taken = Some(steer),
        }
    }
    taken
}

fn answered(key: CallKey, mut stream: Stream, whole: bool) -> Answered {
    let sample = stream.said();
    Answered { sample, ..Answered::new(key, stream.end(whole)) }
}

impl LaneName {
    fn of(name: Option<&str>) -> Self {
        Self(name.map(Json::text))
    }
}

impl Lane {
    /// The call that waits longest, if another one is answered although its own answer has begun
    /// and not ended: it will not.
    fn overtaken(&mut self, event: &Event<'_>) -> Option<Heard> {
        let begun = self.calls.front()?.stream.id()?;
        let other = event.response()?.id()?;
        if begun == other { None } else { self.answered(None) }
    }

    fn event(&mut self, event: Event<'_>, heard: &mut Vec<Heard>) {
        let id = event.response().and_then(Document::id);
        let Some(call) = self.calls.front_mut() else { return };
        let is_late = id.is_some() && id.as_deref().map(Json::text) == self.ended;
        let is_others =
            id.is_some() && call.stream.id().is_some_and(|own| Some(own) != id.as_deref());
        let is_error = event.kind() == "error";
        if is_late || is_others || !(is_error || event.kind().starts_with("response.")) {
            return;
        }
        if !std::mem::replace(&mut call.begun, true) {
            heard.extend(call.key.map(Heard::Begun));
        }
        let status = event.status();
        call.stream.take(event);
        // An error of the request, not of its answer, is all that comes.
        if call.stream.is_over() || (is_error && (status.is_some() || call.stream.id().is_none())) {
            heard.extend(self.answered(status));
        }
    }

    /// The call that waits longest waits no more.
    fn answered(&mut self, status: Option<u16>) -> Option<Heard> {
        let Running { key, stream, .. } = self.calls.pop_front()?;
        self.ended = stream.id().map(Json::text);
        let answered = answered(key?, stream, true);
        Some(Heard::Answered(Box::new(answered), status))
    }
}
