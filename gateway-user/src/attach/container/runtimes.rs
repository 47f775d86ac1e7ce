//! What the installed container runtimes know by a name.

use std::{
    collections::BTreeMap,
    io::Read as _,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde::Deserialize;

use super::{Container, ContainerRef, Told};
use crate::{attach::cgroup::Cgroup, limits};

/// The running containers of exactly this name, each once. A runtime that does not answer knows
/// none.
pub(super) fn named(name: &str, running: &[Container]) -> Vec<Container> {
    let mut found: Vec<Container> = Vec::new();
    if name.is_empty() {
        return found;
    }
    let inspected = ENGINES.into_iter().filter_map(|runtime| {
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

/// Adds what a container's runtime tells when it is asked: all labels, and names where its files told
/// none.
pub(super) fn complete(id: &str, told: &mut Told) {
    if let Some(pod) = told.labels.get("io.kubernetes.cri.sandbox-id") {
        let answer = ask(Command::new("crictl").args(["inspectp", "--output", "json", pod]));
        add(told, answer.and_then(|answer| inspected_pod(&answer)).unwrap_or_default());
        return;
    }
    let of_podman = told.labels.get("io.container.manager").is_some_and(|who| who == "libpod");
    let runtimes = if of_podman { &ENGINES[..1] } else { &ENGINES[..] };
    let inspected = runtimes.iter().find_map(|runtime| {
        let answer = ask(Command::new(runtime).args(["container", "inspect", "--", id]))?;
        inspected_container(&answer, id)
    });
    add(told, inspected.unwrap_or_default());
}

const ENGINES: [&str; 3] = ["podman", "docker", "nerdctl"];

fn add(told: &mut Told, asked: Told) {
    told.name = told.name.take().or(asked.name);
    told.image = told.image.take().or(asked.image);
    told.labels.extend(asked.labels);
    told.all_labels = true;
}

/// What an engine's `inspect` prints of a container.
fn inspected_container(answer: &[u8], id: &str) -> Option<Told> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inspected {
        #[serde(alias = "ID")]
        id: String,
        name: String,
        /// Podman's; docker has it in its configuration, and an id where podman has one too.
        image_name: Option<String>,
        config: Config,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        image: Option<String>,
        labels: Option<BTreeMap<String, String>>,
    }

    let found: Vec<Inspected> = serde_json::from_slice(answer).ok()?;
    let Inspected { name, image_name, config, .. } = found.into_iter().find(|c| c.id == id)?;
    Some(Told {
        name: Some(name.trim_start_matches('/').to_owned()),
        image: image_name.or(config.image).filter(|image| !image.is_empty()),
        labels: config.labels.unwrap_or_default(),
        ..Told::default()
    })
}

/// What `crictl inspectp` prints of a pod: its labels are its containers'.
fn inspected_pod(answer: &[u8]) -> Option<Told> {
    #[derive(Deserialize)]
    struct Inspected {
        status: Status,
    }

    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }

    let Inspected { status } = serde_json::from_slice(answer).ok()?;
    Some(Told { labels: status.labels, ..Told::default() })
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
    fn what_an_engine_is_asked_completes_what_its_files_told() {
        let podman = br#"[{"Id":"abcd","Name":"web","Image":"a52f","ImageName":"localhost/a:1",
            "Config":{"Image":"localhost/a:1","Labels":{"app":"research"}}}]"#;
        let docker = br#"[{"Id":"abcd","Name":"/web","Image":"sha256:a52f",
            "Config":{"Image":"a:1","Labels":null}}]"#;
        let told = inspected_container(podman, "abcd").expect("the container");
        assert_eq!(told.image.as_deref(), Some("localhost/a:1"));
        assert_eq!(told.labels["app"], "research");
        let of_docker = inspected_container(docker, "abcd").expect("the container");
        assert_eq!(of_docker.name.as_deref(), Some("web"));
        assert_eq!(of_docker.image.as_deref(), Some("a:1"));
        assert_eq!(inspected_container(docker, "abc"), None);

        let mut known = Told { name: Some("renamed".into()), ..Told::default() };
        add(&mut known, told);
        assert_eq!(known.name.as_deref(), Some("renamed"));
        assert!(known.all_labels && known.labels.contains_key("app"));
    }

    #[test]
    fn a_pod_s_labels_are_read() {
        let crictl =
            br#"{"status":{"id":"446c","labels":{"app":"planner"},"state":"SANDBOX_READY"},
            "info":{"pid":1}}"#;
        assert_eq!(inspected_pod(crictl).expect("the pod").labels["app"], "planner");
        assert_eq!(inspected_pod(b"FATA[0000]"), None);
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
