//! Having what was killed go on.

use tokio::task::spawn_blocking;

use crate::{
    app::gateway::{Gateway, GatewayError},
    attach::ebpf::remove_agent_pins,
    call::Holder,
    cancel::Kill,
    config::Mode,
    control::{
        api::Peer,
        kill::{ReviveRequest, Revived},
        model::Refusal,
    },
    proxy,
};

impl Gateway {
    /// Has what is denied and pinned agree with the latches, whatever went wrong when they changed.
    pub(in crate::app::gateway) async fn reconcile_kills(&self) {
        for shown in self.shown() {
            let Some(agent) = &shown.proxy else { continue };
            let is_killed = || agent.is_killed().is_some();
            if let Err(error) = self.0.hooks.set_killed(shown.held.cgroup_id, is_killed) {
                tracing::error!(agent = shown.held.name, %error, "a kill is not told to the kernel");
            }
        }
        if let Err(error) = self.release_pinned().await {
            tracing::error!(%error, "agents that are not killed any more stay pinned");
        }
    }

    /// Has somebody go on who was killed, or stopped by a budget.
    pub(in crate::app::gateway) async fn revive(
        &self,
        peer: Peer,
        request: ReviveRequest,
    ) -> Result<Revived, Refusal> {
        let holder = self.killed_holder(&request.victim)?;
        let kill = self.0.latch.read().get(&holder).cloned();
        if kill.is_some() {
            self.forget_kill(&holder).await?;
        }
        let now = self.now();
        let resumed = self.0.purse.with(|ledger| ledger.resume(now, &holder));
        if let Err(error) = self.forget_revived().await {
            tracing::error!(%error, "what remains of who was revived is kept for now");
        }
        tracing::warn!(%holder, by_uid = peer.uid, killed = kill.is_some(), resumed, "revived");
        match kill {
            Some(kill) => self.release(holder, kill, resumed).await,
            None if resumed => Ok(Revived { holder, kill: None, resumed }),
            None => {
                let error = format!("{holder} is not killed, and no budget has stopped it");
                Err(Refusal::new(error).fix("see `turnpike kills` and `turnpike budget list`"))
            }
        }
    }

    /// Takes a kill out of the file, and only then lifts its latch.
    async fn forget_kill(&self, holder: &Holder) -> Result<(), Refusal> {
        if !self.0.embedded {
            let (kills, gone) = (self.0.kills.clone(), holder.clone());
            let written = spawn_blocking(move || kills.change(|kept| kept.lift(&gone)));
            written.await.map_err(|error| Refusal::new(error.to_string()))?.map_err(|error| {
                Refusal::new(format!("it stays killed, since that can't be written down: {error}"))
            })?;
        }
        self.0.latch.change(|latches| latches.lift(holder));
        Ok(())
    }

    /// A latch is lifted: so is all that goes with it.
    async fn release(&self, holder: Holder, kill: Kill, resumed: bool) -> Result<Revived, Refusal> {
        // Another change may have written it down again meanwhile.
        if let Err(error) = self.keep_kills().await {
            tracing::error!(%error, "kills are not written down");
            self.0.latch.has_changed();
        }
        let mut failed = None;
        for shown in self.shown() {
            if let Some(agent) = &shown.proxy
                && let Err(error) =
                    self.0.hooks.set_killed(shown.held.cgroup_id, || agent.is_killed().is_some())
            {
                failed = Some(Refusal::new(format!("agent {}: {error}", shown.held.name)));
            }
        }
        self.0.context.agents.obey();
        self.release_pinned().await?;
        failed.map_or(Ok(Revived { holder, kill: Some(kill), resumed }), Err)
    }

    /// Agents in audit are pinned for no other reason than a kill.
    async fn release_pinned(&self) -> Result<(), GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        let is_free = |agent: &proxy::Agent| agent.is_killed().is_none();
        let names: Vec<String> = fleet
            .members()
            .filter(|(_, m)| m.held.pinned && m.held.mode == Mode::Audit && is_free(&m.proxy))
            .map(|(name, _)| name.clone())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let _lock = self.0.instance.lock()?;
        for name in names {
            let Some(member) = fleet.member_mut(&name) else { continue };
            if let Some(links) = &mut member.links {
                links.unpin()?;
            }
            member.held.pinned = false;
            remove_agent_pins(&self.0.instance.pins(), member.held.cgroup_id)?;
        }
        self.tidy(&fleet)
    }
}
