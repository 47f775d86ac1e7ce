//! The connects by which a gateway proves that its redirects work: what they find, and that they leave
//! no trace.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use serde_json::Value;
use turnpike_tests::{
    gateway::{Gateway, Mode},
    leaks::Held,
    machine,
    sandbox::Sandbox,
    wait,
};

use super::resident;

/// More than the period of tests.
const PERIOD: Duration = Duration::from_secs(45);

fn redirect(gateway: &Gateway, name: &str) -> Value {
    gateway.agent_json(name).expect("it is attached")["redirect"].clone()
}

#[test]
fn a_redirect_that_works_is_proven_and_the_proof_leaves_no_trace() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (gateway, sandbox) = (Gateway::start(mode), Sandbox::isolated());
        let resident = resident::attach(&gateway, &sandbox, "a");
        let agent = gateway.agent_json("a").expect("it is attached");
        assert_eq!(agent["redirect"]["state"], "ok", "{agent}");
        for (name, figure) in agent["coverage"].as_object().expect("figures") {
            assert!(
                figure == 0 || figure.as_object().is_some_and(serde_json::Map::is_empty),
                "{name}"
            );
        }
        assert!(gateway.workflows_json().is_empty());
        let status: Value =
            serde_json::from_str(&gateway.succeed(&["status", "--json"])).expect("JSON");
        assert_eq!(status["counters"].as_object().map(serde_json::Map::len), Some(0), "{status}");
        let processes = fs::read_to_string(sandbox.cgroup().join("cgroup.procs")).expect("there");
        assert_eq!(processes.trim(), resident.pid().to_string());
        let entries = fs::read_dir(sandbox.cgroup()).expect("it is there").flatten();
        assert_eq!(entries.filter(|entry| entry.path().is_dir()).count(), 0);
        assert_eq!(children(gateway.pid()), "");
    }
}

/// Of any of a process's threads.
fn children(pid: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it is alive").flatten();
    let children = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    children.map(Result::unwrap_or_default).collect()
}

#[test]
fn an_agent_without_processes_is_tested_when_it_has_some() {
    let (gateway, sandbox) = (Gateway::start(Mode::Audit), Sandbox::isolated());
    let agent = gateway.attach_cgroup(sandbox.cgroup(), "a", &[]);
    assert_eq!(agent["redirect"], Value::Null, "{agent}");
    let _resident = sandbox.spawn(sandbox.command("sleep").arg("600"));
    wait::until_true(PERIOD, "a test", || redirect(&gateway, "a")["state"] == "ok");
}

#[test]
fn a_redirect_that_is_broken_behind_our_back_is_shown() {
    let gateway = Gateway::start(Mode::Audit);
    let (misled, loose) = (Sandbox::isolated(), Sandbox::isolated());
    let _resident_there = resident::attach(&gateway, &misled, "misled");
    mislead(&gateway);
    let before = Held::by(gateway.pid()).links;
    let _resident = resident::attach(&gateway, &loose, "loose");
    assert_eq!(redirect(&gateway, "loose")["state"], "ok");
    let links = &Held::by(gateway.pid()).links - &before;
    detach(&links, "cgroup_inet4_connect");

    for (name, why) in [("misled", "refused"), ("loose", "not redirected")] {
        wait::until_true(PERIOD, name, || redirect(&gateway, name)["state"] == "failed");
        let shown = redirect(&gateway, name)["why"].to_string();
        assert!(shown.contains(why), "{name}: {shown}");
    }
    assert!(gateway.succeed(&["agents"]).contains("redirect: failed (a test connect over IPv4"));
    let doctor = gateway.cli(&["doctor"]);
    let report = String::from_utf8_lossy(&doctor.stdout);
    assert!(report.contains("missing  agent loose: its redirect failed"), "{report}");
    assert_eq!(doctor.status.code(), Some(1));
    assert!(gateway.stderr().contains("not redirected as they should be"));
    gateway.detach("loose");
    let _again = resident::attach(&gateway, &loose, "loose");
    assert_eq!(redirect(&gateway, "loose")["state"], "ok");
}

/// Has every namespace's connects go to a port on which nobody listens.
fn mislead(gateway: &Gateway) {
    for map in Held::by(gateway.pid()).maps {
        let map = map.to_string();
        let shown = machine::run(Command::new("bpftool").args(["-j", "map", "show", "id", &map]));
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        if shown["name"] != "LISTENERS" {
            continue;
        }
        let entries = machine::run(Command::new("bpftool").args(["-j", "map", "dump", "id", &map]));
        let entries: Vec<Value> = serde_json::from_str(&entries).expect("a list");
        for entry in entries {
            let key = entry["key"].as_array().expect("bytes").iter();
            let key: Vec<&str> = key.map(|byte| byte.as_str().expect("hex")).collect();
            let mut update = Command::new("bpftool");
            update.args(["map", "update", "id", &map, "key"]).args(key);
            // Port 1, and no IPv6.
            update.arg("value").args(["0x01", "0", "0", "0", "0", "0", "0", "0"]);
            machine::run(&mut update);
        }
        return;
    }
    panic!("the gateway has no map of listeners");
}

/// Detaches those of the links that are of one kind.
fn detach(links: &BTreeSet<u64>, kind: &str) {
    let list = machine::run(Command::new("bpftool").args(["-j", "link", "list"]));
    let list: Vec<Value> = serde_json::from_str(&list).expect("a list");
    let ids: Vec<u64> = list
        .iter()
        .filter(|link| link["attach_type"].as_str().is_some_and(|found| found.contains(kind)))
        .filter_map(|link| link["id"].as_u64().filter(|id| links.contains(id)))
        .collect();
    assert_eq!(ids.len(), 1, "{list:?}");
    machine::run(Command::new("bpftool").args(["link", "detach", "id", &ids[0].to_string()]));
}
