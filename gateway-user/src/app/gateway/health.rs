//! What the gateway has found out about an agent beside what its connections tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::trust::Trust;
use crate::{
    attach::{netns::NetnsId, pins::HeldAgent},
    control::model::Redirect,
    limits, proxy,
};

/// An agent as it is shown.
#[derive(Clone, Debug)]
pub(in crate::app) struct Shown {
    pub(super) held: HeldAgent,
    /// Those that wait to be taken over have no part in the proxy.
    pub(super) proxy: Option<Arc<proxy::Agent>>,
    pub(super) health: Arc<Health>,
    pub(super) trust: Option<Arc<Trust>>,
}

/// Of one agent, shared with whoever shows it.
#[derive(Debug, Default)]
pub(in crate::app) struct Health {
    older: Mutex<Older>,
    /// Sockets that were destroyed when the agent was attached.
    reset: AtomicU64,
    /// Connects of self-tests that the hooks counted as the agent's.
    tests: AtomicU64,
    redirects: Mutex<BTreeMap<NetnsId, Tested>>,
}

/// The sockets that are older than the hooks, by their cookies; `None` if they can't be listed.
type Older = Option<BTreeSet<u64>>;

/// The outcome of a namespace's last self-test.
#[derive(Debug)]
struct Tested {
    at: Instant,
    redirect: Redirect,
}

impl Health {
    /// Sockets that are older than the hooks and still open; `None` if nobody knows.
    pub(super) fn older(&self) -> Option<u64> {
        self.lock_older().as_ref().map(|older| older.len() as u64)
    }

    pub(super) fn set_older(&self, older: Older) {
        *self.lock_older() = older;
    }

    /// Those of them that are not among the open ones have ended.
    pub(super) fn retain_older(&self, open: &BTreeSet<u64>) {
        if let Some(older) = self.lock_older().as_mut() {
            older.retain(|cookie| open.contains(cookie));
        }
    }

    pub(super) fn count_reset(&self, sockets: u64) {
        self.reset.fetch_add(sockets, Ordering::Relaxed);
    }

    pub(super) fn reset(&self) -> u64 {
        self.reset.load(Ordering::Relaxed)
    }

    pub(super) fn count_test(&self) {
        self.tests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tests(&self) -> u64 {
        self.tests.load(Ordering::Relaxed)
    }

    /// Whether it is time to test the redirect in a namespace.
    pub(super) fn is_due(&self, netns: NetnsId, now: Instant) -> bool {
        self.lock_redirects().get(&netns).is_none_or(|tested| {
            let period = if tested.redirect == Redirect::Ok { PERIOD } else { RETRY };
            now.saturating_duration_since(tested.at) >= period
        })
    }

    /// Keeps the outcome of a test. Whether it is news.
    pub(super) fn tested(&self, netns: NetnsId, redirect: &Redirect, at: Instant) -> bool {
        let tested = Tested { at, redirect: redirect.clone() };
        let before = self.lock_redirects().insert(netns, tested);
        before.is_none_or(|before| before.redirect != *redirect)
    }

    /// Forgets namespaces that the agent has left.
    pub(super) fn retain_namespaces(&self, namespaces: &BTreeSet<NetnsId>) {
        self.lock_redirects().retain(|netns, _| namespaces.contains(netns));
    }

    /// The first failure, if there is one; `None` before anything was tested.
    pub(super) fn redirect(&self) -> Option<Redirect> {
        let redirects = self.lock_redirects();
        let all = || redirects.values().map(|tested| &tested.redirect);
        all().find(|redirect| **redirect != Redirect::Ok).or_else(|| all().next()).cloned()
    }

    fn lock_older(&self) -> MutexGuard<'_, Older> {
        self.older.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_redirects(&self) -> MutexGuard<'_, BTreeMap<NetnsId, Tested>> {
        self.redirects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a redirect that works is tested again.
const PERIOD: Duration = limits::SELF_TEST_PERIOD;
/// How often one that does not is.
const RETRY: Duration = limits::SELF_TEST_RETRY;
