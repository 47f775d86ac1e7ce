//! Attaching what the rules of the configuration match, as it comes.

mod consider;
mod renames;
mod watched;

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Duration,
};

use gateway_common::AgentId;
use tokio::{
    task::block_in_place,
    time::{MissedTickBehavior, interval},
};

use self::watched::Outcome;
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
        let mount = cgroup::mount_point()?;
        let (gateway, below) = (self.clone(), mount.clone());
        // What is below an agent or a container is its own affair, and could be made without end.
        let is_closed = move |directory: &Path| {
            let path = directory.strip_prefix(&below).ok().and_then(Path::to_str);
            path.is_some_and(|path| gateway.is_closed(&format!("/{path}")))
        };
        let mut tree = Tree::new(mount, is_closed)?;
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
                Noticed::Made(found) => self.notice(&found, &places),
                Noticed::TooMuch => {
                    let found = block_in_place(|| tree.scan());
                    self.notice_all(&found, &places);
                }
            }
            self.0.watched.measure(tree.unwatched());
        }
    }

    /// Everything that there is: what is not among it is gone, and what could not be attached is tried
    /// again.
    fn notice_all(&self, found: &[PathBuf], places: &Places) {
        self.0.watched.retain(&found.iter().filter_map(|path| id(path)).collect());
        self.notice(found, places);
    }

    fn notice(&self, found: &[PathBuf], places: &Places) {
        let is_due = |path: &&PathBuf| id(path).is_some_and(|id| self.0.watched.is_due(id));
        let cgroups = found.iter().filter(is_due).filter_map(|path| Cgroup::open(path).ok());
        for cgroup in cgroups {
            if self.is_held(cgroup.path().as_str()) {
                // So that it is left alone once a command detaches it.
                self.0.watched.end(cgroup.id(), Outcome::Attached);
                continue;
            }
            if !cgroup.is_a_run_s() && self.0.watched.begin(cgroup.id()) {
                let (gateway, places) = (self.clone(), places.clone());
                tokio::spawn(async move { gateway.consider(cgroup, places).await });
            }
        }
    }

    fn is_closed(&self, path: &str) -> bool {
        container::of_cgroup(path).is_some() || self.is_held(path)
    }

    /// Whether it is an agent's cgroup, or below one. An agent's that is gone may be there again, as
    /// another.
    fn is_held(&self, path: &str) -> bool {
        let shown = self.0.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.iter().map(|agent| &agent.held).any(|held| {
            cgroup::path_holds(&held.cgroup, path)
                && Cgroup::open(held.cgroup.as_ref()).is_ok_and(|c| c.id() == held.cgroup_id)
        })
    }
}

/// Of the cgroup of a directory; `None` if it is gone.
fn id(directory: &Path) -> Option<AgentId> {
    fs::metadata(directory).ok().map(|metadata| metadata.ino())
}

/// How often it is looked whether containers were renamed.
const RENAME_PERIOD: Duration = Duration::from_secs(2);
