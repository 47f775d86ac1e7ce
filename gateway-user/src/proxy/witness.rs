//! What agents' processes do, told to their lineage in the order in which it was done.

use std::sync::Arc;

use gateway_common::AgentId;

use super::{agent::Agents, recording::Recorder};
use crate::call::ProcessEvent;

/// Where what processes do is read.
pub trait Processes: Send + Sync {
    /// Tells of what has been done since the last time, but not of all at once if that is much.
    /// Whoever else reads waits meanwhile. Whether there may be more.
    fn read(&self, tell: &mut dyn FnMut(AgentId, &ProcessEvent)) -> bool;
}

/// Reads it, for agents and those who record their steps.
pub(super) struct Witness {
    processes: Box<dyn Processes>,
    agents: Agents,
    recorder: Arc<dyn Recorder>,
}

impl Witness {
    pub(super) fn new(
        processes: Box<dyn Processes>,
        agents: Agents,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        Self { processes, agents, recorder }
    }

    /// Whether there may be more.
    pub(super) fn catch_up(&self) -> bool {
        self.processes.read(&mut |agent, event| {
            let Some(agent) = self.agents.get(agent) else { return };
            // Held until the recorder knows: of a step it is told in the order in which it is known.
            let mut lineage = agent.lineage();
            for run in lineage.witness(event) {
                self.recorder.ran(&agent.reference(), &run);
            }
        })
    }
}
