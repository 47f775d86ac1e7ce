//! Calls that are under way, and can be ended from outside.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;

use super::{agent::Agent, clock::Clock, latch::Aftermath};
use crate::{
    call::{ConnectionId, Holder, Reason, SessionId, StepId, Timestamp, WorkflowId},
    config::Mode,
    limits::{self, Bound},
    lineage::{Change, Correction, Placement, Starter},
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
    /// Where it belongs, and those that share its exchange: none before they are placed.
    stands: VecDeque<Stand>,
    told: Arc<Told>,
}

/// Where a call belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) session: SessionId,
    pub(super) workflow: WorkflowId,
    pub(super) step: StepId,
    /// The tool call that it is made for, if it is for one.
    pub(super) under: Option<Starter>,
}

/// What a call is told, and tells.
#[derive(Debug)]
struct Told {
    notice: OnceLock<Notice>,
    waker: AtomicWaker,
    /// Bytes of its answer so far.
    answered: AtomicU64,
    /// When its upstream was let go.
    let_go: OnceLock<Timestamp>,
    clock: Clock,
}

/// That a call is to end.
#[derive(Debug)]
struct Notice {
    reason: Reason,
    at: Timestamp,
    /// Bytes of its answer by then.
    answered: u64,
    /// Who wants to know what comes of it.
    aftermath: Option<Arc<Aftermath>>,
}

/// How a call was told to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct SinceTold {
    pub(super) at: Timestamp,
    /// Bytes of its answer that have come since.
    pub(super) bytes: u64,
    /// When its upstream was let go, if it has been.
    pub(super) let_go: Option<Timestamp>,
}

impl SinceTold {
    /// It was told just now.
    pub(super) const fn now(at: Timestamp) -> Self {
        Self { at, bytes: 0, let_go: None }
    }
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
        self.tell(reason, None, |call| which(call.connection, call.seq))
    }

    /// Those of which one belongs where that holds.
    pub(super) fn cut_where(&self, reason: &Reason, which: impl Fn(&Stand) -> bool) -> usize {
        self.tell(reason, None, |call| call.stands.iter().any(&which))
    }

    /// The tool calls that calls are made for.
    pub(super) fn starters(&self) -> BTreeSet<Starter> {
        let listed = self.listed();
        let stands = listed.calls.values().flat_map(|call| &call.stands);
        stands.filter_map(|stand| stand.under).collect()
    }

    /// A step belongs elsewhere, if it is under way.
    pub(super) fn moved(&self, to: Stand) {
        let mut listed = self.listed();
        let stands = listed.calls.values_mut().flat_map(|call| &mut call.stands);
        for stand in stands.filter(|stand| stand.step == to.step) {
            *stand = to;
        }
    }

    fn tell(
        &self,
        reason: &Reason,
        aftermath: Option<&Arc<Aftermath>>,
        which: impl Fn(&Call) -> bool,
    ) -> usize {
        let listed = self.listed();
        let chosen = listed.calls.values().filter(|call| which(call));
        chosen.filter(|call| call.told.tell(reason, aftermath)).count()
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// Whether a holder holds it, among the calls of an agent that it does.
    fn is_of(&self, holder: &Holder) -> bool {
        let is_whole = !matches!(holder, Holder::Workflow(_) | Holder::Session(_));
        is_whole || self.stands.iter().any(|stand| stand.is_of(holder))
    }
}

impl Stand {
    /// Where a step belongs after all, if that is what is corrected.
    pub(super) fn corrected(correction: &Correction) -> Option<Self> {
        let Change::Place(place) = &correction.change else { return None };
        let (session, workflow, under) = (place.session, place.workflow, place.under);
        Some(Self { session, workflow, step: correction.step, under })
    }

    /// Whether a holder holds what is there, within an agent that it does.
    pub(super) fn is_of(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Workflow(id) => self.workflow == *id,
            Holder::Session(id) => self.session == *id,
            Holder::Agent(_) | Holder::Tenant(_) | Holder::Node => true,
        }
    }
}

impl From<&Placement> for Stand {
    fn from(placement: &Placement) -> Self {
        let Placement { session, workflow, step, under, .. } = *placement;
        Self { session, workflow, step, under }
    }
}

impl Cut {
    /// Lists a call. `None` over [`limits::CALLS_UNDER_WAY_PER_AGENT`]: then it ends only with its
    /// connection.
    pub(super) fn list(
        agent: &Arc<Agent>,
        connection: ConnectionId,
        seq: u64,
        clock: Clock,
    ) -> Option<Self> {
        let mut listed = agent.policing.under_way.listed();
        if listed.calls.len() >= limits::CALLS_UNDER_WAY_PER_AGENT {
            agent.bounds.hit(Bound::CallsUnderWay);
            return None;
        }
        let told = Arc::new(Told {
            notice: OnceLock::new(),
            waker: AtomicWaker::new(),
            answered: AtomicU64::new(0),
            let_go: OnceLock::new(),
            clock,
        });
        let number = listed.next;
        listed.next += 1;
        let call = Call { connection, seq, stands: VecDeque::new(), told: Arc::clone(&told) };
        listed.calls.insert(number, call);
        drop(listed);
        Some(Self { agent: Arc::clone(agent), number, told })
    }

    /// A call of it that goes upstream belongs there. It ends if that was killed since it was asked
    /// whether it is; in audit, also if it was before.
    pub(super) fn belongs(&self, stand: Stand) {
        if let Some(call) = self.agent.policing.under_way.listed().calls.get_mut(&self.number) {
            if call.stands.len() >= limits::CALLS_PER_CUT {
                // Of those on a WebSocket it has been answered, most likely.
                call.stands.pop_front();
            }
            call.stands.push_back(stand);
        }
        if let Some(reason) = self.agent.is_silenced(stand) {
            self.told.tell(&reason, None);
        }
    }

    /// The call is to end, because of what it does itself.
    pub(super) fn tell(&self, reason: &Reason) {
        self.told.tell(reason, None);
    }

    /// Why the call is to end, if it is; else it is woken when that changes.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Option<&Reason> {
        if self.told.notice.get().is_none() {
            self.told.waker.register(cx.waker());
        }
        self.told.notice.get().map(|notice| &notice.reason)
    }

    /// So many bytes of its answer have come.
    pub(super) fn answered(&self, bytes: usize) {
        // Nobody else writes it.
        let answered = self.told.answered.load(Ordering::Relaxed);
        self.told.answered.store(answered.saturating_add(bytes as u64), Ordering::Relaxed);
    }

    /// Its upstream has been let go: no more of its answer is read.
    pub(super) fn let_go(&self) {
        self.told.let_go.get_or_init(|| self.told.clock.now());
    }

    /// Why it was told to end, and how, if it was.
    pub(super) fn told(&self) -> Option<(&Reason, SinceTold)> {
        Some((&self.told.notice.get()?.reason, self.since_told()?))
    }

    /// How it was told to end, if it was.
    pub(super) fn since_told(&self) -> Option<SinceTold> {
        let answered = self.told.answered.load(Ordering::Relaxed);
        let notice = self.told.notice.get()?;
        let bytes = answered.saturating_sub(notice.answered);
        Some(SinceTold { at: notice.at, bytes, let_go: self.told.let_go.get().copied() })
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.agent.policing.under_way.listed().calls.remove(&self.number);
        // Only now: nobody can tell it any more.
        if let Some(aftermath) = self.told.notice.get().and_then(|notice| notice.aftermath.as_ref())
        {
            aftermath.end(*self.told.let_go.get_or_init(|| self.told.clock.now()));
        }
    }
}

impl Told {
    /// Whether it is the first reason, which is the one that counts.
    fn tell(&self, reason: &Reason, aftermath: Option<&Arc<Aftermath>>) -> bool {
        let notice = Notice {
            reason: reason.clone(),
            at: self.clock.now(),
            answered: self.answered.load(Ordering::Relaxed),
            aftermath: aftermath.cloned(),
        };
        if let Some(aftermath) = aftermath {
            aftermath.tell();
        }
        let first = self.notice.set(notice).is_ok();
        if let Some(aftermath) = aftermath.filter(|_| !first) {
            aftermath.forget();
        }
        self.waker.wake();
        first
    }
}

impl Agent {
    /// Ends what is under way of all that a holder holds, as far as it is this agent's. How many calls
    /// that were.
    pub(super) fn cut_of(
        self: &Arc<Self>,
        holder: &Holder,
        reason: &Reason,
        aftermath: Option<&Arc<Aftermath>>,
    ) -> usize {
        let of_calls = matches!(holder, Holder::Workflow(_) | Holder::Session(_));
        let is_its = of_calls || self.whose(&self.reference().name).is_held_by(holder);
        let told =
            self.policing.under_way.tell(reason, aftermath, |call| is_its && call.is_of(holder));
        // After those have been told, which nothing may keep from letting go of upstream.
        self.recall(reason, |stand| is_its && stand.is_of(holder));
        told
    }

    /// Nothing runs in it any more: ends what it has left under way, in enforce. That is what is made in
    /// the background, or answered elsewhere; whatever has a connection ends with that, as its client
    /// leaves, unless somebody else holds it.
    pub fn has_exited(self: &Arc<Self>) {
        if self.mode == Mode::Audit {
            return;
        }
        let reason = Reason::exited();
        self.policing.under_way.cut(&reason, |_, _| true);
        self.recall(&reason, |_| true);
    }

    /// How many of its calls that a holder holds are under way.
    #[must_use]
    pub fn calls_under_way(&self, holder: &Holder) -> usize {
        self.policing.under_way.listed().calls.values().filter(|call| call.is_of(holder)).count()
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
        let [first, other, gone] = [0, 1, 2].map(|seq| {
            Cut::list(&agent, ConnectionId(5), seq, Clock::start()).expect("there is room")
        });
        drop(gone);
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(first.poll(&cx), None);
        let reason = Reason::new(Cause::Cancelled, "no");
        assert_eq!(agent.cut(&reason, |connection, seq| (connection.0, seq) != (5, 1)), 1);
        assert_eq!(agent.cut(&Reason::ending(), |_, seq| seq == 0), 0);
        assert_eq!((first.poll(&cx), other.poll(&cx)), (Some(&reason), None));
    }

    #[test]
    fn what_comes_of_a_call_that_is_told_to_end_is_known() {
        let agent = agent();
        let [call, other] = [0, 1].map(|seq| {
            Cut::list(&agent, ConnectionId(5), seq, Clock::start()).expect("there is room")
        });
        call.answered(7);
        assert_eq!(agent.cut(&Reason::ending(), |_, seq| seq == 1), 1);
        let aftermath = Arc::<Aftermath>::default();
        let reason = Reason::new(Cause::Cancelled, "no");
        let holder = Holder::Agent("a".into());
        assert_eq!(agent.cut_of(&holder, &reason, Some(&aftermath)), 1);
        call.answered(5);
        assert_eq!(call.since_told().map(|since| since.bytes), Some(5));
        assert_eq!((aftermath.told(), aftermath.is_over(), aftermath.last_end()), (1, false, None));
        drop((call, other));
        assert!(aftermath.is_over() && aftermath.last_end().is_some());
        assert_eq!(agent.calls_under_way(&Holder::Node), 0);
    }

    #[test]
    fn a_call_is_told_by_where_it_belongs_also_when_that_changes() {
        let agent = agent();
        let call = Cut::list(&agent, ConnectionId(5), 0, Clock::start()).expect("there is room");
        let stand = |workflow| Stand {
            session: SessionId(1),
            workflow: WorkflowId(workflow),
            step: StepId(9),
            under: None,
        };
        let reason = Reason::new(Cause::Cancelled, "no");
        let under_way = &agent.policing.under_way;
        let cut =
            |workflow| under_way.cut_where(&reason, |stand| stand.workflow == WorkflowId(workflow));
        assert_eq!(cut(1), 0);
        call.belongs(stand(1));
        under_way.moved(stand(2));
        assert_eq!((cut(1), cut(2), cut(2)), (0, 1, 0));
    }

    #[test]
    fn the_last_calls_on_a_connection_are_known() {
        let agent = agent();
        let call = Cut::list(&agent, ConnectionId(5), 0, Clock::start()).expect("there is room");
        let most = limits::CALLS_PER_CUT as u64;
        for workflow in 0..=most {
            let (session, step) = (SessionId(1), StepId(workflow));
            call.belongs(Stand { session, workflow: WorkflowId(workflow), step, under: None });
        }
        let reason = Reason::new(Cause::Cancelled, "no");
        let cut = |workflow| agent.cut_of(&Holder::Workflow(WorkflowId(workflow)), &reason, None);
        assert_eq!((cut(0), cut(most)), (0, 1));
    }
}
