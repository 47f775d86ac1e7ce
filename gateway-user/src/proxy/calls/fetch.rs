//! Plain HTTP exchanges that carry out a tool call, because it names their URL.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    Arrival, Asking, Called, CalledOff, Connection, Ended, Running, agent_pid, seen, settle,
};
use crate::{
    call::{Answer, CallKind, Operation, Step, Unmetered, Url},
    dialect::{Answering, Reading},
    lineage::Lineage,
    proxy::cut::Cut,
};

/// Whether it may matter which URLs an agent asks for: told by lineage, and known without locking it,
/// since nearly all plain exchanges are nobody's.
#[derive(Debug, Default)]
pub(super) struct AwaitsFetches(AtomicBool);

/// A plain exchange, which may turn out to be a tool call.
#[derive(Debug)]
pub(in crate::proxy) struct Fetch {
    url: Url,
    /// Absent: nobody is known to have named the URL.
    running: Option<Running>,
    /// By which it can be ended with what it is a part of. Absent where there was no room for one more.
    cut: Option<Cut>,
}

impl AwaitsFetches {
    pub(super) fn note(&self, lineage: &Lineage) {
        self.0.store(lineage.awaits_fetches(), Ordering::Release);
    }
}

impl Fetch {
    pub(in crate::proxy) fn of(
        connection: &Connection,
        host: Option<&str>,
        target: &str,
    ) -> Option<Self> {
        let url = Url::of_request(connection.server.is_some(), host, target)?;
        Some(Self { url, running: None, cut: None })
    }

    /// By which the tool call can be ended that is carried out by it.
    pub(in crate::proxy) const fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// Whether a tool call is carried out by it.
    pub(in crate::proxy) const fn is_call(&self) -> bool {
        self.running.is_some()
    }

    /// It goes on, or has: if a tool call names its URL it gets that one's place. The answer that the
    /// call is in may end later than this begins, as far as we know: then it is to be asked again.
    pub(in crate::proxy) fn place(
        &mut self,
        connection: &Connection,
        asking: &Asking,
        unmetered: Option<Unmetered>,
    ) {
        let agent = &connection.agent;
        if self.is_call() || !agent.waiting.fetches.0.load(Ordering::Acquire) {
            return;
        }
        if !agent.lineage().awaits_fetch(self.url) {
            return;
        }
        // What the process that asks has done, it did before.
        connection.recording.catch_up();
        // Held until the recorder knows: steps are recorded in the order in which they are placed.
        let mut lineage = agent.lineage();
        let placed = lineage.place_fetch(agent_pid(connection), asking.started, self.url);
        let Some(mut placement) = placed else { return };
        let from = placement.parents.first().copied();
        let operation = Some(Operation::ExecuteTool);
        let step = Step {
            operation,
            unmetered,
            ..seen(connection, asking, CallKind::Tool, &mut placement)
        };
        connection.recording.recorder.placed(&agent.reference(), &placement, step, None);
        let running = Running::new(&placement, Called::Tool(from), asking);
        drop(lineage);
        let (seq, clock) = (asking.exchange_seq, connection.recording.clock);
        self.cut = Cut::list(agent, connection.id, seq, clock);
        if let Some(cut) = &self.cut {
            cut.belongs(running.stand);
        }
        self.running = Some(running);
    }

    /// The answer names another place, as it is written there.
    pub(in crate::proxy) fn redirected(
        &self,
        connection: &Connection,
        host: Option<&str>,
        to: &str,
    ) {
        let Some(running) = &self.running else { return };
        if let Some(url) = Url::of_reference(connection.server.is_some(), host, to) {
            connection.agent.lineage().redirect(running.place.step, url);
        }
    }

    /// It has ended.
    pub(in crate::proxy) fn end(self, connection: &Connection, arrival: Arrival) {
        let Some(running) = self.running else { return };
        let answer = Answer { complete: arrival.ended == Ended::Whole, ..Answer::default() };
        let reading = Reading { answer, not_understood: None };
        let told = self.cut.as_ref().and_then(Cut::told);
        let off = told.map(|(reason, since)| CalledOff::new(reason, since, arrival.status));
        let what = (reading, Answering::default());
        settle(connection.into(), arrival, off.as_ref(), what, running);
    }
}
