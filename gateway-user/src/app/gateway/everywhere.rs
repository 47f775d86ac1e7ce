//! What other gateways of the machine hold, beside this one.

use std::collections::BTreeMap;

use super::Gateway;
use crate::attach::{
    cgroup::Cgroup,
    pins::{HeldAgent, Instance, PinsError},
};

/// What is attached by any gateway of the machine.
#[derive(Debug, Default)]
pub(super) struct Everywhere {
    /// The agents' cgroups, with their names.
    pub(super) cgroups: BTreeMap<String, String>,
    /// The processes of the gateways that live.
    pub(super) gateways: Vec<u32>,
}

impl Gateway {
    /// What is attached by this gateway, by others that live, and what dead ones left pinned.
    pub(super) fn everywhere(&self) -> Result<Everywhere, PinsError> {
        let mut found = Everywhere::default();
        for instance in Instance::all(self.runtime_dir())? {
            let Some(state) = instance.read()? else { continue };
            let lives = state.is_alive();
            found.gateways.extend(lives.then_some(state.pid));
            // A cgroup of the same path may be another by now.
            let is_there = |agent: &HeldAgent| {
                Cgroup::open(agent.cgroup.as_ref()).is_ok_and(|c| c.id() == agent.cgroup_id)
            };
            let agents = state.agents.into_iter().filter(|a| (a.pinned || lives) && is_there(a));
            found.cgroups.extend(agents.map(|agent| (agent.cgroup, agent.name)));
        }
        Ok(found)
    }
}
