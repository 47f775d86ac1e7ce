//! What has to be done now and then: agents come to an end, and other gateways die.

use std::{fs, path::Path, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{Gateway, GatewayError};
use crate::attach::{
    cgroup::Cgroup,
    pins::{Instance, PinsError},
};

/// How often agents are looked after.
const PERIOD: Duration = Duration::from_millis(250);

impl Gateway {
    /// Detaches agents whose cgroup is gone and follows those that moved to another network
    /// namespace, for ever.
    pub(in crate::app) async fn look_after(&self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let orphans = self.0.fleet.lock().await.orphans();
            for agent in orphans {
                tracing::info!(agent, "its cgroup is gone");
                report(&agent, self.dismiss(&agent).await);
            }
            let mut fleet = self.0.fleet.lock().await;
            for agent in fleet.names() {
                report(&agent, self.follow(&mut fleet, &agent));
            }
        }
    }
}

fn report(agent: &str, result: Result<(), GatewayError>) {
    if let Err(error) = result {
        tracing::error!(agent, %error, "can't look after an agent");
    }
}

/// Removes what dead gateways left of agents that are gone. What is pinned for a living agent
/// stays: it keeps the agent closed.
pub(super) fn sweep(runtime: &Path, own: &Instance) -> Result<(), PinsError> {
    for instance in Instance::all(runtime)? {
        let Some(mut state) = instance.read()?.filter(|state| !state.is_alive()) else { continue };
        if instance == *own {
            continue;
        }
        state.agents.retain(|agent| {
            let cgroup = Cgroup::open(agent.cgroup.as_ref());
            let alive = cgroup.ok().filter(|cgroup| cgroup.id() == agent.cgroup_id);
            // Of a `run` that was killed, when its command has ended since.
            alive.is_some_and(|cgroup| fs::remove_dir(cgroup.directory()).is_err())
        });
        if state.agents.is_empty() {
            instance.remove()?;
        }
    }
    Ok(())
}
