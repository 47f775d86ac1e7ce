//! Who is to be silent: kills, which hold until they are revoked.
//!
//! ```text
//!          latch                    lift
//!   free ─────────▶ latched, since ───────▶ free
//!                     │      ▲
//!                     └──────┘ latch: the first one counts
//! ```
//!
//! A latch on a workflow or a session holds its calls, one on an agent, a tenant or the node all that
//! they send. Latches are never forgotten to make room for others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    call::{Holder, Name, SessionId, Timestamp, WorkflowId},
    limits,
};

/// Who is killed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latches {
    kills: BTreeMap<Holder, Kill>,
}

/// A kill that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    pub holder: Holder,
    pub at: Timestamp,
    /// Who wanted it.
    pub by_uid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default)]
    pub cut: Toll,
}

/// What a kill has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toll {
    /// Calls that were under way.
    pub streams: u64,
    pub sockets: u64,
    /// Processes that were signalled.
    #[serde(default)]
    pub processes: u64,
}

/// There is no room for one more. The caller's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} kills are in force, and no more can be; revive some (see `turnpike kills`), or kill the \
     agent as a whole",
    limits::KILLS
)]
pub struct Full;

/// What a call or a connection may be held by.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    pub agent: &'a str,
    pub tenant: Option<&'a str>,
}

impl Whose<'_> {
    /// Whether a holder holds all of the agent.
    #[must_use]
    pub fn is_held_by(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Workflow(_) | Holder::Session(_) => false,
            Holder::Agent(name) => **name == *self.agent,
            Holder::Tenant(name) => self.tenant == Some(&**name),
            Holder::Node => true,
        }
    }
}

impl Latches {
    /// Has a kill hold. If its holder is killed already that one goes on to hold, and this says so.
    pub fn latch(&mut self, kill: Kill) -> Result<bool, Full> {
        if self.kills.contains_key(&kill.holder) {
            return Ok(false);
        }
        if self.kills.len() >= limits::KILLS {
            return Err(Full);
        }
        self.kills.insert(kill.holder.clone(), kill);
        Ok(true)
    }

    /// Revokes a kill.
    pub fn lift(&mut self, holder: &Holder) -> Option<Kill> {
        self.kills.remove(holder)
    }

    /// Says what a kill has ended so far.
    pub fn count(&mut self, holder: &Holder, cut: Toll) {
        if let Some(kill) = self.kills.get_mut(holder) {
            kill.cut.streams += cut.streams;
            kill.cut.sockets += cut.sockets;
            kill.cut.processes += cut.processes;
        }
    }

    /// A workflow turned out to be a part of another one: that is killed with it. Whether that is news.
    pub fn follow(&mut self, part: WorkflowId, whole: WorkflowId) -> bool {
        let Some(kill) = self.kills.get(&Holder::Workflow(part)) else { return false };
        let kill = Kill { holder: Holder::Workflow(whole), cut: Toll::default(), ..kill.clone() };
        part != whole && self.latch(kill) == Ok(true)
    }

    /// An agent has another name: it is no less killed under that. Whether that is news.
    pub fn rename(&mut self, agent: &Name, to: &Name) -> bool {
        let Some(kill) = self.kills.get(&Holder::Agent(agent.clone())) else { return false };
        let kill = Kill { holder: Holder::Agent(to.clone()), ..kill.clone() };
        agent != to && self.latch(kill) == Ok(true)
    }

    /// The kill that holds all of an agent, the widest first.
    #[must_use]
    pub fn of_agent(&self, whose: Whose<'_>) -> Option<&Kill> {
        if self.kills.is_empty() {
            return None;
        }
        let tenant = whose.tenant.map(|tenant| Holder::Tenant(tenant.into()));
        [Some(Holder::Node), tenant, Some(Holder::Agent(whose.agent.into()))]
            .into_iter()
            .flatten()
            .find_map(|holder| self.kills.get(&holder))
    }

    /// The kill that holds a call, the widest first.
    #[must_use]
    pub fn of_call(
        &self,
        whose: Whose<'_>,
        session: SessionId,
        workflow: WorkflowId,
    ) -> Option<&Kill> {
        if self.kills.is_empty() {
            return None;
        }
        let own = [Holder::Session(session), Holder::Workflow(workflow)];
        self.of_agent(whose).or_else(|| own.iter().find_map(|holder| self.kills.get(holder)))
    }

    /// All that are in force, by their holders.
    pub fn iter(&self) -> impl Iterator<Item = &Kill> {
        self.kills.values()
    }

    #[must_use]
    pub fn get(&self, holder: &Holder) -> Option<&Kill> {
        self.kills.get(holder)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kills.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(holder: Holder) -> Kill {
        Kill { holder, at: Timestamp(1), by_uid: 0, reason: None, cut: Toll::default() }
    }

    fn latched(holders: &[Holder]) -> Latches {
        let mut latches = Latches::default();
        for holder in holders {
            assert_eq!(latches.latch(kill(holder.clone())), Ok(true));
        }
        latches
    }

    const A: Whose<'_> = Whose { agent: "a", tenant: Some("t") };

    #[test]
    fn a_call_is_held_by_whatever_holds_it_the_widest_first() {
        let workflow = Holder::Workflow(WorkflowId(1));
        for holder in [
            workflow.clone(),
            Holder::Session(SessionId(2)),
            Holder::Agent("a".into()),
            Holder::Tenant("t".into()),
            Holder::Node,
        ] {
            let latches = latched(std::slice::from_ref(&holder));
            let of_call = latches.of_call(A, SessionId(2), WorkflowId(1));
            assert_eq!(of_call.map(|kill| &kill.holder), Some(&holder));
            let other = Whose { agent: "b", tenant: None };
            let of_other = latches.of_call(other, SessionId(3), WorkflowId(4));
            assert_eq!(of_other.is_some(), holder == Holder::Node);
        }
        let latches = latched(&[workflow, Holder::Agent("a".into())]);
        let of_call = latches.of_call(A, SessionId(2), WorkflowId(1)).expect("held");
        assert_eq!(of_call.holder, Holder::Agent("a".into()));
    }

    #[test]
    fn the_first_kill_of_a_holder_counts_until_it_is_revoked() {
        let mut latches = latched(&[Holder::Node]);
        let later = Kill { at: Timestamp(9), ..kill(Holder::Node) };
        assert_eq!(latches.latch(later), Ok(false));
        assert_eq!(latches.lift(&Holder::Node).map(|kill| kill.at), Some(Timestamp(1)));
        assert_eq!(latches.lift(&Holder::Node), None);
        assert!(latches.is_empty());
    }

    #[test]
    fn the_whole_is_killed_with_its_part_and_the_agent_under_its_new_name() {
        let (part, whole) = (WorkflowId(1), WorkflowId(2));
        let mut latches = latched(&[Holder::Workflow(part), Holder::Agent("a".into())]);
        assert!(latches.follow(part, whole) && !latches.follow(part, whole));
        assert!(!latches.follow(WorkflowId(7), part));
        assert!(latches.get(&Holder::Workflow(whole)).is_some());
        assert!(latches.rename(&"a".into(), &"b".into()));
        assert!(!latches.rename(&"c".into(), &"d".into()));
        assert!(latches.of_agent(Whose { agent: "b", tenant: None }).is_some());
    }

    #[test]
    fn no_kill_makes_room_for_another() {
        let mut latches = Latches::default();
        for id in 0..limits::KILLS as u64 {
            latches.latch(kill(Holder::Workflow(WorkflowId(id)))).expect("there is room");
        }
        assert_eq!(latches.latch(kill(Holder::Node)), Err(Full));
        assert_eq!(latches.latch(kill(Holder::Workflow(WorkflowId(0)))), Ok(false));
    }
}
