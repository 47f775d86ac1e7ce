//! Ending in good order.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Gateway, GatewayError, trust::Trust};
use crate::attach::cgroup::Cgroup;

impl Gateway {
    /// Ends everything: agents are let go, connections drained within the deadline. Enforced agents
    /// of the daemon stay closed, as they would with a dead one: ending it is no way out for them.
    /// They and the others are written down for the next daemon.
    pub(in crate::app) async fn stop(&self, deadline: Duration) -> Result<(), GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        fleet.over = true;
        let lock = self.0.instance.lock()?;
        let mut remembered = if self.0.embedded { Vec::new() } else { fleet.held() };
        remembered.retain(|agent| Cgroup::open(agent.cgroup.as_ref()).is_ok_and(|c| c.is_alive()));
        // Written first: if this takes too long and is killed, nothing is forgotten.
        self.0.instance.write(&self.state_file(remembered.clone()))?;
        let (mut left, mut trusts) = (Vec::new(), Vec::new());
        for (name, member) in std::mem::take(&mut fleet.members) {
            trusts.extend(member.trust);
            let stays = member.held.pinned && remembered.iter().any(|a| a.name == name);
            if stays {
                tracing::warn!(
                    agent = name,
                    "stays closed without the gateway; to open it: turnpike detach {name} --force"
                );
            } else if let Some(links) = member.links {
                if let Err(error) = links.detach() {
                    tracing::error!(agent = name, %error, "can't be detached");
                }
                left.push(member.held);
            }
        }
        drop(lock);
        // Only now: until here they were decrypted. One that hangs holds up no other.
        join_all(trusts.iter().map(Trust::end)).await;
        // Dead before it stops listening: its ports may be another's a moment later.
        self.0.heartbeat.stop();
        fleet.threads.end(deadline).await;
        if let Err(error) = self.remember(true).await {
            tracing::error!(%error, "what goes on with who is killed may not be recognised");
        }
        self.close_budgets().await;
        let _lock = self.0.instance.lock()?;
        left.iter().try_for_each(|held| self.forget(held))?;
        if remembered.is_empty() {
            self.0.instance.remove()?;
        } else if !remembered.iter().any(|agent| agent.pinned) {
            self.0.instance.remove_pins()?;
        }
        Ok(())
    }
}
