//! An exchange that makes no calls of its own: a tool call of a model's, by its URL, or other traffic.

use super::{Connection, Ended, Exchange};
use crate::{
    dialect::{NotUnderstood, Observer, Traffic},
    limits::Bound,
    proxy::{
        calls::{Arrival, Fetch},
        coverage::add,
    },
};

impl Exchange {
    /// Its request has ended, and goes upstream or not.
    pub(super) fn fetch(&mut self, connection: &Connection, goes_on: bool) {
        let traffic = self.observer.as_ref().map_or(Traffic::Other, Observer::traffic);
        let Some(other) = &mut self.other else { return };
        if !goes_on {
            other.fetch = None;
        } else if is_plain(traffic) {
            other.fetch(connection, &self.asking);
        }
    }

    /// The exchange has ended: it is listed as what it is, if it made no calls.
    pub(super) fn end_plain(&mut self, connection: &Connection, ended: Ended, traffic: Traffic) {
        if is_plain(traffic) && ended != Ended::Unseen {
            self.fetch(connection, true);
        }
        let agent = &connection.agent;
        let Some(mut other) = self.other.take() else { return };
        let unmetered = u64::from(other.unmetered().is_some());
        if let Some(fetch) = other.fetch.take().filter(Fetch::is_call) {
            add(&agent.coverage.calls_unmetered, unmetered);
            let arrival = Arrival { ended, status: self.status, first_byte: self.first_byte };
            return fetch.end(connection, arrival);
        }
        let rpc_method = match traffic {
            Traffic::Calls => return,
            Traffic::Protocol(method) => Some(method),
            Traffic::Other | Traffic::Unread(_) => None,
        };
        if traffic == Traffic::Unread(NotUnderstood::TooLarge) {
            agent.bounds.hit(Bound::RpcRequestBytes);
        }
        if rpc_method.is_none() {
            add(&agent.coverage.exchanges_other, 1);
            add(&agent.coverage.calls_unmetered, unmetered);
        }
        if !agent.others.add(other.ended(rpc_method, self.status)) {
            agent.bounds.hit(Bound::OtherLines);
        }
    }
}

/// Whether it speaks no API that is known.
const fn is_plain(traffic: Traffic) -> bool {
    matches!(traffic, Traffic::Other | Traffic::Unread(_))
}
