//! Agents in containers that know nothing of turnpike, with the real `openai` client.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    time::Duration,
};

use turnpike_tests::{
    agent::{self, Finished, Job},
    container::Container,
    gateway::{Gateway, Mode, Place},
    leaks::Held,
    machine,
    model_server::{Logged, ModelServer},
    process::Background,
    site::PlainSite,
    trace::{Spent, Workflow},
    wait,
};

fn start(container: &Container, job: &Job) -> Background {
    container.spawn(job.python(&mut container.command("python3")))
}

/// Ends an agent that works until it is told to stop.
fn stop(container: &Container, mut agent: Background) -> Vec<Finished> {
    container.exec(&["touch", agent::STOP_FILE]);
    let finished = agent::wait_for_end(&mut agent);
    container.exec(&["rm", agent::STOP_FILE]);
    finished
}

/// The workflows by their tags, which the model server's log has for each response. Responses that
/// the gateway saw in one workflow must belong to one tag.
fn by_tag(workflows: Vec<Workflow>, logged: &[Logged]) -> BTreeMap<String, Workflow> {
    let tags: BTreeMap<&str, &str> = logged
        .iter()
        .filter_map(|answer| Some((answer.response_id.as_deref()?, answer.tag.as_deref()?)))
        .collect();
    let mut found = BTreeMap::new();
    for workflow in workflows {
        let of_one: BTreeSet<&str> = workflow.response_ids().iter().map(|id| tags[id]).collect();
        let tag = of_one.first().copied().unwrap_or("none");
        assert_eq!(of_one.len(), 1, "one workflow holds what belongs apart: {of_one:?}");
        let tag = tag.to_owned();
        assert!(found.insert(tag.clone(), workflow).is_none(), "{tag} came out in two workflows");
    }
    found
}

/// What the gateway shows of a workflow must be what the client saw and the server logged.
fn assert_same(shown: &Workflow, seen: &Finished, logged: &[Logged]) {
    let tag = &seen.tag;
    let ids: Vec<&str> = seen.response_ids.iter().map(String::as_str).collect();
    assert_eq!(shown.response_ids(), ids, "{tag}");
    let server: Vec<&str> = logged.iter().filter_map(|a| a.response_id.as_deref()).collect();
    assert_eq!(shown.response_ids(), server, "{tag}");
    let totals = shown.summary.totals;
    assert_eq!(totals.usage, seen.usage, "{tag}");
    assert_eq!(totals.model_calls, seen.response_ids.len() as u64, "{tag}");
    assert_eq!(totals.tool_calls, seen.call_ids.len() as u64, "{tag}");
    assert_eq!(shown.tool_steps().count(), seen.call_ids.len(), "{tag}");
    assert_eq!(shown.summary.state, "done", "{tag}");
    for (step, answer) in shown.model_steps().zip(logged) {
        let usage = answer.usage.expect("it was answered");
        assert_eq!(step.usage, Some(Spent { usage, estimated: false }), "{tag}");
        assert_eq!(step.request_sha256.as_deref(), Some(answer.request_sha256.as_str()), "{tag}");
        assert_eq!(step.upstream_local, Some(answer.peer), "{tag}");
        assert_eq!(step.original_dst, Some(answer.local), "{tag}");
        assert_eq!((step.status, step.settled), (Some(200), true), "{tag}");
    }
    let emitted: BTreeSet<&str> = seen.call_ids.iter().map(String::as_str).collect();
    assert_eq!(shown.call_ids(), emitted, "{tag}");
    assert_linked(shown);
}

/// Tool steps follow the model call that emitted them, and the next model call follows them.
fn assert_linked(shown: &Workflow) {
    let kinds: BTreeMap<&str, &str> =
        shown.steps.iter().map(|s| (s.step_id.as_str(), s.call.as_str())).collect();
    for (place, step) in shown.steps.iter().enumerate() {
        let parents: Vec<&str> = step.parent_step_ids.iter().map(|id| kinds[id.as_str()]).collect();
        let all = |kind| !parents.is_empty() && parents.iter().all(|parent| *parent == kind);
        let right = match step.call.as_str() {
            "tool" => parents == ["model"],
            _ if place == 0 => parents.is_empty(),
            _ => all("tool"),
        };
        assert!(right, "step {place} ({}) follows {parents:?}", step.call);
    }
    let last = shown.model_steps().last().expect("a model call");
    assert_eq!(last.kind, "final");
}

#[test]
fn a_container_that_runs_already_is_attached_by_name_and_let_go_without_a_trace() {
    let container = Container::start();
    let site = PlainSite::beside(&container);
    let mut job = Job::new(site.server.address(), "loop");
    (job.concurrency, job.own_clients) = (3, true);
    let agent = start(&container, &job);
    agent::wait_for_more(&agent, 3);

    let mut gateway = Gateway::start(Mode::Audit);
    let (listeners, mounts) = (container.listeners(), container.mounts());
    let before = agent::finished(&agent).len();
    let own = Held::by(gateway.pid());
    let info = gateway.attach_container(&container, &[]);
    assert_eq!(info["name"], container.name());
    assert_eq!(info["container_id"], container.id());
    let attached = epoch();
    agent::wait_for_more(&agent, 6);
    assert!(container.listeners().len() > listeners.len(), "the gateway listens in the container");
    assert_eq!(container.mounts(), mounts, "an audited agent's files are left alone");

    let shown_at = epoch();
    let traces = gateway.traces();
    let kernel = Held::by(gateway.pid());
    assert!(!kernel.links.is_empty(), "the gateway's BPF links are to be seen");
    gateway.detach(container.name());
    assert_eq!(gateway.agents_json().len(), 0);
    let detached = epoch();
    kernel.links_since(&own).assert_gone();
    assert_eq!(container.listeners(), listeners, "no listener is left");
    let after = agent::wait_for_more(&agent, 3).len();

    let place = gateway.place();
    assert!(place.mounts().is_empty(), "an audited agent is not pinned");
    gateway.terminate();
    kernel.assert_gone();
    assert!(gateway.place().mounts().is_empty());
    assert!(!gateway.place().control().exists(), "the control socket is gone");
    agent::wait_for_more(&agent, 3);
    let finished = stop(&container, agent);
    assert!(finished.len() > after && after > before);

    let logged = site.server.logged();
    let shown = by_tag(traces, &logged);
    let mut compared = 0;
    for seen in &finished {
        let logged = site.server.logged_of(&seen.tag);
        assert!(logged.iter().all(|answer| answer.peer.ip() == site.cable.there));
        // A connection that detach leaves open goes on through the gateway, but without the hook
        // that answers getpeername: its socket then shows the relay.
        let straddles = seen.started < detached && seen.ended > shown_at;
        let real = seen.peers.iter().all(|peer| *peer == site.server.address());
        assert!(real || straddles, "getpeername gave {:?}", seen.peers);
        if seen.started > attached && seen.ended < shown_at {
            assert_same(&shown[&seen.tag], seen, &logged);
            compared += 1;
        }
    }
    assert!(compared > 0, "no workflow lies between attach and detach");
}

fn epoch() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a clock that is set").as_secs_f64()
}

/// Runs 20 workflows at once over one pool, and compares each.
fn twenty_come_apart(change: impl FnOnce(&mut Job)) {
    let container = Container::start();
    let site = PlainSite::beside(&container);
    let gateway = Gateway::start(Mode::Audit);
    gateway.attach_container(&container, &[]);
    let mut job = Job::new(site.server.address(), "w");
    (job.concurrency, job.workflows, job.steps) = (20, Some(20), 5);
    change(&mut job);
    let finished = agent::wait_for_end(&mut start(&container, &job));
    assert_eq!(finished.len(), 20);

    let traces = settled(&gateway, 20);
    let shown = by_tag(traces, &site.server.logged());
    assert_eq!(shown.len(), 20);
    for seen in &finished {
        assert_same(&shown[&seen.tag], seen, &site.server.logged_of(&seen.tag));
    }
    let coverage = &gateway.agents_json()[0]["coverage"];
    assert_eq!(coverage["calls_not_understood"], 0, "{coverage}");
    assert_eq!(coverage["left_direct"], 0, "{coverage}");
    assert_eq!(coverage["connections_opaque"], 0, "{coverage}");
}

/// Every workflow, once the gateway has so many that are done.
fn settled(gateway: &Gateway, count: usize) -> Vec<Workflow> {
    let done = || {
        let all = gateway.workflows_json();
        all.iter().filter(|workflow| workflow.state == "done").count() >= count
    };
    wait::until_true(Duration::from_secs(5), "the workflows to be done", done);
    gateway.traces()
}

#[test]
fn twenty_interleaved_workflows_come_apart() {
    twenty_come_apart(|_| {});
}

#[test]
fn twenty_interleaved_workflows_come_apart_when_streamed() {
    twenty_come_apart(|job| {
        job.stream = true;
        job.script = "chunk-ms=1".into();
    });
}

#[test]
fn twenty_interleaved_workflows_come_apart_though_their_tool_call_ids_are_alike() {
    twenty_come_apart(|job| job.script = "reuse-ids".into());
}

#[test]
fn a_call_that_is_refused_and_repeated_stays_in_its_workflow() {
    let container = Container::start();
    let site = PlainSite::beside(&container);
    let gateway = Gateway::start(Mode::Audit);
    gateway.attach_container(&container, &[]);
    let mut job = Job::new(site.server.address(), "w");
    (job.concurrency, job.workflows, job.retries) = (5, Some(5), 1);
    job.script = "fail=429x1".into();
    let finished = agent::wait_for_end(&mut start(&container, &job));
    let shown = by_tag(settled(&gateway, 5), &site.server.logged());
    assert_eq!((finished.len(), shown.len()), (5, 5));
    for workflow in shown.values() {
        let statuses: Vec<u16> = workflow.model_steps().filter_map(|step| step.status).collect();
        assert_eq!(statuses, [429, 200, 200, 200, 200]);
    }
}

#[test]
fn two_containers_in_one_network_namespace_are_two_agents() {
    let one = Container::start();
    let two = Container::start_sharing(&one);
    let site = PlainSite::beside(&one);
    let gateway = Gateway::start(Mode::Audit);
    gateway.attach_container(&one, &["--name", "one"]);
    gateway.attach_container(&two, &["--name", "two"]);
    let job = |prefix| {
        let mut job = Job::new(site.server.address(), prefix);
        (job.concurrency, job.workflows) = (3, Some(6));
        job
    };
    let mut agents = [start(&one, &job("one-")), start(&two, &job("two-"))];
    let finished: Vec<Finished> = agents.iter_mut().flat_map(agent::wait_for_end).collect();
    let shown = by_tag(settled(&gateway, 12), &site.server.logged());
    assert_eq!((finished.len(), shown.len()), (12, 12));
    for seen in &finished {
        let shown = &shown[&seen.tag];
        assert_same(shown, seen, &site.server.logged_of(&seen.tag));
        assert!(seen.tag.starts_with(&shown.summary.agent.name), "{}", seen.tag);
    }

    // The namespace's listener stays for the one that is still attached.
    gateway.detach("one");
    let mut agents = [start(&one, &job("one-again-")), start(&two, &job("two-again-"))];
    for agent in &mut agents {
        agent::wait_for_end(agent);
    }
    let shown = by_tag(settled(&gateway, 18), &site.server.logged());
    assert_eq!(shown.keys().filter(|tag| tag.contains("again")).count(), 6);
    assert!(!shown.keys().any(|tag| tag.starts_with("one-again")));
}

#[test]
fn a_container_is_found_by_the_beginning_of_its_id_and_an_unknown_one_is_refused() {
    let container = Container::start();
    let gateway = Gateway::start(Mode::Audit);
    let (prefix, _) = container.id().split_at(10);
    gateway.succeed(&["attach", "--container", prefix]);
    let agents = gateway.agents_json();
    assert_eq!(agents[0]["container_id"], container.id());
    let twice = gateway.refused(&["attach", "--container", container.name()]);
    assert!(twice.contains("detach"), "{twice}");

    let unknown = gateway.refused(&["attach", "--container", "no-such-container"]);
    assert!(unknown.contains("no-such-container") && unknown.contains("podman ps"), "{unknown}");
    assert_eq!(gateway.agents_json().len(), 1);
}

#[test]
fn an_agent_whose_container_is_removed_is_detached_by_itself() {
    let mut container = Container::start();
    let gateway = Gateway::start(Mode::Audit);
    let own = Held::by(gateway.pid());
    gateway.attach_container(&container, &[]);
    let links = Held::by(gateway.pid()).links_since(&own);
    assert!(!links.is_empty(), "the agent's BPF links are to be seen");
    container.remove();
    let gone = || gateway.agents_json().is_empty();
    wait::until_true(Duration::from_secs(5), "the agent to be detached", gone);
    links.assert_gone();
}

/// `loop.py` on the host, and then something else.
fn on_the_host(job: &Job, then: &str) -> [String; 3] {
    let line = machine::python_on_the_host("loop.py", &job.arguments());
    ["sh".into(), "-c".into(), format!("{line}; {then}")]
}

fn few(server: &ModelServer, prefix: &str) -> Job {
    let mut job = Job::new(server.address(), prefix);
    (job.concurrency, job.workflows) = (2, Some(4));
    job
}

fn loopback() -> ModelServer {
    ModelServer::start(&["127.0.0.1:0".parse().expect("an address")])
}

fn run_cgroups() -> BTreeSet<String> {
    let entries = std::fs::read_dir(machine::cgroup_mount()).expect("it is mounted").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("turnpike-run-")).collect()
}

/// Undecrypted: the command changes its root, where what it would be told to trust is not to be seen.
fn spawn_run(place: &Place, more: &[&str], command: &[String]) -> Background {
    let more = [&["--decrypt", "off"], more].concat();
    Background::spawn("turnpike run", place.run(&more).args(command))
}

#[test]
fn run_shows_what_the_command_did_and_ends_as_the_command_ended() {
    let server = loopback();
    // So that what the server was sent is what the client has sent.
    let as_asked = "[[upstream]]\nhosts = [\"127.0.0.1\"]\nstream_upstream = false\n";
    let place = Place::configured(Mode::Enforce, as_asked);
    let out = place.config().with_file_name("trace.jsonl");
    let options = ["--name", "hosted", "--trace-out", out.to_str().expect("our own path")];
    let command = on_the_host(&few(&server, "run"), "exit 3");
    let mut run = spawn_run(&place, &options, &command);
    let kernel = wait::until(Duration::from_secs(20), "the command to run", || {
        agent::finished(&run).first().map(|_| Held::by(run.pid()))
    });
    let status = run.wait(Duration::from_secs(30));
    assert_eq!(status.code(), Some(3), "{}", run.stderr());

    let written = std::fs::read_to_string(&out).expect("--trace-out was written");
    let parse = |line| serde_json::from_str::<Workflow>(line).expect("a workflow");
    let shown = by_tag(written.lines().map(parse).collect(), &server.logged());
    let finished = agent::finished(&run);
    assert_eq!((finished.len(), shown.len()), (4, 4));
    let stderr = run.stderr();
    for seen in &finished {
        let shown = &shown[&seen.tag];
        assert_same(shown, seen, &server.logged_of(&seen.tag));
        let (id, _) = shown.summary.workflow_id.split_at(4);
        assert!(stderr.contains(id), "{id} is not in {stderr}");
    }
    let cgroup = format!("turnpike-run-{}", run.pid());
    assert!(!run_cgroups().contains(&cgroup), "{cgroup} is left");
    kernel.assert_gone();
    assert!(place.mounts().is_empty());
}

#[test]
fn runs_beside_each_other_do_not_see_each_other() {
    let server = loopback();
    let place = Place::new(Mode::Audit);
    let out = |name: &str| place.config().with_file_name(format!("{name}.jsonl"));
    let mut runs = ["left", "right"].map(|name| {
        let path = out(name);
        let options = ["--name", name, "--trace-out", path.to_str().expect("our own path")];
        (name, spawn_run(&place, &options, &on_the_host(&few(&server, name), "true")))
    });
    for (name, run) in &mut runs {
        let status = run.wait(Duration::from_secs(40));
        assert!(status.success(), "{name}: {status}: {}", run.stderr());
        let written = std::fs::read_to_string(out(name)).expect("--trace-out was written");
        let parse = |line| serde_json::from_str::<Workflow>(line).expect("a workflow");
        let shown = by_tag(written.lines().map(parse).collect(), &server.logged());
        let tags: Vec<String> = (0..4).map(|number| format!("{name}{number}")).collect();
        assert_eq!(shown.into_keys().collect::<Vec<_>>(), tags);
    }
}

#[test]
fn run_beside_a_daemon_is_an_agent_of_the_daemon_for_as_long_as_it_lasts() {
    let server = loopback();
    let gateway = Gateway::start(Mode::Audit);
    let command = on_the_host(&few(&server, "guest"), "read line < /dev/stdin; exit 5");
    // As in `spawn_run`.
    let mut blocked = gateway.place().run(&["--decrypt", "off", "--name", "guest"]);
    blocked.args(&command).stdin(std::process::Stdio::piped());
    let mut run = Background::spawn("turnpike run", &mut blocked);
    let finished = wait::until(Duration::from_secs(20), "the command to work", || {
        Some(agent::finished(&run)).filter(|finished| finished.len() == 4)
    });
    assert!(gateway.agent_json("guest").is_some(), "the daemon has the agent");
    run.close_stdin();
    let status = run.wait(Duration::from_secs(20));
    assert_eq!(status.code(), Some(5), "{}", run.stderr());
    assert!(gateway.agent_json("guest").is_none(), "the agent is gone");

    let shown = by_tag(settled(&gateway, 4), &server.logged());
    for seen in &finished {
        assert_same(&shown[&seen.tag], seen, &server.logged_of(&seen.tag));
    }
    assert!(!run_cgroups().contains(&format!("turnpike-run-{}", run.pid())));
}

#[test]
fn run_gives_up_root_for_the_user_that_is_named_or_who_called_sudo() {
    let id = |run: &mut Command| {
        let output = run.args(["sh", "-c", "id -u; id -G; ulimit -Sn"]).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let own = id(Command::new("env").env_remove("SUDO_UID"));
    let files = own.lines().nth(2).expect("three lines");
    let place = Place::new(Mode::Audit);
    let nobody = format!("65534\n65534\n{files}\n");
    assert_eq!(id(place.run(&["--user", "nobody"]).env_remove("SUDO_UID")), nobody);
    assert_eq!(id(place.run(&[]).env("SUDO_UID", "65534")), nobody);
    let refused = place.run(&["--user", "no-such-user"]).arg("true").output().expect("it runs");
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn what_a_command_leaves_behind_is_ended_with_it() {
    let place = Place::new(Mode::Audit);
    let run = place.run(&[]).args(["sh", "-c", "sleep 600 & echo $!; exit 4"]).output();
    let run = run.expect("it runs");
    assert_eq!(run.status.code(), Some(4));
    let pid = String::from_utf8_lossy(&run.stdout).trim().to_owned();
    // Whoever inherits it may take its time to look, so what is left of it may still be listed.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[test]
fn the_systemd_unit_is_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let unit = std::fs::read_to_string(root.join("deploy/turnpike.service")).expect("it is kept");
    let program = machine::turnpike();
    let unit = unit.replace("/usr/local/bin/turnpike", program.to_str().expect("our own path"));
    let directory = tempfile::TempDir::with_prefix("tp-unit-").expect("room");
    let path = directory.path().join("turnpike.service");
    std::fs::write(&path, unit).expect("room");
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output();
    let verified = verified.expect("systemd is there: apt-get install systemd");
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}
