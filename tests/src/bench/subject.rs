//! The ways from the load to the server that are compared.

use std::{
    env,
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde::Serialize;
use serde_json::Value;

use super::{
    load::{Job, Sample, Work},
    peer::Haproxy,
    probe,
    wire::Protocol,
};
use crate::{
    gateway::{Mode, Place},
    machine,
    process::Background,
    sandbox::Sandbox,
    wait,
};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    /// Nothing in between.
    Direct,
    /// A bare relay of our own.
    Relay,
    /// With one thread.
    Haproxy,
    /// As it is by default: a thread for each core.
    HaproxyThreads,
    Turnpike,
}

impl Subject {
    /// Those that every load is put on.
    pub(super) const ALL: [Self; 4] = [Self::Direct, Self::Relay, Self::Haproxy, Self::Turnpike];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "bare relay",
            Self::Haproxy => "HAProxy",
            Self::HaproxyThreads => "HAProxy, all cores",
            Self::Turnpike => "turnpike",
        }
    }
}

/// All of them, running. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Subjects {
    turnpike: Turnpike,
    haproxy: Haproxy,
    haproxy_threads: Haproxy,
    relay: Background,
    relay_address: SocketAddr,
    _server: Background,
    server_address: SocketAddr,
}

impl Subjects {
    pub(super) fn start() -> Result<Self> {
        let (server, server_address) = start_part("model server", &["serve"])?;
        let upstream = server_address.to_string();
        let (relay, relay_address) = start_part("relay", &["relay", &upstream])?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            turnpike: Turnpike::start()?,
            haproxy: Haproxy::start(server_address, 1)?,
            haproxy_threads: Haproxy::start(server_address, cores)?,
            relay,
            relay_address,
            _server: server,
            server_address,
        })
    }

    /// Puts a load on one of them.
    pub(super) fn measure(&self, subject: Subject, work: Work) -> Result<Sample> {
        let binary = matches!(
            work,
            Work::Fixed { protocol: Protocol::Binary, .. }
                | Work::Saturate { protocol: Protocol::Binary, .. }
        );
        let of = |haproxy: &Haproxy| if binary { haproxy.tcp } else { haproxy.http };
        let address = match subject {
            Subject::Direct | Subject::Turnpike => self.server_address,
            Subject::Relay => self.relay_address,
            Subject::Haproxy => of(&self.haproxy),
            Subject::HaproxyThreads => of(&self.haproxy_threads),
        };
        let job = Job { address, watched: self.pid(subject), work };
        let mut command = match subject {
            Subject::Turnpike => self.turnpike.sandbox.command(&own_path()?),
            _ => Command::new(own_path()?),
        };
        command.arg("load").arg(serde_json::to_string(&job)?);
        let output = command.stderr(Stdio::piped()).output().context("the load")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{} under {work:?}: {}: {}",
            subject.name(),
            output.status,
            complaint.trim_end()
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Resident memory in kB; none where there is no proxy.
    pub(super) fn rss_kb(&self, subject: Subject) -> Result<Option<u64>> {
        self.pid(subject).map(probe::rss_kb).transpose()
    }

    /// Errors unless turnpike saw what it was measured with: figures for traffic that went round
    /// it, or that it gave up on, would flatter it.
    pub(super) fn check_coverage(&self) -> Result<()> {
        let coverage = self.turnpike.coverage()?;
        let figure = |name: &str| coverage[name].as_u64().unwrap_or(0);
        ensure!(figure("calls") > 0, "turnpike saw no calls: {coverage}");
        ensure!(figure("connections_opaque") > 0, "turnpike saw no binary connection: {coverage}");
        for name in ["connections_reset", "left_direct", "denied", "lost"] {
            ensure!(figure(name) == 0, "turnpike missed something ({name}): {coverage}");
        }
        // The streams that were closed in the middle are whole calls all the same, as far as they
        // went; anything else is read to its end.
        ensure!(figure("calls_not_understood") == 0, "turnpike did not follow: {coverage}");
        Ok(())
    }

    fn pid(&self, subject: Subject) -> Option<u32> {
        match subject {
            Subject::Direct => None,
            Subject::Relay => Some(self.relay.pid()),
            Subject::Haproxy => Some(self.haproxy.pid()),
            Subject::HaproxyThreads => Some(self.haproxy_threads.pid()),
            Subject::Turnpike => Some(self.turnpike.daemon.pid()),
        }
    }
}

/// A daemon that does not log, as it would run in earnest, and the agent that is the load.
#[derive(Debug)]
struct Turnpike {
    daemon: Background,
    sandbox: Sandbox,
    place: Place,
}

impl Turnpike {
    fn start() -> Result<Self> {
        let place = Place::new(Mode::Audit);
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

/// Starts a part of the bench that listens, and gives where.
fn start_part(name: &str, arguments: &[&str]) -> Result<(Background, SocketAddr)> {
    let mut part = Background::spawn(name, Command::new(own_path()?).args(arguments));
    let address = wait::until(Duration::from_secs(5), name, || {
        assert!(part.status().is_none(), "{name} ended: {}", part.stderr());
        part.stdout().strip_suffix('\n')?.parse().ok()
    });
    Ok((part, address))
}

fn own_path() -> Result<String> {
    let path = env::current_exe()?;
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => bail!("the path of this program is not text"),
    }
}

/// Loading the programs takes most of it.
const START: Duration = Duration::from_secs(20);
/// More than the configured drain.
const STOP: Duration = Duration::from_secs(10);
