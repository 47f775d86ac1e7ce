//! Taking over what an earlier gateway held.

use std::collections::BTreeSet;

use gateway_common::AgentId;

use super::{Gateway, GatewayError, fleet::Fleet, older, trust};
use crate::{
    app::agents::{AgentName, Candidate, Terms},
    attach::{
        cgroup::Cgroup,
        container::ContainerRef,
        pins::{HeldAgent, StateFile},
    },
};

impl Gateway {
    /// Attaches again what an earlier gateway held, and only then says that it lives: until then
    /// no connection is sent to a listener that is not there.
    pub(super) async fn pick_up(&self, earlier: Option<StateFile>) -> Result<(), GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        let _lock = self.0.instance.lock()?;
        fleet.waiting = earlier.map(|state| state.agents).unwrap_or_default();
        self.resume_all(&mut fleet).await;
        let held: BTreeSet<AgentId> = fleet.held().iter().map(|agent| agent.cgroup_id).collect();
        for (agent, _) in self.0.hooks.agents()? {
            if !held.contains(&agent) {
                self.0.hooks.remove_agent(agent)?;
            }
        }
        self.tidy(&fleet)?;
        let begun = self.0.heartbeat.begin();
        begun.map_err(|source| GatewayError::System { what: "a thread", source })
    }

    /// Tries again what could not be taken over.
    pub(super) async fn retry(&self, fleet: &mut Fleet) {
        if fleet.waiting.is_empty() {
            return;
        }
        match self.0.instance.lock() {
            Ok(_lock) => self.resume_all(fleet).await,
            Err(error) => tracing::error!(%error, "can't take agents over"),
        }
    }

    async fn resume_all(&self, fleet: &mut Fleet) {
        for held in std::mem::take(&mut fleet.waiting) {
            // Listed meanwhile: whatever happens, it is not lost.
            fleet.waiting.push(held.clone());
            let resumed = self.resume(fleet, &held).await;
            match &resumed {
                Ok(()) => fleet.waiting.retain(|agent| agent.cgroup_id != held.cgroup_id),
                Err(error) => {
                    tracing::error!(agent = held.name, %error, "can't be taken over yet");
                }
            }
        }
        if let Err(error) = self.publish(fleet) {
            tracing::error!(%error, "can't write down which agents are held");
        }
    }

    async fn resume(&self, fleet: &mut Fleet, held: &HeldAgent) -> Result<(), GatewayError> {
        let cgroup = Cgroup::open(held.cgroup.as_ref());
        let Some(cgroup) = cgroup.ok().filter(|cgroup| cgroup.id() == held.cgroup_id) else {
            tracing::info!(agent = held.name, "gone meanwhile");
            self.end_budgets(held);
            trust::uncover(held).await;
            return self.forget(held);
        };
        let name = AgentName::parse(&held.name)?;
        let of_container = |id: &String| ContainerRef { id: id.clone(), pod: held.pod.clone() };
        let container = held.container_id.as_ref().map(of_container);
        let candidate = Candidate { name, cgroup, container };
        let terms = Terms {
            mode: held.mode,
            existing: older::policy(held.mode, None)?,
            decrypt: held.decrypt,
            on_unmetered: held.on_unmetered,
            on_retry: held.on_retry,
            replay_aborted: held.replay_aborted,
            bundle: held.bundle.clone(),
            budget: held.budget.clone(),
            tenant: held.tenant.clone(),
            container_name: held.container_name.clone(),
            rule: held.rule,
            late_ms: held.late_ms,
            moving: held.moving,
        };
        let resolvers = held.resolvers.clone();
        match self.join(fleet, candidate, terms, Vec::new(), resolvers).await {
            Ok(_) => Ok(()),
            Err((name, error)) => {
                // Dropping pinned links leaves them pinned, and the agent closed.
                fleet.members.remove(&name);
                self.0.context.agents.remove(held.cgroup_id);
                Err(error)
            }
        }
    }
}
