//! What is wrong is said in one line, with what to do, and nothing is left half done.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;
use turnpike_tests::{
    gateway::{Gateway, Mode, Place},
    machine,
};

/// The program where everybody may run it.
fn for_everybody() -> (TempDir, PathBuf) {
    let directory = TempDir::with_prefix("tp-program-").expect("room for temporary files");
    let program = directory.path().join("turnpike");
    fs::copy(machine::turnpike(), &program).expect("room for the program");
    for path in [directory.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    (directory, program)
}

/// The one line that it must say, with this status.
fn line(output: &Output, status: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    said
}

/// Nothing was made in the place, and nothing is mounted there.
fn untouched(place: &Place) {
    assert!(!place.runtime_dir().exists(), "{}", place.runtime_dir().display());
    assert_eq!(place.mounts(), [] as [&Path; 0]);
}

#[test]
fn without_cgroup2_it_says_how_to_mount_it() {
    let place = Place::new(Mode::Audit);
    let hide = format!("umount --lazy {} && exec \"$@\"", machine::cgroup_mount().display());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &hide, "sh"]);
    command.arg(machine::turnpike()).args(["daemon", "--config"]).arg(place.config());
    let said = line(&command.output().expect("it runs"), 1);
    assert!(said.contains("mount -t cgroup2"), "{said}");
    untouched(&place);
}

#[test]
fn without_root_it_says_to_become_root() {
    let (_directory, program) = for_everybody();
    for arguments in [&["daemon"][..], &["run", "--", "true"]] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(&program).args(arguments).current_dir("/");
        let said = line(&command.output().expect("it runs"), 1);
        assert!(said.contains("root"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_missing_capability_is_named() {
    for (drop, name) in
        [("-bpf", "CAP_BPF"), ("-net_admin", "CAP_NET_ADMIN"), ("-sys_admin", "CAP_SYS_ADMIN")]
    {
        let place = Place::new(Mode::Audit);
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", drop, "--inh-caps", drop]).arg(machine::turnpike());
        command.args(["daemon", "--config"]).arg(place.config());
        let said = line(&command.output().expect("it runs"), 1);
        assert!(said.contains(name), "{said}");
        untouched(&place);
    }
}

#[test]
fn a_broken_configuration_is_named_with_its_line() {
    let place = Place::new(Mode::Audit);
    for (text, reason) in [
        ("[defaults]\nmode = \"sometimes\"\n", "audit"),
        ("[defaults]\nmod = \"audit\"\n", "mod"),
        ("[defaults\n", "line 1"),
    ] {
        fs::write(place.config(), text).expect("it is ours");
        let output = place.command(&["daemon", "--config"]).arg(place.config()).output();
        let said = line(&output.expect("it runs"), 1);
        assert!(said.contains(reason) && said.contains("turnpike.toml"), "{said}");
        untouched(&place);
    }
    let missing = place.command(&["daemon", "--config", "/nowhere.toml"]).output();
    let said = line(&missing.expect("it runs"), 1);
    assert!(said.contains("/nowhere.toml"), "{said}");
}

#[test]
fn a_socket_in_use_is_left_to_its_owner() {
    let gateway = Gateway::start(Mode::Audit);
    let place = gateway.place();
    let output = place.command(&["daemon", "--config"]).arg(place.config()).output();
    let said = line(&output.expect("it runs"), 1);
    assert!(said.contains(&gateway.pid().to_string()), "{said}");
    // Elsewhere the instance is still the same one.
    let elsewhere = place.runtime_dir().join("other.sock");
    let mut command = Command::new(machine::turnpike());
    command.arg("--control").arg(&elsewhere).args(["daemon", "--config"]).arg(place.config());
    let said = line(&command.output().expect("it runs"), 1);
    assert!(said.contains(&gateway.pid().to_string()), "{said}");
    assert!(!elsewhere.exists());
    gateway.succeed(&["status"]);
}

#[test]
fn without_a_daemon_commands_say_how_to_start_one() {
    let place = Place::new(Mode::Audit);
    for arguments in [&["status"][..], &["workflows"], &["attach", "--pid", "1"], &["detach", "a"]]
    {
        let said = line(&place.command(arguments).output().expect("it runs"), 1);
        assert!(said.contains("turnpike"), "{arguments:?}: {said}");
        untouched(&place);
    }
}

#[test]
fn bad_usage_has_a_status_of_its_own() {
    for arguments in [
        &["attach"][..],
        &["attach", "--pid", "1", "--cgroup", "/a"],
        &["attach", "--pid", "x"],
        &["attach", "--pid", "1", "--mode", "maybe"],
        &["run"],
        &["fly"],
        &["trace"],
        &["status", "--verbos"],
    ] {
        let output = Command::new(machine::turnpike()).args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty());
    }
}
