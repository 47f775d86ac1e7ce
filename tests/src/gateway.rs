//! A gateway of the test's own: the real program, with directories and a socket to itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    mount::{UnmountFlags, unmount},
    process::Signal,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    container::Container,
    machine,
    process::Background,
    trace::{Workflow, WorkflowSummary},
    wait,
};

/// A running daemon, or one that has been killed and may be started again.
#[derive(Debug)]
pub struct Gateway {
    daemon: Option<Background>,
    place: Place,
}

/// A configuration with a runtime directory to itself, for a daemon or for `turnpike run`.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
}

/// The default mode of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Audit,
    Enforce,
}

impl Place {
    pub fn new(mode: Mode) -> Self {
        Self::configured(mode, "")
    }

    /// With further lines of configuration, of which the first ones are of `[defaults]`.
    pub fn configured(mode: Mode, lines: &str) -> Self {
        machine::require_root();
        let directory = TempDir::with_prefix("tp-gateway-").expect("room for temporary files");
        let place = Self { directory };
        let mode = if mode == Mode::Enforce { "enforce" } else { "audit" };
        let config = format!(
            "[daemon]\nruntime_dir = \"{}\"\nstate_dir = \"{}\"\ndrain = \"2s\"\n\n\
             [defaults]\nmode = \"{mode}\"\n{lines}",
            place.runtime_dir().display(),
            place.directory.path().join("state").display()
        );
        fs::write(place.config(), config).expect("a temporary file");
        place
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("turnpike.toml")
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Of a daemon that runs here.
    pub fn control(&self) -> PathBuf {
        self.runtime_dir().join("control.sock")
    }

    /// `turnpike` with these arguments, talking to the daemon here.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(machine::turnpike());
        command.arg("--control").arg(self.control()).args(arguments).env_remove("SUDO_UID");
        command
    }

    /// `turnpike run` of the command that is appended.
    pub fn run(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(machine::turnpike());
        command.arg("run").arg("--config").arg(self.config()).args(arguments).arg("--");
        command.env_remove("SUDO_UID");
        command
    }

    /// What is mounted below the runtime directory.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
        points.filter(|point| point.starts_with(self.directory.path())).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for mount in self.mounts() {
            // What was pinned there goes with it. The directory below can't be removed if this
            // fails, which then shows.
            let _ = unmount(&mount, UnmountFlags::DETACH);
        }
    }
}

impl Gateway {
    /// Starts a daemon and waits until it is ready.
    #[track_caller]
    pub fn start(mode: Mode) -> Self {
        Self::start_at(Place::new(mode))
    }

    /// As `start`, with further configuration.
    #[track_caller]
    pub fn start_with(mode: Mode, lines: &str) -> Self {
        Self::start_at(Place::configured(mode, lines))
    }

    /// As `start`, with an egress rule that lets everything leave unread.
    #[track_caller]
    pub fn start_open(mode: Mode) -> Self {
        Self::start_with(mode, "[[egress]]\nmatch = {}\ndecision = \"allow\"\n")
    }

    /// As `start`, where a configuration is already.
    #[track_caller]
    pub fn start_at(place: Place) -> Self {
        let mut gateway = Self { daemon: None, place };
        gateway.restart();
        gateway
    }

    /// Starts it again, with everything that the last one left.
    #[track_caller]
    pub fn restart(&mut self) {
        self.terminate();
        let mut command = self.place.command(&["--verbose", "daemon", "--config"]);
        let daemon = Background::spawn("turnpike daemon", command.arg(self.place.config()));
        let daemon = self.daemon.insert(daemon);
        let place = &self.place;
        wait::until(START, "the gateway to be ready", || {
            assert!(daemon.status().is_none(), "the gateway ended: {}", daemon.stderr());
            let output = place.command(&["status", "--json"]).output().expect("it runs");
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            (status["ready"] == true).then_some(())
        });
    }

    /// SIGTERM, and its end. Does nothing if it does not run.
    #[track_caller]
    pub fn terminate(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM).expect("a process to signal");
            let status = daemon.wait(STOP);
            assert!(status.success(), "the gateway's end: {status}: {}", daemon.stderr());
        }
    }

    /// SIGKILL, and its end.
    pub fn kill9(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Of the daemon that runs.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running gateway").pid()
    }

    /// What the running daemon has said.
    pub fn stderr(&self) -> String {
        self.daemon.as_ref().map(Background::stderr).unwrap_or_default()
    }

    /// A `turnpike` command that talks to this gateway.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.place.command(arguments).output().expect("turnpike runs")
    }

    /// As `cli`, for a command that must succeed: what it prints.
    #[track_caller]
    pub fn succeed(&self, arguments: &[&str]) -> String {
        machine::run(&mut self.place.command(arguments))
    }

    /// As `cli`, for a command that must be refused: its one line, with status 1.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {line}");
        assert_eq!(line.trim_end().lines().count(), 1, "{arguments:?}: {line}");
        line
    }

    /// Attaches a cgroup under this name. The agent, as `agents --json` shows it.
    #[track_caller]
    pub fn attach_cgroup(&self, cgroup: &Path, name: &str, more: &[&str]) -> Value {
        let cgroup = cgroup.to_str().expect("our own path");
        self.attach(&[&["--cgroup", cgroup, "--name", name], more].concat())
    }

    /// Attaches a container by its name.
    #[track_caller]
    pub fn attach_container(&self, container: &Container, more: &[&str]) -> Value {
        self.attach(&[&["--container", container.name()], more].concat())
    }

    #[track_caller]
    pub fn detach(&self, name: &str) {
        self.succeed(&["detach", name]);
    }

    #[track_caller]
    pub fn agents_json(&self) -> Vec<Value> {
        parse(&self.succeed(&["agents", "--json"]))
    }

    /// One agent, if it is attached.
    #[track_caller]
    pub fn agent_json(&self, name: &str) -> Option<Value> {
        self.agents_json().into_iter().find(|agent| agent["name"] == name)
    }

    #[track_caller]
    pub fn workflows_json(&self) -> Vec<WorkflowSummary> {
        parse(&self.succeed(&["workflows", "--json"]))
    }

    #[track_caller]
    pub fn trace(&self, workflow: &str) -> Workflow {
        parse(&self.succeed(&["trace", workflow, "--json"]))
    }

    /// Every workflow with its steps.
    #[track_caller]
    pub fn traces(&self) -> Vec<Workflow> {
        self.succeed(&["trace", "--all", "--json"]).lines().map(parse).collect()
    }

    #[track_caller]
    fn attach(&self, arguments: &[&str]) -> Value {
        parse(&self.succeed(&[&["attach", "--json"], arguments].concat()))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        // What it holds is let go in good order. If it does not end, dropping it kills it.
        if daemon.signal(Signal::TERM).is_ok() {
            let start = Instant::now();
            while daemon.status().is_none() && start.elapsed() < STOP {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

#[track_caller]
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// Loading the programs takes most of it.
const START: Duration = Duration::from_secs(20);
/// More than the configured drain.
const STOP: Duration = Duration::from_secs(10);
