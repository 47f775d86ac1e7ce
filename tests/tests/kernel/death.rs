//! What holds when the gateway dies, and what is left of it.

use std::{
    collections::BTreeSet,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};

use turnpike::attach::ebpf::version;
use turnpike_tests::{
    gateway::{Gateway, Mode},
    leaks::Held,
    peer::{Called, PeerServer, Try, client_command, tries},
    process::Background,
    sandbox::Sandbox,
    wait,
};

const SOON: Duration = Duration::from_secs(10);

/// An agent that connects again and again.
pub(super) struct Agent {
    pub(super) sandbox: Sandbox,
    pub(super) client: Background,
    _server: PeerServer,
}

impl Agent {
    pub(super) fn start() -> Self {
        let sandbox = Sandbox::isolated();
        let ip = IpAddr::V4(Ipv4Addr::new(10, 79, 0, 1));
        sandbox.netns().add_address(ip);
        let server = PeerServer::start(Some(sandbox.netns()), &[SocketAddr::new(ip, 0)]);
        let client = sandbox.spawn(&mut client_command(&sandbox, &["load"], &server.addresses));
        Self { sandbox, client, _server: server }
    }

    fn id(&self) -> String {
        fs::metadata(self.sandbox.cgroup()).expect("it is there").ino().to_string()
    }

    pub(super) fn now(&self) -> u64 {
        tries(&self.client).last().map_or(0, |last| last.at_us)
    }

    /// Waits until its tries come out so.
    pub(super) fn becomes(&self, result: &str) {
        wait::until_true(SOON, Becoming { agent: self, result }, || {
            tries(&self.client).last().is_some_and(|last| last.result == result)
        });
    }

    /// From a second after `since` on, for a second, every try must come out so.
    pub(super) fn is_within_a_second(&self, since: u64, result: &str) {
        wait::until_true(SOON, "two seconds of tries", || self.now() > since + 2_000_000);
        let later: Vec<Try> = tries(&self.client);
        let late = later.iter().filter(|it| it.at_us > since + 1_000_000);
        let others: Vec<&Try> = late.filter(|it| it.result != result).collect();
        assert!(others.is_empty(), "a second after: {others:?}");
    }
}

/// What is waited for, and how the last tries came out.
struct Becoming<'a> {
    agent: &'a Agent,
    result: &'a str,
}

impl fmt::Display for Becoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tries = tries(&self.agent.client);
        let last = tries.get(tries.len().saturating_sub(5)..).unwrap_or_default();
        write!(f, "{}, after {last:?}", self.result)
    }
}

/// The ids of the agents that are pinned, by the names of the directories.
pub(super) fn pinned(gateway: &Gateway) -> BTreeSet<String> {
    let directory = gateway.place().runtime_dir().join("bpf").join(version()).join("daemon/agents");
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn listed(gateway: &Gateway) -> BTreeSet<String> {
    let agents = gateway.agents_json();
    agents.iter().map(|agent| agent["cgroup_id"].to_string()).collect()
}

#[test]
fn a_killed_gateway_leaves_audit_open_and_enforce_closed_and_its_successor_goes_on() {
    let mut gateway = Gateway::start_open(Mode::Audit);
    let (audit, enforce) = (Agent::start(), Agent::start());
    gateway.attach_cgroup(audit.sandbox.cgroup(), "audit", &[]);
    gateway.attach_cgroup(enforce.sandbox.cgroup(), "enforce", &["--mode", "enforce"]);
    audit.becomes("proxied");
    enforce.becomes("proxied");
    let held = Held::by(gateway.pid());
    let killed_at = (audit.now(), enforce.now());
    gateway.kill9();
    audit.is_within_a_second(killed_at.0, "direct");
    enforce.is_within_a_second(killed_at.1, "ConnectionRefused");
    assert_eq!(pinned(&gateway), BTreeSet::from([enforce.id()]));
    assert_eq!(listed(&gateway), pinned(&gateway), "what is pinned is what is listed");

    gateway.restart();
    audit.becomes("proxied");
    enforce.becomes("proxied");
    assert_eq!(gateway.agents_json().len(), 2);
    let held_again = Held::by(gateway.pid());

    gateway.kill9();
    enforce.becomes("ConnectionRefused");
    gateway.succeed(&["detach", "enforce", "--force"]);
    enforce.becomes("direct");
    audit.becomes("direct");
    assert_eq!(pinned(&gateway), BTreeSet::new());
    assert_eq!(gateway.place().mounts(), [] as [&Path; 0]);
    held.assert_gone();
    held_again.assert_gone();
}

#[test]
fn what_another_version_pinned_is_replaced_and_the_agent_is_never_open() {
    let mut gateway = Gateway::start_open(Mode::Enforce);
    let agent = Agent::start();
    gateway.attach_cgroup(agent.sandbox.cgroup(), "a", &[]);
    agent.becomes("proxied");
    gateway.kill9();
    agent.becomes("ConnectionRefused");
    let closed_at = agent.now();
    let bpffs = gateway.place().runtime_dir().join("bpf");
    fs::rename(bpffs.join(version()), bpffs.join("v1")).expect("a bpffs can rename");

    gateway.restart();
    agent.becomes("proxied");
    assert_eq!(pinned(&gateway), BTreeSet::from([agent.id()]));
    assert!(!bpffs.join("v1").exists(), "what was replaced is gone");
    let later = tries(&agent.client).into_iter().filter(|it| it.at_us > closed_at);
    assert_eq!(later.filter(|it| it.result == "direct").count(), 0);

    gateway.kill9();
    fs::rename(bpffs.join(version()), bpffs.join("v1")).expect("a bpffs can rename");
    gateway.succeed(&["detach", "a", "--force"]);
    agent.becomes("direct");
    assert_eq!(gateway.place().mounts(), [] as [&Path; 0]);
}

#[test]
fn what_a_killed_gateway_carried_is_reset_not_ended() {
    let mut gateway = Gateway::start_open(Mode::Audit);
    let sandbox = Sandbox::new();
    gateway.attach_cgroup(sandbox.cgroup(), "a", &[]);
    let server = PeerServer::start(None, &[SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]);
    let mut client = sandbox.spawn(&mut client_command(&sandbox, &["hold"], &server.addresses));
    wait::until_true(SOON, "the connection", || client.stdout().lines().count() == 1);
    gateway.kill9();
    client.wait(SOON);
    let printed = client.stdout();
    let called: Called =
        serde_json::from_str(printed.lines().next().expect("it called")).expect("its own format");
    assert!(!called.is_direct());
    assert_eq!(printed.lines().last(), Some("ConnectionReset"));
}

#[test]
fn a_gateway_that_ends_in_good_order_leaves_nothing_of_audit_agents() {
    let mut gateway = Gateway::start_open(Mode::Audit);
    let agent = Agent::start();
    gateway.attach_cgroup(agent.sandbox.cgroup(), "a", &[]);
    agent.becomes("proxied");
    let held = Held::by(gateway.pid());
    gateway.terminate();
    agent.becomes("direct");
    held.assert_gone();
    assert_eq!(gateway.place().mounts(), [] as [&Path; 0]);
    let failed: Vec<Try> = tries(&agent.client)
        .into_iter()
        .filter(|it| it.result != "direct" && it.result != "proxied")
        .collect();
    assert!(failed.is_empty(), "the agent noticed: {failed:?}");
}

#[test]
fn attaching_and_detaching_under_load_is_not_noticed() {
    let gateway = Gateway::start_open(Mode::Audit);
    let agent = Agent::start();
    agent.becomes("direct");
    for _ in 0..10 {
        gateway.attach_cgroup(agent.sandbox.cgroup(), "a", &[]);
        agent.becomes("proxied");
        gateway.detach("a");
        agent.becomes("direct");
    }
    let all = tries(&agent.client);
    let failed = all.iter().filter(|it| it.result != "direct" && it.result != "proxied");
    assert_eq!(failed.count(), 0, "the agent noticed");
}

#[test]
fn an_agent_whose_cgroup_goes_away_is_detached() {
    let gateway = Gateway::start_open(Mode::Enforce);
    let agent = Agent::start();
    let before = Held::by(gateway.pid());
    gateway.attach_cgroup(agent.sandbox.cgroup(), "a", &[]);
    agent.becomes("proxied");
    drop(agent);
    wait::until_true(SOON, "it to be detached", || gateway.agents_json().is_empty());
    assert_eq!(pinned(&gateway), BTreeSet::new());
    wait::until_true(SOON, "the links to go", || Held::by(gateway.pid()).links == before.links);
}
