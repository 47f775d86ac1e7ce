//! A call whose client has left, and whose answer is read on for a try that asks the same.

use std::sync::Arc;

use super::{
    Arrival, Called, Calls, Connection, Kind, Place, Running,
    settle::{Parties, close, count, pay_off, price, tools},
};
use crate::{
    call::{Cancel, CancelCause, UpstreamTold},
    dialect::{Answered, CallKey},
    lineage::{Failure, Outcome},
    proxy::{
        agent::Agent, exchange::Ended, purse::Held, recording::Recording, replay::Key, spend::Order,
    },
};

/// It has failed to whoever asked; what it spends is still to be settled. Dropped, it is spent as it was
/// held.
#[derive(Debug)]
#[must_use]
pub(in crate::proxy) struct Orphan {
    agent: Arc<Agent>,
    recording: Arc<Recording>,
    call: CallKey,
    place: Place,
    order: Box<Order>,
    held: Option<Held>,
    key: Key,
}

impl Calls {
    /// Whether another try may get the answer to the one call that is asked.
    pub(in crate::proxy) fn can_be_replayed(&self) -> bool {
        matches!(&*self.running, [(_, running)] if running.key.is_some())
            && self.called_off.is_none()
    }

    /// Its client has left. `None` if no other try may get its answer.
    pub(in crate::proxy) fn abandon(&mut self, connection: &Connection) -> Option<Orphan> {
        let (call, running) = self.running.pop_if(|(_, running)| running.key.is_some())?;
        let Running { place, call: Called::Model(order), held, key: Some(key), .. } = running
        else {
            return None;
        };
        let parties = Parties::from(connection);
        let at = connection.recording.clock.now();
        let failure = Some(Failure::ClientGone);
        let outcome = Outcome { failure, ..Outcome::default() };
        let cancel = Cancel {
            cause: CancelCause::ClientGone,
            reason: None,
            requested_at: at,
            upstream_closed_ms: None,
            bytes_after_cancel: 0,
            generation_may_continue: Some(true),
            upstream_told: Some(UpstreamTold::None),
            cleanup_ms: None,
            cancel_request: None,
        };
        close(parties, place, Kind::Model, at, outcome, (None, None, Some(Box::new(cancel))));
        let (agent, recording) = (Arc::clone(&connection.agent), Arc::clone(&connection.recording));
        Some(Orphan { agent, recording, call, place, order, held, key })
    }
}

impl Orphan {
    pub(in crate::proxy) const fn key(&self) -> Key {
        self.key
    }

    /// As a header names it.
    pub(in crate::proxy) fn name(&self) -> String {
        self.place.step.to_string()
    }

    /// Its answer has ended so, and is that as far as it was read: what it spent is settled.
    pub(in crate::proxy) fn settle(
        self,
        ended: Ended,
        status: Option<u16>,
        answered: Vec<Answered>,
    ) {
        let Self { agent, recording, call, place, order, held, .. } = self;
        let parties = Parties { agent: &agent, recording: &recording };
        let at = recording.clock.now();
        let own = answered.into_iter().find(|answered| answered.key == call);
        let (reading, sample) = own.map_or_else(Default::default, |own| (own.reading, own.sample));
        let arrival = Arrival { ended, status, first_byte: None };
        let understood = count(&agent, arrival, &reading);
        let due = order.due(&reading.answer, &sample, understood, arrival);
        let tools = tools(&reading.answer, held.as_ref());
        let charged = price(parties, due, order.bill(&reading.answer, sample, at));
        if let Ok(spent) = &charged {
            recording.recorder.spent(&agent.reference(), place.workflow, place.step, *spent);
        }
        pay_off(parties, place, (held, tools), charged, at);
    }
}
