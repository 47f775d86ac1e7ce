//! Which calls of an agent wait for their answers, wherever these come.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::super::CallKey;
use crate::{call::SpreadMap, limits};

/// A session in which ids are not given twice: what it is called, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session(u128);

impl Session {
    /// The one that the server gave this id.
    pub(in crate::dialect) fn named(id: &str) -> Self {
        Self(xxh3_128_with_seed(id.as_bytes(), 1))
    }

    /// The one whose requests go to this target, which has its id in it in the transport before
    /// there were sessions.
    pub(in crate::dialect) fn at(target: &str) -> Self {
        Self(xxh3_128_with_seed(origin_form(target).as_bytes(), 2))
    }

    /// The same, of the reference that a server gave for it in answer to a request to `base`
    /// (RFC 3986, section 5.2).
    pub(in crate::dialect) fn at_reference(base: &str, reference: &str) -> Self {
        let reference = reference.trim();
        if reference.starts_with('/') || reference.contains("://") {
            return Self::at(reference);
        }
        let path = origin_form(base).split(['?', '#']).next().unwrap_or_default();
        let before = match reference.chars().next() {
            Some('?') | None => path,
            Some(_) => &path[..path.rfind('/').map_or(0, |slash| slash + 1)],
        };
        Self::at(&format!("{before}{}", reference.strip_prefix("./").unwrap_or(reference)))
    }
}

/// The calls that wait. The one that was asked first makes room: it is counted where its step is kept,
/// which makes room with it.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Pending {
    calls: SpreadMap<(Session, u128), Waiting>,
    /// Oldest first.
    order: BTreeMap<CallKey, (Session, u128)>,
}

/// What becomes of a call whose exchange is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Left {
    /// What there is to say of it is, or was, said elsewhere.
    Waits,
    Ended {
        cancelled: bool,
    },
}

/// A call whose client does not want its answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Withdrawn {
    /// The answer could only have come in another exchange: it waits no longer.
    Ended(CallKey),
    /// Its own exchange will say what becomes of it.
    GoesOn(CallKey),
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    key: CallKey,
    /// The client has said that it does not want the answer any more.
    cancelled: bool,
    /// Its exchange is over: the answer comes in another one.
    left: bool,
}

impl Pending {
    pub(in crate::dialect) fn open(&mut self, session: Session, id: u128, key: CallKey) {
        let place = (session, id);
        let waiting = Waiting { key, cancelled: false, left: false };
        // Of two calls with one id, the later one is meant by what comes.
        if let Some(before) = self.calls.insert(place, waiting) {
            self.order.remove(&before.key);
        }
        self.order.insert(key, place);
        if self.order.len() > limits::WAITING_CALLS_PER_AGENT
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.calls.remove(&oldest);
        }
    }

    /// The call that is answered by this; it waits no longer.
    pub(in crate::dialect) fn take(&mut self, session: Session, id: u128) -> Option<CallKey> {
        let Waiting { key, .. } = self.calls.remove(&(session, id))?;
        self.order.remove(&key);
        Some(key)
    }

    /// A call waits no longer.
    pub(in crate::dialect) fn close(&mut self, key: CallKey) {
        if let Some(place) = self.order.remove(&key) {
            self.calls.remove(&place);
        }
    }

    /// The client cancels a call.
    pub(in crate::dialect) fn cancel(&mut self, session: Session, id: u128) -> Option<Withdrawn> {
        let waiting = self.calls.get_mut(&(session, id))?;
        waiting.cancelled = true;
        if !waiting.left {
            return Some(Withdrawn::GoesOn(waiting.key));
        }
        self.take(session, id).map(Withdrawn::Ended)
    }

    /// A call's exchange is over without its answer, which `may_come` in another one.
    pub(in crate::dialect) fn leave(&mut self, key: CallKey, may_come: bool) -> Left {
        match self.order.get(&key).and_then(|place| self.calls.get_mut(place)) {
            // It has been answered elsewhere.
            None if may_come => Left::Waits,
            None => Left::Ended { cancelled: false },
            Some(waiting) if may_come && !waiting.cancelled => {
                waiting.left = true;
                Left::Waits
            }
            Some(waiting) => {
                let cancelled = waiting.cancelled;
                self.close(key);
                Left::Ended { cancelled }
            }
        }
    }

    /// The session is over: its calls that nothing can answer any more.
    pub(in crate::dialect) fn end(&mut self, session: Session) -> Vec<CallKey> {
        let lost = self.order.iter().filter(|(_, (of, _))| *of == session).map(|(key, _)| *key);
        let lost: Vec<_> = lost.collect();
        for key in &lost {
            self.close(*key);
        }
        lost
    }
}

/// A target without its scheme and authority.
fn origin_form(target: &str) -> &str {
    let target = target.split('#').next().unwrap_or_default();
    let after = match target.split_once("://") {
        // Behind a slash or a question mark it is a part of the path.
        Some((scheme, after)) if !scheme.contains(['/', '?']) => after,
        _ => match target.strip_prefix("//") {
            Some(after) => after,
            None => return target,
        },
    };
    after.find('/').map_or("/", |path| &after[path..])
}

#[cfg(test)]
mod tests {
    use super::super::super::Known;
    use super::*;

    #[test]
    fn an_endpoint_is_the_target_that_is_posted_to() {
        let at = Session::at("/messages/?session_id=1");
        for (base, reference) in [
            ("/sse", "/messages/?session_id=1"),
            ("/sse", "http://mcp.test:80/messages/?session_id=1#x"),
            ("/sse", "//mcp.test/messages/?session_id=1"),
            ("http://mcp.test/sse?a=/b", "messages/?session_id=1"),
            ("/messages/?x", "?session_id=1"),
            ("/messages/sse", "./?session_id=1"),
        ] {
            assert_eq!(Session::at_reference(base, reference), at, "{base} {reference}");
        }
        assert_eq!(Session::at("http://mcp.test/messages/?session_id=1"), at);
        assert_ne!(Session::at_reference("/a/sse", "messages/?session_id=1"), at);
        assert_ne!(Session::named("/messages/?session_id=1"), at);
        assert_eq!(Session::at("http://mcp.test"), Session::at("/"));
    }

    #[test]
    fn calls_wait_where_they_are_answered() {
        let (mut pending, mut known) = (Pending::default(), Known::default());
        let (one, two) = (Session::named("1"), Session::named("2"));
        let keys = [(); 4].map(|()| known.key());
        pending.open(one, 7, keys[0]);
        pending.open(two, 7, keys[1]);
        pending.open(one, 8, keys[2]);
        assert_eq!(pending.take(two, 7), Some(keys[1]));
        assert_eq!(pending.take(two, 7), None);
        assert_eq!(pending.cancel(one, 7), Some(Withdrawn::GoesOn(keys[0])));
        assert_eq!(pending.leave(keys[0], true), Left::Ended { cancelled: true });
        assert_eq!(pending.leave(keys[2], true), Left::Waits);
        assert_eq!(pending.cancel(one, 8), Some(Withdrawn::Ended(keys[2])));
        assert_eq!(pending.leave(keys[2], true), Left::Waits, "that was said");
        pending.open(one, 9, keys[3]);
        assert_eq!(pending.end(one), [keys[3]]);
        assert!(pending.calls.is_empty() && pending.order.is_empty());
    }

    #[test]
    fn the_oldest_makes_room() {
        let (mut pending, mut known) = (Pending::default(), Known::default());
        let session = Session::named("1");
        for id in 0..=limits::WAITING_CALLS_PER_AGENT as u128 {
            pending.open(session, id, known.key());
            // A call whose id is given again is not found any more, and takes no room.
            pending.open(session, id, known.key());
        }
        assert_eq!(pending.take(session, 0), None);
        assert!(pending.take(session, 1).is_some());
        assert_eq!(pending.calls.len(), pending.order.len());
    }
}
