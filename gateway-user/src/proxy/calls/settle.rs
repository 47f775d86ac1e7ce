//! What became of a call: told to lineage, the ledger and the recorder, and to upstream where it has to
//! be asked to stop.

use std::sync::Arc;

use super::{
    Arrival, Called, Connection, Kind, Place, Running,
    beneath::takes_others,
    ended::{CalledOff, cancel, recalled, told},
};
use crate::{
    call::{Answer, Cancel, Name, Settlement, Spent, State, Timestamp, TooLong},
    dialect::{Answering, Reading},
    lineage::{Failure, Outcome},
    proxy::{
        agent::Agent,
        countermand::Case,
        coverage::add,
        estimate::Open,
        exchange::Ended,
        purse::Held,
        recording::Recording,
        spend::{Bill, Due},
    },
};

/// Whose call it is, and where it is recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parties<'a> {
    pub(super) agent: &'a Arc<Agent>,
    pub(super) recording: &'a Arc<Recording>,
}

impl<'a> From<&'a Connection> for Parties<'a> {
    fn from(connection: &'a Connection) -> Self {
        Self { agent: &connection.agent, recording: &connection.recording }
    }
}

/// A call has been answered, or will not be.
pub(super) fn settle(
    parties: Parties<'_>,
    arrival: Arrival,
    called_off: Option<&CalledOff>,
    (reading, sample): (Reading, Answering),
    mut running: Running,
) {
    let Parties { agent, recording } = parties;
    let at = recording.clock.now();
    let understood = count(agent, arrival, &reading);
    let dispatch = recalled(&mut running, called_off);
    let told = told(&running, dispatch.is_some());
    let Running { mut place, call, held, meter, stand, .. } = running;
    let too_long = meter.and_then(|meter| meter.verdict(&sample));
    // What answers in a stream that was there before has no first byte of its own.
    place.first_byte = place.first_byte.or(arrival.first_byte);
    let cancel = cancel(arrival, called_off, (&call, told), at);
    let since = cancel.as_ref().map_or(at, |cancel| cancel.requested_at);
    let mut unknown = false;
    let (kind, charged) = match call {
        Called::Tool(from) => (Kind::Tool(from), Ok(Spent::default())),
        Called::Replayed => (Kind::Model, Ok(Spent::default())),
        Called::Model(mut order) => {
            if too_long.is_some() {
                order.exceeded();
            }
            let due = order.due(&reading.answer, &sample, understood, arrival);
            unknown = due == Due::Unknown;
            (Kind::Model, price(parties, due, order.bill(&reading.answer, sample, at)))
        }
    };
    let tools = tools(&reading.answer, held.as_ref());
    let failure = failure(arrival);
    let outcome = Outcome { answer: reading.answer, status: arrival.status, failure };
    let spent = charged.as_ref().ok().copied();
    let takes_others = takes_others(place, kind, cancel.as_deref());
    close(parties, place, kind, at, outcome, (spent, too_long, cancel));
    // After its end: the recorder has to know of that first.
    if unknown {
        // What is held for it stays spent.
        drop(held);
    } else {
        pay_off(parties, place, (held, tools), charged, at);
    }
    if let Some(dispatch) = dispatch {
        let (agent, recording) = (Arc::clone(agent), Arc::clone(recording));
        dispatch.send(Case { agent, recording, stand, since });
    }
    if takes_others {
        agent.cut_beneath(place.step);
    }
}

/// Counts the call as what became of it: whether its answer was understood.
pub(super) fn count(agent: &Agent, arrival: Arrival, reading: &Reading) -> bool {
    let coverage = &agent.coverage;
    let understood = reading.not_understood.is_none() && arrival.ended != Ended::Unseen;
    if let Some(reason) = &reading.not_understood {
        tracing::debug!(agent = %agent.reference().name, %reason, "answer not understood");
    }
    add(if understood { &coverage.calls } else { &coverage.calls_not_understood }, 1);
    understood
}

/// What a call of a model spent, or the bill by which that is still to be estimated.
pub(super) fn price(parties: Parties<'_>, due: Due, bill: Bill) -> Result<Spent, Box<Bill>> {
    match due {
        Due::Nothing | Due::Unknown => Ok(Spent::default()),
        Due::Reported(usage) => {
            Ok(parties.recording.estimator.reported(parties.agent, bill, usage))
        }
        Due::Estimate => Err(Box::new(bill)),
    }
}

/// The tools that an answer calls, as far as something is held for it.
pub(super) fn tools(answer: &Answer, held: Option<&Held>) -> Vec<Name> {
    let called = answer.tool_calls.iter().filter(|_| held.is_some());
    called.map(|call| Name::shared(&call.name)).collect()
}

/// What was held for a call is settled by what it spent, once that is known.
pub(super) fn pay_off(
    Parties { agent, recording }: Parties<'_>,
    place: Place,
    (held, tools): (Option<Held>, Vec<Name>),
    charged: Result<Spent, Box<Bill>>,
    at: Timestamp,
) {
    match (charged, held) {
        (Ok(spent), Some(held)) => held.settle(at, &spent, tools),
        (Ok(_), None) => {}
        (Err(bill), held) => {
            let Place { workflow, step, .. } = place;
            let agent = Arc::clone(agent);
            let open = Open { agent, workflow, step, bill: *bill, held, tools, at };
            recording.estimator.estimate(open);
        }
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
pub(super) fn close(
    Parties { agent, recording }: Parties<'_>,
    place: Place,
    kind: Kind,
    at: Timestamp,
    outcome: Outcome,
    (spent, too_long, cancel): (Option<Spent>, Option<TooLong>, Option<Box<Cancel>>),
) {
    let Place { workflow, step, started, first_byte, .. } = place;
    // Held until the recorder knows, as when it was placed.
    let mut lineage = agent.lineage();
    let mut completion = match kind {
        Kind::Model => lineage.finish(step, at, &outcome),
        Kind::Tool(from) => lineage.finish_tool(workflow, step, from, &outcome),
    };
    if cancel.is_some() && completion.state == State::Failed {
        completion.state = State::Cancelled;
    }
    agent.correct(at, &completion.corrections);
    agent.waiting.fetches.note(&lineage);
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
        cancel,
        too_long,
    };
    let recorder = &recording.recorder;
    recorder.finished(&agent.reference(), workflow, settlement, &completion, at);
}
