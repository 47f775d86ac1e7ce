//! An exchange whose client has left, and whose answer is read on for a try that asks the same.

use std::sync::Arc;

use super::{Connection, Ended, Exchange, Response};
use crate::{
    call::Digest,
    dialect::{Observer, ResponseInfo},
    limits::Bound,
    proxy::{
        agent::Agent,
        calls::Orphan,
        cut::Cut,
        replay::{Answer, Expected},
    },
};

/// What is left to be done for it.
#[derive(Debug)]
pub(in crate::proxy) struct Abandoned {
    agent: Arc<Agent>,
    observer: Observer,
    /// Absent where there was no room for one more.
    cut: Option<Cut>,
    orphan: Orphan,
    expected: Expected,
    status: Option<u16>,
}

impl Exchange {
    /// Other tries of the call are those whose requests have the same heads, so far as these tell.
    pub(in crate::proxy) const fn identify(&mut self, head: Digest) {
        self.asking.identity = Some(head);
    }

    /// Whether a try that asks the same may get the answer that is awaited, of which nothing has come.
    pub(in crate::proxy) fn can_be_abandoned(&self) -> bool {
        let awaits = self.voice.as_ref().is_some_and(|voice| voice.awaits_document());
        let is_asked = self.request_over && !self.response_over && self.status.is_none();
        awaits && is_asked && self.observer.is_some() && self.calls.can_be_replayed()
    }

    /// The client has left such an exchange, which ends with that.
    pub(in crate::proxy) fn abandon(&mut self, connection: &Connection) -> Option<Abandoned> {
        let agent = &connection.agent;
        let replays = agent.policing.replays.as_ref().filter(|_| self.can_be_abandoned())?;
        let orphan = self.calls.abandon(connection)?;
        let observer = self.observer.take()?;
        let cut = self.voice.as_mut().and_then(|voice| voice.take_cut());
        self.finish(connection, Ended::ClientGone);
        let now = connection.recording.clock.now();
        let (expected, is_full) = replays.expect(orphan.key(), now);
        if is_full {
            agent.bounds.hit(Bound::Replays);
        }
        let agent = Arc::clone(agent);
        Some(Abandoned { agent, observer, cut, orphan, expected, status: None })
    }
}

impl Abandoned {
    pub(in crate::proxy) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// By which the call can still be ended.
    pub(in crate::proxy) const fn take_cut(&mut self) -> Option<Cut> {
        self.cut.take()
    }

    /// What the client that gets its answer is told beside that.
    pub(in crate::proxy) fn note(&self) -> (&'static str, String) {
        ("x-turnpike-replay", self.orphan.name())
    }

    pub(in crate::proxy) fn response_head(&mut self, response: &Response<'_>) {
        self.status = Some(response.status);
        self.observer.response_head(&ResponseInfo {
            status: response.status,
            content_type: response.content_type,
            content_encoding: response.content_encoding,
            signals: response.signals,
        });
    }

    pub(in crate::proxy) fn response_body(&mut self, bytes: &[u8]) {
        self.observer.response_body(bytes);
    }

    /// It has ended so, with these bytes if they can be sent again.
    pub(in crate::proxy) fn end(self, ended: Ended, bytes: Option<Vec<u8>>) {
        let Self { agent, observer, orphan, expected, status, .. } = self;
        let answered = observer.response_end(ended == Ended::Whole, &mut agent.known());
        orphan.settle(ended, status, answered);
        let went_well = status.is_some_and(|status| (200..300).contains(&status));
        if let Some(bytes) = bytes.filter(|_| ended == Ended::Whole) {
            expected.fulfil(Answer { bytes, went_well });
        }
    }
}
