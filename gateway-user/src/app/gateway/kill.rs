//! Killing, and what comes of it: in force first, then on the disk, then waited for.
//!
//! ```text
//! received ─▶ latched ─▶ denied in the kernel ─▶ calls cut ─▶ words heard ─▶ sockets destroyed ─▶ silent
//!                │        (agents as a whole)                                 (agents as a whole)
//!                └─▶ persisted, meanwhile; nothing is acknowledged before
//! ```

mod remains;
mod revive;
mod who;

use std::{sync::Arc, time::Duration};

use gateway_common::AgentId;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Gateway, GatewayError,
    fleet::{Fleet, Member},
    health::Shown,
};
use crate::{
    app::{agents::namespaces, kills::KillsError},
    attach::{
        cgroup::Cgroup,
        signal,
        sockets::{self, SocketsError},
    },
    call::{Holder, Timestamp},
    cancel::{Kill, Toll},
    control::{
        api::Peer,
        kill::{KillReport, KillRequest},
        model::Refusal,
    },
    limits,
    proxy::Aftermath,
};

/// A kill on its way to silence.
struct Killing {
    kill: Kill,
    /// The agents that are killed as a whole.
    victims: Vec<Shown>,
    aftermath: Arc<Aftermath>,
    /// Servers that had been asked in vain to end calls before it.
    failed_before: u64,
    deadline: Instant,
    report: KillReport,
}

/// Requests of the gateway's own that calls be ended: those without an outcome, and those in vain.
struct Asked {
    under_way: usize,
    failed: u64,
}

impl Gateway {
    /// The kills in force.
    pub(super) fn kills(&self) -> Vec<Kill> {
        self.0.latch.read().iter().cloned().collect()
    }

    /// Ends what is under way of somebody, keeps it silent from now on, and waits until it is.
    pub(super) async fn kill(
        &self,
        peer: Peer,
        request: KillRequest,
    ) -> Result<KillReport, Refusal> {
        let received_at = self.now();
        let holder = self.holder(&request.victim)?;
        let mut killing = self.strike(peer, holder, &request, received_at)?;
        let kept = self.keep_kills();
        self.hush(&mut killing, request.signal).await;
        killing.report.persisted_at = kept.await?;
        self.0.latch.touched().note(&killing.kill.holder);
        if let Err(refusal) = self.remember(false).await {
            let left = format!("what goes on with it once this gateway has ended: {refusal}");
            killing.report.not_covered.push(left);
        }
        self.hold_pinned(&mut killing).await;
        let Killing { kill, mut report, .. } = killing;
        let cut = Toll {
            streams: report.streams_cut,
            sockets: report.sockets_destroyed,
            processes: report.processes_signalled,
        };
        self.0.latch.change(|latches| latches.count(&kill.holder, cut));
        if let Err(refusal) = self.keep_kills().await {
            report.not_covered.push(format!("what was cut is not written down: {refusal}"));
        }
        if !report.not_covered.is_empty() {
            (report.silent, report.silent_at) = (false, None);
        }
        tracing::warn!(
            holder = %kill.holder, by_uid = peer.uid, reason = kill.reason, silent = report.silent,
            streams = cut.streams, sockets = cut.sockets, processes = cut.processes, "killed"
        );
        Ok(report)
    }

    /// Has the kill be in force: nothing of it begins after this, and what is under way has been told.
    fn strike(
        &self,
        peer: Peer,
        holder: Holder,
        request: &KillRequest,
        received_at: Timestamp,
    ) -> Result<Killing, Refusal> {
        let (by_uid, reason) = (peer.uid, request.reason.clone());
        let kill = Kill { holder, at: received_at, by_uid, reason, cut: Toll::default() };
        let latched = self.0.latch.change(|latches| latches.latch(kill.clone()));
        latched.map_err(|full| Refusal::new(full.to_string()))?;
        let mut not_covered = Vec::new();
        let victims = self.victims(&kill.holder);
        let mut denied_at = None;
        for victim in &victims {
            let is_killed = || self.is_killed(&victim.held.name, victim.held.tenant.as_deref());
            match self.0.hooks.set_killed(victim.held.cgroup_id, is_killed) {
                Ok(()) if victim.proxy.is_none() && !victim.held.pinned => {
                    not_covered.push(format!(
                        "agent {}, which is not taken over yet: kill it again",
                        victim.held.name
                    ));
                }
                Ok(()) => denied_at = Some(self.now()),
                Err(error) => not_covered
                    .push(format!("new connections of agent {}: {error}", victim.held.name)),
            }
        }
        let aftermath = Arc::default();
        let failed_before = self.asked().failed;
        self.0.context.agents.silence(&kill, &aftermath);
        let timeout = request.timeout().min(limits::KILL_WAIT);
        let report = KillReport {
            denied_at,
            cancelled_at: Some(self.now()),
            not_covered,
            ..KillReport::new(kill.holder.clone(), received_at)
        };
        let deadline = Instant::now() + timeout;
        Ok(Killing { kill, victims, aftermath, failed_before, deadline, report })
    }

    /// Waits until what was told to end has, and ends what was not told.
    async fn hush(&self, killing: &mut Killing, signal: bool) {
        let aftermath = Arc::clone(&killing.aftermath);
        let words = killing.deadline.min(Instant::now() + limits::LAST_WORDS);
        until(words, || self.is_over(killing)).await;
        if signal {
            self.signal(killing).await;
        }
        let connected = |victims: &[Shown]| {
            let agents = victims.iter().filter_map(|victim| victim.proxy.as_ref());
            agents.map(|agent| agent.connections()).sum::<usize>()
        };
        // They may read why, before their sockets are gone.
        let words = killing.deadline.min(Instant::now() + limits::KILL_WORDS);
        until(words, || connected(&killing.victims) == 0).await;
        for victim in &killing.victims {
            match destroy(&victim.held.cgroup).await {
                Ok(destroyed) => killing.report.sockets_destroyed += destroyed,
                Err(error) => killing
                    .report
                    .not_covered
                    .push(format!("open sockets of agent {}: {error}", victim.held.name)),
            }
        }
        let gone =
            until(killing.deadline, || connected(&killing.victims) == 0 && self.is_over(killing))
                .await;
        let gone_at = self.now();
        // What servers had to be asked comes after the silence, and is no part of it.
        until(killing.deadline, || self.asked().under_way == 0).await;
        self.tell_what_is_left(killing, connected(&killing.victims));
        let report = &mut killing.report;
        report.streams_cut = aftermath.told();
        report.last_upstream_byte_at = aftermath.last_end();
        report.silent = gone && report.not_covered.is_empty();
        report.silent_at = report.silent.then_some(gone_at);
    }

    /// Whether nothing is under way any more of what was told to end, or of what began meanwhile.
    fn is_over(&self, killing: &Killing) -> bool {
        let holder = &killing.kill.holder;
        let left = || match holder {
            Holder::Workflow(_) | Holder::Session(_) => {
                let agents = self.0.context.agents.all_that_go_on();
                agents.iter().map(|agent| agent.calls_under_way(holder)).sum::<usize>()
            }
            // Their connections are waited for.
            Holder::Agent(_) | Holder::Tenant(_) | Holder::Node => 0,
        };
        killing.aftermath.is_over() && left() == 0
    }

    /// What the servers of calls that were ended have been asked.
    fn asked(&self) -> Asked {
        let agents = self.0.context.agents.all_that_go_on();
        Asked {
            under_way: agents.iter().map(|agent| agent.countermands_under_way()).sum(),
            failed: agents.iter().map(|agent| agent.countermands_failed()).sum(),
        }
    }

    /// Says what the kill does not reach.
    fn tell_what_is_left(&self, killing: &mut Killing, connections: usize) {
        let over = self.is_over(killing);
        let left = &mut killing.report.not_covered;
        if !over {
            left.push("calls that were told to end, and have not yet".to_owned());
        }
        if connections > 0 {
            left.push(format!("{connections} connections that have not ended yet"));
        }
        let holder = &killing.kill.holder;
        let agents = self.0.context.agents.all_that_go_on();
        let waiting: usize = agents.iter().map(|agent| agent.calls_waiting(holder)).sum();
        if waiting > 0 && matches!(holder, Holder::Workflow(_) | Holder::Session(_)) {
            left.push(format!("{waiting} calls that are answered elsewhere: in the background, or in an MCP stream"));
        }
        let Asked { under_way, failed } = self.asked();
        let failed = failed.saturating_sub(killing.failed_before);
        if failed > 0 {
            left.push(format!("{failed} calls whose servers were asked to stop, in vain"));
        }
        if under_way > 0 {
            left.push(format!("{under_way} calls whose servers have not said yet that they stop"));
        }
        if *holder != Holder::Node {
            return;
        }
        match self.everywhere() {
            Ok(everywhere) => {
                let own = self.shown();
                let is_own = |name: &&String| own.iter().any(|shown| shown.held.name == **name);
                let others = everywhere.cgroups.values().filter(|name| !is_own(name));
                left.extend(others.map(|name| {
                    format!("agent {name}, which another gateway holds: kill it with --control")
                }));
            }
            Err(error) => left.push(format!("agents of other gateways: {error}")),
        }
    }

    /// Ends the processes of who is killed.
    async fn signal(&self, killing: &mut Killing) {
        let chosen = self.processes_of(killing);
        let ended = spawn_blocking(move || {
            let (mut count, mut failed) = (0, Vec::new());
            for (name, cgroup, pids) in chosen {
                let ended = match pids {
                    None => signal::kill_all(&cgroup),
                    Some(pids) => {
                        let ended = pids.into_iter().map(|pid| signal::kill_one(pid, &cgroup));
                        // Each of them is tried.
                        let ended: Vec<_> = ended.collect();
                        ended.into_iter().try_fold(0, |all, one| Ok(all + u64::from(one?)))
                    }
                };
                match ended {
                    Ok(more) => count += more,
                    Err(error) => failed.push(format!("processes of agent {name}: {error}")),
                }
            }
            (count, failed)
        });
        let ended = ended.await;
        let (count, failed) = ended
            .unwrap_or_else(|error| (0, vec![format!("processes, for a fault here: {error}")]));
        killing.report.processes_signalled = count;
        killing.report.not_covered.extend(failed);
    }

    /// Whose processes are to be ended: all of an agent's, or those that carry tool calls out.
    fn processes_of(&self, killing: &Killing) -> Vec<(String, Cgroup, Option<Vec<u32>>)> {
        let holder = &killing.kill.holder;
        let is_whole = !matches!(holder, Holder::Workflow(_) | Holder::Session(_));
        let agents = if is_whole { killing.victims.clone() } else { self.shown() };
        let chosen = agents.into_iter().filter_map(|shown| {
            let pids = match (is_whole, &shown.proxy) {
                (true, _) => None,
                (false, agent) => Some(agent.as_ref()?.tool_processes(holder)),
            };
            let cgroup = Cgroup::open(shown.held.cgroup.as_ref()).ok()?;
            let is_it = cgroup.id() == shown.held.cgroup_id;
            (is_it && pids.as_ref().is_none_or(|pids| !pids.is_empty())).then_some((
                shown.held.name,
                cgroup,
                pids,
            ))
        });
        chosen.collect()
    }

    /// Has killed agents stay so without this gateway. Takes its turn with whoever attaches one.
    async fn hold_pinned(&self, killing: &mut Killing) {
        if self.0.embedded || killing.victims.is_empty() {
            return;
        }
        let Ok(mut fleet) = timeout_at(killing.deadline, self.0.fleet.lock()).await else {
            let left = "its end with the gateway's: agents are just being attached; kill it again";
            killing.report.not_covered.push(left.to_owned());
            return;
        };
        for victim in &killing.victims {
            let (name, id) = (&victim.held.name, victim.held.cgroup_id);
            let is_held = fleet.members().any(|(_, member)| member.held.cgroup_id == id);
            let lives = || {
                Cgroup::open(victim.held.cgroup.as_ref())
                    .is_ok_and(|it| it.id() == id && it.is_alive())
            };
            let left = match self.pin(&mut fleet, id) {
                Err(error) => format!("agent {name} without this gateway: {error}"),
                Ok(()) if !is_held && victim.proxy.is_some() && lives() => {
                    format!("agent {name}, which was detached meanwhile")
                }
                Ok(()) => continue,
            };
            killing.report.not_covered.push(left);
        }
    }

    fn pin(&self, fleet: &mut Fleet, id: AgentId) -> Result<(), GatewayError> {
        let member = fleet.members.values_mut().find(|member| member.held.cgroup_id == id);
        // It may have been revived meanwhile.
        let is_due = |m: &&mut Member| !m.held.pinned && m.proxy.is_killed().is_some();
        let Some(member) = member.filter(is_due) else { return Ok(()) };
        let _lock = self.0.instance.lock()?;
        self.0.instance.prepare_pins()?;
        let Some(links) = &mut member.links else { return Ok(()) };
        self.0.hooks.pin(id, links)?;
        member.held.pinned = true;
        Ok(self.publish(fleet)?)
    }

    /// An agent has another name, under which it is no less killed.
    pub(super) fn follow_kill(&self, name: &str, to: &str) {
        if self.0.latch.change(|latches| latches.rename(&name.into(), &to.into())) {
            self.0.latch.has_changed();
        }
        self.remember_renamed();
        for shown in self.shown().iter().filter(|shown| shown.held.name == to) {
            if let Some(agent) = &shown.proxy {
                agent.obey();
            }
        }
    }

    /// Has the file agree with the latches. When it does.
    pub(super) fn keep_kills(
        &self,
    ) -> impl Future<Output = Result<Option<Timestamp>, Refusal>> + use<> {
        let gateway = self.clone();
        let kept = (!gateway.0.embedded).then(|| {
            spawn_blocking(move || {
                // Under its lock as they are then: the last to write writes the last of them.
                gateway.0.kills.change(|kept| kept.clone_from(&gateway.0.latch.read()))?;
                Ok::<_, KillsError>(gateway.now())
            })
        });
        async move {
            let Some(kept) = kept else { return Ok(None) };
            let kept = kept.await.map_err(|error| Refusal::new(error.to_string()))?;
            kept.map(Some).map_err(|error| {
                Refusal::new(format!("it is in force, and ends with this gateway: {error}"))
            })
        }
    }

    fn now(&self) -> Timestamp {
        self.0.context.recording.clock.now()
    }
}

/// Destroys all sockets that an agent has, wherever its processes live.
async fn destroy(cgroup: &str) -> Result<u64, SocketsError> {
    let cgroup = cgroup.to_owned();
    let destroyed = spawn_blocking(move || {
        // One that is gone has none.
        let Ok(cgroup) = Cgroup::open(cgroup.as_ref()) else { return Ok(0) };
        namespaces(&cgroup)
            .into_iter()
            .try_fold(0, |all, netns| Ok(all + sockets::destroy_all(netns, &cgroup)?))
    });
    destroyed.await.map_err(|_| SocketsError::Thread)?
}

/// Whether it came to be so before the deadline.
async fn until(deadline: Instant, so: impl Fn() -> bool) -> bool {
    while !so() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK).await;
    }
    true
}

/// How often it is looked whether there is silence: nobody tells of the last byte.
const LOOK: Duration = Duration::from_millis(1);
