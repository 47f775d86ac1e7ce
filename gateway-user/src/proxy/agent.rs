//! What the proxy keeps for each agent: its workflows' lineage, its bounds, who pays for its calls.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use gateway_common::AgentId;
use tokio::sync::watch;

use super::{
    admit::Redial,
    calls::Waiting,
    coverage::{Coverage, CoverageSnapshot, add},
    egress::{Refusals, Rules},
    gate::Policing,
    latch::Latch,
    others::Others,
    purse::{Payer, Purse},
    tls::Decryption,
};
use crate::{
    call::{AgentRef, Holder, Name, Reason, Timestamp},
    config::Mode,
    dialect::Known,
    limits::{Bound, Bounds},
    lineage::{self, Lineage, Remains},
};

/// One agent, shared by its connections.
#[derive(Debug)]
pub struct Agent {
    pub id: AgentId,
    reference: RwLock<Arc<AgentRef>>,
    /// What becomes of what can't be handled.
    pub mode: Mode,
    /// Absent: its TLS is relayed as it is.
    pub decryption: Option<Decryption>,
    pub coverage: Coverage,
    /// What it was refused.
    pub refusals: Refusals,
    /// What of its traffic makes no calls that are known.
    pub others: Others,
    /// Those of the gateway: its connections count among all.
    pub bounds: Arc<Bounds>,
    pub(super) rules: Arc<Rules>,
    pub(super) policing: Policing,
    pub(super) tenant: Option<Name>,
    /// Who is killed.
    pub(super) latch: Latch,
    /// Why its connections end, if they do.
    pub(super) end: watch::Sender<Option<Reason>>,
    /// Absent: there are no budgets.
    pub(super) payer: Option<Arc<Payer>>,
    lineage: Mutex<Lineage>,
    known: Mutex<Known>,
    pub(super) waiting: Waiting,
    connections: AtomicUsize,
}

/// Every agent that connections may belong to. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    by_id: Arc<RwLock<HashMap<AgentId, Arc<Agent>>>>,
    /// Those that were let go, as long as connections of theirs go on.
    parted: Arc<Mutex<Vec<Weak<Agent>>>>,
    unknown_origin: Arc<AtomicU64>,
}

/// A connection's place within its agent's bound; dropping it makes room.
#[derive(Debug)]
pub(super) struct Place {
    agent: Arc<Agent>,
    /// For what the gateway has to say itself where it leads.
    redial: Option<Redial>,
}

impl Agent {
    /// An audited agent without connections, decryption or egress rules, within bounds of its own.
    /// `seed` makes its ids differ from every other agent's.
    #[must_use]
    pub fn new(id: AgentId, reference: AgentRef, seed: u64) -> Self {
        Self {
            id,
            reference: RwLock::new(Arc::new(reference)),
            mode: Mode::Audit,
            decryption: None,
            coverage: Coverage::default(),
            refusals: Refusals::default(),
            others: Others::default(),
            bounds: Arc::default(),
            rules: Arc::default(),
            policing: Policing::default(),
            tenant: None,
            latch: Latch::default(),
            end: watch::Sender::default(),
            payer: None,
            lineage: Mutex::new(Lineage::new(seed)),
            known: Mutex::default(),
            waiting: Waiting::default(),
            connections: AtomicUsize::new(0),
        }
    }

    /// What its workflows say of it.
    #[must_use]
    pub fn reference(&self) -> Arc<AgentRef> {
        Arc::clone(&self.reference.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives it another name, for what comes from now on.
    pub fn rename(&self, name: &str) {
        let mut reference = self.reference.write().unwrap_or_else(PoisonError::into_inner);
        *reference = Arc::new(AgentRef { name: name.to_owned(), ..AgentRef::clone(&reference) });
        if let Some(payer) = &self.payer {
            payer.rename(name.into());
        }
    }

    /// The same, in another mode.
    #[must_use]
    pub fn in_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// The same, with its TLS to some hosts decrypted.
    #[must_use]
    pub fn decrypting(self, decryption: Decryption) -> Self {
        Self { decryption: Some(decryption), ..self }
    }

    /// The same, held to the budgets of a purse, of which some may be a tenant's.
    #[must_use]
    pub fn paying(self, purse: Purse, tenant: Option<Name>) -> Self {
        let name = self.reference().name.as_str().into();
        Self { payer: Some(Arc::new(Payer::new(purse, name, tenant))), ..self }
    }

    /// The same, of a tenant if it is somebody's, and silent if it is killed.
    #[must_use]
    pub fn latched(self, latch: Latch, tenant: Option<Name>) -> Self {
        let agent = Self { tenant, latch, ..self };
        agent.obey();
        agent
    }

    /// The same, hashing under that salt, and knowing what remains of its workflows that there were before.
    #[must_use]
    pub fn recalling<'a>(self, salt: u128, all: impl IntoIterator<Item = &'a Remains>) -> Self {
        let lineage = self.lineage.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut lineage = lineage.salted(salt);
        all.into_iter().for_each(|remains| lineage.recall(remains));
        Self { lineage: Mutex::new(lineage), ..self }
    }

    /// What is to remain of a workflow or a session.
    #[must_use]
    pub fn remains(&self, holder: &Holder) -> Remains {
        self.lineage().remains(|session, workflow| match holder {
            Holder::Workflow(id) => *id == workflow,
            Holder::Session(id) => *id == session,
            Holder::Agent(_) | Holder::Tenant(_) | Holder::Node => false,
        })
    }

    /// The same, within the gateway's bounds.
    #[must_use]
    pub fn within(self, bounds: Arc<Bounds>) -> Self {
        Self { bounds, ..self }
    }

    /// The same, with egress rules.
    #[must_use]
    pub fn under(self, rules: Arc<Rules>) -> Self {
        Self { rules, ..self }
    }

    /// How much of its traffic was understood until now.
    #[must_use]
    pub fn seen(&self) -> CoverageSnapshot {
        let mut seen = self.coverage.snapshot();
        let forgotten = self.decryption.as_ref().map_or(0, Decryption::forgotten);
        if forgotten > 0 {
            seen.reasons.insert("tls_forgotten", forgotten);
        }
        seen
    }

    /// Connections that are carried now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Takes a place for one more connection; fails with the bound that leaves none.
    pub(super) fn take_place(self: &Arc<Self>) -> Result<Place, Bound> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        match self.bounds.enter(before) {
            Ok(()) => Ok(Place { agent: Arc::clone(self), redial: None }),
            Err(bound) => {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                Err(bound)
            }
        }
    }

    /// A connection is reset because of a handshake that took too long.
    pub(super) fn tls_late(&self) {
        add(&self.coverage.connections_reset, 1);
        add(&self.coverage.tls_late, 1);
        self.bounds.hit(Bound::HandshakeTime);
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lineage(&self) -> MutexGuard<'_, Lineage> {
        self.lineage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn returning(mut self, redial: Redial) -> Self {
        self.redial = Some(redial);
        self
    }

    pub(super) const fn redial(&self) -> Option<&Redial> {
        self.redial.as_ref()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.agent.bounds.leave();
        self.agent.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Agents {
    pub fn insert(&self, agent: Arc<Agent>) {
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(agent.id, agent);
    }

    pub fn remove(&self, id: AgentId) {
        let removed = self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let mut parted = self.parted.lock().unwrap_or_else(PoisonError::into_inner);
        parted.retain(|agent| agent.strong_count() > 0);
        parted.extend(removed.iter().map(Arc::downgrade));
    }

    #[must_use]
    pub fn get(&self, id: AgentId) -> Option<Arc<Agent>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    #[must_use]
    pub fn all(&self) -> Vec<Arc<Agent>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The same, and those that were let go while connections of theirs go on.
    #[must_use]
    pub fn all_that_go_on(&self) -> Vec<Arc<Agent>> {
        let parted = self.parted.lock().unwrap_or_else(PoisonError::into_inner);
        let parted = parted.iter().filter_map(Weak::upgrade);
        self.all().into_iter().chain(parted).collect()
    }

    /// Forgets credentials of calls that have waited for their answers for too long.
    pub fn forget_credentials(&self, now: Timestamp) {
        self.all_that_go_on().iter().for_each(|agent| agent.forget_recalls(now));
    }

    /// Connections of the agent that has most.
    #[must_use]
    pub fn most_connections(&self) -> usize {
        let agents = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        agents.values().map(|agent| agent.connections()).max().unwrap_or(0)
    }

    /// What lineage had to leave, of all agents.
    #[must_use]
    pub fn lineage(&self) -> lineage::Counters {
        let agents = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        agents.values().map(|agent| agent.lineage().counters()).sum()
    }

    pub(super) fn count_unknown_origin(&self) {
        add(&self.unknown_origin, 1);
    }

    /// Connections that were reset because nobody could say where they were going, or for whom.
    #[must_use]
    pub fn unknown_origin(&self) -> u64 {
        self.unknown_origin.load(Ordering::Relaxed)
    }
}
