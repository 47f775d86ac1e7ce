//! Where runtimes keep their files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::read;

/// Of all runtimes, as this machine has them configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `/run`: what is gone after a reboot.
    pub(in crate::attach::container) run: PathBuf,
    pub(super) docker: PathBuf,
    /// What podman and CRI-O keep for good, and until the next boot.
    storage: [PathBuf; 2],
}

impl Places {
    /// Those of this machine.
    #[must_use]
    pub fn of_machine() -> Self {
        Self::below(Path::new("/"))
    }

    /// With `root` in the place of `/`.
    #[must_use]
    pub(in crate::attach::container) fn below(root: &Path) -> Self {
        let at = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let read_toml = |path| {
            let text = fs::read_to_string(at(Path::new(path))).ok()?;
            toml::from_str::<StorageConf>(&text).ok()
        };
        let storage = read_toml("/etc/containers/storage.conf")
            .or_else(|| read_toml("/usr/share/containers/storage.conf"))
            .unwrap_or_default()
            .storage;
        let docker: Option<DockerConf> = read(&at(Path::new("/etc/docker/daemon.json")));
        let or = |found: Option<PathBuf>, usual: &str| at(&found.unwrap_or_else(|| usual.into()));
        Self {
            run: at(Path::new("/run")),
            docker: or(docker.and_then(|conf| conf.data_root), "/var/lib/docker"),
            storage: [
                or(storage.graphroot, "/var/lib/containers/storage"),
                or(storage.runroot, "/run/containers/storage"),
            ],
        }
    }

    /// The directories in which containerd keeps bundles, one for each of its namespaces.
    pub(super) fn bundles(&self) -> Vec<PathBuf> {
        let tasks = "containerd/io.containerd.runtime.v2.task";
        let roots = [self.run.join(tasks), self.run.join("docker/containerd/daemon").join(tasks)];
        roots.iter().flat_map(|root| entries(root)).collect()
    }

    /// The directories in which containers/storage keeps containers, one for each driver.
    pub(super) fn storages(&self) -> Vec<PathBuf> {
        let is_one = |path: &PathBuf| path.to_str().is_some_and(|p| p.ends_with("-containers"));
        self.storage.iter().flat_map(|root| entries(root)).filter(is_one).collect()
    }
}

/// containers-storage.conf(5).
#[derive(Debug, Default, Deserialize)]
struct StorageConf {
    #[serde(default)]
    storage: Storage,
}

#[derive(Debug, Default, Deserialize)]
struct Storage {
    graphroot: Option<PathBuf>,
    runroot: Option<PathBuf>,
}

/// dockerd's `daemon.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DockerConf {
    data_root: Option<PathBuf>,
}

/// None if the directory is not there.
fn entries(path: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(path).into_iter().flatten().flatten();
    found.map(|entry| entry.path()).collect()
}
