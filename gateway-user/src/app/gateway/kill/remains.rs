//! Remembering who is killed or stopped, so that what goes on with it is recognised whatever happens to this
//! gateway.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
};

use tokio::task::spawn_blocking;

use crate::{
    app::{
        gateway::Gateway,
        remains::{RemainsError, Remembered, Remembrance},
    },
    call::Holder,
    control::model::Refusal,
    proxy,
};

impl Gateway {
    /// The agent, which recognises what goes on with workflows that there were before it was attached.
    pub(in crate::app::gateway) fn recalling(
        &self,
        agent: proxy::Agent,
        name: &str,
    ) -> proxy::Agent {
        agent.recalling(self.0.salt, self.remembrance().of_agent(name))
    }

    /// Keeps what remains of who is killed or stopped: of those of which something has happened, or of all.
    /// On the disk, when it returns.
    pub(in crate::app::gateway) async fn remember(&self, all: bool) -> Result<(), Refusal> {
        let gateway = self.clone();
        let kept = spawn_blocking(move || gateway.remember_now(all)).await;
        let kept = kept.map_err(|error| Refusal::new(error.to_string()))?;
        kept.map_err(|error| Refusal::new(error.to_string()))
    }

    /// Forgets what remains of those that may go on.
    pub(in crate::app::gateway) async fn forget_revived(&self) -> Result<(), Refusal> {
        let gateway = self.clone();
        let gone = spawn_blocking(move || {
            let killed = gateway.killed_flows();
            let is_needed = |holder: &Holder| killed.contains(holder) || gateway.is_stopped(holder);
            gateway.remembrance().retain(is_needed)
        });
        let gone = gone.await.map_err(|error| Refusal::new(error.to_string()))?;
        gone.map_err(|error| Refusal::new(error.to_string()))
    }

    /// An agent has another name: what remains of its workflows is known by that.
    pub(super) fn remember_renamed(&self) {
        let remembrance = self.remembrance();
        remembrance.holders().for_each(|holder| self.0.latch.touched().note(holder));
    }

    pub(in crate::app::gateway) fn remembrance(&self) -> MutexGuard<'_, Remembrance> {
        self.0.remembrance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_now(&self, all: bool) -> Result<(), RemainsError> {
        let mut touched = self.0.latch.touched().take();
        touched.append(&mut self.0.purse.touched().take());
        let killed = self.killed_flows();
        let mut remembrance = self.remembrance();
        // Also those that were killed with what is a part of them.
        touched.extend(killed.iter().filter(|holder| !remembrance.has(holder)).cloned());
        if all {
            touched.extend(remembrance.holders().cloned());
        }
        let mut result = Ok(());
        for holder in touched {
            if !killed.contains(&holder) && !self.is_stopped(&holder) {
                continue;
            }
            let kept = remembrance.keep(self.remains_of(&holder), |one| killed.contains(one));
            if let Err(error) = kept {
                // It is tried again.
                self.0.latch.touched().note(&holder);
                result = Err(error);
            }
        }
        result
    }

    /// What remains of one, if an agent knows it.
    fn remains_of(&self, holder: &Holder) -> Remembered {
        let agents = self.0.context.agents.all_that_go_on();
        let known = agents.iter().map(|agent| (agent, agent.remains(holder)));
        let known = known.into_iter().find(|(_, remains)| !remains.is_empty());
        let (agent, remains) = known
            .map(|(agent, remains)| (agent.reference().name.clone(), remains))
            .unwrap_or_default();
        Remembered { holder: holder.clone(), agent, remains }
    }

    /// Workflows and sessions that are killed.
    fn killed_flows(&self) -> BTreeSet<Holder> {
        let latches = self.0.latch.read();
        let all = latches.iter().map(|kill| &kill.holder);
        all.filter(|it| matches!(it, Holder::Workflow(_) | Holder::Session(_))).cloned().collect()
    }

    fn is_stopped(&self, holder: &Holder) -> bool {
        self.0.purse.with(|ledger| ledger.is_stopped(holder))
    }
}
