//! The workflows of all agents, running and finished, in memory: what the control API shows.
//!
//! Each agent has a book of its own behind a lock of its own, so that none slows another down or
//! takes its room.

mod book;
mod entry;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use crate::{
    call::{
        AgentRef, CancelRequest, SessionId, Settlement, Spent, State, Step, StepId, Timestamp,
        Workflow, WorkflowId, WorkflowSummary,
    },
    limits,
    lineage::{Completion, Placement, ToolRun},
};

use book::{Book, Bounds};

/// A handle on all workflows; clones share them. Bounded by [`limits::WORKFLOWS_PER_AGENT`],
/// [`limits::STEPS_PER_WORKFLOW`] and [`limits::STEPS_PER_AGENT`].
///
/// What lineage says of one agent has to arrive in the order in which lineage said it, for the
/// state of a workflow to be right: hold the agent's lineage while telling the store.
#[derive(Clone, Debug)]
pub struct Workflows {
    books: Arc<RwLock<BTreeMap<String, Arc<Mutex<Book>>>>>,
    bounds: Bounds,
}

/// Which workflows to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By its name.
    pub agent: Option<String>,
    pub session: Option<SessionId>,
    pub state: Option<State>,
    /// The most to list.
    pub limit: Option<usize>,
}

/// Why a workflow can't be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    #[error("no workflow has this id; `turnpike workflows` lists them")]
    NotFound,
    #[error("{0} workflows have ids that begin so: give more digits")]
    Ambiguous(usize),
}

/// What was hit of the bounds, and what came too late, over all agents here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Workflows that made room for others.
    pub evicted: u64,
    /// Ends of calls whose workflow had made room; they are not kept.
    pub late: u64,
    /// Steps over a workflow's bound: counted in its totals, not kept.
    pub steps_dropped: u64,
}

impl Default for Workflows {
    fn default() -> Self {
        Self::bounded(Bounds {
            workflows: limits::WORKFLOWS_PER_AGENT,
            steps_per_workflow: limits::STEPS_PER_WORKFLOW,
            steps: limits::STEPS_PER_AGENT,
        })
    }
}

impl Workflows {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn bounded(bounds: Bounds) -> Self {
        Self { books: Arc::default(), bounds }
    }

    /// Adds a call that has started, and ends the tool steps whose results it brings.
    pub fn insert_placed(
        &self,
        agent: &AgentRef,
        placement: &Placement,
        step: Step,
        wish_hmac: Option<String>,
    ) {
        lock(&self.book(&agent.name)).place(agent, placement, step, wish_hmac);
    }

    /// Brings a call into its final form, and opens the tool steps of its answer. Ignored, but
    /// counted, if the workflow is not kept any more.
    pub fn finish(
        &self,
        agent: &AgentRef,
        workflow: WorkflowId,
        settlement: Settlement,
        completion: &Completion,
        at: Timestamp,
    ) {
        if let Some(book) = self.find_book(&agent.name) {
            lock(&book).finish(workflow, settlement, completion, at);
        }
    }

    /// What a call spent whose end did not say so. Ignored, but counted, if the workflow is not kept
    /// any more.
    pub fn spend(&self, agent: &AgentRef, workflow: WorkflowId, step: StepId, spent: Spent) {
        if let Some(book) = self.find_book(&agent.name) {
            lock(&book).spend(workflow, step, spent);
        }
    }

    /// What came of asking upstream to end a call. Ignored if the step is not kept any more.
    pub fn requested(
        &self,
        agent: &AgentRef,
        workflow: WorkflowId,
        step: StepId,
        request: CancelRequest,
    ) {
        if let Some(book) = self.find_book(&agent.name) {
            lock(&book).requested(workflow, step, request);
        }
    }

    /// A process carries out a tool call, or has. Ignored if the workflow is not kept any more.
    pub fn ran(&self, agent: &AgentRef, run: &ToolRun) {
        if let Some(book) = self.find_book(&agent.name) {
            lock(&book).ran(run);
        }
    }

    /// The workflows that the filter lets through, newest first.
    #[must_use]
    pub fn list(&self, filter: &Filter) -> Vec<WorkflowSummary> {
        let mut found = Vec::new();
        for book in self.books(filter.agent.as_deref()) {
            found.extend(lock(&book).summaries(filter));
        }
        found.sort_by_key(|summary| std::cmp::Reverse((summary.started_at, summary.workflow_id)));
        found.truncate(filter.limit.unwrap_or(usize::MAX));
        found
    }

    /// The one workflow whose id is, or begins with, these hexadecimal digits.
    pub fn get(&self, id_prefix: &str) -> Result<Workflow, FindError> {
        let (low, high) = id_range(id_prefix).ok_or(FindError::NotFound)?;
        let (mut found, mut count) = (None, 0);
        for book in self.books(None) {
            let book = lock(&book);
            let mut ids = book.ids(low, high);
            if let Some(id) = ids.next() {
                count += 1 + ids.count();
                found = book.workflow(id);
            }
        }
        match (found, count) {
            (Some(workflow), 1) => Ok(workflow),
            (_, 0 | 1) => Err(FindError::NotFound),
            _ => Err(FindError::Ambiguous(count)),
        }
    }

    /// The workflows that the filter lets through, with their steps, newest first.
    #[must_use]
    pub fn all(&self, filter: &Filter) -> Vec<Workflow> {
        let found = self.list(filter).into_iter();
        found.filter_map(|summary| self.get(&summary.workflow_id.to_string()).ok()).collect()
    }

    /// Drops all that is kept of an agent; says how many workflows that were. Its counters go too.
    pub fn forget_agent(&self, name: &str) -> usize {
        let book = self.books.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        book.map_or(0, |book| lock(&book).len())
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.books(None).iter().fold(Counters::default(), |sum, book| {
            let one = lock(book).counters();
            Counters {
                evicted: sum.evicted + one.evicted,
                late: sum.late + one.late,
                steps_dropped: sum.steps_dropped + one.steps_dropped,
            }
        })
    }

    /// The agent's book, which is opened if there is none.
    fn book(&self, agent: &str) -> Arc<Mutex<Book>> {
        if let Some(book) = self.find_book(agent) {
            return book;
        }
        let mut books = self.books.write().unwrap_or_else(PoisonError::into_inner);
        let book = books
            .entry(agent.to_owned())
            .or_insert_with(|| Arc::new(Mutex::new(Book::new(self.bounds))));
        Arc::clone(book)
    }

    fn find_book(&self, agent: &str) -> Option<Arc<Mutex<Book>>> {
        self.books.read().unwrap_or_else(PoisonError::into_inner).get(agent).map(Arc::clone)
    }

    fn books(&self, agent: Option<&str>) -> Vec<Arc<Mutex<Book>>> {
        let books = self.books.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = books.iter().filter(|(name, _)| agent.is_none_or(|agent| agent == *name));
        wanted.map(|(_, book)| Arc::clone(book)).collect()
    }
}

/// A book is still whole if a holder panicked: at worst a total is short.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first and the last id that begin with these digits; none if they can't begin one.
fn id_range(prefix: &str) -> Option<(WorkflowId, WorkflowId)> {
    if prefix.is_empty() || prefix.len() > 16 || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let low = format!("{prefix:0<16}").parse().ok()?;
    let high = format!("{prefix:f<16}").parse().ok()?;
    Some((low, high))
}

#[cfg(test)]
mod tests;
