//! Clients that leave before they have their answers, and come back for them.

use std::task::{Context, Poll};

use super::{Course, Reading, Tap};
use crate::proxy::http::ReadingOn;

impl Tap {
    /// Whether the answer that the client waits for would be read on if it left now, and it says no more:
    /// it may be about to leave. Upstream is not told of that yet, as it might stop.
    pub(in crate::proxy) fn may_be_abandoned(&self) -> bool {
        self.client_ended && !self.client_stays && self.course == Course::On && self.would_read_on()
    }

    /// The client says no more, and waits for its answer.
    pub(in crate::proxy) const fn client_stays(&mut self) {
        self.client_stays = true;
    }

    /// The client has left: the answer that is to be read on, if one is.
    pub(in crate::proxy) fn abandon(&mut self) -> Option<ReadingOn> {
        let due = self.course == Course::On && self.would_read_on();
        match &mut self.reading {
            Reading::Http(http) if due => http.abandon(&self.connection),
            _ => None,
        }
    }

    /// Has the client answered in upstream's place, if it is to be and that has come; else the task is woken
    /// when it does.
    pub(in crate::proxy) fn poll_replay(&mut self, cx: &mut Context<'_>) {
        if let (Course::On, Reading::Http(http)) = (self.course, &mut self.reading)
            && let Poll::Ready(answer) = http.poll_replay(&self.connection, cx)
        {
            self.of_server.keep_unread(&answer);
            // Its next turn is now.
            cx.waker().wake_by_ref();
        }
    }

    fn would_read_on(&self) -> bool {
        let replays = self.connection.agent.policing.replays.is_some();
        replays && matches!(&self.reading, Reading::Http(http) if http.can_be_abandoned())
    }
}
