//! What the BPF programs say reaches the log, when it is asked for.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use turnpike_tests::{
    gateway::{Gateway, Mode, Place},
    peer::{Called, PeerServer, client},
    process::Background,
    sandbox::Sandbox,
    wait,
};

const SOON: Duration = Duration::from_secs(10);
const MESSAGE: &str = "redirected socket";

fn call(sandbox: &Sandbox) {
    let server = PeerServer::start(None, &[SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]);
    let called: Vec<Called> = client(sandbox, &["call"], &server.addresses);
    assert!(called.iter().all(|called| !called.is_direct()), "{called:?}");
}

#[test]
fn the_programs_messages_are_logged_when_asked_for() {
    let (gateway, sandbox) = (Gateway::start(Mode::Audit), Sandbox::new());
    gateway.attach_cgroup(sandbox.cgroup(), "a", &[]);
    call(&sandbox);
    wait::until_true(SOON, "the message", || {
        gateway.stderr().lines().any(|line| line.contains("DEBUG") && line.contains(MESSAGE))
    });
}

#[test]
fn they_are_silent_otherwise() {
    let (place, sandbox) = (Place::new(Mode::Audit), Sandbox::new());
    let mut command = place.command(&["daemon", "--config"]);
    let mut daemon = Background::spawn("turnpike daemon", command.arg(place.config()));
    wait::until_true(SOON, "the gateway to be ready", || daemon.stderr().contains("ready"));
    let cgroup = sandbox.cgroup().to_str().expect("our own path");
    let attach = place.command(&["attach", "--cgroup", cgroup]).output().expect("it runs");
    assert!(attach.status.success(), "{attach:?}");
    call(&sandbox);
    daemon.signal(rustix::process::Signal::TERM).expect("it runs");
    assert!(daemon.wait(SOON).success());
    let said = daemon.stderr();
    assert!(!said.contains(MESSAGE) && said.lines().count() == 2, "{said}");
}
