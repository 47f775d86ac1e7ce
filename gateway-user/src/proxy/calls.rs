//! The calls of one exchange: placed in workflows when they are asked, settled when answered.

use std::{collections::VecDeque, mem::take};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{
    agent::add,
    exchange::{Connection, Ended},
};
use crate::{
    call::{CallKind, Digest, Name, Prompt, Settlement, Step, StepId, Timestamp, WorkflowId},
    dialect::{Answered, Asked, CallKey, Reading, What},
    limits,
    lineage::{Failure, Outcome, Placement},
};

/// The calls of an exchange, or of a WebSocket, that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: Vec<(CallKey, Running)>,
}

/// Calls of an agent whose exchange has ended, and whose answers will come in another one, oldest
/// first.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<(CallKey, Running)>);

/// A call's place, until it is answered.
#[derive(Clone, Copy, Debug)]
struct Running {
    workflow: WorkflowId,
    step: StepId,
    started: Timestamp,
    /// When the first of its answer came, where it does not come alone.
    first_byte: Option<Timestamp>,
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
    pub(super) fn asked(&mut self, connection: &Connection, asking: &Asking, asked: Asked) {
        let agent = &connection.agent;
        if asked.unmetered.is_some() {
            add(&agent.coverage.calls_unmetered, 1);
        }
        match &asked.what {
            // It is asked how long a conversation is, which is no step in it.
            What::Model(prompt) if !prompt.operation.calls_model() => {
                add(&agent.coverage.calls, 1);
            }
            What::Model(prompt) => {
                let (workflow, step) = place(connection, asking, prompt, &asked);
                let running = Running { workflow, step, started: asking.started, first_byte: None };
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
        let own = self.running.iter().position(|(key, _)| *key == answered.key);
        let own = own.map(|at| self.running.swap_remove(at).1);
        let running = own.or_else(|| connection.agent.waiting().take(answered.key));
        if let Some(running) = running {
            settle(connection, arrival, answered.reading, running);
        }
    }

    /// The first of a call's answer has come.
    pub(super) fn begun(&mut self, key: CallKey, at: Timestamp) {
        if let Some((_, running)) = self.running.iter_mut().find(|(running, _)| *running == key) {
            running.first_byte.get_or_insert(at);
        }
    }

    /// Whether the first of a call's answer has come.
    pub(super) fn has_begun(&self, key: CallKey) -> bool {
        let mut running = self.running.iter();
        running.any(|(running, call)| *running == key && call.first_byte.is_some())
    }

    /// The exchange has ended: what it did not answer another one will.
    pub(super) fn wait(&mut self, connection: &Connection) {
        for (key, running) in self.running.drain(..) {
            // Apart from the rest: it is locked no longer than for this.
            let forgotten = connection.agent.waiting().put(key, running);
            if let Some(forgotten) = forgotten {
                let arrival = Arrival { ended: Ended::Unseen, status: None, first_byte: None };
                settle(connection, arrival, Reading::default(), forgotten);
            }
        }
    }
}

impl Waiting {
    /// Adds a call, and takes out the oldest if there is no room for it.
    fn put(&mut self, key: CallKey, running: Running) -> Option<Running> {
        let is_full = self.0.len() >= limits::WAITING_CALLS_PER_AGENT;
        let forgotten = if is_full { self.0.pop_front() } else { None };
        self.0.push_back((key, running));
        forgotten.map(|(_, running)| running)
    }

    fn take(&mut self, key: CallKey) -> Option<Running> {
        let at = self.0.iter().position(|(waiting, _)| *waiting == key)?;
        self.0.remove(at).map(|(_, running)| running)
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
        unmetered: asked.unmetered,
        settled: false,
        evidence: take(&mut placement.evidence),
        retry: placement.retry,
    }
}

fn settle(connection: &Connection, arrival: Arrival, reading: Reading, running: Running) {
    let agent = &connection.agent;
    let at = connection.recording.clock.now();
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
    let outcome = Outcome { answer: reading.answer, status: arrival.status, failure };
    let mut lineage = agent.lineage();
    let completion = lineage.finish(running.step, at, &outcome);
    let Outcome { answer, .. } = outcome;
    let first_byte = running.first_byte.or(arrival.first_byte);
    let settlement = Settlement {
        step_id: running.step,
        kind: completion.kind,
        response_model: answer.model,
        response_id: answer.response_id,
        finish_reasons: answer.finish_reasons,
        usage: answer.usage,
        status: arrival.status,
        ttft_ms: first_byte.map(|first| first.since(running.started)),
        duration_ms: Some(at.since(running.started)),
    };
    let recorder = &connection.recording.recorder;
    recorder.finished(&agent.reference(), running.workflow, settlement, &completion, at);
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
