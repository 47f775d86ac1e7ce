//! Who is killed, as the data path asks, and what a kill comes to.

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::watch;

use super::{
    agent::{Agent, Agents},
    touched::Touched,
};
use crate::{
    call::{Cause, Holder, Reason, Timestamp, WorkflowId},
    cancel::{Kill, Latches, Whose},
    proxy::cut::Stand,
};

/// The latches of the gateway. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Latch(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether somebody is killed: most of the time nobody is.
    any: AtomicBool,
    latches: RwLock<Latches>,
    /// The data path has changed them.
    changed: AtomicBool,
    touched: Touched,
}

/// What a kill has come to so far.
#[derive(Debug, Default)]
pub struct Aftermath {
    /// Calls that were told to end, and how many have.
    told: AtomicU64,
    ended: AtomicU64,
    last_end: AtomicU64,
}

/// Tells a connection when its agent is killed.
#[derive(Clone, Debug)]
pub(super) struct Killed(watch::Receiver<Option<Reason>>);

impl Latch {
    #[must_use]
    pub fn new(latches: Latches) -> Self {
        let latch = Self::default();
        latch.change(|own| *own = latches);
        latch
    }

    /// The latches, to look at.
    pub fn read(&self) -> RwLockReadGuard<'_, Latches> {
        self.0.latches.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes them. What is under way is not touched by that.
    pub fn change<T>(&self, body: impl FnOnce(&mut Latches) -> T) -> T {
        let mut latches = self.write();
        let result = body(&mut latches);
        self.0.any.store(!latches.is_empty(), Ordering::Release);
        result
    }

    /// Whether the data path has changed them since this was last asked.
    #[must_use]
    pub fn take_changed(&self) -> bool {
        self.0.changed.swap(false, Ordering::AcqRel)
    }

    /// The workflows and sessions of which calls were held since this was last asked.
    #[must_use]
    pub fn touched(&self) -> &Touched {
        &self.0.touched
    }

    /// They are not what was written down.
    pub fn has_changed(&self) {
        self.0.changed.store(true, Ordering::Release);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Latches> {
        self.0.latches.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn any(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    /// A workflow is killed with one that turned out to be a part of it.
    fn follow(&self, part: WorkflowId, whole: WorkflowId) {
        if self.any() && self.change(|latches| latches.follow(part, whole)) {
            self.has_changed();
        }
    }
}

impl Aftermath {
    pub(super) fn tell(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
    }

    /// It had been told before.
    pub(super) fn forget(&self) {
        self.told.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn end(&self, at: Timestamp) {
        self.last_end.fetch_max(at.0, Ordering::AcqRel);
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    /// Calls that were told to end.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    /// Whether they all have.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire) >= self.told()
    }

    /// When the last of them was let go by the gateway, which read nothing of its answer after that.
    #[must_use]
    pub fn last_end(&self) -> Option<Timestamp> {
        let at = self.last_end.load(Ordering::Acquire);
        (at > 0).then_some(Timestamp(at))
    }
}

impl Killed {
    /// Resolves with why, when it is.
    pub(super) async fn told(&mut self) -> Reason {
        let told = self.0.wait_for(Option::is_some).await.map(|reason| reason.clone());
        match told {
            Ok(Some(reason)) => reason,
            // The agent is gone, and nobody will kill it.
            _ => std::future::pending().await,
        }
    }
}

impl Agent {
    pub(super) fn killed(&self) -> Killed {
        Killed(self.end.subscribe())
    }

    /// How many calls of a holder are to be answered in other exchanges than their own.
    #[must_use]
    pub fn calls_waiting(&self, holder: &Holder) -> usize {
        self.waiting.count(|session, workflow| match holder {
            Holder::Workflow(id) => *id == workflow,
            Holder::Session(id) => *id == session,
            Holder::Agent(_) | Holder::Tenant(_) | Holder::Node => true,
        })
    }

    /// The processes of it that run and belong to tool calls of a workflow or a session.
    #[must_use]
    pub fn tool_processes(&self, holder: &Holder) -> Vec<u32> {
        self.lineage().tool_processes(|session, workflow| match holder {
            Holder::Workflow(id) => *id == workflow,
            Holder::Session(id) => *id == session,
            Holder::Agent(_) | Holder::Tenant(_) | Holder::Node => false,
        })
    }

    /// Why nothing of it goes on, if it is killed.
    #[must_use]
    pub fn is_killed(&self) -> Option<Reason> {
        self.of_agent().map(|kill| reason(&kill))
    }

    /// Why a call of it does not go on, if it is killed.
    pub(super) fn is_silenced(&self, stand: Stand) -> Option<Reason> {
        if !self.latch.any() {
            return None;
        }
        let reference = self.reference();
        let latches = self.latch.read();
        let kill = latches.of_call(self.whose(&reference.name), stand.session, stand.workflow)?;
        self.latch.touched().note(&kill.holder);
        Some(reason(kill))
    }

    /// A step belongs elsewhere: if its workflow was killed, so is the one that it is in. Why it has to
    /// end for that.
    pub(super) fn follow_kills(&self, from: WorkflowId, stand: Stand) -> Option<Reason> {
        if from != stand.workflow {
            self.latch.follow(from, stand.workflow);
        }
        self.is_silenced(stand)
    }

    /// Brings its connections into line with the latches: they end if it is killed, and what comes
    /// later goes on if it is not any more.
    pub fn obey(&self) {
        self.end.send_if_modified(|end| {
            // As it is now: another may obey a later change at the same time.
            let killed = self.is_killed();
            let is_news = end.is_some() != killed.is_some();
            *end = killed;
            is_news
        });
    }

    fn of_agent(&self) -> Option<Kill> {
        if !self.latch.any() {
            return None;
        }
        let reference = self.reference();
        self.latch.read().of_agent(self.whose(&reference.name)).cloned()
    }

    pub(super) fn whose<'a>(&'a self, name: &'a str) -> Whose<'a> {
        Whose { agent: name, tenant: self.tenant.as_deref() }
    }
}

impl Agents {
    /// Ends all that is under way of a holder. What that comes to, the aftermath says.
    pub fn silence(&self, kill: &Kill, aftermath: &Arc<Aftermath>) {
        let why = reason(kill);
        for agent in self.all_that_go_on() {
            agent.cut_of(&kill.holder, &why, Some(aftermath));
            agent.obey();
        }
    }

    /// Lets those go on that are not killed any more.
    pub fn obey(&self) {
        self.all_that_go_on().iter().for_each(|agent| agent.obey());
    }
}

/// As its client is told.
fn reason(kill: &Kill) -> Reason {
    let why = kill.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let target = match &kill.holder {
        Holder::Workflow(id) => id.to_string(),
        Holder::Session(id) => format!("--session {id}"),
        Holder::Agent(name) => format!("--agent {name}"),
        Holder::Tenant(name) => format!("--tenant {name}"),
        Holder::Node => "--all".to_owned(),
    };
    let text = format!(
        "{} was killed{why}; an operator can have it go on with `turnpike revive {target}`",
        kill.holder
    );
    Reason::new(Cause::Cancelled, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{AgentRef, SessionId, StepId},
        cancel::Toll,
    };

    fn agent(latch: &Latch) -> Arc<Agent> {
        let reference =
            AgentRef { name: "a".into(), cgroup: "/a".into(), container_id: None, pod: None };
        Arc::new(Agent::new(7, reference, 1).latched(latch.clone(), Some("t".into())))
    }

    fn kill(holder: Holder) -> Kill {
        let reason = Some("it loops".into());
        Kill { holder, at: Timestamp(1), by_uid: 0, reason, cut: Toll::default() }
    }

    const STAND: Stand =
        Stand { session: SessionId(1), workflow: WorkflowId(2), step: StepId(3), under: None };

    #[tokio::test]
    async fn a_killed_agent_s_connections_are_told_and_those_of_a_revived_one_are_not() {
        let latch = Latch::default();
        let agent = agent(&latch);
        latch.change(|latches| latches.latch(kill(Holder::Tenant("t".into())))).expect("room");
        agent.obey();
        let reason = agent.killed().told().await;
        assert_eq!(
            reason.to_string(),
            "turnpike: tenant t was killed (it loops); an operator can have it go on with `turnpike \
             revive --tenant t`"
        );
        latch.change(|latches| latches.lift(&Holder::Tenant("t".into()))).expect("killed");
        agent.obey();
        assert!(agent.is_killed().is_none() && agent.end.borrow().is_none());
    }

    #[test]
    fn a_killed_workflow_s_calls_are_silenced_and_their_siblings_are_not() {
        let latch = Latch::default();
        let agent = agent(&latch);
        latch.change(|latches| latches.latch(kill(Holder::Workflow(WorkflowId(2))))).expect("room");
        assert!(agent.is_silenced(STAND).is_some() && agent.is_killed().is_none());
        let other = Stand { workflow: WorkflowId(4), ..STAND };
        assert!(agent.is_silenced(other).is_none() && !latch.take_changed());
        assert!(agent.follow_kills(WorkflowId(2), other).is_some(), "it is a part of it");
        assert!(latch.take_changed() && agent.is_silenced(other).is_some());
    }
}
