//! What agents' processes do: from the tracepoints into lineage.

use std::sync::Arc;

use super::super::kernel::{KernelProcesses, monotonic};
use crate::{
    attach::ebpf::{Arrivals, EbpfFailure, Hooks, Processes},
    proxy::{Agents, Recording},
};

/// Begins to take note of it. A gateway can do without: then the calls of what tools start are
/// workflows of their own, and it says so: what else is given back is the note on each agent.
pub(super) fn watch(
    hooks: &Hooks,
    recording: Recording,
    agents: Agents,
) -> (Arc<Recording>, Option<String>) {
    match begin(hooks) {
        Ok((processes, arrivals)) => {
            let moment = (monotonic(), recording.clock.now());
            let processes = Box::new(KernelProcesses { processes, moment });
            let recording = Arc::new(recording.watching(processes, agents));
            // The runtime ends it.
            tokio::spawn(take_note(arrivals, Arc::clone(&recording)));
            (recording, None)
        }
        Err(error) => {
            tracing::warn!(%error, "calls of what tools start are not traced back to them");
            let note =
                format!("calls of what its tools start are not traced back to them: {error}");
            (Arc::new(recording), Some(note))
        }
    }
}

fn begin(hooks: &Hooks) -> Result<(Processes, Arrivals), EbpfFailure> {
    let processes = hooks.processes()?;
    let arrivals = processes.arrivals();
    let arrivals =
        arrivals.map_err(|source| EbpfFailure::Io { path: "PROCESSES".into(), source })?;
    Ok((processes, arrivals))
}

/// Calls take note themselves before they are placed; this is for what happens between them.
async fn take_note(arrivals: Arrivals, recording: Arc<Recording>) {
    loop {
        if let Err(error) = arrivals.next().await {
            tracing::error!(%error, "what processes do can't be watched any more");
            return;
        }
        while recording.catch_up() {
            tokio::task::yield_now().await;
        }
    }
}
