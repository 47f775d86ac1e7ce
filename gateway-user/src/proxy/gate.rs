//! Whether a call goes upstream, and with which changes.

use std::{
    collections::VecDeque,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    agent::Agent,
    countermand::Countermands,
    cut::UnderWay,
    inbox::Inboxes,
    replay::{Replay, Replays},
};
use crate::{
    call::{Cause, Dialect, Name, Prompt, Reason, Unmetered},
    config::Mode,
    dialect::{
        Asked, What,
        edit::{self, Edit, EditError},
    },
    limits::{self, Bound},
    policy::{metering::OnUnmetered, retries::OnRetry, upstreams::Upstreams},
};

/// Decides on the calls of agents in enforce, one by one, when their requests have ended. Called
/// from the data path: it must not block.
pub trait Gate: fmt::Debug + Send + Sync {
    fn admit(&self, call: &Asked) -> Decision;
}

/// What a gate says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Pass,
    /// It goes on with these changes, or not at all.
    Edit(Vec<Edit>),
    Refuse(Reason),
}

/// Lets every call through.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Gate for Open {
    fn admit(&self, _: &Asked) -> Decision {
        Decision::Pass
    }
}

/// What stands between an agent's calls and upstream.
#[derive(Debug)]
pub(super) struct Policing {
    gate: Arc<dyn Gate>,
    on_unmetered: OnUnmetered,
    pub(super) on_retry: OnRetry,
    /// Absent: no answer is kept whose client has left.
    pub(super) replays: Option<Replays>,
    /// Absent: no call is made as a stream that is none.
    upstreams: Option<Arc<Upstreams>>,
    pub(super) under_way: UnderWay,
    pub(super) inboxes: Inboxes,
    pub(super) countermands: Arc<Countermands>,
    /// Servers that take a request for a wrong one that asks for a stream, or for its usage, oldest first.
    shy: Mutex<VecDeque<Name>>,
    /// Bytes of requests that are held.
    held: AtomicUsize,
}

impl Default for Policing {
    fn default() -> Self {
        Self {
            gate: Arc::new(Open),
            on_unmetered: OnUnmetered::default(),
            on_retry: OnRetry::default(),
            replays: None,
            upstreams: None,
            under_way: UnderWay::default(),
            inboxes: Inboxes::default(),
            countermands: Arc::default(),
            shy: Mutex::default(),
            held: AtomicUsize::new(0),
        }
    }
}

impl Agent {
    /// The same, with a gate for its calls.
    #[must_use]
    pub fn gated(mut self, gate: Arc<dyn Gate>) -> Self {
        self.policing.gate = gate;
        self
    }

    /// The same, with its calls refused or not if it can't be told what they cost.
    #[must_use]
    pub fn metered(mut self, on_unmetered: OnUnmetered) -> Self {
        self.policing.on_unmetered = on_unmetered;
        self
    }

    /// The same, with calls refused or not that are made again and might spend twice.
    #[must_use]
    pub fn retrying(mut self, on_retry: OnRetry) -> Self {
        self.policing.on_retry = on_retry;
        self
    }

    /// The same, with answers kept or not whose clients have left, for when they ask the same again.
    #[must_use]
    pub fn replaying(mut self, replays: bool) -> Self {
        self.policing.replays = replays.then(Replays::default);
        self
    }

    /// The same, with some upstreams asked for streams where the agent asks for one answer.
    #[must_use]
    pub fn asking(mut self, upstreams: Arc<Upstreams>) -> Self {
        self.policing.upstreams = Some(upstreams);
        self
    }

    /// Ends the calls under way for which that holds, given their connection and their number on it,
    /// in either mode. How many there were.
    pub fn cut(
        &self,
        reason: &Reason,
        which: impl Fn(crate::call::ConnectionId, u64) -> bool,
    ) -> usize {
        self.policing.under_way.cut(reason, which)
    }
}

impl Policing {
    /// Whether that server is to be asked for streams.
    pub(super) fn streams(&self, host: Option<&str>, address: Option<IpAddr>) -> bool {
        self.upstreams.as_ref().is_some_and(|upstreams| upstreams.stream(host, address))
    }

    /// Leaves what that server is asked alone from now on.
    pub(super) fn note_shy(&self, host: &Name) {
        let mut shy = self.shy();
        if !shy.contains(host) {
            if shy.len() >= limits::SHY_HOSTS_PER_AGENT {
                shy.pop_front();
            }
            shy.push_back(host.clone());
        }
    }

    fn is_shy(&self, host: Option<&Name>) -> bool {
        host.is_some_and(|host| self.shy().contains(host))
    }

    fn shy(&self) -> MutexGuard<'_, VecDeque<Name>> {
        self.shy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right of a call to be answered: by upstream, to which it is the only key in enforce, or with what
/// has been answered to it before.
#[derive(Debug)]
#[must_use]
pub(super) struct CallAdmission {
    edits: Vec<Edit>,
    /// What its answer is to be like, if it can be made so.
    wish: Option<Change>,
    /// Absent: it goes upstream.
    replay: Option<Replay>,
}

/// How an answer differs from the one that was asked for. It goes to its client as it would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is a stream that reports its usage.
    Usage,
    /// It is a stream.
    Stream,
}

/// A body that has been changed.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) body: Vec<u8>,
    /// What the answer is like for it.
    pub(super) change: Option<Change>,
    /// The body may go on as it was, too.
    pub(super) optional: bool,
}

impl CallAdmission {
    /// Decides on the calls of a request to that host that has ended, or on one that can't be read.
    /// In audit everything goes on as it is.
    pub(super) fn decide(
        agent: &Agent,
        host: Option<&Name>,
        calls: Result<&[Asked], Unmetered>,
        may_stream: bool,
    ) -> Result<Self, Reason> {
        let mut admission = Self { edits: Vec::new(), wish: None, replay: None };
        if agent.mode == Mode::Audit {
            return Ok(admission);
        }
        let Policing { gate, on_unmetered, .. } = &agent.policing;
        let calls = match calls {
            Ok(calls) => calls,
            Err(why) => {
                on_unmetered.decide(Some(why))?;
                return Ok(admission);
            }
        };
        for call in calls {
            on_unmetered.decide(call.unmetered)?;
            match gate.admit(call) {
                Decision::Pass => {}
                Decision::Edit(edits) => admission.edits.extend(edits),
                Decision::Refuse(reason) => return Err(reason),
            }
        }
        if let [call] = calls
            && !agent.policing.is_shy(host)
        {
            admission.wish = match call.what {
                _ if hides_usage(call) => Some(Change::Usage),
                What::Model(Prompt { stream: false, ref terms, .. })
                    if may_stream && !terms.background =>
                {
                    Some(Change::Stream)
                }
                _ => None,
            };
        }
        Ok(admission)
    }

    /// The same, with at most so many tokens in each answer of a call that asks for that many.
    pub(super) fn within(mut self, most: Option<u64>, asked: Option<u64>) -> Self {
        let is_more = |most: &u64| asked.is_none_or(|asked| asked > *most);
        self.edits.extend(most.filter(is_more).map(Edit::MaxOutput));
        self
    }

    /// The same, with the answer that it gets, if it is not to go upstream for one.
    pub(super) fn answered(self, replay: Option<Replay>) -> Self {
        Self { replay, ..self }
    }

    /// Whether it goes upstream.
    pub(super) const fn goes_upstream(&self) -> bool {
        self.replay.is_none()
    }

    /// What it is answered with otherwise.
    pub(super) fn into_replay(self) -> Option<Replay> {
        self.replay
    }

    /// Whether the body has to be looked at.
    pub(super) const fn changes(&self) -> bool {
        self.goes_upstream() && (self.wish.is_some() || !self.edits.is_empty())
    }

    /// The body as it goes on, if that is not as it is. Fails if it has to be changed and can't be;
    /// one that is `sealed` can't.
    pub(super) fn edit(
        &self,
        dialect: Dialect,
        body: &[u8],
        sealed: bool,
    ) -> Result<Option<Edited>, Reason> {
        if sealed {
            return if self.edits.is_empty() { Ok(None) } else { Err(unfit("it is sealed")) };
        }
        let attempt = |edits: &[Edit]| edit::splice(body, edits, dialect);
        let changed = self.wish.ok_or(EditError::NoPlace).and_then(|wish| {
            let all: Vec<_> = self.edits.iter().chain(wish.edits(dialect)).cloned().collect();
            attempt(&all)
        });
        let change = self.wish.filter(|_| changed.is_ok());
        let splices =
            changed.or_else(|_| attempt(&self.edits)).map_err(|error| unfit(&error.to_string()))?;
        let body = (!splices.is_empty()).then(|| edit::apply(body, &splices));
        let optional = self.edits.is_empty();
        Ok(body.map(|body| Edited { body, change, optional }))
    }
}

impl Change {
    /// What brings it about.
    const fn edits(self, dialect: Dialect) -> &'static [Edit] {
        match (self, reports_on_wish(dialect)) {
            (Self::Usage, _) => &[Edit::ReportUsage],
            (Self::Stream, true) => &[Edit::Stream, Edit::ReportUsage],
            (Self::Stream, false) => &[Edit::Stream],
        }
    }
}

/// Whether a call is a stream whose client does not want to know its usage.
fn hides_usage(call: &Asked) -> bool {
    let What::Model(prompt) = &call.what else { return false };
    reports_on_wish(prompt.dialect) && prompt.stream && !prompt.terms.reports_usage
}

/// Whether a stream reports its usage only if that is wished.
const fn reports_on_wish(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::OpenaiChat | Dialect::OpenaiCompletions)
}

fn unfit(why: &str) -> Reason {
    let text = format!(
        "the request may go on only with a change, and can't be changed: {why}; send it plain and \
         in the form that its API documents"
    );
    Reason::new(Cause::Policy, text)
}

/// Whether a field of a request says that its body must stay as it is: it is encoded, or a digest or
/// a signature is over it.
pub(super) fn seals(name: &str, value: &[u8]) -> bool {
    let is = |field: &str| name.eq_ignore_ascii_case(field);
    let begins = |start: &[u8]| {
        value.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    // RFC 9530; RFC 1864; AWS Signature Version 4.
    is("content-encoding") && !value.trim_ascii().eq_ignore_ascii_case(b"identity")
        || is("content-digest")
        || is("repr-digest")
        || is("digest")
        || is("content-md5")
        || is("x-amz-content-sha256")
        || is("authorization") && begins(b"AWS4-")
}

/// Room for the bytes of one request that is held. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Room {
    agent: Arc<Agent>,
    bytes: usize,
}

impl Room {
    pub(super) const fn new(agent: Arc<Agent>) -> Self {
        Self { agent, bytes: 0 }
    }

    /// Makes it so large, unless a bound is hit: then it says which, and has counted that.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Bound> {
        let more = bytes.saturating_sub(self.bytes);
        let own = self.agent.policing.held.fetch_add(more, Ordering::Relaxed);
        let bounds = &self.agent.bounds;
        let grown = if bytes > limits::OBSERVED_REQUEST_BYTES {
            bounds.hit(Bound::RequestBytes);
            Err(Bound::RequestBytes)
        } else {
            bounds.hold(own, more)
        };
        match grown {
            Ok(()) => self.bytes = self.bytes.max(bytes),
            Err(_) => drop(self.agent.policing.held.fetch_sub(more, Ordering::Relaxed)),
        }
        grown
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.agent.policing.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.agent.bounds.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::AgentRef;

    fn agent() -> Agent {
        let reference =
            AgentRef { name: "a".into(), cgroup: "/a".into(), container_id: None, pod: None };
        Agent::new(7, reference, 1).in_mode(Mode::Enforce)
    }

    #[test]
    fn what_is_not_understood_is_admitted_only_where_that_is_allowed() {
        let decide =
            |agent: &Agent| CallAdmission::decide(agent, None, Err(Unmetered::TooLarge), false);
        assert_eq!(decide(&agent()).expect_err("refused").cause, Cause::Unmetered);
        assert!(decide(&agent().metered(OnUnmetered::Allow)).is_ok());
        assert!(decide(&agent().in_mode(Mode::Audit)).is_ok());
    }

    #[test]
    fn what_must_be_changed_and_cannot_be_does_not_go_on() {
        let admission = CallAdmission {
            edits: vec![Edit::MaxOutput(5)],
            wish: Some(Change::Usage),
            replay: None,
        };
        let edit = |body: &[u8], sealed| admission.edit(Dialect::OpenaiChat, body, sealed);
        assert!(edit(b"{}", true).is_err());
        assert!(edit(br#"{"max_tokens":1,"max_tokens":2}"#, false).is_err());
        let edited = edit(br#"{"max_tokens":4,"stream_options":7}"#, false);
        assert!(edited.expect("not for the usage alone").is_none());
        let edited = edit(br#"{"max_tokens":4}"#, false).expect("fit").expect("changed");
        assert_eq!(edited.body, br#"{"stream_options":{"include_usage":true},"max_tokens":4}"#);
        assert_eq!(edited.change, Some(Change::Usage));
        let usage = CallAdmission { edits: Vec::new(), ..admission };
        assert!(usage.edit(Dialect::OpenaiChat, b"{}", true).expect("as it is").is_none());
    }

    #[test]
    fn bodies_that_something_is_computed_over_are_sealed() {
        for (name, value) in [
            ("Content-Encoding", "gzip"),
            ("content-digest", "sha-256=:…:"),
            ("Authorization", "aws4-HMAC-SHA256 Credential=…"),
        ] {
            assert!(seals(name, value.as_bytes()), "{name}");
        }
        for (name, value) in
            [("content-encoding", " identity"), ("authorization", "Bearer AWS4-"), ("digested", "")]
        {
            assert!(!seals(name, value.as_bytes()), "{name}");
        }
    }

    #[test]
    fn servers_that_are_left_alone_are_remembered_up_to_a_bound() {
        let policing = Policing::default();
        let host = |number: usize| Name::from(number.to_string());
        for number in 0..=limits::SHY_HOSTS_PER_AGENT {
            policing.note_shy(&host(number));
            policing.note_shy(&host(number));
        }
        assert!(!policing.is_shy(Some(&host(0))) && policing.is_shy(Some(&host(1))));
        assert!(policing.is_shy(Some(&host(limits::SHY_HOSTS_PER_AGENT))));
        assert!(!policing.is_shy(None));
    }

    #[test]
    fn room_is_bounded_for_a_request_and_given_back() {
        let agent = Arc::new(agent());
        let mut room = Room::new(Arc::clone(&agent));
        assert_eq!(room.grow(10), Ok(()));
        assert_eq!(room.grow(30), Ok(()));
        assert_eq!(room.grow(limits::OBSERVED_REQUEST_BYTES + 1), Err(Bound::RequestBytes));
        assert_eq!(agent.policing.held.load(Ordering::Relaxed), 30);
        drop(room);
        assert_eq!(agent.policing.held.load(Ordering::Relaxed), 0);
        assert_eq!(agent.bounds.held(), 0);
    }
}
