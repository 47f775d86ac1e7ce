//! The ways from the load to the server that are compared.

mod turnpike;

use std::{
    env,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tempfile::TempDir;

use self::turnpike::Turnpike;
use super::{
    Guest,
    load::{Bodies, Channel, Job, Sample, Work},
    peer::{Haproxy, Mitmproxy, Upstream},
    plan::{SMALL, Scenario},
    probe, tls,
    wire::Protocol,
};
use crate::{process::Background, wait};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    /// Nothing in between.
    Direct,
    /// A bare relay of our own. Where TLS is opened, one that ends it on either side.
    Relay,
    /// With one thread.
    Haproxy,
    /// As it is by default: a thread for each core.
    HaproxyThreads,
    Mitmproxy,
    Turnpike,
}

impl Subject {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "bare relay",
            Self::Haproxy => "HAProxy",
            Self::HaproxyThreads => "HAProxy, all cores",
            Self::Mitmproxy => "mitmproxy, reverse",
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
    mitmproxy: Option<Mitmproxy>,
    relay: Relay,
    closed_relay: Relay,
    tls_relay: Relay,
    _server: Background,
    upstream: Upstream,
    _directory: TempDir,
}

impl Subjects {
    pub(super) fn start(guest: Option<Guest>) -> Result<Self> {
        let directory = TempDir::with_prefix("tp-bench-")?;
        let identity = directory.path().join("identity.pem");
        tls::write_identity(&identity)?;
        let (server, [plain, encrypted]) = start_part("model server", &["serve"], &[&identity])?;
        let upstream = Upstream { plain, encrypted };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mitmproxy = match guest {
            Some(Guest::Mitmproxy) => Some(Mitmproxy::start(upstream, &identity)?),
            None => None,
        };
        Ok(Self {
            turnpike: Turnpike::start()?,
            haproxy: Haproxy::start(upstream, &identity, 1)?,
            haproxy_threads: Haproxy::start(upstream, &identity, cores)?,
            mitmproxy,
            relay: Relay::start(plain, &[])?,
            closed_relay: Relay::start(encrypted, &[])?,
            tls_relay: Relay::start(encrypted, &[&identity])?,
            _server: server,
            upstream,
            _directory: directory,
        })
    }

    /// Those that are there.
    pub(super) fn all(&self) -> Vec<Subject> {
        let mut all = vec![Subject::Direct, Subject::Relay, Subject::Haproxy];
        all.extend(self.mitmproxy.is_some().then_some(Subject::Mitmproxy));
        all.push(Subject::Turnpike);
        all
    }

    /// Those that a load is put on.
    pub(super) fn of(&self, scenario: Scenario) -> Vec<Subject> {
        let mut subjects = self.all();
        if scenario == Scenario::Saturate(Protocol::Chat, Channel::Plain, Bodies::Text(SMALL)) {
            subjects.push(Subject::HaproxyThreads);
        }
        subjects.retain(|subject| match subject {
            Subject::Direct => !matches!(scenario, Scenario::Idle(_)),
            // It holds an answer back until it is whole.
            Subject::Mitmproxy => {
                matches!(scenario, Scenario::Saturate(..)) && !scenario.is_opaque()
            }
            _ => true,
        });
        subjects
    }

    /// Puts a load on one of them.
    pub(super) fn measure(
        &self,
        subject: Subject,
        scenario: Scenario,
        work: Work,
    ) -> Result<Sample> {
        let (address, watched) = self.way(subject, scenario)?;
        let job = Job { address, channel: scenario.channel(), watched, work };
        let mut command = match subject {
            Subject::Turnpike => self.turnpike.command(&own_path()?),
            _ => Command::new(own_path()?),
        };
        command.arg("load").arg(serde_json::to_string(&job)?);
        let output = command.stderr(Stdio::piped()).output().context("the load")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{} under {scenario}: {}: {}",
            subject.name(),
            output.status,
            complaint.trim_end()
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Where the load connects to, and which process is in between.
    fn way(&self, subject: Subject, scenario: Scenario) -> Result<(SocketAddr, Option<u32>)> {
        let channel = scenario.channel();
        let server = match channel {
            Channel::Plain => self.upstream.plain,
            _ => self.upstream.encrypted,
        };
        let haproxy = |haproxy: &Haproxy| {
            let address = match channel {
                Channel::Plain => haproxy.plain(scenario.is_opaque()),
                Channel::Tls => haproxy.tls(),
                Channel::Closed => haproxy.closed(),
                Channel::Http2 | Channel::Http2Shared => haproxy.http2(),
            };
            (address, Some(haproxy.pid()))
        };
        Ok(match subject {
            Subject::Direct => (server, None),
            Subject::Turnpike => (server, Some(self.turnpike.pid())),
            Subject::Haproxy => haproxy(&self.haproxy),
            Subject::HaproxyThreads => haproxy(&self.haproxy_threads),
            Subject::Relay => {
                let relay = match channel {
                    Channel::Plain => &self.relay,
                    Channel::Closed => &self.closed_relay,
                    Channel::Tls | Channel::Http2 | Channel::Http2Shared => &self.tls_relay,
                };
                (relay.address, Some(relay.process.pid()))
            }
            Subject::Mitmproxy => {
                let peer = self.mitmproxy.as_ref().context("mitmproxy was not asked for")?;
                let plain = channel == Channel::Plain;
                (if plain { peer.plain } else { peer.tls }, Some(peer.pid()))
            }
        })
    }

    /// Resident memory in kB; none where there is no proxy.
    pub(super) fn rss_kb(&self, subject: Subject) -> Result<Option<u64>> {
        let scenario = Scenario::Idle(Channel::Plain);
        self.way(subject, scenario)?.1.map(probe::rss_kb).transpose()
    }

    /// Errors unless turnpike saw what it was measured with.
    pub(super) fn check_coverage(&self, scenarios: &[Scenario]) -> Result<()> {
        self.turnpike.check_coverage(scenarios)
    }
}

/// A bare relay.
#[derive(Debug)]
struct Relay {
    process: Background,
    address: SocketAddr,
}

impl Relay {
    fn start(upstream: SocketAddr, identity: &[&PathBuf]) -> Result<Self> {
        let upstream = upstream.to_string();
        let (process, [address]) = start_part("relay", &["relay", &upstream], identity)?;
        Ok(Self { process, address })
    }
}

/// Starts a part of the bench that listens, and gives where.
fn start_part<const N: usize>(
    name: &str,
    arguments: &[&str],
    files: &[&PathBuf],
) -> Result<(Background, [SocketAddr; N])> {
    let mut command = Command::new(own_path()?);
    let mut part = Background::spawn(name, command.args(arguments).args(files));
    let addresses = wait::until(Duration::from_secs(5), name, || {
        assert!(part.status().is_none(), "{name} ended: {}", part.stderr());
        let line = part.stdout();
        let line = line.strip_suffix('\n')?;
        let addresses: Option<Vec<_>> = line.split(' ').map(|it| it.parse().ok()).collect();
        addresses?.try_into().ok()
    });
    Ok((part, addresses))
}

fn own_path() -> Result<String> {
    let path = env::current_exe()?;
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => bail!("the path of this program is not text"),
    }
}
