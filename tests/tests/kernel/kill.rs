//! Kills: they hold in either mode, over restarts, without a daemon, for what is unread and for what was
//! there before; and they touch nobody else.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use turnpike_tests::{
    gateway::{Gateway, Mode},
    peer::{Try, client_command, tries},
    sandbox::Sandbox,
    wait,
};

use super::{
    death::{Agent, pinned},
    existing::Site,
};

const SOON: Duration = Duration::from_secs(15);
const DENIED: &str = "PermissionDenied";

#[track_caller]
fn kill(gateway: &Gateway, arguments: &[&str]) -> Value {
    let arguments = [&["kill", "--json"], arguments].concat();
    serde_json::from_str(&gateway.succeed(&arguments)).expect("JSON")
}

fn kills(gateway: &Gateway) -> Vec<Value> {
    serde_json::from_str(&gateway.succeed(&["kills", "--json"])).expect("JSON")
}

#[test]
fn a_killed_agent_connects_nowhere_over_deaths_and_restarts_until_it_is_revived() {
    for mode in ["audit", "enforce"] {
        let mut gateway = Gateway::start_open(Mode::Audit);
        let (agent, bystander) = (Agent::start(), Agent::start());
        gateway.attach_cgroup(agent.sandbox.cgroup(), "a", &["--mode", mode]);
        gateway.attach_cgroup(bystander.sandbox.cgroup(), "b", &[]);
        agent.becomes("proxied");
        bystander.becomes("proxied");
        let killed_at = agent.now();
        let report = kill(&gateway, &["--agent", "a", "--reason", "enough"]);
        assert_eq!(report["silent"], true, "{report}");
        assert_eq!(report["not_covered"], Value::Array(Vec::new()), "{report}");
        for time in ["received_at", "persisted_at", "denied_at", "cancelled_at", "silent_at"] {
            assert!(report[time].is_string(), "{time}: {report}");
        }
        agent.becomes(DENIED);
        let denied_at = agent.now();
        let others = tries(&bystander.client);
        let noticed = others.iter().filter(|it| it.result != "proxied" && it.result != "direct");
        assert_eq!(noticed.count(), 0, "the bystander noticed");
        assert_eq!(gateway.agent_json("a").expect("listed")["state"], "killed");
        assert!(
            gateway.refused(&["detach", "a"]).contains("is killed, and detaching would let it go")
        );

        gateway.kill9();
        agent.is_within_a_second(agent.now(), DENIED);
        gateway.restart();
        let [listed] = &kills(&gateway)[..] else { panic!("one kill") };
        assert_eq!(listed["holder"]["id"], "a");
        assert_eq!(
            (listed["reason"].as_str(), listed["by_uid"].as_u64()),
            (Some("enough"), Some(0))
        );
        agent.is_within_a_second(agent.now(), DENIED);
        gateway.terminate();
        agent.is_within_a_second(agent.now(), DENIED);
        gateway.restart();

        gateway.succeed(&["revive", "--agent", "a"]);
        agent.becomes("proxied");
        assert!(kills(&gateway).is_empty());
        let enforced = mode == "enforce";
        assert_eq!(pinned(&gateway).len(), usize::from(enforced), "only what is enforced");
        assert!(gateway.refused(&["revive", "--agent", "a"]).contains("agent a is not killed"));
        let all: Vec<Try> = tries(&agent.client);
        let between = all.iter().filter(|it| it.at_us > denied_at);
        let slipped = between.clone().take_while(|it| it.result != "proxied");
        let results: BTreeSet<&str> = slipped.map(|it| it.result.as_str()).collect();
        assert_eq!(results, BTreeSet::from([DENIED]), "since {killed_at}");
    }
}

#[test]
fn without_a_daemon_what_it_left_is_killed_and_revived() {
    let mut gateway = Gateway::start_open(Mode::Enforce);
    let (agent, audited) = (Agent::start(), Agent::start());
    gateway.attach_cgroup(agent.sandbox.cgroup(), "a", &[]);
    gateway.attach_cgroup(audited.sandbox.cgroup(), "b", &["--mode", "audit"]);
    agent.becomes("proxied");
    audited.becomes("proxied");
    gateway.kill9();
    agent.becomes("ConnectionRefused");
    let line = gateway.refused(&["kill", "00c0ffee"]);
    assert!(line.contains("without one nobody knows workflows and sessions"), "{line}");
    assert!(gateway.refused(&["kill", "--agent", "c"]).contains("no dead one left agent c"));

    let report = kill(&gateway, &["--agent", "a"]);
    assert_eq!(report["silent"], true, "{report}");
    agent.becomes(DENIED);
    // Nothing of it is pinned, and that is said.
    let output = gateway.cli(&["kill", "--agent", "b", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let left = report["not_covered"][0].as_str().expect("it says so");
    assert!(left.contains("audit agents are let go when their gateway dies"), "{left}");
    audited.becomes("direct");

    gateway.restart();
    assert_eq!(kills(&gateway).len(), 2);
    agent.is_within_a_second(agent.now(), DENIED);
    audited.becomes(DENIED);
    gateway.kill9();
    gateway.succeed(&["revive", "--agent", "a"]);
    agent.becomes("ConnectionRefused");
    gateway.restart();
    agent.becomes("proxied");
    audited.becomes(DENIED);
    gateway.succeed(&["revive", "--agent", "b"]);
    audited.becomes("proxied");
}

#[test]
fn who_was_revived_without_a_daemon_is_as_free_as_before() {
    let mut gateway = Gateway::start_open(Mode::Audit);
    let (agent, enforced) = (Agent::start(), Agent::start());
    gateway.attach_cgroup(agent.sandbox.cgroup(), "a", &[]);
    gateway.attach_cgroup(enforced.sandbox.cgroup(), "e", &["--mode", "enforce"]);
    agent.becomes("proxied");
    enforced.becomes("proxied");
    kill(&gateway, &["--agent", "a"]);
    assert_eq!(pinned(&gateway).len(), 2);
    gateway.kill9();
    agent.becomes(DENIED);
    gateway.succeed(&["revive", "--agent", "a"]);
    gateway.restart();
    agent.becomes("proxied");
    assert_eq!(pinned(&gateway).len(), 1, "only what is enforced");
    kill(&gateway, &["--agent", "a"]);
    agent.becomes(DENIED);
    gateway.succeed(&["revive", "--agent", "a"]);
    agent.becomes("proxied");
}

#[test]
fn sockets_that_were_there_before_or_are_unread_end_too() {
    let gateway = Gateway::start_open(Mode::Audit);
    let (site, other) = (Site::new(), Site::new());
    let (older, spared) = (site.pings(), other.pings());
    gateway.attach_cgroup(site.sandbox.cgroup(), "a", &[]);
    gateway.attach_cgroup(other.sandbox.cgroup(), "b", &[]);
    assert_eq!(gateway.agent_json("a").expect("listed")["coverage"]["existing_sockets"], 1);
    let server = site.server.addresses.clone();
    let unread = site.sandbox.spawn(&mut client_command(&site.sandbox, &["hold"], &server[..1]));
    wait::until_true(SOON, "the connection", || unread.stdout().lines().count() == 1);

    let report = kill(&gateway, &["--agent", "a"]);
    assert_eq!(report["silent"], true, "{report}");
    assert!(report["sockets_destroyed"].as_u64() >= Some(1), "{report}");
    older.says("ECONNABORTED");
    wait::until_true(SOON, "the unread one to be reset", || unread.stdout().lines().count() == 2);
    let older = || gateway.agent_json("a").expect("listed")["coverage"]["existing_sockets"].clone();
    wait::until_true(SOON, "it to be counted", || older() == 0);
    spared.goes_on();
}

#[test]
fn processes_are_ended_if_that_is_wanted() {
    let gateway = Gateway::start_open(Mode::Audit);
    let sandbox = Sandbox::isolated();
    let mut idle = sandbox.spawn(sandbox.command("sleep").arg("infinity"));
    gateway.attach_cgroup(sandbox.cgroup(), "a", &[]);
    let report = kill(&gateway, &["--all", "--signal"]);
    assert_eq!(report["processes_signalled"], 1, "{report}");
    idle.wait(SOON);
    // Who comes later under that is killed from the start.
    let agent = Agent::start();
    gateway.attach_cgroup(agent.sandbox.cgroup(), "b", &[]);
    agent.becomes(DENIED);
    gateway.succeed(&["revive", "--all"]);
    agent.becomes("proxied");
}
