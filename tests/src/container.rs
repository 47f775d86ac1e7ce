//! Containers by podman and runc, with their own network, mount and pid namespaces.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{machine, process::Background, sandbox};

/// A running container whose main process does nothing; agents are executed in it.
#[derive(Debug)]
pub struct Container {
    name: String,
    id: String,
    pid: u32,
    /// A cgroup that holds this container's and nothing else.
    parent: PathBuf,
}

impl Container {
    /// In a network namespace of its own, in which only the loopback is.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_in(machine::unique("box"), "none")
    }

    /// As `start`, with a name that the caller knows to be free.
    #[track_caller]
    pub fn start_as(name: String) -> Self {
        Self::start_in(name, "none")
    }

    /// In the network namespace of another one.
    #[track_caller]
    pub fn start_sharing(other: &Self) -> Self {
        Self::start_in(machine::unique("box"), &format!("container:{}", other.name))
    }

    /// As `start`, with what containers are seldom given: raw sockets and every system call.
    #[track_caller]
    pub fn start_powerful() -> Self {
        let more = ["--cap-add", "NET_RAW", "--security-opt", "seccomp=unconfined"];
        Self::start_with(machine::unique("box"), "none", &more)
    }

    #[track_caller]
    fn start_in(name: String, network: &str) -> Self {
        Self::start_with(name, network, &[])
    }

    #[track_caller]
    fn start_with(name: String, network: &str, more: &[&str]) -> Self {
        machine::require_root();
        let parent = machine::cgroup_mount().join(format!("{name}-cgroup"));
        let agents = machine::sources().join("agents");
        let mut command = podman();
        command
            .args(["run", "--detach", "--name", &name, "--pids-limit", "-1"])
            // As many as root has here without CAP_SYS_RESOURCE.
            .args(["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"])
            .args(["--cgroup-parent", &format!("/{name}-cgroup"), "--network", network])
            .args(["--env", "PYTHONPATH=/opt/agent", "--env", "PYTHONDONTWRITEBYTECODE=1"])
            .arg(format!("--volume={}:/agents:ro", agents.display()))
            .args(more)
            // `O`: writes go to an overlay of the container's own.
            .arg("--rootfs")
            .arg(format!("{}:O", machine::root_file_system().display()))
            .args(["sleep", "infinity"]);
        // Dropped, and so removed, if anything below panics.
        let mut container = Self { name, id: String::new(), pid: 0, parent };
        machine::run(&mut command).trim().clone_into(&mut container.id);
        let pid = container.inspect("{{.State.Pid}}");
        container.pid = pid.parse().expect("a pid");
        container
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// All 64 digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The main process, as the host sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The container's cgroup, as the host sees it.
    pub fn cgroup(&self) -> PathBuf {
        self.parent.join(format!("libpod-{}", self.id))
    }

    /// A command in the container.
    pub fn command(&self, program: &str) -> Command {
        let mut command = podman();
        command.args(["exec", &self.name, program]);
        command
    }

    /// As `command`, for one that reads its standard input.
    pub fn interactive(&self, program: &str) -> Command {
        let mut command = podman();
        command.args(["exec", "--interactive", &self.name, program]);
        command
    }

    /// Runs a command in the container to its end. What it prints; panics if it fails.
    #[track_caller]
    pub fn exec(&self, words: &[&str]) -> String {
        let (program, arguments) = words.split_first().expect("a command");
        machine::run(self.command(program).args(arguments))
    }

    /// Runs a command that was made by `command`, in the background.
    #[track_caller]
    pub fn spawn(&self, command: &mut Command) -> Background {
        Background::spawn("the agent in a container", command)
    }

    /// Listening TCP sockets in its network namespace, one line each.
    #[track_caller]
    pub fn listeners(&self) -> Vec<String> {
        let line = format!("nsenter --target {} --net ss -Hltn", self.pid);
        machine::sh(&line).lines().map(str::to_owned).collect()
    }

    /// Mounts in its mount namespace, one line each.
    pub fn mounts(&self) -> Vec<String> {
        let path = Path::new("/proc").join(self.pid.to_string()).join("mountinfo");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Kills and removes it.
    pub fn remove(&mut self) {
        if self.name.is_empty() {
            return;
        }
        let mut command = podman();
        command.args(["rm", "--force", "--ignore", "--time", "0", &self.name]);
        let removed = command.stdout(Stdio::null()).output();
        if !removed.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("the container {} could not be removed: {removed:?}", self.name);
        }
        sandbox::remove(&self.parent);
        self.name.clear();
    }

    #[track_caller]
    fn inspect(&self, format: &str) -> String {
        let mut command = podman();
        command.args(["container", "inspect", "--format", format, &self.name]);
        machine::run(&mut command).trim().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.remove();
    }
}

/// In a mount namespace in which cgroup2 is the only cgroup file system: where both versions are
/// mounted, podman would take version 1.
fn podman() -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "--", "sh", "-c"])
        .arg(
            "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$0\" \"$@\"",
        )
        .args(["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--log-level", "error"]);
    command
}
