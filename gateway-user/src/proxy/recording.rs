//! What every exchange of the gateway shares: what it was, and where that goes.

use std::{fmt, sync::Arc};

use super::{
    agent::Agents,
    clock::Clock,
    estimate::{Estimates, Estimator},
    origin::Sockets,
    wishes::Wishes,
    witness::{Processes, Witness},
};
use crate::{
    call::{AgentRef, CancelRequest, Settlement, Spent, Step, StepId, Timestamp, WorkflowId},
    lineage::{Completion, Placement, ToolRun},
    price::Prices,
};

/// What every exchange of the gateway shares.
pub struct Recording {
    pub clock: Clock,
    pub recorder: Arc<dyn Recorder>,
    /// Hashes them under the node's key.
    pub(super) wishes: Wishes,
    pub(super) estimator: Estimator,
    /// Absent: nobody says what processes do.
    witness: Option<Witness>,
    /// Absent: nobody says which sockets are still open.
    sockets: Option<Box<dyn Sockets>>,
}

impl Recording {
    /// Wishes are hashed under the key.
    pub fn new(clock: Clock, key: [u8; 32], recorder: Arc<dyn Recorder>, prices: Prices) -> Self {
        let estimator = Estimator::new(prices, Arc::clone(&recorder));
        Self {
            clock,
            recorder,
            wishes: Wishes::under(&key),
            estimator,
            witness: None,
            sockets: None,
        }
    }

    /// The same, which knows whether a client's socket is still open.
    #[must_use]
    pub fn knowing(self, sockets: Box<dyn Sockets>) -> Self {
        Self { sockets: Some(sockets), ..self }
    }

    /// The same, which knows what the agents' processes do.
    #[must_use]
    pub fn watching(self, processes: Box<dyn Processes>, agents: Agents) -> Self {
        let witness = Witness::new(processes, agents, Arc::clone(&self.recorder));
        Self { witness: Some(witness), ..self }
    }

    /// Takes note of what processes have done until now, so that calls of theirs find their place.
    /// Whether there may be more.
    pub fn catch_up(&self) -> bool {
        self.witness.as_ref().is_some_and(Witness::catch_up)
    }

    /// Whether the client's socket with this cookie is still open, as far as anybody knows.
    pub(super) fn is_open(&self, cookie: u64) -> bool {
        self.sockets.as_ref().is_none_or(|sockets| sockets.is_open(cookie))
    }

    /// Waits until the recorder knows what the calls spent that have ended, or until it takes too
    /// long. Blocks.
    pub fn settle(&self) {
        self.estimator.settle();
    }

    /// How good the estimates are of what calls spent.
    #[must_use]
    pub fn estimates(&self) -> Estimates {
        self.estimator.estimates()
    }
}

/// Where steps go. Called from the data path: it must not block.
pub trait Recorder: Send + Sync {
    /// A call has been asked, and placed. The parents and the evidence are the step's.
    fn placed(&self, agent: &AgentRef, placement: &Placement, step: Step, wish: Option<String>);
    /// It has ended.
    fn finished(
        &self,
        agent: &AgentRef,
        workflow: WorkflowId,
        settlement: Settlement,
        completion: &Completion,
        at: Timestamp,
    );
    /// A process carries out a tool call, or has. Called from any thread. Of what is told with the
    /// end of the call that opened it, this says nothing.
    fn ran(&self, _agent: &AgentRef, _run: &ToolRun) {}
    /// It has ended before without saying what it spent, and that is known now. Called from another
    /// thread.
    fn spent(&self, agent: &AgentRef, workflow: WorkflowId, step: StepId, spent: Spent);
    /// Upstream was asked to end it, which it had not understood otherwise, and that is what came of
    /// it. Called after its end, perhaps from another thread.
    fn requested(&self, _: &AgentRef, _: WorkflowId, _: StepId, _: CancelRequest) {}
}

/// The key is a secret, and the recorder shows nothing of itself.
impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("clock", &self.clock).finish_non_exhaustive()
    }
}
