//! How far a container is in the making: what has been made already can be attached, and what has
//! not run yet has connected nowhere.

use std::{fs, os::unix::fs::MetadataExt as _, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    attach::{cgroup::Cgroup, pins},
    limits,
};

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
    /// That of a container now; or of another cgroup, which is in nobody's making.
    #[must_use]
    pub fn of(cgroup: &Cgroup, is_container: bool) -> Self {
        let stage = |pid| if is_container { of_process(pid) } else { Self::Running };
        cgroup.processes().into_iter().map(stage).max().unwrap_or(Self::Empty)
    }
}

/// How long the processes of a container, or of another cgroup, have been running, at most: since the
/// oldest of them was made, by a runtime that may have taken a while before it let it go. `None` if
/// none runs.
#[must_use]
pub fn running_for(cgroup: &Cgroup, is_container: bool) -> Option<Duration> {
    let mut processes = cgroup.processes();
    processes.retain(|pid| !is_container || of_process(*pid) == Stage::Running);
    processes.into_iter().filter_map(age).max()
}

/// Whether a process is a runtime's own, in namespaces that are not the container's yet.
#[must_use]
pub fn is_making(pid: u32) -> bool {
    name(pid).is_some_and(|name| match name.as_str() {
        LAST_STEP => false,
        "crun" | "youki" => is_in_machine_s_pid_namespace(pid),
        name => name == "runc" || name.starts_with("runc:["),
    })
}

/// Of a process in a container's cgroup; that it has ended says nothing.
///
/// A runtime's process enters the container's pid namespace before its root, and executes the
/// container's program last. Before that it has its own name, except for a moment at its beginning,
/// when it executes a copy of itself.
fn of_process(pid: u32) -> Stage {
    let Some(name) = name(pid) else { return Stage::Empty };
    let Some(root) = root(pid) else { return Stage::Empty };
    let has_own_root = Some(root) != of_machine(self::root);
    let is_own = [LAST_STEP, "crun", "youki"].contains(&name.as_str());
    match (has_own_root, is_in_machine_s_pid_namespace(pid)) {
        (true, _) if is_own => Stage::Made,
        (true, _) => Stage::Running,
        // No runtime takes that long: the container has the machine's own root.
        (false, _) if age(pid).is_some_and(|age| age >= limits::LOOKUP_TIME) => Stage::Running,
        (false, false) => Stage::Entered,
        (false, true) => Stage::Making,
    }
}

/// What runc calls its process once it is in all namespaces of the container
/// (`libcontainer/nsenter/nsexec.c`).
const LAST_STEP: &str = "runc:[2:INIT]";

/// What a process is called: until it says otherwise, as what it executes.
fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

fn root(pid: u32) -> Option<(u64, u64)> {
    let found = fs::metadata(format!("/proc/{pid}/root/")).ok()?;
    Some((found.dev(), found.ino()))
}

fn is_in_machine_s_pid_namespace(pid: u32) -> bool {
    let namespace = |pid| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    namespace(pid) == of_machine(namespace)
}

/// As the machine's first process sees it: the gateway may run in a container itself. As the gateway
/// does, where that is not to be seen.
fn of_machine<T>(see: impl Fn(u32) -> Option<T>) -> Option<T> {
    see(1).or_else(|| see(std::process::id()))
}

fn age(pid: u32) -> Option<Duration> {
    // In clock ticks, of which every architecture shows a hundred a second (`USER_HZ`).
    let started = Duration::from_millis(pins::process_started(pid)?.saturating_mul(10));
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
    Some(now.saturating_sub(started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_that_is_no_container_s_runs_what_is_in_it() {
        let own = Cgroup::of_process(std::process::id()).expect("our own cgroup");
        assert_eq!(Stage::of(&own, false), Stage::Running);
        assert!(running_for(&own, false).is_some());
        assert_eq!(of_process(u32::MAX), Stage::Empty);
        assert!(!is_making(std::process::id()));
        assert!(age(std::process::id()).is_some());
    }
}
