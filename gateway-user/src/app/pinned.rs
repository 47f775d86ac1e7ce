//! What dead gateways left behind: shown and removed without a daemon.

use std::path::{Path, PathBuf};

use crate::{
    attach::{
        ebpf::remove_agent_pins,
        pins::{HeldAgent, Instance, PinsError, StateFile},
    },
    config::Config,
    control::{
        commands::Pinned,
        model::{AgentInfo, AgentState, Coverage, Refusal},
    },
};

/// The agents that are pinned below a runtime directory and whose gateway is dead.
#[derive(Debug)]
pub(super) struct PinnedAgents {
    runtime: PathBuf,
}

impl PinnedAgents {
    /// Beside the control socket that the user named, else where the configuration says.
    pub(super) fn beside(control: Option<&Path>) -> Self {
        let named = control.and_then(Path::parent).map(Path::to_owned);
        // A configuration that can't be read is reported by the commands that need it.
        let configured = || Config::load(None).unwrap_or_default().daemon.runtime_dir;
        Self { runtime: named.unwrap_or_else(configured) }
    }

    /// With the instance that holds each.
    fn held(&self) -> Result<Vec<(Instance, StateFile)>, PinsError> {
        let mut found = Vec::new();
        for instance in Instance::all(&self.runtime)? {
            if let Some(state) = instance.read()?.filter(|state| !state.is_alive()) {
                found.push((instance, state));
            }
        }
        Ok(found)
    }
}

impl Pinned for PinnedAgents {
    fn list(&self) -> Result<Vec<AgentInfo>, Refusal> {
        let held = self.held().map_err(|error| Refusal::new(error.to_string()))?;
        let pinned = held.into_iter().flat_map(|(_, state)| state.agents);
        Ok(pinned.filter(|agent| agent.pinned).map(|agent| info(&agent)).collect())
    }

    fn detach(&self, name: &str) -> Result<(), Refusal> {
        let refuse = |error: &dyn std::fmt::Display| Refusal::new(error.to_string());
        for (instance, mut state) in self.held().map_err(|error| refuse(&error))? {
            let Some(place) = state.agents.iter().position(|agent| agent.name == name) else {
                continue;
            };
            let agent = state.agents.remove(place);
            remove_agent_pins(&instance.pins(), agent.cgroup_id).map_err(|error| refuse(&error))?;
            if state.agents.iter().all(|agent| !agent.pinned) {
                instance.remove_pins().map_err(|error| refuse(&error))?;
            }
            let done =
                if state.agents.is_empty() { instance.remove() } else { instance.write(&state) };
            return done.map_err(|error| refuse(&error));
        }
        Err(Refusal::new(format!("no pinned agent is called {name:?}"))
            .fix("see `turnpike agents`"))
    }
}

fn info(agent: &HeldAgent) -> AgentInfo {
    AgentInfo {
        name: agent.name.clone(),
        mode: agent.mode,
        cgroup: agent.cgroup.clone(),
        cgroup_id: agent.cgroup_id,
        container_id: agent.container_id.clone(),
        pod: agent.pod.clone(),
        state: AgentState::Pinned,
        gateway_pid: None,
        attached_at: Some(agent.attached_at),
        coverage: Coverage::default(),
    }
}
