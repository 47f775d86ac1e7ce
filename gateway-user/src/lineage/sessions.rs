//! Sessions by the ids that clients give them. They join what nothing else does; where values that flowed
//! say otherwise, those count.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::{
    call::{SessionId, Signal, StepId},
    limits,
};

use super::recent::Recent;

/// A client's id, hashed. The same one under several names is one.
type Named = u128;

/// The sessions of an agent that its clients have named.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: Recent<Named, Opened, { limits::NAMED_SESSIONS_PER_AGENT }>,
    /// What ids are hashed under: people give them, too.
    salt: u64,
}

/// A session, and the step that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) session: SessionId,
    pub(super) by: StepId,
}

impl Sessions {
    /// With nothing in it yet, under another salt.
    #[allow(clippy::cast_possible_truncation, reason = "half of a secret")]
    pub(super) fn salted(self, salt: u128) -> Self {
        Self { salt: salt as u64, ..self }
    }

    /// The session that the signals name.
    pub(super) fn find(&self, signals: &[Signal]) -> Option<Opened> {
        named(self.salt, signals).find_map(|name| self.known.get(&name).copied())
    }

    /// Notes that the signals name this session, if they name none that is known.
    pub(super) fn note(&mut self, signals: &[Signal], opened: Opened) {
        for name in named(self.salt, signals) {
            self.known.learn(name, opened);
        }
    }

    /// By what sessions are named of which that is so, the latest first.
    pub(super) fn of(
        &self,
        is_meant: impl Fn(SessionId) -> bool,
    ) -> impl Iterator<Item = (Named, Opened)> {
        let all = self.known.latest().map(|(name, opened)| (*name, *opened));
        all.filter(move |(_, opened)| is_meant(opened.session))
    }

    /// A session was named so before.
    pub(super) fn recall(&mut self, name: Named, opened: Opened) {
        self.known.learn(name, opened);
    }

    /// Names that were forgotten to make room.
    pub(super) const fn evicted(&self) -> u64 {
        self.known.evicted()
    }
}

fn named(salt: u64, signals: &[Signal]) -> impl Iterator<Item = Named> {
    let ids = signals.iter().filter(|signal| signal.names_session() && !signal.value.is_empty());
    ids.map(move |signal| xxh3_128_with_seed(signal.value.as_bytes(), salt ^ 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(name: &'static str, value: impl Into<String>) -> Signal {
        Signal { name, value: value.into() }
    }

    fn opened(number: u64) -> Opened {
        Opened { session: SessionId(number), by: StepId(number) }
    }

    #[test]
    fn sessions_are_known_by_what_names_them_and_by_nothing_else() {
        let mut sessions = Sessions::default();
        sessions.note(&[signal("session-id", "a")], opened(1));
        sessions.note(&[signal("session-id", "a")], opened(2));
        sessions.note(&[signal("x-client-request-id", "b"), signal("session-id", "")], opened(3));
        let find = |name, value: &str| sessions.find(&[signal(name, value)]);
        assert_eq!(find("session-id", "a"), Some(opened(1)), "the first counts");
        assert_eq!(find("body.client_metadata.session_id", "a"), Some(opened(1)));
        assert_eq!(find("x-client-request-id", "a"), None);
        assert_eq!((find("session-id", "b"), find("session-id", "")), (None, None));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut sessions = Sessions::default();
        for number in 0..=limits::NAMED_SESSIONS_PER_AGENT {
            sessions.note(&[signal("session-id", number.to_string())], opened(number as u64));
        }
        assert_eq!(sessions.evicted(), 1);
        assert_eq!(sessions.find(&[signal("session-id", "0")]), None);
        assert!(sessions.find(&[signal("session-id", "1")]).is_some());
    }
}
