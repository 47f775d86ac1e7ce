//! A container that plain runc runs from a bundle, with no engine above it.

use std::{path::PathBuf, process::Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::{container::in_cgroup2, machine, sandbox};

/// A running container with namespaces of its own, in which only the loopback is.
#[derive(Debug)]
pub struct Bundle {
    id: String,
    cgroup: PathBuf,
    directory: TempDir,
}

impl Bundle {
    /// Runs a command as its main process, in a cgroup that is called as the container or, if `cgroup`
    /// is given, as that.
    #[track_caller]
    pub fn run(id: &str, cgroup: Option<&str>, annotation: (&str, &str), command: &[&str]) -> Self {
        machine::require_root();
        let directory = TempDir::with_prefix("tp-bundle-").expect("room for temporary files");
        let name = cgroup.unwrap_or(id);
        let own = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "user": {"uid": 0, "gid": 0}, "args": command, "cwd": "/",
                "env": ["PATH=/usr/bin:/bin"],
            },
            "root": {"path": machine::root_file_system(), "readonly": true},
            "annotations": {(annotation.0): annotation.1},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "cgroupsPath": format!("/{name}"),
                "namespaces": own,
            },
        });
        std::fs::write(directory.path().join("config.json"), config.to_string()).expect("room");
        let cgroup = machine::cgroup_mount().join(name);
        // Dropped, and so removed, if it does not start.
        let bundle = Self { id: id.into(), cgroup, directory };
        let mut runc = in_cgroup2("runc");
        runc.args(["run", "--detach", "--bundle"]).arg(bundle.directory.path()).arg(id);
        // A file: the container keeps what it is given.
        let complaints = bundle.directory.path().join("stderr");
        let stderr = std::fs::File::create(&complaints).expect("room");
        let started = runc.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let status = started.status().expect("runc is there");
        let complaints = std::fs::read_to_string(complaints).unwrap_or_default();
        assert!(status.success(), "runc run {id}: {status}: {complaints}");
        bundle
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let mut runc = in_cgroup2("runc");
        let removed = runc.args(["delete", "--force", &self.id]).output();
        if !removed.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("the container {} could not be removed: {removed:?}", self.id);
        }
        sandbox::remove(&self.cgroup);
    }
}
