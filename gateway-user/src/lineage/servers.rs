//! Sessions that tool servers keep: their ids come from the server, and clients send them back with
//! each call (MCP 2025-11-25, "Streamable HTTP", section "Session Management").

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{manners::Kind, recent::Recent};
use crate::{
    call::{SessionId, Signal, SpreadMap},
    limits,
};

/// Which session each session of a server belongs to, as far as that is one.
#[derive(Debug, Default)]
pub(super) struct ServerSessions {
    known: Recent<Name, Tie, { limits::SERVER_SESSIONS_PER_AGENT }>,
    by_session: SpreadMap<SessionId, Name>,
    /// The kinds of agents whose tools are at servers.
    kinds: Recent<Kind, (), { limits::AGENT_KINDS }>,
}

/// A server's id of a session, hashed.
type Name = u128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tie {
    One(SessionId),
    /// The agent's sessions share it.
    Several,
}

/// How well a session fits a call, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    Own,
    /// The agent is of a kind whose tools are at servers.
    Likely,
    Open,
    /// It has another session at a server.
    Other,
}

impl ServerSessions {
    /// How well that session fits a call with these signals.
    pub(super) fn fit(&self, signals: &[Signal], session: SessionId, kind: Kind) -> Fit {
        let open = if self.kinds.contains(&kind) { Fit::Likely } else { Fit::Open };
        let Some(name) = name(signals) else { return open };
        match (self.known.get(&name), self.by_session.get(&session)) {
            (Some(Tie::One(own)), _) if *own == session => Fit::Own,
            (Some(Tie::One(_)), _) => Fit::Other,
            (None, Some(other)) if *other != name => Fit::Other,
            (Some(Tie::Several) | None, _) => open,
        }
    }

    /// A call with these signals belongs to that session, and to no other.
    pub(super) fn note(&mut self, signals: &[Signal], session: SessionId, kind: Kind) {
        self.kinds.learn(kind, ());
        let Some(name) = name(signals) else { return };
        if let Some(tie) = self.known.get_mut(&name) {
            if *tie != Tie::One(session) {
                self.by_session.remove(&session);
                *tie = Tie::Several;
            }
            return;
        }
        let (_, forgotten) = self.known.learn(name, Tie::One(session));
        if let Some((_, Tie::One(session))) = forgotten {
            self.by_session.remove(&session);
        }
        self.by_session.insert(session, name);
    }

    pub(super) const fn evicted(&self) -> u64 {
        self.known.evicted() + self.kinds.evicted()
    }
}

fn name(signals: &[Signal]) -> Option<Name> {
    let id = signals.iter().find(|signal| signal.name == "mcp-session-id")?;
    (!id.value.is_empty()).then(|| xxh3_128_with_seed(id.value.as_bytes(), 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> Vec<Signal> {
        vec![Signal { name: "mcp-session-id", value: id.to_owned() }]
    }

    #[test]
    fn a_servers_session_belongs_to_one_session_until_another_one_shares_it() {
        let [one, other] = [1, 2].map(SessionId);
        let mut servers = ServerSessions::default();
        assert_eq!(servers.fit(&of("a"), one, 1), Fit::Open);
        servers.note(&of("a"), one, 1);
        servers.note(&[], other, 1);
        let fits = [(&of("a"), one), (&of("a"), other), (&of("b"), one), (&of("b"), other)];
        let fits = fits.map(|(signals, session)| servers.fit(signals, session, 2));
        assert_eq!(fits, [Fit::Own, Fit::Other, Fit::Other, Fit::Open]);
        servers.note(&of("a"), other, 1);
        assert_eq!(servers.fit(&of("a"), one, 2), Fit::Open);
        assert_eq!(servers.fit(&of("a"), one, 1), Fit::Likely, "others of its kind have");
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut servers = ServerSessions::default();
        for number in 0..=limits::SERVER_SESSIONS_PER_AGENT as u64 {
            servers.note(&of(&number.to_string()), SessionId(number), number);
        }
        assert_eq!(servers.known.evicted(), 1);
        assert_eq!(servers.by_session.len(), limits::SERVER_SESSIONS_PER_AGENT);
        assert_eq!(servers.fit(&of("0"), SessionId(0), 0), Fit::Open);
    }
}
