//! What leaves an enforced container unread: what a rule lets, and nothing else.

use std::{path::Path, process::Command, time::Duration};

use turnpike_tests::{
    container::Container,
    gateway::{Gateway, Mode, Place},
    machine,
    network::{Cable, Netns},
    process::Background,
    wait,
};

/// A git server that speaks git's own protocol, which nobody here reads, and its address.
fn serve_git(netns: &Netns, cable: &Cable, directory: &Path) -> Background {
    let repository = directory.join("repository");
    machine::run(Command::new("git").args(["init", "-q"]).arg(&repository));
    let mut commit = Command::new("git");
    commit.arg("-C").arg(&repository).args(["-c", "user.name=a", "-c", "user.email=a@example.com"]);
    machine::run(commit.args(["commit", "-q", "--allow-empty", "-m", "first"]));
    let mut command = netns.command("git");
    command.args(["daemon", "--reuseaddr", "--export-all", "--informative-errors"]);
    command.arg(format!("--listen={}", cable.here));
    command.arg(format!("--base-path={}", directory.display())).arg(directory);
    let daemon = Background::spawn("git daemon", &mut command);
    let reached = format!("git://{}/repository", cable.here);
    wait::until_true(Duration::from_secs(20), "git daemon to listen", || {
        let call = netns.command("git").args(["ls-remote", &reached]).output();
        call.is_ok_and(|output| output.status.success())
    });
    daemon
}

#[test]
fn git_over_its_own_protocol_leaves_an_enforced_container_by_a_rule_only() {
    let container = Container::start();
    let netns = Netns::new();
    let cable = netns.connect(container.pid());
    let directory = tempfile::TempDir::with_prefix("tp-git-").expect("room for temporary files");
    let _daemon = serve_git(&netns, &cable, directory.path());
    let remote = format!("git://{}/repository", cable.here);
    let call = || container.command("git").args(["ls-remote", &remote]).output().expect("it runs");

    let refused = Gateway::start(Mode::Enforce);
    refused.attach_cgroup(&container.cgroup(), "a", &[]);
    assert!(!call().status.success(), "without a rule");
    let agent = refused.agent_json("a").expect("it is attached");
    assert_eq!(agent["coverage"]["reasons"]["egress_denied"], 1, "{agent}");
    assert_eq!(agent["coverage"]["bytes_opaque"], 0, "{agent}");
    let rule = agent["egress_refused"][0]["allow"].as_str().expect("a rule").to_owned();
    assert!(rule.contains("port = 9418"), "{rule}");
    let shown = refused.succeed(&["agents"]);
    assert!(shown.contains(&rule), "{shown}");
    drop(refused);

    // The very rule that was shown, as a table.
    let rule = rule.replace(", decision", "\ndecision");
    let rules = format!("[[egress]]\n{rule}\nopaque_bytes = \"1MiB\"\n");
    let allowed = Gateway::start_at(Place::configured(Mode::Enforce, &rules));
    allowed.attach_cgroup(&container.cgroup(), "a", &[]);
    let output = call();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("HEAD"));
    let agent = allowed.agent_json("a").expect("it is attached");
    assert_eq!(agent["coverage"]["connections_opaque"], 1, "{agent}");
    let status: serde_json::Value =
        serde_json::from_str(&allowed.succeed(&["status", "--json"])).expect("it is JSON");
    assert_eq!(status["egress"][0]["allowed"], 1, "{status}");
}
