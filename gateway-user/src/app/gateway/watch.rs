//! Attaching what the rules of the configuration match, as it comes.

mod consider;
mod renames;
mod watched;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use gateway_common::AgentId;
use tokio::{
    task::block_in_place,
    time::{MissedTickBehavior, interval},
};

pub(super) use self::{
    consider::{existing_by, name_by},
    watched::Watched,
};
use super::Gateway;
use crate::{
    attach::{
        cgroup::{self, Cgroup, CgroupError},
        container::{self, Places},
        watch::{Noticed, Tree},
    },
    limits,
};

/// Why containers are not watched. The system's fault.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum WatchError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(
        "cgroups can't be watched, so no rule attaches anything: {0}; see \
         `sysctl fs.inotify.max_user_instances`"
    )]
    Inotify(#[from] io::Error),
}

impl Gateway {
    /// Attaches what a rule matches, until it is dropped; what it has begun then goes on. Ends at once
    /// where there are no rules.
    pub(in crate::app) async fn watch(&self) -> Result<(), WatchError> {
        if self.0.config.agents.is_empty() {
            return Ok(());
        }
        let mut tree = Tree::new(cgroup::mount_point()?, is_closed)?;
        let places = Places::of_machine();
        let mut scans = interval(limits::RESCAN_PERIOD);
        let mut looks = interval(RENAME_PERIOD);
        scans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let noticed = tokio::select! {
                noticed = tree.next() => noticed?,
                _ = scans.tick() => Noticed::TooMuch,
                _ = looks.tick() => {
                    self.follow_renames(&places).await;
                    continue;
                }
            };
            match noticed {
                Noticed::Made(found) => self.notice(found, &places).await,
                Noticed::TooMuch => {
                    let found = block_in_place(|| tree.scan());
                    self.notice_all(found, &places).await;
                }
            }
            self.0.watched.measure(&tree);
        }
    }

    /// Everything that there is: what is not among it is gone, and what could not be attached is tried
    /// again.
    async fn notice_all(&self, found: Vec<PathBuf>, places: &Places) {
        let cgroups: Vec<Cgroup> =
            found.iter().filter_map(|path| Cgroup::open(path).ok()).collect();
        self.0.watched.retain(&cgroups.iter().map(Cgroup::id).collect());
        self.consider_each(cgroups, places).await;
    }

    async fn notice(&self, found: Vec<PathBuf>, places: &Places) {
        let cgroups = found.iter().filter_map(|path| Cgroup::open(path).ok());
        self.consider_each(cgroups.collect(), places).await;
    }

    async fn consider_each(&self, cgroups: Vec<Cgroup>, places: &Places) {
        let held = self.held_cgroups();
        for cgroup in cgroups {
            let path = cgroup.path().as_str();
            // An agent's that is gone may be there again, as another.
            let is_held = held.iter().any(|(agent, id)| {
                cgroup::path_holds(agent, path)
                    && Cgroup::open(agent.as_ref()).is_ok_and(|agent| agent.id() == *id)
            });
            if is_held || cgroup.is_a_run_s() || !self.0.watched.begin(cgroup.id()) {
                continue;
            }
            let (gateway, places) = (self.clone(), places.clone());
            tokio::spawn(async move { gateway.consider(cgroup, places).await });
        }
    }

    /// The agents' cgroups.
    fn held_cgroups(&self) -> Vec<(String, AgentId)> {
        let shown = self.0.shown.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        shown.iter().map(|agent| (agent.held.cgroup.clone(), agent.held.cgroup_id)).collect()
    }
}

/// What is below a container's cgroup is its own affair, and could be made without end.
fn is_closed(directory: &Path) -> bool {
    directory.to_str().is_some_and(|path| container::of_cgroup(path).is_some())
}

/// How often it is looked whether containers were renamed.
const RENAME_PERIOD: Duration = Duration::from_secs(2);
