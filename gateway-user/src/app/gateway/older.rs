//! Sockets that are older than the hooks: counted, or destroyed so that their owners connect again.

use std::collections::BTreeSet;

use tokio::{task::spawn_blocking, time::sleep};

use super::{Gateway, GatewayError, fleet::Fleet};
use crate::{
    app::{agents::namespaces, netns::Threads},
    attach::{
        cgroup::Cgroup,
        container::Stage,
        netns::Netns,
        sockets::{self, SocketsError, Spared},
    },
    config::Mode,
    control::model::Existing,
    proxy::LAST_CALL,
};

/// What becomes of older sockets in a mode, where the user asked for something or nothing.
pub(super) fn policy(mode: Mode, asked: Option<Existing>) -> Result<Existing, GatewayError> {
    match (mode, asked) {
        (Mode::Enforce, Some(Existing::Keep)) => Err(GatewayError::KeepInEnforce),
        (Mode::Enforce, _) => Ok(Existing::Reset),
        (Mode::Audit, asked) => Ok(asked.unwrap_or(Existing::Keep)),
    }
}

/// Refuses what this kernel can't do, before anything is touched.
pub(super) async fn require(existing: Existing) -> Result<(), GatewayError> {
    match existing {
        Existing::Keep => Ok(()),
        Existing::Reset => Ok(blocking(sockets::require_destroy).await?),
    }
}

impl Gateway {
    /// Deals with the sockets that a member has connected past the hooks, which are in place by now:
    /// so no further one can come up.
    pub(super) async fn settle(
        &self,
        fleet: &Fleet,
        name: &str,
        existing: Existing,
    ) -> Result<(), GatewayError> {
        let Some(member) = fleet.member(name) else { return Ok(()) };
        match existing {
            Existing::Keep => {
                let older = match list(&fleet.threads, &member.cgroup).await {
                    Ok(older) => Some(older),
                    Err(error) => {
                        tracing::warn!(agent = name, %error, "older sockets are not counted");
                        None
                    }
                };
                member.health.set_older(older);
            }
            Existing::Reset => {
                let mut destroyed = destroy(&fleet.threads, &member.cgroup).await?;
                if destroyed > 0
                    || Stage::of(&member.cgroup, member.is_container()) == Stage::Running
                {
                    // A process may have passed the hook before it was there, and not sent its SYN.
                    sleep(LAST_CALL).await;
                    destroyed += destroy(&fleet.threads, &member.cgroup).await?;
                }
                tracing::info!(agent = name, destroyed, "older sockets are reset");
                member.health.count_reset(destroyed);
                member.health.set_older(Some(BTreeSet::new()));
            }
        }
        Ok(())
    }

    /// Counts again how many of a member's older sockets are still open.
    pub(super) async fn recount(&self, fleet: &Fleet, name: &str) -> Result<(), GatewayError> {
        let Some(member) = fleet.member(name) else { return Ok(()) };
        if member.health.older().is_some_and(|older| older > 0) {
            member.health.retain_older(&list(&fleet.threads, &member.cgroup).await?);
        }
        Ok(())
    }
}

/// The namespaces that the cgroup's processes live in, each with our own listeners there.
fn places(threads: &Threads, cgroup: &Cgroup) -> Vec<(Netns, Spared)> {
    let with_ports = |netns: Netns| {
        let spared = threads.ports(netns.id());
        (netns, spared)
    };
    namespaces(cgroup).into_iter().map(with_ports).collect()
}

async fn list(threads: &Threads, cgroup: &Cgroup) -> Result<BTreeSet<u64>, SocketsError> {
    let (places, cgroup) = (places(threads, cgroup), cgroup.clone());
    blocking(move || {
        let mut found = BTreeSet::new();
        for (netns, spared) in places {
            found.append(&mut sockets::list(netns, &cgroup, spared)?);
        }
        Ok(found)
    })
    .await
}

async fn destroy(threads: &Threads, cgroup: &Cgroup) -> Result<u64, SocketsError> {
    let (places, cgroup) = (places(threads, cgroup), cgroup.clone());
    blocking(move || {
        places.into_iter().try_fold(0, |all, (netns, spared)| {
            Ok(all + sockets::destroy_but(netns, &cgroup, spared)?)
        })
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SocketsError> + Send + 'static,
) -> Result<T, SocketsError> {
    spawn_blocking(work).await.map_err(|_| SocketsError::Thread)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enforce_always_resets_and_says_why_it_keeps_nothing() {
        assert_eq!(policy(Mode::Audit, None).ok(), Some(Existing::Keep));
        assert_eq!(policy(Mode::Audit, Some(Existing::Reset)).ok(), Some(Existing::Reset));
        assert_eq!(policy(Mode::Enforce, None).ok(), Some(Existing::Reset));
        let error = policy(Mode::Enforce, Some(Existing::Keep)).expect_err("refused");
        assert!(error.to_string().contains("--existing reset"), "{error}");
    }
}
