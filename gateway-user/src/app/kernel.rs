//! The data path's view of the kernel side.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use gateway_common::{AgentId, Origin, PeerKey};
use rustix::time::{ClockId, clock_gettime};
use rustls::{pki_types::ServerName, sign::CertifiedKey};

use crate::{
    attach::{
        diag,
        ebpf::{Hooks, Processes},
    },
    authority::Authority,
    call::{
        AgentRef, CancelRequest, ProcessEvent, Settlement, Spent, Step, StepId, Timestamp,
        WorkflowId,
    },
    ledger::Record,
    limits,
    lineage::{Completion, Placement, ToolRun},
    proxy::{self, Certificates, Clock, Journal, NoLeaf, Origins, Recorder, Sockets},
    state::State,
    store::Workflows,
};

/// Origins as the BPF maps and the kernel's socket tables have them.
#[derive(Debug)]
pub(super) struct KernelOrigins(pub(super) Arc<Hooks>);

impl Origins for KernelOrigins {
    fn handoff(&self, key: &PeerKey) -> Option<Origin> {
        self.0.handoff(key)
    }

    fn take_handoff(&self, key: &PeerKey) {
        if let Err(error) = self.0.take_handoff(key) {
            tracing::warn!(%error, "a handed-over origin stays in its map");
        }
    }

    fn recover(&self, client: SocketAddr, listener: SocketAddr) -> Option<Origin> {
        let cookie = match diag::socket_cookie(client, listener) {
            Ok(cookie) => cookie?,
            Err(error) => {
                tracing::warn!(%client, %error, "the kernel can't be asked for a socket");
                return None;
            }
        };
        self.0.origin(cookie)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Clients' sockets, as the BPF maps have them: a hook takes one out before it says that it ends.
#[derive(Debug)]
pub(super) struct KernelSockets(pub(super) Arc<Hooks>);

impl Sockets for KernelSockets {
    fn is_open(&self, cookie: u64) -> bool {
        self.0.origin(cookie).is_some()
    }
}

/// `CLOCK_MONOTONIC`: the clock that BPF programs read.
pub(super) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// What a ledger records, kept in the state directory.
#[derive(Debug)]
pub(super) struct ToState(pub(super) State);

impl Journal for ToState {
    fn keep(&self, records: &[Record]) {
        self.0.keep(records);
    }

    fn write(&self, records: &[Record]) -> Result<(), String> {
        self.0.write(records).map_err(|error| error.to_string())
    }

    fn wants_all(&self) -> bool {
        self.0.wants_all()
    }

    fn begin_anew(&self, records: &[Record]) {
        self.0.begin_anew(records);
    }
}

/// What processes do, at the times of the data path's clock.
#[derive(Debug)]
pub(super) struct KernelProcesses {
    pub(super) processes: Processes,
    /// The same moment, on the clock of BPF programs and on ours.
    pub(super) moment: (Duration, Timestamp),
}

impl proxy::Processes for KernelProcesses {
    fn read(&self, tell: &mut dyn FnMut(AgentId, &ProcessEvent)) -> bool {
        let (monotonic, ours) = self.moment;
        self.processes.read(limits::PROCESS_EVENTS_AT_ONCE, |seen| {
            let at = ours.after(seen.at.saturating_sub(monotonic).into());
            tell(seen.agent, &ProcessEvent { at, pid: seen.pid, act: seen.act });
        })
    }
}

/// Steps go to the store.
#[derive(Debug)]
pub(super) struct ToStore(pub(super) Arc<Workflows>);

impl Recorder for ToStore {
    fn placed(&self, agent: &AgentRef, placement: &Placement, step: Step, wish: Option<String>) {
        self.0.insert_placed(agent, placement, step, wish);
    }

    fn finished(
        &self,
        agent: &AgentRef,
        workflow: WorkflowId,
        settlement: Settlement,
        completion: &Completion,
        at: Timestamp,
    ) {
        self.0.finish(agent, workflow, settlement, completion, at);
    }

    fn ran(&self, agent: &AgentRef, run: &ToolRun) {
        self.0.ran(agent, run);
    }

    fn spent(&self, agent: &AgentRef, workflow: WorkflowId, step: StepId, spent: Spent) {
        self.0.spend(agent, workflow, step, spent);
    }

    fn requested(
        &self,
        agent: &AgentRef,
        workflow: WorkflowId,
        step: StepId,
        request: CancelRequest,
    ) {
        self.0.requested(agent, workflow, step, request);
    }
}

/// Leaves of the node's authority, at the time that it is.
#[derive(Debug)]
pub(super) struct Minting {
    pub(super) authority: Arc<Authority>,
    pub(super) clock: Clock,
}

impl Certificates for Minting {
    fn leaf(&self, name: &ServerName<'_>, trusted: bool) -> Result<Arc<CertifiedKey>, NoLeaf> {
        let leaf = self.authority.leaf(name, trusted, self.clock.now());
        leaf.map_err(|error| NoLeaf(Box::new(error)))
    }
}
