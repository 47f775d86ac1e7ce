//! Proving that redirects work: a connect from each agent's place, in each of its network namespaces.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd as _,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Instant,
};

use gateway_common::AgentId;
use tokio::{process::Command, sync::oneshot, time::timeout};

use super::{Gateway, fleet::Fleet, health::Health};
use crate::{
    app::{
        agents::namespaces,
        node,
        probe::{Probed, Report},
    },
    attach::netns::{Netns, NetnsId},
    control::model::Redirect,
    limits,
    proxy::{Arrived, SelfTests, Word},
};

/// A test that is due.
#[derive(Debug)]
pub(super) struct Trial {
    agent: String,
    id: AgentId,
    health: Arc<Health>,
    /// One that holds processes.
    cgroup: PathBuf,
    place: NetnsId,
    netns: Netns,
    /// Of the same namespace, as the kernel's programs know it.
    cookie: u64,
}

/// One of a trial's connects.
#[derive(Debug)]
struct Attempt {
    to: SocketAddr,
    word: Word,
    arrival: oneshot::Receiver<Arrived>,
}

impl Fleet {
    /// The tests that are due, of one agent or of all. An agent without processes, or with all of them
    /// frozen, is not tested: nobody is there to connect.
    pub(super) fn trials(&self, only: Option<&str>) -> Vec<Trial> {
        let now = Instant::now();
        let mut found = Vec::new();
        for (name, member) in self.members() {
            if only.is_some_and(|only| only != name) {
                continue;
            }
            member.health.retain_namespaces(&member.namespaces);
            let is_due = |netns: &NetnsId| member.health.is_due(*netns, now);
            if !member.namespaces.iter().any(is_due) {
                continue;
            }
            let Some(cgroup) = member.cgroup.inhabited() else { continue };
            for netns in namespaces(&member.cgroup) {
                let place = netns.id();
                let Some(cookie) = self.threads.cookie(place).filter(|_| is_due(&place)) else {
                    continue;
                };
                found.push(Trial {
                    agent: name.clone(),
                    id: member.cgroup.id(),
                    health: Arc::clone(&member.health),
                    cgroup: cgroup.clone(),
                    place,
                    netns,
                    cookie,
                });
            }
        }
        found
    }
}

impl Gateway {
    /// Tests an agent that has just been attached.
    pub(super) async fn try_redirects_of(&self, agent: &str) {
        let trials = self.0.fleet.lock().await.trials(Some(agent));
        self.try_redirects(trials).await;
    }

    /// Carries tests out, one after the other, and keeps what they found. The fleet must not be held:
    /// a test takes up to [`limits::SELF_TEST_TIME`], twice.
    pub(super) async fn try_redirects(&self, trials: Vec<Trial>) {
        for trial in trials {
            let mut outcome = self.try_redirect(&trial).await;
            if outcome.is_err() {
                // A busy machine, or an agent that was just frozen, is no broken redirect.
                outcome = self.try_redirect(&trial).await;
            }
            let redirect = match outcome {
                Ok(()) => Redirect::Ok,
                Err(why) => Redirect::Failed { why },
            };
            self.keep(&trial, &redirect).await;
        }
    }

    /// Keeps an outcome, unless the agent or the namespace is gone meanwhile: then it says nothing.
    async fn keep(&self, trial: &Trial, redirect: &Redirect) {
        let fleet = self.0.fleet.lock().await;
        let Some(member) = fleet.member(&trial.agent) else { return };
        let is_same = member.cgroup.id() == trial.id && member.namespaces.contains(&trial.place);
        let is_there = is_same && !fleet.is_over() && member.cgroup.inhabited().is_some();
        if !is_there || !member.health.tested(trial.place, redirect, Instant::now()) {
            return;
        }
        let agent = &trial.agent;
        match redirect {
            Redirect::Ok => tracing::info!(agent, "its connections are redirected"),
            Redirect::Failed { why } => {
                tracing::warn!(agent, why, "its connections are not redirected as they should be");
            }
        }
    }

    async fn try_redirect(&self, trial: &Trial) -> Result<(), String> {
        let selftests = &self.0.context.selftests;
        let (v4, v6) = (Attempt::random_v4(selftests), Attempt::random_v6(selftests));
        let places = [v4.to, v6.to];
        let asked = async {
            let report = report(trial, places).await;
            // What has not arrived by now is not waited for.
            for to in places {
                selftests.forget(to);
            }
            report
        };
        // Counted as soon as they are here: the hooks have counted them as the agent's already.
        let counted = async |arrival: oneshot::Receiver<Arrived>| {
            arrival.await.ok().inspect(|_| trial.health.count_test())
        };
        let (report, first, second) = tokio::join!(asked, counted(v4.arrival), counted(v6.arrival));
        let mut outcome = report.as_ref().map(|_| ()).map_err(Clone::clone);
        let expected = [((v4.to, v4.word), first), ((v6.to, v6.word), second)];
        for (place, (attempt, arrived)) in expected.into_iter().enumerate() {
            if let Some(told) = report.as_ref().ok().and_then(|report| report.get(place)) {
                outcome = outcome.and_then(|()| judge(trial, attempt, told, arrived));
            }
        }
        outcome
    }
}

impl Attempt {
    /// 192.0.2.0/24 (RFC 5737).
    fn random_v4(selftests: &SelfTests) -> Self {
        let [host, high, low] = random();
        let port = u16::from_be_bytes([high, low]).max(1);
        Self::new(selftests, SocketAddr::new(Ipv4Addr::new(192, 0, 2, host).into(), port))
    }

    /// `2001:db8::/32` (RFC 3849).
    fn random_v6(selftests: &SelfTests) -> Self {
        let [high, low] = random();
        let mut octets: [u8; 16] = random();
        octets[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        let port = u16::from_be_bytes([high, low]).max(1);
        Self::new(selftests, SocketAddr::new(Ipv6Addr::from(octets).into(), port))
    }

    fn new(selftests: &SelfTests, to: SocketAddr) -> Self {
        let word = random();
        Self { to, word, arrival: selftests.expect(to, word) }
    }
}

/// Zeros where the system has no randomness: then a test is no secret from the agent, which gains
/// nothing by that but a test that fails.
fn random<const N: usize>() -> [u8; N] {
    node::random().unwrap_or([0; N])
}

/// Has a process connect from the agent's place.
async fn report(trial: &Trial, to: [SocketAddr; 2]) -> Result<Report, String> {
    let netns = trial.netns.as_fd().try_clone_to_owned();
    let netns = netns.map_err(|error| format!("no test was made: {error}"))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("probe").arg("--cgroup").arg(&trial.cgroup).args(to.map(|to| to.to_string()));
    command.env_clear().stdin(netns).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Frozen or stopped, it would stay for ever.
    let output = timeout(limits::SELF_TEST_TIME, command.kill_on_drop(true).output()).await;
    let output = match output {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("no test was made: {error}")),
        Err(_) => return Err("the test did not come to its end in time".into()),
    };
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().next().unwrap_or("it was killed");
        format!("no test was made: {line}")
    })
}

/// Whether a connect was redirected, by what either end says of it.
fn judge(
    trial: &Trial,
    (to, word): (SocketAddr, Word),
    told: &Result<Option<Probed>, String>,
    arrived: Option<Arrived>,
) -> Result<(), String> {
    let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
    let said = |what: &str| Err(format!("a test connect over {family} {what}"));
    let probed = match told {
        Ok(Some(probed)) => probed,
        // There are no such connections here.
        Ok(None) => return Ok(()),
        Err(what) => return said(what),
    };
    let Some(Arrived { origin, netns }) = arrived else {
        return said("reached something else than the gateway");
    };
    if origin.cookie != probed.cookie || origin.agent != trial.id || netns != trial.cookie {
        return said("was taken for another's");
    }
    if probed.heard != word {
        return said("was answered by somebody else");
    }
    if probed.peer != to {
        return said("was shown the gateway as its peer");
    }
    Ok(())
}
