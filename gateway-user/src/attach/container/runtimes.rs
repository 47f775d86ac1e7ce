//! What the installed container runtimes know by a name.

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde::Deserialize;

use super::{Container, ContainerRef};
use crate::{attach::cgroup::Cgroup, limits};

/// The running containers of exactly this name, each once. A runtime that does not answer knows
/// none.
pub(super) fn named(name: &str, running: &[Container]) -> Vec<Container> {
    let mut found: Vec<Container> = Vec::new();
    if name.is_empty() {
        return found;
    }
    let inspected = ["podman", "docker", "nerdctl"].into_iter().filter_map(|runtime| {
        let answer = ask(Command::new(runtime).args(["container", "inspect", "--", name]))?;
        let id = inspected_id(&answer, name)?;
        running.iter().find(|(_, container)| container.id == id).cloned()
    });
    let of_runc = || {
        let answer = ask(Command::new("runc").args(["state", "--", name]))?;
        let cgroup = Cgroup::of_process(init_pid(&answer)?).ok()?;
        Some((cgroup, ContainerRef { id: name.into(), pod: None }))
    };
    for container in inspected.chain(std::iter::once_with(of_runc).flatten()) {
        if found.iter().all(|(cgroup, _)| cgroup.id() != container.0.id()) {
            found.push(container);
        }
    }
    found
}

/// The id in what `inspect` prints, unless the runtime took the name for the prefix of an id.
fn inspected_id(answer: &[u8], name: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Inspected {
        #[serde(rename = "Id", alias = "ID")]
        id: String,
        #[serde(rename = "Name")]
        name: String,
    }

    let found: Vec<Inspected> = serde_json::from_slice(answer).ok()?;
    // Docker writes a slash before it.
    let is_named = |found: &Inspected| found.name.trim_start_matches('/') == name;
    found.into_iter().find(is_named).map(|container| container.id)
}

/// The first process in what `runc state` prints (OCI runtime specification, "State"). Plain runc
/// lets its user choose the id and the cgroup, so a path does not show it. A stopped container has
/// no process: its pid is 0.
fn init_pid(answer: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct State {
        pid: u32,
    }

    let state: State = serde_json::from_slice(answer).ok()?;
    Some(state.pid).filter(|pid| *pid != 0)
}

fn ask(command: &mut Command) -> Option<Vec<u8>> {
    output_within(command, limits::RUNTIME_ANSWER_TIME)
}

/// What a command prints, if it comes to its end in time.
fn output_within(command: &mut Command, limit: Duration) -> Option<Vec<u8>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let answer = read_within(&mut child, limit);
    if answer.is_none() {
        tracing::warn!(runtime = ?command.get_program(), "a container runtime does not answer");
    }
    // It has closed its output, which is the last that it does, or it hangs.
    let _ = child.kill();
    let _ = child.wait();
    answer
}

/// Reads on a thread of its own, which may outlive this for as long as something else holds the
/// pipe.
fn read_within(child: &mut Child, limit: Duration) -> Option<Vec<u8>> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let read = move || {
        let mut text = Vec::new();
        if stdout.take(limits::RUNTIME_ANSWER_BYTES).read_to_end(&mut text).is_ok() {
            let _ = sender.send(text);
        }
    };
    thread::Builder::new().name("runtime".into()).spawn(read).ok()?;
    receiver.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_s_answer_counts_only_for_the_exact_name() {
        let docker = br#"[{"Id":"abcd","Name":"/web"}]"#;
        let podman = br#"[{"Id":"abcd","Name":"web"}]"#;
        assert_eq!(inspected_id(docker, "web").as_deref(), Some("abcd"));
        assert_eq!(inspected_id(podman, "web").as_deref(), Some("abcd"));
        assert_eq!(inspected_id(podman, "abc"), None);
        assert_eq!(inspected_id(b"[]", "web"), None);
    }

    #[test]
    fn a_stopped_runc_container_has_no_process() {
        assert_eq!(init_pid(br#"{"id":"web","pid":7,"status":"running"}"#), Some(7));
        assert_eq!(init_pid(br#"{"id":"web","pid":0,"status":"stopped"}"#), None);
        assert_eq!(init_pid(b""), None);
    }

    #[test]
    fn a_runtime_that_hangs_is_given_up() {
        let mut hanging = Command::new("sleep");
        let answer = output_within(hanging.arg("600"), Duration::from_millis(20));
        assert_eq!(answer, None);
        let answer = output_within(Command::new("echo").arg("a"), Duration::from_mins(1));
        assert_eq!(answer.as_deref(), Some(b"a\n".as_slice()));
    }
}
