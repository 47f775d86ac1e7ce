//! The calls of one exchange: placed in workflows when they are asked, settled when answered.

mod beneath;
mod ended;
mod fetch;
mod orphan;
mod payment;
mod recalled;
mod settle;

use std::{
    collections::BTreeMap,
    mem::take,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    countermand::{Letter, Recall},
    coverage::add,
    cut::Stand,
    exchange::{Connection, Ended},
    meter::Meter,
    purse::Held,
    replay::{Key, Replay},
    spend::Order,
};
use crate::{
    call::{CallKind, Digest, Name, Reason, SessionId, Step, StepId, Timestamp, Tool, WorkflowId},
    dialect::{Answered, Asked, CallKey, What},
    limits::{self, Bound},
    lineage::Placement,
};

use ended::CalledOff;
use fetch::AwaitsFetches;
use payment::Terms;
use settle::settle;

pub(super) use fetch::Fetch;
pub(super) use orphan::Orphan;

/// The calls of models in an exchange, or in a WebSocket, that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: Vec<(CallKey, Running)>,
    /// Those of tools, which wait in the agent.
    of_tools: Vec<CallKey>,
    /// Why they are ended, if they are.
    called_off: Option<Box<CalledOff>>,
    /// What it takes to have upstream asked to end them. Absent: nothing can be asked.
    letter: Option<Arc<Letter>>,
}

/// What an agent's calls wait for that may come in any exchange.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Those without an answer: of tools, and of models whose own exchange has ended. Oldest first.
    calls: Mutex<BTreeMap<CallKey, Running>>,
    /// Whether some are for URLs that have not been asked for.
    fetches: AwaitsFetches,
}

/// A call, until it is answered.
#[derive(Debug)]
struct Running {
    place: Place,
    call: Called,
    /// Absent: no budget is for it, or it is not to be made.
    held: Option<Held>,
    /// Absent: its answer may be as long as it likes.
    meter: Option<Meter>,
    /// Absent: upstream stops without being asked, or can't be.
    recall: Option<Recall>,
    /// Where it belongs by now.
    stand: Stand,
    /// Whether its exchange is an HTTP/2 stream.
    in_stream: bool,
    /// Once its exchange has ended without its answer.
    left: Option<Left>,
    /// Which other tries are of the same call. Absent: none is to get the answer to this one.
    key: Option<Key>,
}

/// What a call's exchange came to that ended without its answer.
#[derive(Clone, Debug)]
struct Left {
    status: Option<u16>,
    /// The id under which its answer will be found, if it is made in the background.
    response: Option<Box<str>>,
}

/// What became of a call that was asked.
#[derive(Debug)]
pub(super) struct Placed {
    /// Absent: it is no step.
    pub(super) stand: Option<Stand>,
    /// The most tokens that each of its answers may have, if that is limited; or why it may not be
    /// made.
    pub(super) output: Result<Option<u64>, Reason>,
    /// What its client is to be told beside its answer, if it is to be.
    pub(super) warning: Option<Box<str>>,
    /// What it is answered with. Absent: it goes upstream.
    pub(super) replay: Option<Replay>,
}

/// Where a call was placed, and when.
#[derive(Clone, Copy, Debug)]
struct Place {
    workflow: WorkflowId,
    step: StepId,
    /// Whether it is likely to be that step.
    is_likely: bool,
    started: Timestamp,
    /// When the first of its answer came, where it does not come alone.
    first_byte: Option<Timestamp>,
}

/// What is called.
#[derive(Debug)]
enum Called {
    Model(Box<Order>),
    /// A model, which has answered a try before it: nothing is spent.
    Replayed,
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
    /// What tells it from other calls than tries of the same. Absent: no other try is to get its answer.
    pub(super) identity: Option<Digest>,
}

/// How the answer of a call came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) ended: Ended,
    pub(super) status: Option<u16>,
    pub(super) first_byte: Option<Timestamp>,
}

impl Calls {
    /// Those of a request of which that is kept.
    pub(super) fn of(letter: Option<Arc<Letter>>) -> Self {
        Self { letter, ..Self::default() }
    }

    /// A call has been read: it gets its place, and if it is `wanted` to go on, what it may come to is
    /// held.
    pub(super) fn asked(
        &mut self,
        connection: &Connection,
        asking: &Asking,
        mut asked: Asked,
        wanted: bool,
    ) -> Placed {
        let agent = &connection.agent;
        if asked.unmetered.is_some() {
            add(&agent.coverage.calls_unmetered, 1);
        }
        let (mut running, placed) = place(connection, asking, &mut asked, wanted);
        if let (Some(running), Some(what), Some(letter)) =
            (&mut running, asked.countermand.take(), &self.letter)
        {
            running.recall = Recall::keep(agent, what, letter);
        }
        match running {
            // It is asked how long a conversation is, which is no step in it.
            None => add(&agent.coverage.calls, 1),
            Some(running) if !matches!(running.call, Called::Tool(_)) => {
                if self.running.is_empty() {
                    // Over HTTP there are no more.
                    self.running.reserve_exact(1);
                }
                self.running.push((asked.key, running));
            }
            Some(running) => {
                if running.recall.is_some() {
                    self.of_tools.push(asked.key);
                }
                wait(connection, asked.key, running);
            }
        }
        agent.known().keep(asked);
        placed
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
            None => connection.agent.waiting.lock().remove(&key),
        };
        let ended = if cancelled { Ended::ClientGone } else { arrival.ended };
        if let Some(running) = running {
            let arrival = Arrival { ended, ..arrival };
            let off = self.called_off.as_deref();
            settle(connection.into(), arrival, off, (reading, sample), running);
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

    /// What the answer to the one call of this exchange is held to, if it is to something.
    pub(super) fn meter(&mut self) -> Option<&mut Meter> {
        let [(_, call)] = &mut *self.running else { return None };
        call.meter.as_mut()
    }

    /// The same of all of them.
    pub(super) fn meters(&mut self) -> impl Iterator<Item = &mut Meter> {
        self.running.iter_mut().filter_map(|(_, call)| call.meter.as_mut())
    }

    /// Whether an answer of one is to end if it is too long.
    pub(super) fn are_metered(&self) -> bool {
        let meters = self.running.iter().filter_map(|(_, call)| call.meter.as_ref());
        meters.into_iter().any(Meter::is_enforced)
    }

    /// The same of one of them.
    pub(super) fn meter_of(&mut self, key: CallKey) -> Option<&mut Meter> {
        let (_, call) = self.running.iter_mut().find(|(running, _)| *running == key)?;
        call.meter.as_mut()
    }

    /// Whether their answers come as streams, which end when nobody waits for them any more.
    pub(super) fn stream(&mut self, streams: bool) {
        for (_, running) in &mut self.running {
            if let Called::Model(order) = &mut running.call {
                order.streams = streams;
            }
        }
    }

    /// Nothing more is asked in it than has been.
    pub(super) fn forget_letter(&mut self) {
        self.letter = None;
    }
}

impl Running {
    /// For which nothing is held, nor kept.
    fn new(placement: &Placement, call: Called, asking: &Asking) -> Self {
        let stand = Stand::from(placement);
        let place = Place {
            workflow: stand.workflow,
            step: stand.step,
            is_likely: placement.confidence.is_likely(),
            started: asking.started,
            first_byte: None,
        };
        let (held, meter, recall, left, key) = (None, None, None, None, None);
        let in_stream = asking.stream_id.is_some();
        Self { place, call, held, meter, recall, stand, in_stream, left, key }
    }
}

impl Waiting {
    /// Those that belong there.
    pub(super) fn count(&self, is_there: impl Fn(SessionId, WorkflowId) -> bool) -> usize {
        let calls = self.lock();
        calls.values().filter(|call| is_there(call.stand.session, call.stand.workflow)).count()
    }

    /// The call that had to make room, if one had.
    fn insert(&self, key: CallKey, running: Running) -> Option<Running> {
        let mut calls = self.lock();
        calls.insert(key, running);
        let is_full = calls.len() > limits::WAITING_CALLS_PER_AGENT;
        is_full.then(|| calls.pop_first()).flatten().map(|(_, running)| running)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CallKey, Running>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The call may be answered in any exchange.
fn wait(connection: &Connection, key: CallKey, running: Running) {
    let agent = &connection.agent;
    // Apart from the rest: it is locked no longer than for this.
    let lost = agent.waiting.insert(key, running);
    if let Some(lost) = lost {
        agent.bounds.hit(Bound::WaitingCalls);
        let arrival = Arrival { ended: Ended::Unseen, status: None, first_byte: None };
        settle(connection.into(), arrival, None, Default::default(), lost);
    }
}

/// Its place, if it is to have one; and how much it may answer, or why it may not be made.
fn place(
    connection: &Connection,
    asking: &Asking,
    asked: &mut Asked,
    wanted: bool,
) -> (Option<Running>, Placed) {
    let agent = &connection.agent;
    let sample = take(&mut asked.sample).shrunk();
    if let What::Model(prompt) = &asked.what
        && !prompt.operation.calls_model()
    {
        return (None, Placed { stand: None, output: Ok(None), warning: None, replay: None });
    }
    // What the process that calls has done, and those that it comes from, they did before.
    connection.recording.catch_up();
    let (pid, at) = (agent_pid(connection), asking.started);
    // Held until the recorder knows: steps are recorded in the order in which they are placed.
    let mut lineage = agent.lineage();
    let (mut placement, wish) = match &asked.what {
        What::Model(prompt) => (lineage.place_of(pid, at, prompt), prompt.wish.as_deref()),
        What::Tool(invocation) => (lineage.place_tool_of(pid, at, invocation), None),
    };
    agent.correct(at, &placement.corrections);
    let wish = wish
        .filter(|_| placement.opens_workflow)
        .map(|wish| connection.recording.wishes.hash(wish));
    let mut call = match &asked.what {
        What::Model(prompt) => {
            Called::Model(Box::new(Order::new(asking.host.clone(), prompt, sample)))
        }
        What::Tool(_) => Called::Tool(placement.parents.first().copied()),
    };
    let key = key(asking, asked, &placement);
    let terms = if wanted {
        Terms::of(connection, asked, &placement, (&call, key.as_ref()))
    } else {
        Terms::free()
    };
    let Terms { held, meter, output, rulings, warning, replay } = terms;
    if replay.is_some() {
        call = Called::Replayed;
        placement.retry.iter_mut().for_each(|retry| retry.replayed = true);
    }
    let step = Step { policy: rulings, ..step(connection, asking, asked, &mut placement) };
    connection.recording.recorder.placed(&agent.reference(), &placement, step, wish);
    agent.waiting.fetches.note(&lineage);
    let key = key.filter(|_| output.is_ok() && replay.is_none());
    let running = Running { held, meter, key, ..Running::new(&placement, call, asking) };
    let placed = Placed { stand: Some(running.stand), output, warning, replay };
    (Some(running), placed)
}

/// Which other tries are of the same call, if one of them may get the answer to this one: it comes in one
/// piece, in its own exchange.
fn key(asking: &Asking, asked: &Asked, placement: &Placement) -> Option<Key> {
    let What::Model(prompt) = &asked.what else { return None };
    let head = asking.identity.filter(|_| !prompt.stream && !prompt.terms.background)?;
    let first = placement.retry.map_or(placement.step, |retry| retry.of_step_id);
    Some(Key { first, head, body: asked.sha256 })
}

/// The process that has called, if it is known.
fn agent_pid(connection: &Connection) -> Option<u32> {
    Some(connection.pid).filter(|pid| *pid != 0)
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
        dialect: Some(dialect),
        operation: Some(operation),
        request_model,
        request_sha256: Some(asked.sha256),
        tool,
        unmetered: asked.unmetered,
        ..seen(connection, asking, call, placement)
    }
}

/// What is known of any call.
fn seen(
    connection: &Connection,
    asking: &Asking,
    call: CallKind,
    placement: &mut Placement,
) -> Step {
    Step {
        parent_step_ids: take(&mut placement.parents),
        confidence: placement.confidence,
        host: asking.host.clone(),
        original_dst: Some(connection.destination),
        upstream_local: connection.upstream_local,
        pid: Some(connection.pid),
        connection_id: Some(connection.id),
        stream_id: asking.stream_id,
        exchange_seq: Some(asking.exchange_seq),
        evidence: take(&mut placement.evidence),
        retry: placement.retry,
        ..Step::new(
            placement.step,
            (placement.kind, call),
            Name::shared(&connection.agent.reference().name),
            asking.started,
        )
    }
}
