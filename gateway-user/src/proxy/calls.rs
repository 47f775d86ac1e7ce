//! The calls of one exchange: placed in workflows when they are asked, settled when answered.

use std::{collections::BTreeMap, mem::take, sync::Arc};

use super::{
    agent::add,
    estimate::Open,
    exchange::{Connection, Ended},
    spend::{Bill, Due, Order},
};
use crate::{
    call::{CallKind, Name, Settlement, Spent, Step, StepId, Timestamp, Tool, WorkflowId},
    dialect::{Answered, Answering, Asked, CallKey, Reading, What},
    limits::{self, Bound},
    lineage::{Failure, Outcome, Placement},
};

/// The calls of models in an exchange, or in a WebSocket, that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: Vec<(CallKey, Running)>,
}

/// Calls of an agent whose answers may come in any exchange: those of tools, and those of models
/// whose own exchange has ended. Oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeMap<CallKey, Running>);

/// A call, until it is answered.
#[derive(Debug)]
struct Running {
    place: Place,
    call: Called,
}

/// Where a call belongs, and since when it is there.
#[derive(Clone, Copy, Debug)]
struct Place {
    workflow: WorkflowId,
    step: StepId,
    started: Timestamp,
    /// When the first of its answer came, where it does not come alone.
    first_byte: Option<Timestamp>,
}

/// What is called.
#[derive(Debug)]
enum Called {
    Model(Box<Order>),
    /// A tool, after this step.
    Tool(Option<StepId>),
}

/// What was called.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Model,
    /// After this step.
    Tool(Option<StepId>),
}

/// What the calls of an exchange have in common.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) exchange_seq: u64,
    pub(super) stream_id: Option<u32>,
    pub(super) host: Option<Name>,
    pub(super) started: Timestamp,
}

/// How the answer of a call came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) ended: Ended,
    pub(super) status: Option<u16>,
    pub(super) first_byte: Option<Timestamp>,
}

impl Calls {
    /// A call has been read: it gets its place.
    pub(super) fn asked(&mut self, connection: &Connection, asking: &Asking, mut asked: Asked) {
        let agent = &connection.agent;
        if asked.unmetered.is_some() {
            add(&agent.coverage.calls_unmetered, 1);
        }
        let running = place(connection, asking, &mut asked);
        match running {
            // It is asked how long a conversation is, which is no step in it.
            None => add(&agent.coverage.calls, 1),
            Some(running) if matches!(running.call, Called::Model(_)) => {
                self.running.push((asked.key, running));
            }
            Some(running) => wait(connection, asked.key, running),
        }
        agent.known().keep(asked);
    }

    /// A call of this exchange, or of another one of the agent, has been answered.
    pub(super) fn answered(
        &mut self,
        connection: &Connection,
        arrival: Arrival,
        answered: Answered,
    ) {
        let Answered { key, reading, sample, cancelled } = answered;
        let of_model = self.running.iter().position(|(of, _)| *of == key);
        let running = match of_model {
            Some(at) => Some(self.running.swap_remove(at).1),
            None => connection.agent.waiting().0.remove(&key),
        };
        let ended = if cancelled { Ended::ClientGone } else { arrival.ended };
        if let Some(running) = running {
            let arrival = Arrival { ended, ..arrival };
            settle(connection, arrival, (reading, sample), running);
        }
    }

    /// The first of a call's answer has come.
    pub(super) fn begun(&mut self, key: CallKey, at: Timestamp) {
        if let Some((_, running)) = self.running.iter_mut().find(|(running, _)| *running == key) {
            running.place.first_byte.get_or_insert(at);
        }
    }

    /// Whether the first of a call's answer has come.
    pub(super) fn has_begun(&self, key: CallKey) -> bool {
        let mut running = self.running.iter();
        running.any(|(running, call)| *running == key && call.place.first_byte.is_some())
    }

    /// The exchange has ended: what it did not answer another one will.
    pub(super) fn wait(&mut self, connection: &Connection) {
        for (key, running) in self.running.drain(..) {
            wait(connection, key, running);
        }
    }
}

impl Waiting {
    /// The call that had to make room, if one had.
    fn insert(&mut self, key: CallKey, running: Running) -> Option<Running> {
        self.0.insert(key, running);
        let is_full = self.0.len() > limits::WAITING_CALLS_PER_AGENT;
        is_full.then(|| self.0.pop_first()).flatten().map(|(_, running)| running)
    }
}

/// The call may be answered in any exchange.
fn wait(connection: &Connection, key: CallKey, running: Running) {
    let agent = &connection.agent;
    // Apart from the rest: it is locked no longer than for this.
    let lost = agent.waiting().insert(key, running);
    if let Some(lost) = lost {
        agent.bounds.hit(Bound::WaitingCalls);
        let arrival = Arrival { ended: Ended::Unseen, status: None, first_byte: None };
        settle(connection, arrival, (Reading::default(), Answering::default()), lost);
    }
}

/// Its place, if it is to have one.
fn place(connection: &Connection, asking: &Asking, asked: &mut Asked) -> Option<Running> {
    let agent = &connection.agent;
    let sample = take(&mut asked.sample);
    if let What::Model(prompt) = &asked.what
        && !prompt.operation.calls_model()
    {
        return None;
    }
    // Held until the recorder knows: steps are recorded in the order in which they are placed.
    let mut lineage = agent.lineage();
    let (mut placement, wish) = match &asked.what {
        What::Model(prompt) => (lineage.place(asking.started, prompt), prompt.wish.as_deref()),
        What::Tool(invocation) => (lineage.place_tool(asking.started, invocation), None),
    };
    let wish = wish
        .filter(|_| placement.opens_workflow)
        .map(|wish| connection.recording.wishes.hash(wish));
    let call = match &asked.what {
        What::Model(prompt) => {
            Called::Model(Box::new(Order::new(asking.host.clone(), prompt, sample)))
        }
        What::Tool(_) => Called::Tool(placement.parents.first().copied()),
    };
    let step = step(connection, asking, asked, &mut placement);
    connection.recording.recorder.placed(&agent.reference(), &placement, step, wish);
    let (workflow, step) = (placement.workflow, placement.step);
    let place = Place { workflow, step, started: asking.started, first_byte: None };
    Some(Running { place, call })
}

fn step(
    connection: &Connection,
    asking: &Asking,
    asked: &Asked,
    placement: &mut Placement,
) -> Step {
    let (call, dialect, operation, request_model, tool) = match &asked.what {
        What::Model(prompt) => {
            (CallKind::Model, prompt.dialect, prompt.operation, prompt.model.clone(), None)
        }
        What::Tool(invocation) => {
            let tool = invocation.tool.as_deref().map(|name| Tool {
                name: name.to_owned(),
                call_id: None,
                server: asking.host.clone(),
            });
            (CallKind::Tool, invocation.dialect, invocation.operation, None, tool)
        }
    };
    Step {
        step_id: placement.step,
        parent_step_ids: take(&mut placement.parents),
        confidence: placement.confidence,
        kind: placement.kind,
        call,
        agent: Name::shared(&connection.agent.reference().name),
        dialect: Some(dialect),
        operation: Some(operation),
        request_model,
        response_model: None,
        response_id: None,
        request_sha256: Some(asked.sha256),
        tool,
        host: asking.host.clone(),
        original_dst: Some(connection.destination),
        upstream_local: connection.upstream_local,
        pid: Some(connection.pid),
        connection_id: Some(connection.id),
        stream_id: asking.stream_id,
        exchange_seq: Some(asking.exchange_seq),
        started_at: asking.started,
        ttft_ms: None,
        duration_ms: None,
        status: None,
        finish_reasons: Vec::new(),
        error: None,
        usage: None,
        uncounted_parts: None,
        usd: None,
        unpriced: false,
        unmetered: asked.unmetered,
        settled: false,
        evidence: take(&mut placement.evidence),
        retry: placement.retry,
    }
}

/// A call has been answered, or will not be.
fn settle(
    connection: &Connection,
    arrival: Arrival,
    (reading, sample): (Reading, Answering),
    running: Running,
) {
    let agent = &connection.agent;
    let at = connection.recording.clock.now();
    let understood = count(connection, arrival, &reading);
    let Running { mut place, call } = running;
    // What answers in a stream that was there before has no first byte of its own.
    place.first_byte = place.first_byte.or(arrival.first_byte);
    let (kind, charged) = match call {
        Called::Tool(from) => (Kind::Tool(from), Ok(Spent::default())),
        Called::Model(order) => {
            let due = order.due(&reading.answer, &sample, understood, arrival);
            (Kind::Model, charge(connection, due, order.bill(&reading.answer, sample, at)))
        }
    };
    let failure = failure(arrival);
    let outcome = Outcome { answer: reading.answer, status: arrival.status, failure };
    close(connection, place, kind, at, outcome, charged.as_ref().ok().copied());
    // After its end: the recorder has to know of that first.
    if let Err(bill) = charged {
        let Place { workflow, step, .. } = place;
        let open = Open { agent: Arc::clone(agent), workflow, step, bill: *bill };
        connection.recording.estimator.estimate(open);
    }
}

/// Counts the call as what became of it: whether its answer was understood.
fn count(connection: &Connection, arrival: Arrival, reading: &Reading) -> bool {
    let coverage = &connection.agent.coverage;
    let understood = reading.not_understood.is_none() && arrival.ended != Ended::Unseen;
    if let Some(reason) = &reading.not_understood {
        tracing::debug!(connection = %connection.id, %reason, "answer not understood");
    }
    add(if understood { &coverage.calls } else { &coverage.calls_not_understood }, 1);
    understood
}

/// What a call of a model spent, or the bill by which that is still to be estimated.
fn charge(connection: &Connection, due: Due, bill: Bill) -> Result<Spent, Box<Bill>> {
    match due {
        Due::Nothing => Ok(Spent::default()),
        Due::Reported(usage) => {
            Ok(connection.recording.estimator.reported(&connection.agent, bill, usage))
        }
        Due::Estimate => Err(Box::new(bill)),
    }
}

fn failure(arrival: Arrival) -> Option<Failure> {
    match (arrival.ended, arrival.status) {
        (Ended::Whole, _) => None,
        (Ended::ClientGone, _) => Some(Failure::ClientGone),
        (_, None) => Some(Failure::ConnReset),
        (_, Some(_)) => Some(Failure::Truncated),
    }
}

/// Tells lineage and the recorder of the call's end.
fn close(
    connection: &Connection,
    place: Place,
    kind: Kind,
    at: Timestamp,
    outcome: Outcome,
    spent: Option<Spent>,
) {
    let Place { workflow, step, started, first_byte } = place;
    let agent = &connection.agent;
    // Held until the recorder knows, as when it was placed.
    let mut lineage = agent.lineage();
    let completion = match kind {
        Kind::Model => lineage.finish(step, at, &outcome),
        Kind::Tool(from) => lineage.finish_tool(workflow, step, from, &outcome),
    };
    let Outcome { answer, status, .. } = outcome;
    let first_byte = first_byte.filter(|first| *first >= started);
    let settlement = Settlement {
        step_id: step,
        kind: completion.kind,
        response_model: answer.model,
        response_id: answer.response_id,
        finish_reasons: answer.finish_reasons,
        error: answer.error,
        spent,
        status,
        ttft_ms: first_byte.map(|first| first.since(started)),
        duration_ms: Some(at.since(started)),
    };
    let recorder = &connection.recording.recorder;
    recorder.finished(&agent.reference(), workflow, settlement, &completion, at);
}
