//! Who may talk to the gateway.

use std::{fs, os::unix::fs::PermissionsExt as _};

use turnpike_tests::{
    gateway::{Gateway, Mode},
    machine,
    sandbox::Sandbox,
};

#[test]
fn an_agent_can_not_talk_to_its_gateway() {
    let (gateway, sandbox) = (Gateway::start(Mode::Audit), Sandbox::new());
    let nested = sandbox.nested("below");
    let status = |cgroup| {
        let program = machine::turnpike();
        let mut command = sandbox.command_in(cgroup, program.to_str().expect("our own path"));
        command.arg("--control").arg(gateway.place().control()).arg("status");
        let output = command.output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let before = status(sandbox.cgroup());
    assert_eq!(before.0, Some(0), "before it is attached: {}", before.1);
    gateway.attach_cgroup(sandbox.cgroup(), "a", &[]);
    for cgroup in [sandbox.cgroup(), &nested] {
        let (code, line) = status(cgroup);
        assert_eq!(code, Some(1), "{line}");
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        assert!(line.contains("agent"), "it says why: {line}");
    }
    gateway.detach("a");
    assert_eq!(status(sandbox.cgroup()).0, Some(0));
}

#[test]
fn only_the_owner_may_open_the_socket() {
    let gateway = Gateway::start(Mode::Audit);
    let socket = fs::metadata(gateway.place().control()).expect("it is there");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}
