//! An agent that is at home when it is attached.

use std::{fs, time::Duration};

use turnpike_tests::{gateway::Gateway, process::Background, sandbox::Sandbox, wait};

/// Attaches a sandbox in which a process lives, so that the gateway knows its network namespace
/// from the beginning. The process stays until it is dropped.
#[track_caller]
pub(crate) fn attach(gateway: &Gateway, sandbox: &Sandbox, name: &str) -> Background {
    let resident = sandbox.spawn(sandbox.command("sleep").arg("600"));
    wait::until_true(Duration::from_secs(10), "it to move in", || {
        let processes = fs::read_to_string(sandbox.cgroup().join("cgroup.procs"));
        processes.is_ok_and(|processes| !processes.is_empty())
    });
    gateway.attach_cgroup(sandbox.cgroup(), name, &[]);
    resident
}
