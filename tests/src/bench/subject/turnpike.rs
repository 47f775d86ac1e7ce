//! turnpike, and the load as its agent.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bench::{plan::Scenario, tls},
    gateway::{Mode, Place},
    machine,
    process::Background,
    sandbox::Sandbox,
    wait,
};

/// A daemon that does not log, as it would run in earnest, and the agent that is the load.
#[derive(Debug)]
pub(super) struct Turnpike {
    daemon: Background,
    sandbox: Sandbox,
    place: Place,
}

impl Turnpike {
    pub(super) fn start() -> Result<Self> {
        // The agent's own roots don't vouch for the server: so the load gets a certificate that
        // it can't trust either, and doesn't look.
        let hosts = format!("decrypt = \"on\"\n\n[[intercept]]\nhosts = [\"{}\"]\n", tls::OPENED);
        let place = Place::configured(Mode::Audit, &hosts);
        let mut command = place.command(&["daemon", "--config"]);
        let daemon = Background::spawn("turnpike daemon", command.arg(place.config()));
        let mut this = Self { daemon, sandbox: Sandbox::new(), place };
        wait::until(START, "turnpike to be ready", || {
            assert!(this.daemon.status().is_none(), "turnpike ended: {}", this.daemon.stderr());
            let status = this.place.command(&["status", "--json"]).output().ok()?;
            let status: Value = serde_json::from_slice(&status.stdout).ok()?;
            (status["ready"] == true).then_some(())
        });
        let cgroup = this.sandbox.cgroup().to_str().context("a cgroup's path")?;
        machine::run(&mut this.place.command(&["attach", "--cgroup", cgroup, "--name", "bench"]));
        Ok(this)
    }

    pub(super) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// The program, to be run as the agent.
    pub(super) fn command(&self, program: &str) -> Command {
        self.sandbox.command(program)
    }

    /// Errors unless it saw what it was measured with: figures for traffic that went round it, or
    /// that it gave up on, would flatter it.
    pub(super) fn check_coverage(&self, scenarios: &[Scenario]) -> Result<()> {
        let coverage = self.coverage()?;
        let figure = |name: &str| coverage[name].as_u64().unwrap_or(0);
        let understood = scenarios.iter().any(|scenario| scenario.is_understood());
        let opaque = scenarios.iter().any(|scenario| scenario.is_opaque());
        for (name, put) in [("calls", understood), ("connections_opaque", opaque)] {
            ensure!(figure(name) > 0 || !put, "turnpike saw none ({name}): {coverage}");
        }
        for name in ["connections_reset", "left_direct", "denied", "lost"] {
            ensure!(figure(name) == 0, "turnpike missed something ({name}): {coverage}");
        }
        // The streams that were closed in the middle are whole calls all the same, as far as they
        // went; anything else is read to its end.
        ensure!(figure("calls_not_understood") == 0, "turnpike did not follow: {coverage}");
        Ok(())
    }

    fn coverage(&self) -> Result<Value> {
        let agents = machine::run(&mut self.place.command(&["agents", "--json"]));
        let agents: Vec<Value> = serde_json::from_str(&agents)?;
        let agent = agents.first().context("no agent is attached")?;
        Ok(agent["coverage"].clone())
    }
}

impl Drop for Turnpike {
    fn drop(&mut self) {
        // In good order, so that it detaches; if it does not end, it is killed as it is dropped.
        if self.daemon.signal(Signal::TERM).is_err() {
            return;
        }
        let start = Instant::now();
        while self.daemon.status().is_none() && start.elapsed() < STOP {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Loading the programs takes most of it.
const START: Duration = Duration::from_secs(20);
/// More than the configured drain.
const STOP: Duration = Duration::from_secs(10);
