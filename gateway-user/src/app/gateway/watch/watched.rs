//! What the watch has seen, and how it ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use gateway_common::AgentId;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits;

/// Of every cgroup that is there.
#[derive(Debug)]
pub(in crate::app::gateway) struct Watched {
    seen: Mutex<BTreeMap<AgentId, Outcome>>,
    /// For finding out what a cgroup is.
    room: Semaphore,
    delayed: AtomicU64,
    unwatched: AtomicU64,
    late: AtomicU64,
}

/// What became of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is being found out.
    Open,
    Attached,
    /// No rule matches it. The name, if it is a container.
    Unmatched(Option<String>),
    /// A rule matches it, but it could not be attached, for this reason.
    Refused(String),
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            room: Semaphore::new(limits::PENDING_LOOKUPS),
            delayed: AtomicU64::default(),
            unwatched: AtomicU64::default(),
            late: AtomicU64::default(),
        }
    }
}

impl Watched {
    /// Whether a cgroup is to be looked into: it is new, or could not be attached before.
    pub(super) fn is_due(&self, id: AgentId) -> bool {
        matches!(self.lock().get(&id), None | Some(Outcome::Refused(_)))
    }

    /// Takes a cgroup that is due on.
    pub(super) fn begin(&self, id: AgentId) -> bool {
        let is_due = self.is_due(id);
        if is_due {
            self.lock().entry(id).or_insert(Outcome::Open);
        }
        is_due
    }

    /// Keeps an outcome. Whether it is news.
    pub(super) fn end(&self, id: AgentId, outcome: Outcome) -> bool {
        self.lock().insert(id, outcome.clone()) != Some(outcome)
    }

    /// A command has detached it: no rule attaches it again while it is there.
    pub(in crate::app::gateway) fn leave_alone(&self, id: AgentId) {
        self.end(id, Outcome::Attached);
    }

    /// Forgets those that are gone.
    pub(super) fn retain(&self, there: &BTreeSet<AgentId>) {
        self.lock().retain(|id, _| there.contains(id));
    }

    pub(super) fn forget(&self, id: AgentId) {
        self.lock().remove(&id);
    }

    /// Keeps how many cgroups are not watched.
    pub(super) fn measure(&self, unwatched: u64) {
        self.unwatched.store(unwatched, Ordering::Relaxed);
    }

    /// A place for finding something out, once there is one. `None` would say that there is none any
    /// more.
    pub(super) async fn room(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.room.try_acquire() {
            return Some(permit);
        }
        self.delayed.fetch_add(1, Ordering::Relaxed);
        self.room.acquire().await.ok()
    }

    pub(super) fn count_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// The names of the containers that no rule matches: so many as the bound allows.
    pub(in crate::app::gateway) fn unattached(&self) -> Vec<String> {
        let seen = self.lock();
        seen.values().filter_map(unmatched).take(limits::UNATTACHED_NAMES).cloned().collect()
    }

    /// By name, as `turnpike status` shows them.
    pub(in crate::app::gateway) fn counters(&self) -> [(&'static str, u64); 5] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (mut unattached, mut refused) = (0, 0);
        for outcome in self.lock().values() {
            unattached += u64::from(unmatched(outcome).is_some());
            refused += u64::from(matches!(outcome, Outcome::Refused(_)));
        }
        [
            ("cgroups_not_watched", get(&self.unwatched)),
            ("cgroups_that_waited_for_a_lookup", get(&self.delayed)),
            ("containers_not_attached", unattached),
            ("agents_not_attached_though_a_rule_matches", refused),
            ("agents_attached_late", get(&self.late)),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Outcome>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unmatched(outcome: &Outcome) -> Option<&String> {
    match outcome {
        Outcome::Unmatched(name) => name.as_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lookups_over_the_bound_wait_and_are_counted() {
        let watched = Watched::default();
        let delayed = || watched.delayed.load(Ordering::Relaxed);
        let mut held = Vec::new();
        for _ in 0..limits::PENDING_LOOKUPS {
            held.push(watched.room().await);
        }
        assert_eq!(delayed(), 0);
        let mut next = std::pin::pin!(watched.room());
        // Once, so that it begins to wait.
        tokio::select! {
            biased;
            _ = next.as_mut() => panic!("there is room"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(delayed(), 1);
        held.pop();
        assert!(next.await.is_some());
    }

    #[test]
    fn a_cgroup_is_looked_into_once_unless_it_was_refused() {
        let watched = Watched::default();
        assert!(watched.begin(1));
        assert!(!watched.begin(1), "it is being looked into");
        assert!(watched.end(1, Outcome::Unmatched(Some("web".into()))));
        assert!(!watched.begin(1));
        assert_eq!(watched.unattached(), ["web"]);

        assert!(watched.begin(2));
        assert!(watched.end(2, Outcome::Refused("it overlaps".into())));
        assert!(watched.begin(2));
        assert!(!watched.end(2, Outcome::Refused("it overlaps".into())), "no news");

        watched.leave_alone(3);
        assert!(!watched.begin(3), "a command has detached it");

        watched.retain(&BTreeSet::from([2]));
        assert!(watched.begin(1), "another with the same id");
    }
}
