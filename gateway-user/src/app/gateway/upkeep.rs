//! What has to be done now and then: agents come to an end, and other gateways die.

use std::{path::Path, sync::Arc, time::Duration};

use gateway_common::AgentId;
use tokio::time::{MissedTickBehavior, interval};

use super::{Gateway, GatewayError};
use crate::{
    app::{kernel::monotonic, run::Environment},
    attach::{cgroup::Cgroup, ebpf::remove_agent_pins, pins::Instance, trust},
    config::Decrypt,
    limits,
};

/// How often agents are looked after.
const PERIOD: Duration = Duration::from_millis(250);
/// In how many of those what is not urgent is done once.
const SELDOM: u64 = 20;

impl Gateway {
    /// Detaches agents whose cgroup is gone, follows those that moved to another network namespace,
    /// counts their older sockets, tests their redirects, and tries again to take over those that could
    /// not be; until the gateway stops.
    pub(in crate::app) async fn look_after(&self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 0_u64.. {
            ticks.tick().await;
            // Workflows that were killed with one that is a part of them.
            if self.0.latch.take_changed()
                && let Err(error) = self.keep_kills().await
            {
                tracing::error!(%error, "kills are not written down");
                self.0.latch.has_changed();
            }
            self.reconcile_kills().await;
            self.remember_kills(tick.is_multiple_of(SELDOM)).await;
            let mut fleet = self.0.fleet.lock().await;
            if fleet.is_over() {
                return;
            }
            for agent in fleet.orphans() {
                tracing::info!(agent, "its cgroup is gone");
                report(&agent, self.dismiss_from(&mut fleet, &agent).await);
            }
            let seldom = tick.is_multiple_of(SELDOM);
            for agent in fleet.names() {
                // What is to be attached need not wait for all of them.
                drop(fleet);
                fleet = self.0.fleet.lock().await;
                if fleet.is_over() {
                    return;
                }
                report(&agent, self.house(&mut fleet, &agent).await.map(|_| ()));
                report(&agent, self.follow(&mut fleet, &agent, seldom).await);
                if seldom {
                    report(&agent, self.recount(&fleet, &agent).await);
                }
            }
            if !seldom {
                continue;
            }
            self.retry(&mut fleet).await;
            self.0.context.agents.forget_credentials(self.0.context.recording.clock.now());
            self.refresh_trust(&fleet, false);
            let before = monotonic().saturating_sub(limits::HANDOFF_AGE);
            if let Err(error) = self.0.hooks.forget_handoffs(before) {
                tracing::error!(%error, "old origins can't be forgotten");
            }
            // Those of the last time may still be under way.
            if let Ok(turn) = Arc::clone(&self.0.testing).try_lock_owned() {
                let (gateway, trials) = (self.clone(), fleet.trials(None));
                tokio::spawn(async move {
                    gateway.try_redirects(trials).await;
                    drop(turn);
                });
            }
        }
    }

    /// Has what remains of who is killed or stopped agree with what has happened.
    async fn remember_kills(&self, seldom: bool) {
        if let Err(error) = self.remember(false).await {
            tracing::error!(%error, "what goes on with who is killed may not be recognised later");
        }
        if seldom && let Err(error) = self.forget_revived().await {
            tracing::error!(%error, "what remains of who may go on is kept for now");
        }
    }
}

fn report(agent: &str, result: Result<(), GatewayError>) {
    if let Err(error) = result {
        tracing::error!(agent, %error, "can't look after an agent");
    }
}

/// Removes what dead `turnpike run`s left of agents that are gone. What is pinned for a living agent
/// stays: it keeps the agent closed. The dead daemon's is the next daemon's to take over.
pub(super) fn sweep(runtime: &Path, own: &Instance) -> Result<(), GatewayError> {
    let _lock = own.lock()?;
    Environment::sweep(runtime).map_err(|source| GatewayError::System {
        what: "the removal of what dead `turnpike run`s left",
        source,
    })?;
    for instance in Instance::all(runtime)?.iter().filter(|instance| instance.is_run()) {
        let Some(mut state) = instance.read()?.filter(|state| !state.is_alive()) else { continue };
        let (living, gone): (Vec<_>, Vec<_>) =
            state.agents.into_iter().partition(|agent| lives_on(&agent.cgroup, agent.cgroup_id));
        for agent in gone {
            remove_agent_pins(&instance.pins(), agent.cgroup_id)?;
            instance.remove_pins_of_others(agent.cgroup_id)?;
            if agent.decrypt == Decrypt::On
                && let Err(error) = trust::uncover(agent.cgroup_id)
            {
                tracing::error!(agent = agent.name, %error, "what covers its files stays");
            }
        }
        state.agents = living;
        if state.agents.is_empty() {
            instance.remove()?;
        } else {
            instance.write(&state)?;
        }
    }
    Ok(())
}

/// Whether a `run`'s agent is still there. Its cgroup is removed if nothing is left in it.
fn lives_on(path: &str, id: AgentId) -> bool {
    let Some(cgroup) = Cgroup::open(path.as_ref()).ok().filter(|cgroup| cgroup.id() == id) else {
        return false;
    };
    // Only what a `run` made: others have cgroups of their own making attached through it.
    !(cgroup.is_a_run_s() && cgroup.remove().is_ok())
}
