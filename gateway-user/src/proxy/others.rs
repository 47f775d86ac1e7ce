//! What speaks no API that makes calls, of one agent: by host, method and path.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    calls::{Asking, Fetch},
    cut::Cut,
    exchange::Connection,
};
use crate::{call::Unmetered, dialect::template, limits};

/// A bounded table of an agent's other traffic, by kind. What finds no room is counted together.
#[derive(Debug, Default)]
pub struct Others(Mutex<HashMap<Kind, Tally>>);

/// What exchanges of one line have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Absent where the client named none, and of what found no room.
    pub host: Option<Box<str>>,
    pub method: Box<str>,
    /// Without what names one thing of many: see [`template::path`].
    pub path: Box<str>,
    /// The method of a JSON-RPC protocol that does no work; `stream` for what a server sends unasked,
    /// `response` for what a client answers it, `end` for the end of a session.
    pub rpc_method: Option<&'static str>,
    /// Why what it costs can't be told, if it costs.
    pub unmetered: Option<Unmetered>,
}

/// What they come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub exchanges: u64,
    /// Of bodies, without their transfer coding.
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// The last one's, if it was answered.
    pub status: Option<u16>,
}

/// An exchange that may be other traffic, as long as it goes on.
#[derive(Debug)]
pub(super) struct Passing {
    kind: Kind,
    tally: Tally,
    /// Of its URL, which a tool call may name.
    pub(super) fetch: Option<Fetch>,
}

impl Passing {
    pub(super) fn new(
        host: Option<&str>,
        method: &str,
        target: &str,
        unmetered: Option<Unmetered>,
    ) -> Self {
        let kind = Kind {
            host: host.map(|host| template::name(host).into()),
            method: template::name(method).into(),
            path: template::path(target).into(),
            rpc_method: None,
            unmetered,
        };
        Self { kind, tally: Tally { exchanges: 1, ..Tally::default() }, fetch: None }
    }

    pub(super) const fn sent(&mut self, bytes: usize) {
        self.tally.request_bytes += bytes as u64;
    }

    pub(super) const fn received(&mut self, bytes: usize) {
        self.tally.response_bytes += bytes as u64;
    }

    pub(super) const fn unmetered(&self) -> Option<Unmetered> {
        self.kind.unmetered
    }

    /// It goes on, or has: it is a tool call, if one names its URL.
    pub(super) fn fetch(&mut self, connection: &Connection, asking: &Asking) {
        let unmetered = self.unmetered();
        if let Some(fetch) = &mut self.fetch {
            fetch.place(connection, asking, unmetered);
        }
    }

    /// By which the tool call can be ended that it carries out.
    pub(super) fn cut(&self) -> Option<&Cut> {
        self.fetch.as_ref()?.cut()
    }

    /// Whether it carries out a tool call.
    pub(super) fn is_call(&self) -> bool {
        self.fetch.as_ref().is_some_and(Fetch::is_call)
    }

    /// Its answer names another place.
    pub(super) fn redirected(&self, connection: &Connection, host: Option<&str>, location: &str) {
        if let Some(fetch) = &self.fetch {
            fetch.redirected(connection, host, location);
        }
    }

    pub(super) fn ended(mut self, rpc_method: Option<&'static str>, status: Option<u16>) -> Self {
        self.kind.rpc_method = rpc_method;
        self.tally.status = status;
        self
    }
}

impl Others {
    /// The kinds that are listed, with most exchanges first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Kind, Tally)> {
        let mut lines: Vec<_> =
            self.lock().iter().map(|(kind, tally)| (kind.clone(), *tally)).collect();
        lines.sort_by(|(a, one), (b, other)| {
            let name = |kind: &Kind| (kind.host.clone(), kind.path.clone(), kind.method.clone());
            other.exchanges.cmp(&one.exchanges).then_with(|| name(a).cmp(&name(b)))
        });
        lines
    }

    /// Whether there was a line for it.
    pub(super) fn add(&self, passed: Passing) -> bool {
        let mut lines = self.lock();
        let Passing { kind, tally, .. } = passed;
        let has_room = lines.len() < limits::OTHER_LINES_PER_AGENT || lines.contains_key(&kind);
        // Beside the bound: there is always a line for the rest.
        let kind = if has_room { kind } else { Kind::rest() };
        let sum = lines.entry(kind).or_default();
        sum.exchanges += tally.exchanges;
        sum.request_bytes += tally.request_bytes;
        sum.response_bytes += tally.response_bytes;
        sum.status = tally.status.or(sum.status);
        has_room
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, Tally>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn rest() -> Self {
        let any = || Box::from("*");
        Self { host: None, method: any(), path: any(), rpc_method: None, unmetered: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(host: &str, target: &str) -> Passing {
        let mut passing = Passing::new(Some(host), "POST", target, None);
        passing.sent(3);
        passing.received(5);
        passing.ended(None, Some(200))
    }

    #[test]
    fn exchanges_of_one_kind_are_one_line() {
        let others = Others::default();
        for user in 0..10 {
            assert!(others.add(passed("a.test", &format!("/users/{user}?x={user}"))));
        }
        assert!(others.add(passed("b.test", "/users/1").ended(None, None)));
        let lines = others.snapshot();
        assert_eq!(lines.len(), 2);
        let (kind, tally) = &lines[0];
        assert_eq!((kind.host.as_deref(), &*kind.path), (Some("a.test"), "/users/{id}"));
        let expected =
            Tally { exchanges: 10, request_bytes: 30, response_bytes: 50, status: Some(200) };
        assert_eq!(*tally, expected);
    }

    #[test]
    fn what_finds_no_room_is_counted_together() {
        let others = Others::default();
        let hosts = (0..limits::OTHER_LINES_PER_AGENT + 50).map(|n| format!("h{n}.test"));
        let listed = hosts.filter(|host| others.add(passed(host, "/"))).count();
        assert_eq!(listed, limits::OTHER_LINES_PER_AGENT);
        assert!(others.add(passed("h0.test", "/")), "it has its line");
        let lines = others.snapshot();
        assert_eq!(lines.len(), limits::OTHER_LINES_PER_AGENT + 1);
        let (rest, tally) = &lines[0];
        assert_eq!((rest, tally.exchanges, tally.request_bytes), (&Kind::rest(), 50, 150));
    }
}
