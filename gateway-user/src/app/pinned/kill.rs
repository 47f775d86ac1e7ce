//! Killing and reviving without a daemon: by the file of kills, and by what a dead one left pinned.

use std::{path::PathBuf, time::Instant};

use super::{PinnedAgents, PinnedError, of_dead};
use crate::{
    app::{agents::namespaces, kills::Kills},
    attach::{
        cgroup::Cgroup,
        ebpf::set_pinned_killed,
        pins::{HeldAgent, Instance, StateFile},
        signal, sockets,
    },
    call::{Holder, Timestamp},
    cancel::{Kill, Toll, Whose},
    config::{Config, Mode},
    control::kill::{KillReport, KillRequest, ReviveRequest, Revived, Victim},
    limits,
    proxy::Clock,
};

/// An agent of a dead gateway.
struct Left {
    instance: Instance,
    agent: HeldAgent,
    state_dir: Option<PathBuf>,
}

impl PinnedAgents {
    /// Kills what dead gateways left. What of it is pinned is denied by the kernel from now on; of the
    /// rest the sockets are destroyed, and the next daemon holds it.
    pub(super) fn strike(&self, request: &KillRequest) -> Result<KillReport, PinnedError> {
        let clock = Clock::start();
        let received_at = clock.now();
        let holder = whole(&request.victim)?;
        let victims = self.victims(&holder)?;
        let living = self.living()?;
        if let Some(pid) = living.filter(|_| victims.is_empty()) {
            return Err(PinnedError::Silent(pid));
        }
        if victims.is_empty() && matches!(holder, Holder::Agent(_)) {
            return Err(PinnedError::NoDeadAgent(holder.to_string()));
        }
        let by_uid = rustix::process::getuid().as_raw();
        let reason = request.reason.clone();
        let kill =
            Kill { holder: holder.clone(), at: received_at, by_uid, reason, cut: Toll::default() };
        let mut report = KillReport::new(holder.clone(), received_at);
        if let Some(pid) = living.filter(|_| !matches!(holder, Holder::Agent(_))) {
            report.not_covered.push(format!(
                "what the gateway of pid {pid} holds, which does not answer here: name its socket with \
                 --control"
            ));
        }
        for victim in &victims {
            deny(victim, &mut report, || clock.now());
        }
        let kills = self.file(&victims)?;
        kills.change(|latches| latches.latch(kill))?.map_err(PinnedError::Full)?;
        report.persisted_at = Some(clock.now());
        let deadline = Instant::now() + request.timeout().min(limits::KILL_WAIT);
        for victim in &victims {
            end(victim, request.signal, &mut report, deadline);
        }
        report.silent = report.not_covered.is_empty();
        report.silent_at = report.silent.then(|| clock.now());
        let cut = Toll {
            streams: 0,
            sockets: report.sockets_destroyed,
            processes: report.processes_signalled,
        };
        kills.change(|latches| latches.count(&holder, cut))?;
        Ok(report)
    }

    /// Has those go on.
    pub(super) fn lift(&self, request: &ReviveRequest) -> Result<Revived, PinnedError> {
        let holder = match &request.victim {
            // Only whole ids are known without the gateway.
            Victim::Workflow(id) => {
                Holder::Workflow(id.parse().map_err(|_| PinnedError::NeedsDaemon)?)
            }
            Victim::Session(id) => Holder::Session(*id),
            other => whole(other)?,
        };
        let victims = self.victims(&holder)?;
        let kills = self.file(&victims)?;
        let (lifted, left) = kills.change(|latches| (latches.lift(&holder), latches.clone()))?;
        let kill = lifted.ok_or_else(|| PinnedError::NotKilled(holder.to_string()))?;
        for Left { instance, agent, .. } in victims.iter().filter(|victim| victim.agent.pinned) {
            if left.of_agent(whose(agent)).is_none() {
                set_pinned_killed(&instance.pins(), agent.cgroup_id, false)?;
            }
        }
        Ok(Revived { holder, kill: Some(kill), resumed: false })
    }

    pub(super) fn in_force(&self) -> Result<Vec<Kill>, PinnedError> {
        Ok(self.file(&self.victims(&Holder::Node)?)?.read()?.iter().cloned().collect())
    }

    /// A gateway that lives, although it does not answer: it may be ending, or have another socket.
    fn living(&self) -> Result<Option<u32>, PinnedError> {
        for instance in self.instances()? {
            if let Some(state) = instance.read()?.filter(StateFile::is_alive) {
                return Ok(Some(state.pid));
            }
        }
        Ok(None)
    }

    /// The agents of dead gateways that a holder holds.
    fn victims(&self, holder: &Holder) -> Result<Vec<Left>, PinnedError> {
        let mut found = Vec::new();
        for instance in self.instances()? {
            let Some(state) = of_dead(&instance)? else { continue };
            let is_meant = |agent: &HeldAgent| whose(agent).is_held_by(holder);
            let state_dir = state.state_dir;
            found.extend(state.agents.into_iter().filter(is_meant).map(|agent| Left {
                instance: instance.clone(),
                agent,
                state_dir: state_dir.clone(),
            }));
        }
        Ok(found)
    }

    /// Where kills are kept: where the dead daemon kept them, else where the configuration says.
    fn file(&self, victims: &[Left]) -> Result<Kills, PinnedError> {
        let of_daemon = victims.iter().find(|left| !left.instance.is_run());
        let directory = of_daemon.and_then(|left| left.state_dir.clone());
        match directory {
            Some(directory) => Ok(Kills::within(&directory)),
            None => Ok(Kills::within(&self.state_dir()?)),
        }
    }

    fn state_dir(&self) -> Result<PathBuf, PinnedError> {
        for instance in self.instances()? {
            let state = of_dead(&instance)?.and_then(|state| state.state_dir);
            if let Some(directory) = state.filter(|_| !instance.is_run()) {
                return Ok(directory);
            }
        }
        Ok(Config::load(None)?.daemon.state_dir)
    }
}

fn whose(agent: &HeldAgent) -> Whose<'_> {
    Whose { agent: &agent.name, tenant: agent.tenant.as_deref() }
}

/// What can be killed without knowing workflows.
fn whole(victim: &Victim) -> Result<Holder, PinnedError> {
    match victim {
        Victim::Workflow(_) | Victim::Session(_) => Err(PinnedError::NeedsDaemon),
        Victim::Agent(name) => Ok(Holder::Agent(name.clone())),
        Victim::Tenant(name) => Ok(Holder::Tenant(name.clone())),
        Victim::Node => Ok(Holder::Node),
    }
}

fn deny(victim: &Left, report: &mut KillReport, now: impl Fn() -> Timestamp) {
    let Left { instance, agent, .. } = victim;
    if !agent.pinned {
        let open = match agent.mode {
            Mode::Audit => "audit agents are let go when their gateway dies",
            Mode::Enforce => "its gateway pinned nothing",
        };
        let left = format!(
            "new connections of agent {}: {open}; start the daemon, or end its processes with --signal",
            agent.name
        );
        return report.not_covered.push(left);
    }
    match set_pinned_killed(&instance.pins(), agent.cgroup_id, true) {
        Ok(()) => report.denied_at = Some(now()),
        Err(error) => {
            report.not_covered.push(format!("new connections of agent {}: {error}", agent.name));
        }
    }
}

/// Destroys its sockets, until it has none, and ends its processes if that is wanted.
fn end(victim: &Left, signal: bool, report: &mut KillReport, deadline: Instant) {
    let name = &victim.agent.name;
    let Ok(cgroup) = Cgroup::open(victim.agent.cgroup.as_ref()) else { return };
    if cgroup.id() != victim.agent.cgroup_id {
        return;
    }
    if signal {
        match signal::kill_all(&cgroup) {
            Ok(ended) => {
                report.processes_signalled += ended;
                // Whoever could have connected is gone.
                report.not_covered.retain(|left| !left.contains(&format!("agent {name}:")));
            }
            Err(error) => report.not_covered.push(format!("processes of agent {name}: {error}")),
        }
    }
    loop {
        let destroyed = namespaces(&cgroup)
            .into_iter()
            .try_fold(0, |all, netns| Ok(all + sockets::destroy_all(netns, &cgroup)?));
        match destroyed {
            Ok(0) => return,
            Ok(destroyed) => report.sockets_destroyed += destroyed,
            Err(error) => {
                let error: sockets::SocketsError = error;
                return report.not_covered.push(format!("open sockets of agent {name}: {error}"));
            }
        }
        if Instant::now() >= deadline {
            return report.not_covered.push(format!("agent {name} opens sockets all the time"));
        }
    }
}
