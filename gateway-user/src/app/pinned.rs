//! What dead gateways left behind: shown and removed without a daemon.

use std::path::PathBuf;

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

impl Default for PinnedAgents {
    fn default() -> Self {
        // A configuration that can't be read is reported by the commands that need it.
        let config = Config::load(None).unwrap_or_default();
        Self { runtime: config.daemon.runtime_dir }
    }
}

impl PinnedAgents {
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
