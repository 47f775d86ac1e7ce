//! What is known of kinds of agents, which have instructions and tools in common: whether their
//! conversations are begun by users, or by other agents.

use super::recent::Recent;
use crate::limits;

/// A kind of agent: its instructions and its tools, hashed.
pub(super) type Kind = u64;

/// The kinds that were seen.
#[derive(Debug, Default)]
pub(super) struct Manners(Recent<Kind, Manner, { limits::AGENT_KINDS }>);

/// Who begins their conversations, how often.
#[derive(Debug, Default)]
struct Manner {
    by_users: u32,
    by_agents: u32,
}

impl Manners {
    /// A conversation of this kind has begun.
    pub(super) fn note(&mut self, kind: Kind, by_agent: bool) {
        let (it, _) = self.0.learn(kind, Manner::default());
        let count = if by_agent { &mut it.by_agents } else { &mut it.by_users };
        *count = count.saturating_add(1);
    }

    /// Whether it is users who begin them, as a rule.
    pub(super) fn serves_users(&self, kind: Kind) -> bool {
        self.0.get(&kind).is_some_and(|it| it.by_users > 1 && it.by_users / 2 > it.by_agents)
    }

    pub(super) const fn evicted(&self) -> u64 {
        self.0.evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_serves_users_if_they_begin_most_of_its_conversations() {
        let mut manners = Manners::default();
        assert!(!manners.serves_users(1));
        manners.note(1, false);
        assert!(!manners.serves_users(1), "once says little");
        manners.note(1, false);
        assert!(manners.serves_users(1) && !manners.serves_users(2));
        manners.note(1, true);
        assert!(!manners.serves_users(1));
    }

    #[test]
    fn the_oldest_kind_makes_room() {
        let mut manners = Manners::default();
        for kind in 0..=limits::AGENT_KINDS as u64 {
            manners.note(kind, false);
            manners.note(kind, false);
        }
        assert!(!manners.serves_users(0) && manners.serves_users(1));
        assert_eq!(manners.evicted(), 1);
    }
}
