//! What dead gateways left behind: shown and removed without a daemon.

mod kill;

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::kills::KillsError;
use crate::{
    attach::{
        ebpf::{EbpfFailure, remove_agent_pins},
        pins::{HeldAgent, Instance, PinsError, StateFile},
        trust,
    },
    cancel::{Full, Kill},
    config::{Config, ConfigError, Decrypt},
    control::{
        commands::Pinned,
        kill::{KillReport, KillRequest, ReviveRequest, Revived},
        model::{AgentInfo, AgentState, Coverage, Refusal, attached_by},
    },
};

/// The agents that are pinned below a runtime directory and whose gateway is dead.
#[derive(Debug)]
pub(super) struct PinnedAgents {
    /// The control socket that the user named.
    control: Option<PathBuf>,
}

/// Why what dead gateways left can't be seen or removed.
#[derive(Debug, thiserror::Error)]
enum PinnedError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Pins(#[from] PinsError),
    #[error(transparent)]
    Ebpf(#[from] EbpfFailure),
    #[error(
        "what a dead gateway left is not looked for in {}: others can write there; name a control \
         socket whose directory only root can write to", .0.display()
    )]
    OthersWrite(PathBuf),
    #[error("can't look into {}: {source}; run as root (sudo)", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "it is detached, but its container still trusts this node's CA: {0}; restart the container"
    )]
    Trust(io::Error),
    #[error("no pinned agent is called {0:?}; see `turnpike agents`")]
    NoAgent(String),
    #[error("no turnpike daemon answers, and no dead one left {0}; see `turnpike agents`")]
    NoDeadAgent(String),
    #[error(
        "no turnpike daemon answers, and without one nobody knows workflows and sessions; start it, \
         or kill the agent as a whole with --agent"
    )]
    NeedsDaemon,
    #[error(
        "a gateway runs (pid {0}) and does not answer here: name its socket with --control, or wait for \
         its end and kill again"
    )]
    Silent(u32),
    #[error("{0} is not killed; see `turnpike kills`")]
    NotKilled(String),
    #[error(transparent)]
    Kills(#[from] KillsError),
    #[error(transparent)]
    Full(Full),
}

impl From<PinnedError> for Refusal {
    fn from(error: PinnedError) -> Self {
        Self::new(error.to_string())
    }
}

impl PinnedAgents {
    /// Beside the control socket that the user named, else where the configuration says.
    pub(super) fn beside(control: Option<&Path>) -> Self {
        Self { control: control.map(Path::to_owned) }
    }

    fn instances(&self) -> Result<Vec<Instance>, PinnedError> {
        let Some(control) = &self.control else {
            return Ok(Instance::all(&Config::load(None)?.daemon.runtime_dir)?);
        };
        let parent = control.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or_else(|| Path::new("."));
        check_owner(directory)?;
        Ok(Instance::all(directory)?)
    }

    fn held(&self) -> Result<Vec<HeldAgent>, PinnedError> {
        let mut found = Vec::new();
        for instance in self.instances()? {
            found.extend(of_dead(&instance)?.into_iter().flat_map(|state| state.agents));
        }
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<(), PinnedError> {
        for instance in self.instances()? {
            // Else a gateway that starts now could take over what is being removed.
            let _lock = instance.lock()?;
            let Some(mut state) = of_dead(&instance)? else { continue };
            let Some(place) = state.agents.iter().position(|agent| agent.name == name) else {
                continue;
            };
            let agent = state.agents.remove(place);
            remove_agent_pins(&instance.pins(), agent.cgroup_id)?;
            instance.remove_pins_of_others(agent.cgroup_id)?;
            if state.agents.iter().all(|agent| !agent.pinned) {
                instance.remove_pins()?;
            }
            if state.agents.is_empty() {
                instance.remove()?;
            } else {
                instance.write(&state)?;
            }
            if agent.decrypt == Decrypt::On {
                trust::uncover(agent.cgroup_id).map_err(PinnedError::Trust)?;
            }
            return Ok(());
        }
        Err(PinnedError::NoAgent(name.into()))
    }
}

impl Pinned for PinnedAgents {
    fn list(&self) -> Result<Vec<AgentInfo>, Refusal> {
        Ok(self.held()?.iter().filter(|agent| agent.pinned).map(info).collect())
    }

    fn detach(&self, name: &str) -> Result<(), Refusal> {
        Ok(self.remove(name)?)
    }

    fn kill(&self, request: &KillRequest) -> Result<KillReport, Refusal> {
        Ok(self.strike(request)?)
    }

    fn revive(&self, request: &ReviveRequest) -> Result<Revived, Refusal> {
        Ok(self.lift(request)?)
    }

    fn kills(&self) -> Result<Vec<Kill>, Refusal> {
        Ok(self.in_force()?)
    }
}

/// What an instance holds if its gateway is dead.
fn of_dead(instance: &Instance) -> Result<Option<StateFile>, PinsError> {
    Ok(instance.read()?.filter(|state| !state.is_alive()))
}

/// Refuses a directory in which somebody else could have put what is found there. One that does not
/// exist holds nothing.
fn check_owner(directory: &Path) -> Result<(), PinnedError> {
    let found = match fs::metadata(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(PinnedError::Directory { path: directory.into(), source }),
    };
    let is_ours = found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw();
    if !is_ours || found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(PinnedError::OthersWrite(directory.into()));
    }
    Ok(())
}

/// By the group and by everybody (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;

fn info(agent: &HeldAgent) -> AgentInfo {
    AgentInfo {
        name: agent.name.clone(),
        mode: agent.mode,
        decrypt: agent.decrypt,
        cgroup: agent.cgroup.clone(),
        cgroup_id: agent.cgroup_id,
        container_id: agent.container_id.clone(),
        pod: agent.pod.clone(),
        container_name: agent.container_name.clone(),
        tenant: agent.tenant.clone(),
        attached_by: Some(attached_by(agent.rule)),
        late_ms: agent.late_ms,
        state: AgentState::Pinned,
        gateway_pid: None,
        attached_at: Some(agent.attached_at),
        redirect: None,
        coverage: Coverage::default(),
        other: Vec::new(),
        egress_refused: Vec::new(),
        covered: Vec::new(),
        undecrypted: Vec::new(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::policy::{metering::OnUnmetered, retries::OnRetry};
    use crate::{call::Timestamp, config::Mode};

    fn agent(name: &str) -> HeldAgent {
        HeldAgent {
            name: name.into(),
            mode: Mode::Enforce,
            cgroup: "/a".into(),
            cgroup_id: 1,
            container_id: None,
            pod: None,
            container_name: None,
            tenant: None,
            rule: None,
            late_ms: None,
            moving: false,
            decrypt: Decrypt::Off,
            on_unmetered: OnUnmetered::default(),
            on_retry: OnRetry::default(),
            replay_aborted: false,
            bundle: None,
            budget: None,
            attached_at: Timestamp(0),
            pinned: true,
            settled: true,
            resolvers: Vec::new(),
        }
    }

    fn names(agents: &PinnedAgents) -> Vec<String> {
        agents.list().expect("listed").into_iter().map(|agent| agent.name).collect()
    }

    #[test]
    fn only_what_a_dead_gateway_holds_is_listed_and_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let live = StateFile { agents: vec![agent("live")], ..StateFile::own() };
        Instance::daemon(directory.path()).write(&live).expect("written");
        let started = live.pid_started + 1;
        let dead = StateFile { pid_started: started, agents: vec![agent("dead")], ..live };
        Instance::run(directory.path(), 1).write(&dead).expect("written");

        let pinned = PinnedAgents::beside(Some(&directory.path().join("control.sock")));
        assert_eq!(names(&pinned), ["dead"]);
        let error = pinned.detach("live").expect_err("its gateway lives");
        assert!(error.to_string().contains("no pinned agent"), "{error}");
        pinned.detach("dead").expect("removed");
        assert!(names(&pinned).is_empty());
    }

    #[test]
    fn a_directory_that_others_write_to_is_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let pinned = PinnedAgents::beside(Some(&directory.path().join("control.sock")));
        assert!(names(&pinned).is_empty());
        for mode in [0o770, 0o1707] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).expect("set");
            let error = pinned.list().expect_err("refused");
            assert!(error.to_string().contains("others can write there"), "{error}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_holds_nothing() {
        assert!(names(&PinnedAgents::beside(Some(Path::new("/no/such/control.sock")))).is_empty());
    }
}
