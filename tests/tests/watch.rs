//! Containers come and go, and rules attach them: podman and plain runc.

use std::time::{Duration, Instant};

use serde_json::Value;
use turnpike_tests::{
    bundle::Bundle,
    container::Container,
    gateway::{Gateway, Mode},
    leaks::Held,
    machine,
    sandbox::Sandbox,
    wait,
};

/// A rule that matches nothing of any other test.
fn rule(matches: &str, more: &str) -> String {
    format!("[[agent]]\nmatch = {{ {matches} }}\n{more}\n")
}

fn by_name(prefix: &str, more: &str) -> String {
    rule(&format!("container = \"{prefix}*\""), more)
}

/// Connects first of all, to where nobody is: without a redirect there is no route, and with one the
/// connection is made.
const CONNECT_FIRST: [&str; 3] = ["bash", "-c", "exec 3<>/dev/tcp/203.0.113.7/80; sleep infinity"];

/// As the first act, from a container that stays.
fn connect(container: &Container) {
    container.exec(&["bash", "-c", "exec 3<>/dev/tcp/203.0.113.7/80"]);
}

#[track_caller]
fn attached(gateway: &Gateway, name: &str) -> Value {
    let what = format!("{name} to be attached");
    wait::until(ATTACH, &what, || gateway.agent_json(name))
}

fn redirected(gateway: &Gateway, name: &str) -> u64 {
    let agent = gateway.agent_json(name).unwrap_or_default();
    agent["coverage"]["redirected"].as_u64().unwrap_or(0)
}

#[track_caller]
fn expect_redirected(gateway: &Gateway, name: &str, count: u64) {
    let what = format!("{count} connections of {name} to be redirected");
    wait::until_true(ATTACH, &what, || redirected(gateway, name) >= count);
}

/// Whether an agent's first act was seen; where it was not, that it was late must be told.
#[track_caller]
fn was_in_time(gateway: &Gateway, name: &str) -> bool {
    let agent = attached(gateway, name);
    let seen = || {
        let agent = gateway.agent_json(name).expect("attached");
        let seen = agent["coverage"]["redirected"].as_u64() >= Some(1);
        (seen || agent["late_ms"].is_u64()).then_some((seen, agent))
    };
    let (seen, agent_then) = wait::until(ATTACH, "the first act to be seen or missed", seen);
    eprintln!("{name}: first act redirected: {seen}, late_ms: {}", agent_then["late_ms"]);
    assert_eq!(agent["attached_by"], "rule 1", "{agent}");
    if !seen {
        let status = gateway.succeed(&["status"]);
        assert!(status.contains("agents attached late"), "{status}");
        let shown = gateway.succeed(&["agents"]);
        assert!(shown.contains("late: what it did"), "{shown}");
    }
    seen
}

#[test]
fn a_podman_container_that_a_rule_matches_is_attached_before_it_connects() {
    let name = machine::unique("first");
    let gateway = Gateway::start_with(Mode::Audit, &by_name(&name, "tenant = \"acme\""));
    let container = Container::start_doing(name.clone(), &[], &CONNECT_FIRST);
    was_in_time(&gateway, &name);
    let agent = attached(&gateway, &name);
    assert_eq!(agent["container_id"], container.id());
    assert_eq!(agent["container_name"], *name);
    assert_eq!(agent["tenant"], "acme");
    assert_eq!(agent["mode"], "audit");
    let shown = gateway.succeed(&["agents"]);
    assert!(shown.contains("attached by rule 1, tenant acme"), "{shown}");
}

#[test]
fn an_enforced_container_is_closed_from_its_first_act_on() {
    let name = machine::unique("closed");
    let gateway = Gateway::start_with(Mode::Audit, &by_name(&name, "mode = \"enforce\""));
    let container = Container::start_doing(name.clone(), &[], &CONNECT_FIRST);
    was_in_time(&gateway, &name);
    assert_eq!(attached(&gateway, &name)["mode"], "enforce");
    connect(&container);
    expect_redirected(&gateway, &name, 1);
    // Enforced agents are decrypted, so its files of certificates are covered once they are there.
    wait::until_true(ATTACH, "its certificates to be covered", || {
        container.mounts().iter().any(|mount| mount.contains("turnpike-trust"))
    });
    // Its resolvers are its own, not those of the runtime that made it.
    let state = std::fs::read_to_string(gateway.place().runtime_dir().join("daemon.json"));
    let state: Value = serde_json::from_str(&state.expect("written")).expect("a state file");
    let servers = container.exec(&["cat", "/etc/resolv.conf"]);
    for resolver in state["agents"][0]["resolvers"].as_array().into_iter().flatten() {
        assert!(servers.contains(resolver.as_str().expect("an address")), "{servers}: {resolver}");
    }
}

#[test]
fn a_plain_runc_container_is_attached_by_its_id() {
    let name = machine::unique("plain");
    let gateway = Gateway::start_with(Mode::Audit, &by_name(&name, ""));
    let _bundle = Bundle::run(&name, None, ("app", "research"), &CONNECT_FIRST);
    was_in_time(&gateway, &name);
    assert_eq!(attached(&gateway, &name)["container_id"], *name);
}

#[test]
fn a_plain_runc_container_in_any_cgroup_is_attached_by_its_annotation() {
    let name = machine::unique("annotated");
    let rules = rule(&format!("label = {{ agent = \"{name}\" }}"), "name = \"by-{container}\"");
    let gateway = Gateway::start_with(Mode::Audit, &rules);
    let elsewhere = format!("{name}-elsewhere");
    let _bundle = Bundle::run(&name, Some(&elsewhere), ("agent", &name), &CONNECT_FIRST);
    was_in_time(&gateway, &format!("by-{name}"));
}

#[test]
fn a_podman_container_is_attached_by_its_label() {
    let name = machine::unique("labelled");
    let rules = rule(&format!("label = {{ agent = \"{name}\" }}"), "");
    let gateway = Gateway::start_with(Mode::Audit, &rules);
    let label = format!("agent={name}");
    let _container = Container::start_doing(name.clone(), &["--label", &label], &CONNECT_FIRST);
    was_in_time(&gateway, &name);
}

#[test]
fn a_cgroup_that_a_rule_matches_is_attached_before_anything_is_in_it() {
    let gateway_rules = rule(&format!("cgroup = \"/tp-{}-*-agent\"", std::process::id()), "");
    let gateway = Gateway::start_with(Mode::Audit, &gateway_rules);
    let sandbox = Sandbox::isolated();
    let name = sandbox.cgroup().file_name().and_then(|name| name.to_str()).expect("ours");
    assert!(attached(&gateway, name)["late_ms"].is_null());
    let mut bash = sandbox.command("bash");
    let first = sandbox.spawn(bash.args(["-c", &format!("sleep 1; {}", CONNECT_FIRST[2])]));
    expect_redirected(&gateway, name, 1);
    drop(first);
}

#[test]
fn rules_attach_so_many_agents_and_the_next_when_there_is_room_again() {
    let rules = rule(&format!("cgroup = \"/tp-{}-*-crowd\"", std::process::id()), "");
    let limits = format!("{rules}[limits]\nagents_by_rule = 1\n");
    let gateway = Gateway::start_with(Mode::Audit, &limits);
    let sandbox = Sandbox::isolated();
    let _crowd = ["one-crowd", "two-crowd"].map(|name| sandbox.nested(name));
    let hits = || {
        let status = gateway.succeed(&["status", "--json"]);
        let status: Value = serde_json::from_str(&status).expect("JSON");
        let bounds = status["bounds"].as_array().expect("a list");
        let bound = bounds.iter().find(|bound| bound["name"] == "agents_by_rule").expect("listed");
        bound["hits"].as_u64().expect("a count")
    };
    wait::until_true(ATTACH, "the bound to be hit", || hits() > 0);
    let [first] = &gateway.agents_json()[..] else { panic!("{:?}", gateway.agents_json()) };
    let first = first["name"].as_str().expect("a name").to_owned();
    assert!(gateway.stderr().contains("agents_by_rule in [limits]"), "{}", gateway.stderr());
    gateway.detach(&first);
    let other = || gateway.agents_json().iter().any(|agent| agent["name"] != *first);
    wait::until_true(ATTACH, "the other to be attached", other);
}

#[test]
fn a_container_that_is_restarted_is_attached_again_under_its_name() {
    let name = machine::unique("again");
    let gateway = Gateway::start_with(Mode::Audit, &by_name(&name, ""));
    let mut container = Container::start_doing(name.clone(), &[], &CONNECT_FIRST);
    let before = attached(&gateway, &name)["cgroup_id"].clone();
    container.restart();
    let again = || gateway.agent_json(&name).filter(|agent| agent["cgroup_id"] != before);
    wait::until(ATTACH, "the restarted container to be attached", again);
    was_in_time(&gateway, &name);
    assert_eq!(gateway.agents_json().len(), 1);
}

#[test]
fn a_container_that_is_renamed_keeps_its_agent_under_the_new_name() {
    let name = machine::unique("old");
    let gateway = Gateway::start_with(Mode::Audit, &by_name(&name, ""));
    let mut container = Container::start_doing(name.clone(), &[], &["sleep", "infinity"]);
    let before = attached(&gateway, &name);
    connect(&container);
    expect_redirected(&gateway, &name, 1);
    let renamed = format!("{name}-new");
    container.rename(renamed.clone());
    let agent = attached(&gateway, &renamed);
    assert_eq!(agent["cgroup_id"], before["cgroup_id"]);
    assert_eq!(gateway.agents_json().len(), 1);
    assert!(redirected(&gateway, &renamed) >= 1);
    gateway.detach(&renamed);
    assert!(gateway.agents_json().is_empty());
}

#[test]
fn a_container_that_is_removed_leaves_nothing() {
    let name = machine::unique("gone");
    let gateway = Gateway::start_with(Mode::Audit, &by_name(&name, ""));
    let own = Held::by(gateway.pid());
    let mut container = Container::start_doing(name.clone(), &[], &["sleep", "infinity"]);
    attached(&gateway, &name);
    let links = Held::by(gateway.pid()).links_since(&own);
    container.remove();
    wait::until_true(ATTACH, "it to be detached", || gateway.agents_json().is_empty());
    links.assert_gone();
}

#[test]
fn containers_that_want_one_name_are_told_apart() {
    let prefix = machine::unique("crew");
    let gateway = Gateway::start_with(Mode::Audit, &by_name(&prefix, "name = \"crew\""));
    let start = |n| Container::start_doing(format!("{prefix}-{n}"), &[], &["sleep", "infinity"]);
    let one = start(1);
    assert_eq!(attached(&gateway, "crew")["container_id"], one.id());
    let two = start(2);
    assert_eq!(attached(&gateway, "crew-2")["container_id"], two.id());
}

#[test]
fn what_no_rule_matches_is_left_alone_and_told() {
    let name = machine::unique("mine");
    let gateway = Gateway::start_with(Mode::Audit, &by_name(&name, ""));
    let other = Container::start();
    let _mine = Container::start_doing(name.clone(), &[], &["sleep", "infinity"]);
    attached(&gateway, &name);
    let status = || -> Value {
        serde_json::from_str(&gateway.succeed(&["status", "--json"])).expect("JSON")
    };
    let is_told = || {
        let named = status()["unattached"].as_array().cloned().unwrap_or_default();
        named.iter().any(|found| found == other.name())
    };
    wait::until_true(ATTACH, "the other to be told", is_told);
    assert!(other.listeners().is_empty(), "{:?}", other.listeners());
    assert_eq!(gateway.agents_json().len(), 1);
    let doctor = String::from_utf8_lossy(&gateway.cli(&["doctor"]).stdout).into_owned();
    let line = doctor.lines().find(|line| line.contains("containers seen but not attached"));
    assert!(line.is_some_and(|line| line.contains(other.name())), "{doctor}");
}

#[test]
fn a_command_takes_from_a_rule_what_it_does_not_say_itself() {
    let name = machine::unique("asked");
    let rules = format!(
        "{}{}",
        by_name(&name, "mode = \"enforce\"\ntenant = \"acme\""),
        rule("container = \"no-such-container\"", "")
    );
    let gateway = Gateway::start_with(Mode::Audit, &rules);
    let container = Container::start_doing(name.clone(), &[], &["sleep", "infinity"]);
    attached(&gateway, &name);
    gateway.detach(&name);
    let agent = gateway.attach_container(&container, &[]);
    assert_eq!(agent["mode"], "enforce");
    assert_eq!(agent["tenant"], "acme");
    assert_eq!(agent["attached_by"], "command");
    gateway.detach(&name);
    let agent = gateway.attach_container(&container, &["--mode", "audit", "--name", "other"]);
    assert_eq!((&agent["mode"], &agent["name"]), (&"audit".into(), &"other".into()));
}

#[test]
fn twenty_containers_at_once_are_all_attached() {
    let prefix = machine::unique("many");
    let gateway = Gateway::start_with(Mode::Audit, &by_name(&prefix, ""));
    let start = Instant::now();
    let containers: Vec<Container> = std::thread::scope(|scope| {
        let one = |n| move || Container::start_doing(n, &[], &CONNECT_FIRST);
        let threads: Vec<_> = (0..20).map(|n| scope.spawn(one(format!("{prefix}-{n}")))).collect();
        threads.into_iter().map(|thread| thread.join().expect("started")).collect()
    });
    let started = start.elapsed();
    let in_time =
        containers.iter().filter(|container| was_in_time(&gateway, container.name())).count();
    eprintln!("20 containers started in {started:?}: {in_time} were attached in time");
    assert_eq!(gateway.agents_json().len(), 20);
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_attaches_the_rest_when_it_starts_again() {
    let prefix = machine::unique("mid");
    let mut gateway = Gateway::start_with(Mode::Audit, &by_name(&prefix, ""));
    let start = |n| Container::start_doing(format!("{prefix}-{n}"), &[], &["sleep", "infinity"]);
    let mut containers: Vec<Container> = (0..2).map(start).collect();
    for container in &containers {
        attached(&gateway, container.name());
    }
    let late_before = attached(&gateway, containers[0].name())["late_ms"].clone();
    gateway.kill9();
    containers.extend((2..4).map(start));
    gateway.restart();
    for container in &containers {
        let agent = attached(&gateway, container.name());
        assert_eq!(agent["attached_by"], "rule 1");
        connect(container);
        expect_redirected(&gateway, container.name(), 1);
    }
    let taken_over = attached(&gateway, containers[0].name());
    assert_eq!(taken_over["late_ms"], late_before, "taking over is no attaching");
    assert!(attached(&gateway, containers[3].name())["late_ms"].is_u64());
    assert_eq!(gateway.agents_json().len(), 4);
}

/// The daemon looks through everything again every ten seconds.
const ATTACH: Duration = Duration::from_secs(15);
