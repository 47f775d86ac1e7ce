//! What the tests need of the machine. What is missing is a panic that says what to do: a test
//! that is skipped in silence proves nothing.

use std::{
    env, fs,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// Panics unless we are root.
pub fn require_root() {
    assert!(rustix::process::geteuid().is_root(), "this needs root: run `cargo xtask test`");
}

/// A name that nothing else on the machine has.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("tp-{}-{count}-{what}", std::process::id())
}

/// Where cgroup2 is mounted.
pub fn cgroup_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let directory = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(directory))
    });
    found.expect("cgroup2 is mounted; if not: mount -t cgroup2 none /sys/fs/cgroup")
}

/// The containers' root file system, which has Python, node, curl, git and clients of model servers.
pub fn root_file_system() -> PathBuf {
    let path = env::var_os("TURNPIKE_ROOTFS").map(PathBuf::from);
    let path = path.or_else(newest_root_file_system);
    path.filter(|path| path.join("usr/local/bin/go-client").is_file())
        .expect("there is no root file system for containers: run `cargo xtask setup`")
}

/// The gateway's program: what `TURNPIKE_BIN` names, else the one built beside this program.
pub fn turnpike() -> PathBuf {
    env::var_os("TURNPIKE_BIN").map_or_else(|| program("turnpike", "gateway-user"), PathBuf::from)
}

/// A program built beside this one.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let own = env::current_exe().expect("/proc is mounted");
    // Tests are in `deps` below the directory that programs are in.
    let found = own.ancestors().skip(1).take(2).map(|above| above.join(name)).find(|p| p.is_file());
    let release = if cfg!(debug_assertions) { "" } else { " --release" };
    found.unwrap_or_else(|| panic!("{name} is not built: run `cargo build{release} -p {package}`"))
}

/// Runs a command to its end, and gives what it printed. Panics if it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; what the tests need is installed by `cargo xtask setup`")
    });
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// As `run`, with text for its standard input.
#[track_caller]
pub fn run_with(command: &mut Command, input: &str) -> String {
    let mut file = tempfile::tempfile().expect("room for temporary files");
    let written = file.write_all(input.as_bytes()).and_then(|()| file.rewind());
    written.expect("room for temporary files");
    run(command.stdin(file))
}

/// As `run`, with the command's words in one string.
#[track_caller]
pub fn sh(line: &str) -> String {
    let mut words = line.split_whitespace();
    run(Command::new(words.next().expect("a command")).args(words))
}

/// A line of shell that runs an agent of `agents/` on the host: the root file system's Python has the
/// SDKs, and reads the agent from its standard input.
pub fn python_on_the_host(agent: &str, arguments: &[String]) -> String {
    format!(
        "PYTHONPATH=/opt/agent PYTHONDONTWRITEBYTECODE=1 chroot '{}' python3 - '{}' < '{}'",
        root_file_system().display(),
        arguments.join("' '"),
        sources().join("agents").join(agent).display()
    )
}

/// Where the sources of these tests are.
pub fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// For a test that is run by hand; `cargo xtask test` says which.
fn newest_root_file_system() -> Option<PathBuf> {
    let cache = env::home_dir()?.join(".cache/turnpike");
    let found = fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("rootfs-") && path.extension().is_none()
    });
    found.max_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok())
}
