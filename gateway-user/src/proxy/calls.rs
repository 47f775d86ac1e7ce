//! The calls of one exchange: placed in workflows when they are asked, settled when answered.

use std::{mem::take, sync::Arc};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{
    agent::add,
    estimate::Open,
    exchange::{Connection, Ended, Recording},
    spend::{Due, Order},
};
use crate::{
    call::{
        CallKind, Digest, Name, Prompt, Settlement, Spent, Step, StepId, Timestamp, WorkflowId,
    },
    dialect::{Answered, Asked, CallKey, What},
    lineage::{Failure, Outcome, Placement},
};

/// The calls of an exchange, or of a WebSocket, that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: Vec<(CallKey, Running)>,
}

/// A call's place, until it is answered.
#[derive(Debug)]
struct Running {
    workflow: WorkflowId,
    step: StepId,
    started: Timestamp,
    order: Order,
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
        let sample = take(&mut asked.sample);
        match &asked.what {
            What::Model(prompt) => {
                let (workflow, step) = place(connection, asking, prompt, &asked);
                let order = Order::new(asking.host.clone(), prompt, sample);
                let running = Running { workflow, step, started: asking.started, order };
                self.running.push((asked.key, running));
            }
            What::Tool(_) => {}
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
        let Some(at) = self.running.iter().position(|(key, _)| *key == answered.key) else {
            return;
        };
        let (_, running) = self.running.swap_remove(at);
        settle(connection, arrival, answered, running);
    }
}

fn place(
    connection: &Connection,
    asking: &Asking,
    prompt: &Prompt,
    asked: &Asked,
) -> (WorkflowId, StepId) {
    let agent = &connection.agent;
    // Held until the recorder knows: steps are recorded in the order in which they are placed.
    let mut lineage = agent.lineage();
    let mut placement = lineage.place(asking.started, prompt);
    let wish = placement
        .opens_workflow
        .then(|| prompt.wish.as_deref().map(|wish| keyed(&connection.recording.key, wish)))
        .flatten();
    let step = step(connection, asking, prompt, asked, &mut placement);
    connection.recording.recorder.placed(&agent.reference(), &placement, step, wish);
    (placement.workflow, placement.step)
}

fn step(
    connection: &Connection,
    asking: &Asking,
    prompt: &Prompt,
    asked: &Asked,
    placement: &mut Placement,
) -> Step {
    Step {
        step_id: placement.step,
        parent_step_ids: take(&mut placement.parents),
        confidence: placement.confidence,
        kind: placement.kind,
        call: CallKind::Model,
        agent: Name::shared(&connection.agent.reference().name),
        dialect: Some(prompt.dialect),
        operation: Some(prompt.operation),
        request_model: prompt.model.clone(),
        response_model: None,
        response_id: None,
        request_sha256: Some(asked.sha256),
        tool: None,
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

fn settle(connection: &Connection, arrival: Arrival, answered: Answered, running: Running) {
    let agent = &connection.agent;
    let at = connection.recording.clock.now();
    let Answered { reading, sample, .. } = answered;
    let understood = reading.not_understood.is_none() && arrival.ended != Ended::Unseen;
    if let Some(reason) = reading.not_understood {
        tracing::debug!(connection = %connection.id, %reason, "answer not understood");
    }
    let counter =
        if understood { &agent.coverage.calls } else { &agent.coverage.calls_not_understood };
    add(counter, 1);
    let failure = match (arrival.ended, arrival.status) {
        (Ended::Whole, _) => None,
        (Ended::ClientGone, _) => Some(Failure::ClientGone),
        (_, None) => Some(Failure::ConnReset),
        (_, Some(_)) => Some(Failure::Truncated),
    };
    let Running { workflow, step, started, order } = running;
    let due = order.due(&reading.answer, &sample, understood, arrival);
    let bill = order.bill(&reading.answer, sample, at);
    let Recording { recorder, estimator, .. } = &*connection.recording;
    let (spent, open) = match due {
        Due::Nothing => (Some(Spent::default()), None),
        Due::Reported(usage) => (Some(estimator.reported(agent, bill, usage)), None),
        Due::Estimate => (None, Some(Open { agent: Arc::clone(agent), workflow, step, bill })),
    };
    let outcome = Outcome { answer: reading.answer, status: arrival.status, failure };
    let mut lineage = agent.lineage();
    let completion = lineage.finish(step, at, &outcome);
    let Outcome { answer, .. } = outcome;
    let settlement = Settlement {
        step_id: step,
        kind: completion.kind,
        response_model: answer.model,
        response_id: answer.response_id,
        finish_reasons: answer.finish_reasons,
        spent,
        status: arrival.status,
        ttft_ms: arrival.first_byte.map(|first| first.since(started)),
        duration_ms: Some(at.since(started)),
    };
    recorder.finished(&agent.reference(), workflow, settlement, &completion, at);
    drop(lineage);
    // After its end: the recorder has to know of that first.
    if let Some(open) = open {
        estimator.estimate(open);
    }
}

fn keyed(key: &[u8; 32], text: &str) -> String {
    // HMAC takes keys of every length, so this one is never refused.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(text.as_bytes());
    Digest(mac.finalize().into_bytes().into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_hashed_under_the_key() {
        // RFC 4231 has no case with a key of 32 bytes; this one was computed with OpenSSL:
        // printf hello | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101…01
        assert_eq!(
            keyed(&[1; 32], "hello"),
            "3a4d75699f355339725ecf666241ddd9c5ca105542c40a7f5607efc7ece5f67e"
        );
        assert_ne!(keyed(&[2; 32], "hello"), keyed(&[1; 32], "hello"));
    }
}
