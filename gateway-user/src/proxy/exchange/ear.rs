//! A stream in which an agent waits for the answers to what it posts elsewhere: where the gateway
//! answers what it refuses of that.

use std::task::Context;

use super::{Connection, Exchange, Response};
use crate::{
    config::Mode,
    dialect::{Observer, cut::Place},
    proxy::inbox::Inbox,
};

/// Where the stream is, and what is to be said in it.
#[derive(Debug)]
pub(super) struct Ear {
    place: Place,
    /// Absent until the server has said for which session the stream is.
    inbox: Option<Inbox>,
}

impl Ear {
    /// Of an answer that may become such a stream.
    pub(super) fn of(observer: Option<&Observer>, response: &Response<'_>) -> Option<Box<Self>> {
        let Some(Observer::Listening(_)) = observer else { return None };
        let place = Place::new(response.content_type, response.content_encoding)?;
        place.has_events().then(|| Box::new(Self { place, inbox: None }))
    }
}

impl Exchange {
    /// These bytes of the answer went on, and were read.
    pub(super) fn ear_passed(&mut self, connection: &Connection, bytes: &[u8]) {
        let Some(ear) = &mut self.ear else { return };
        ear.place.passed(bytes);
        let session = self.observer.as_ref().and_then(Observer::session);
        let is_known = ear.inbox.is_some();
        if let Some(session) = session.filter(|_| !is_known) {
            // In audit nothing is refused.
            let agent = Some(&connection.agent).filter(|agent| agent.mode == Mode::Enforce);
            ear.inbox =
                agent.and_then(|agent| Inbox::list(agent, (self.asking.host.clone(), session)));
            if ear.inbox.is_none() {
                self.ear = None;
            }
        }
    }

    /// Has the task woken when there is something to be [said](Self::take_said) in its answer.
    pub(in crate::proxy) fn poll_said(&self, cx: &Context<'_>) {
        if let Some(inbox) = self.ear.as_ref().and_then(|ear| ear.inbox.as_ref()) {
            inbox.poll(cx);
        }
    }

    /// Whole events of the gateway's own, if there are any and all that has gone on of the answer are
    /// whole events too.
    pub(in crate::proxy) fn take_said(&self) -> Option<Vec<u8>> {
        let ear = self.ear.as_ref().filter(|ear| ear.place.is_between_events())?;
        ear.inbox.as_ref()?.take()
    }
}
