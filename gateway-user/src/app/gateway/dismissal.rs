//! Detaching, step by step.

use tokio::task::block_in_place;

use super::{Gateway, GatewayError, fleet::Fleet, trust};
use crate::{
    attach::{ebpf::remove_agent_pins, pins::HeldAgent},
    proxy,
};

impl Gateway {
    /// Detaches an agent on request.
    pub(super) async fn dismiss(&self, name: &str) -> Result<(), GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        if fleet.over {
            return Err(GatewayError::Ending);
        }
        self.require_revived(&fleet, name)?;
        if let Some(member) = fleet.member(name) {
            self.0.watched.leave_alone(member.cgroup.id());
        }
        self.dismiss_from(&mut fleet, name).await
    }

    pub(super) async fn dismiss_from(
        &self,
        fleet: &mut Fleet,
        name: &str,
    ) -> Result<(), GatewayError> {
        let _lock = self.0.instance.lock()?;
        if let Some(place) = fleet.waiting.iter().position(|agent| agent.name == name) {
            let agent = fleet.waiting.remove(place);
            self.end_budgets(&agent);
            self.forget(&agent)?;
            trust::uncover(&agent).await;
            return self.tidy(fleet);
        }
        self.expel(fleet, name).await
    }

    /// Detaches an agent, with the runtime directory locked: its new connections go out directly,
    /// those it has go on through us.
    pub(super) async fn expel(&self, fleet: &mut Fleet, name: &str) -> Result<(), GatewayError> {
        let Some(member) = fleet.members.get_mut(name) else {
            return Err(GatewayError::NoAgent(name.into()));
        };
        if let Some(links) = member.links.take() {
            block_in_place(|| links.detach())?;
        }
        let (held, trust) = (member.held.clone(), member.trust.take());
        let is_gone = !member.cgroup.is_alive();
        if is_gone {
            // While the threads are there that can ask upstream to stop.
            member.proxy.has_exited();
        }
        if let Some(trust) = &trust {
            trust.end().await;
        }
        let mut shared = false;
        for netns in std::mem::take(&mut member.namespaces) {
            shared |= !self.leave(fleet, netns, is_gone).await?;
        }
        if shared && !is_gone {
            // What was redirected before the hooks were detached is yet to be accepted, by a
            // thread that stays.
            tokio::time::sleep(proxy::LAST_CALL).await;
        }
        self.0.context.agents.remove(held.cgroup_id);
        self.end_budgets(&held);
        self.forget(&held)?;
        fleet.members.remove(name);
        self.tidy(fleet)?;
        if trust.is_some() {
            // Files that it shared with another agent are bare now.
            self.refresh_trust(fleet, true);
        }
        tracing::info!(agent = name, "detached");
        Ok(())
    }

    /// Removes what the kernel keeps of an agent.
    pub(super) fn forget(&self, held: &HeldAgent) -> Result<(), GatewayError> {
        self.0.names.remove(held.cgroup_id);
        if held.pinned {
            remove_agent_pins(&self.0.instance.pins(), held.cgroup_id)?;
            self.0.instance.remove_pins_of_others(held.cgroup_id)?;
        }
        Ok(self.0.hooks.remove_agent(held.cgroup_id)?)
    }

    /// After a change: removes the pinned maps if nothing needs them, and writes down what is held.
    pub(super) fn tidy(&self, fleet: &Fleet) -> Result<(), GatewayError> {
        if !fleet.pins() {
            self.0.instance.remove_pins()?;
        }
        Ok(self.publish(fleet)?)
    }
}
