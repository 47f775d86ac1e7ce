//! Calls that are under way, and can be ended from outside.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Context,
};

use futures_util::task::AtomicWaker;

use super::agent::Agent;
use crate::{
    call::{ConnectionId, Reason},
    limits::{self, Bound},
};

/// The calls of an agent that are under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<Listed>);

#[derive(Debug, Default)]
struct Listed {
    next: u64,
    calls: BTreeMap<u64, Call>,
}

#[derive(Debug)]
struct Call {
    connection: ConnectionId,
    seq: u64,
    told: Arc<Told>,
}

/// What a call is told.
#[derive(Debug, Default)]
struct Told {
    reason: OnceLock<Reason>,
    waker: AtomicWaker,
}

/// The call's own end. While it is there the call can be cut.
#[derive(Debug)]
pub(super) struct Cut {
    agent: Arc<Agent>,
    number: u64,
    told: Arc<Told>,
}

impl UnderWay {
    pub(super) fn cut(&self, reason: &Reason, which: impl Fn(ConnectionId, u64) -> bool) -> usize {
        let listed = self.listed();
        let chosen = listed.calls.values().filter(|call| which(call.connection, call.seq));
        let told = chosen.filter(|call| call.told.tell(reason));
        told.count()
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cut {
    /// Lists a call. `None` over [`limits::CALLS_UNDER_WAY_PER_AGENT`]: then it ends only with its
    /// connection.
    pub(super) fn list(agent: &Arc<Agent>, connection: ConnectionId, seq: u64) -> Option<Self> {
        let mut listed = agent.policing.under_way.listed();
        if listed.calls.len() >= limits::CALLS_UNDER_WAY_PER_AGENT {
            agent.bounds.hit(Bound::CallsUnderWay);
            return None;
        }
        let told = Arc::<Told>::default();
        let number = listed.next;
        listed.next += 1;
        listed.calls.insert(number, Call { connection, seq, told: Arc::clone(&told) });
        drop(listed);
        Some(Self { agent: Arc::clone(agent), number, told })
    }

    /// Why the call is to end, if it is; else it is woken when that changes.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Option<&Reason> {
        if self.told.reason.get().is_none() {
            self.told.waker.register(cx.waker());
        }
        self.told.reason.get()
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.agent.policing.under_way.listed().calls.remove(&self.number);
    }
}

impl Told {
    /// Whether it is the first reason, which is the one that counts.
    fn tell(&self, reason: &Reason) -> bool {
        let first = self.reason.set(reason.clone()).is_ok();
        self.waker.wake();
        first
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::call::{AgentRef, Cause};

    fn agent() -> Arc<Agent> {
        let reference =
            AgentRef { name: "a".into(), cgroup: "/a".into(), container_id: None, pod: None };
        Arc::new(Agent::new(7, reference, 1))
    }

    #[test]
    fn a_call_is_told_once_and_only_while_it_is_under_way() {
        let agent = agent();
        let [first, other, gone] =
            [0, 1, 2].map(|seq| Cut::list(&agent, ConnectionId(5), seq).expect("there is room"));
        drop(gone);
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(first.poll(&cx), None);
        let reason = Reason::new(Cause::Cancelled, "no");
        assert_eq!(agent.cut(&reason, |connection, seq| (connection.0, seq) != (5, 1)), 1);
        assert_eq!(agent.cut(&Reason::ending(), |_, seq| seq == 0), 0);
        assert_eq!((first.poll(&cx), other.poll(&cx)), (Some(&reason), None));
    }
}
