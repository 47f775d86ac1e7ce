//! What is refused, and that a refusal changes nothing.

use std::process::Command;

use turnpike_tests::{
    gateway::{Gateway, Mode},
    leaks::Held,
    machine,
    sandbox::Sandbox,
};

/// Runs a refusal, and checks that it changes nothing.
fn refused(gateway: &Gateway, arguments: &[&str], reason: &str) {
    let before = (gateway.agents_json(), Held::by(gateway.pid()));
    let line = gateway.refused(&[&["attach"], arguments].concat());
    assert!(line.contains(reason), "{arguments:?}: {line}");
    assert_eq!(gateway.agents_json(), before.0);
    assert_eq!(Held::by(gateway.pid()).links, before.1.links);
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("our own path")
}

#[test]
fn what_would_catch_more_than_an_agent_is_refused() {
    let gateway = Gateway::start(Mode::Enforce);
    let root = machine::cgroup_mount();
    let fix = "turnpike run -- CMD";
    refused(&gateway, &["--cgroup", path(&root), "--name", "a"], fix);

    let mut in_root = Command::new("sh");
    let join = format!("echo $$ > {}/cgroup.procs && exec sleep 60", root.display());
    let in_root = turnpike_tests::process::Background::spawn("sleep", in_root.args(["-c", &join]));
    let pid = in_root.pid().to_string();
    turnpike_tests::wait::until_true(std::time::Duration::from_secs(5), "it to move", || {
        let found = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        found.lines().any(|line| line == "0::/")
    });
    refused(&gateway, &["--pid", &pid, "--name", "a"], fix);

    refused(&gateway, &["--cgroup", "/nowhere", "--name", "a"], "/nowhere");
    refused(&gateway, &["--container", "no-such-container"], "no-such-container");
    refused(&gateway, &["--pid", "4194999"], "4194999");
}

#[test]
fn the_callers_own_cgroup_is_refused() {
    let (gateway, sandbox) = (Gateway::start(Mode::Enforce), Sandbox::new());
    let nested = sandbox.nested("shell");
    let program = machine::turnpike();
    let mut shell = sandbox.command_in(&nested, path(&program));
    shell.arg("--control").arg(gateway.place().control());
    let output =
        shell.args(["attach", "--cgroup", path(sandbox.cgroup())]).output().expect("it runs");
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains("calling from"), "{line}");
    assert_eq!(gateway.agents_json().len(), 0);
}

#[test]
fn overlaps_and_names_that_are_taken_are_refused() {
    let (gateway, sandbox) = (Gateway::start(Mode::Audit), Sandbox::new());
    let (middle, other) = (sandbox.nested("middle"), Sandbox::new());
    let below = sandbox.nested("middle/below");
    gateway.attach_cgroup(&middle, "middle", &[]);
    let fix = "turnpike detach middle";
    refused(&gateway, &["--cgroup", path(sandbox.cgroup()), "--name", "above"], fix);
    refused(&gateway, &["--cgroup", path(&below), "--name", "below"], fix);
    refused(&gateway, &["--cgroup", path(&middle), "--name", "again"], fix);
    refused(&gateway, &["--cgroup", path(other.cgroup()), "--name", "middle"], "--name");
    refused(&gateway, &["--cgroup", path(other.cgroup()), "--name", "a b"], "letters");
    // The other cgroup is none the worse for it.
    gateway.attach_cgroup(other.cgroup(), "other", &[]);
    gateway.detach("middle");
    gateway.attach_cgroup(&below, "below", &[]);
}
