//! How far a container is in the making: what has been made already can be attached, and what has
//! not run yet has connected nowhere.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::attach::{cgroup::Cgroup, pins};

/// Where the processes of a cgroup stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// There are none.
    Empty,
    /// Only a runtime's own, in namespaces that are not the container's yet.
    Making,
    /// Only a runtime's own, in the container's namespaces, but not in its root yet.
    Entered,
    /// Only a runtime's own, about to become the container's first process.
    Made,
    /// One of the container's own.
    Running,
}

impl Stage {
    /// That of a cgroup now.
    #[must_use]
    pub fn of(cgroup: &Cgroup) -> Self {
        let processes = cgroup.processes();
        processes.into_iter().map(of_process).max().unwrap_or(Self::Empty)
    }
}

/// Whether a process is a runtime's own, in namespaces that are not the container's yet.
#[must_use]
pub fn is_making(pid: u32) -> bool {
    of_process(pid) == Stage::Making
}

/// How long a cgroup's own processes have been running, at most: since the oldest of them was made,
/// by a runtime that may have taken a while before it let it go. `None` if none runs.
#[must_use]
pub fn running_for(cgroup: &Cgroup) -> Option<Duration> {
    let running = cgroup.processes().into_iter().filter(|pid| of_process(*pid) == Stage::Running);
    let oldest = running.filter_map(pins::process_started).min()?;
    // In clock ticks, of which every architecture shows a hundred a second (`USER_HZ`).
    let started = Duration::from_millis(oldest.saturating_mul(10));
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
    Some(now.saturating_sub(started))
}

/// What a process is called until it executes something else; that it has ended says nothing.
///
/// runc names the steps of its making (`libcontainer/nsenter/nsexec.c`); the last is in all
/// namespaces of the container. crun and youki keep their own name, and are in the container's pid
/// namespace once that is made.
fn of_process(pid: u32) -> Stage {
    let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm")) else { return Stage::Empty };
    match name.trim_end() {
        "runc:[2:INIT]" if in_our_root(pid) => Stage::Entered,
        "runc:[2:INIT]" => Stage::Made,
        name if name == "runc" || name.starts_with("runc:[") => Stage::Making,
        "crun" | "youki" if in_our_pid_namespace(pid) => Stage::Making,
        "crun" | "youki" if in_our_root(pid) => Stage::Entered,
        "crun" | "youki" => Stage::Made,
        _ => Stage::Running,
    }
}

fn in_our_root(pid: u32) -> bool {
    let root = |path: &str| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    root(&format!("/proc/{pid}/root/")) == root("/")
}

fn in_our_pid_namespace(pid: u32) -> bool {
    let namespace = |who: &str| fs::read_link(Path::new("/proc").join(who).join("ns/pid")).ok();
    namespace(&pid.to_string()) == namespace("self")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_whose_processes_run_says_so_and_since_when() {
        let own = Cgroup::of_process(std::process::id()).expect("our own cgroup");
        assert_eq!(Stage::of(&own), Stage::Running);
        assert!(running_for(&own).is_some());
        assert_eq!(of_process(u32::MAX), Stage::Empty);
    }
}
