//! Which remembered step a call goes on from, and how sure that is. Reads, changes nothing.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    call::{Confidence, Evidence, EvidenceKind, Message, Prompt, Role, StepId, Timestamp},
    limits,
};

use super::{
    history::{Chain, History},
    memory::{Call, Known, Memory, Phase, Seq},
};

/// The step that a call's history leads to.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) step: Seq,
    pub(super) basis: Basis,
    pub(super) doubt: Doubt,
    /// How many of the history's messages the step accounts for.
    pub(super) covers: usize,
}

/// What the link rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The id of the response, which its server gave it.
    Response,
    /// The id of a conversation that the server keeps.
    Conversation,
    /// Tool results, after the very answer that called the tools.
    Results,
    /// Tool results, after an edited answer to the very same question.
    ResultsOfEdited,
    /// Tool results, by an id that one step alone has emitted.
    UniqueId,
    /// Tool results, by an id that several steps have emitted.
    ReusedId,
    /// The answer, word for word.
    Answer,
    /// The question, and an answer that is not known.
    EditedAnswer,
    /// The question, and no answer.
    LostAnswer,
}

/// How many steps could be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// One.
    Sole,
    /// Several, with the same history and nothing after it.
    Twins,
    /// One or several, and something has already gone on from each.
    Repeated,
}

/// A call that repeats an earlier one.
#[derive(Debug)]
pub(super) struct Repeat {
    pub(super) step: Seq,
    pub(super) confidence: Confidence,
}

impl Link {
    pub(super) fn confidence(&self) -> Confidence {
        let basis = match self.basis {
            Basis::Results | Basis::Response => 0.99,
            Basis::Conversation => 0.9,
            Basis::Answer => 0.97,
            Basis::ResultsOfEdited | Basis::UniqueId => 0.8,
            Basis::EditedAnswer => 0.6,
            Basis::ReusedId | Basis::LostAnswer => 0.4,
        };
        let doubt = match self.doubt {
            Doubt::Sole => 1.0,
            Doubt::Repeated => 0.7,
            Doubt::Twins => 0.5,
        };
        Confidence::new(basis * doubt)
    }

    pub(super) fn evidence(&self, from: StepId) -> Vec<Evidence> {
        let kinds: &[EvidenceKind] = match self.basis {
            Basis::Response => &[EvidenceKind::ResponseId],
            Basis::Conversation => &[EvidenceKind::ConversationId],
            Basis::Results => &[EvidenceKind::ToolCallId, EvidenceKind::AnswerEcho],
            Basis::ResultsOfEdited => &[EvidenceKind::ToolCallId, EvidenceKind::HistoryPrefix],
            Basis::UniqueId | Basis::ReusedId => &[EvidenceKind::ToolCallId],
            Basis::Answer => &[EvidenceKind::AnswerEcho],
            Basis::EditedAnswer | Basis::LostAnswer => &[EvidenceKind::HistoryPrefix],
        };
        let confidence = self.confidence();
        kinds.iter().map(|&kind| Evidence { kind, confidence, from_step_id: Some(from) }).collect()
    }

    /// Whether the call may answer tool calls of the step.
    pub(super) fn brings_results(&self) -> bool {
        matches!(
            self.basis,
            Basis::Response
                | Basis::Conversation
                | Basis::Results
                | Basis::ResultsOfEdited
                | Basis::UniqueId
                | Basis::ReusedId
        )
    }
}

impl Memory {
    /// The earlier call that this one repeats. A failed one that nothing has repeated yet; or, if
    /// the client says that it tries again, one whose answer it may not have had.
    pub(super) fn repeated(
        &self,
        at: Timestamp,
        prompt: &Prompt,
        history: &History<'_>,
    ) -> Option<Repeat> {
        if history.len() == 0 {
            return None;
        }
        let said = prompt.client_retry.unwrap_or(0);
        let previous = said.checked_sub(1);
        let open = self
            .known(self.asked.get(history.whole()))
            .filter(|(_, step)| !step.retried && at.since(step.at).0 <= RETRY_WINDOW_MICROS);
        let failed = open.clone().rev().filter(|(_, step)| step.failure().is_some());
        let counted = failed.clone().filter(|(_, step)| Some(step.client_retry) == previous);
        if let Some(repeat) = repeat(counted, 0.97).or_else(|| repeat(failed, 0.85)) {
            return Some(repeat);
        }
        // The client says so: its last try is one that it counts as such and has not gone on from.
        let unused = open.filter(|(_, step)| {
            let count = (Some(step.client_retry), Some(step.attempt));
            count == (previous, previous) && !step.continued
        });
        let in_flight = unused.clone().filter(|(_, step)| step.phase == Phase::InFlight);
        repeat(in_flight, 0.8).or_else(|| repeat(unused.rev(), 0.6))
    }

    /// The step that a call goes on from, by its history.
    pub(super) fn link(&self, at: Timestamp, history: &History<'_>) -> Option<Link> {
        self.link_by_results(at, history).or_else(|| self.link_by_prefix(at, history))
    }

    /// For a history that ends in tool results: the step that called the tools.
    fn link_by_results(&self, at: Timestamp, history: &History<'_>) -> Option<Link> {
        let covers = history.last_answer()?;
        let tail = history.after(covers);
        if !tail.iter().any(is_result) {
            return None;
        }
        let link = |basis, (step, doubt)| Link { step, basis, doubt, covers };
        let emitters = self.answered.get(history.upto(covers));
        if let Some(found) = choose(at, self.known(emitters)) {
            return Some(link(Basis::Results, found));
        }
        let ids = || results(tail).filter_map(|result| result.tool_result.as_deref()).map(hash_id);
        if history.first_user().is_some_and(|user| user < covers) {
            let first = ids().next();
            let askers = self.known(self.asked.get(history.upto(covers - 1)));
            let emitters = askers.filter(|(_, step)| {
                first.is_some() && step.tools.iter().any(|call| call.id == first)
            });
            if let Some(found) = choose(at, emitters) {
                return Some(link(Basis::ResultsOfEdited, found));
            }
        }
        ids().find_map(|id| self.emitter(id)).map(|(seq, basis)| link(basis, (seq, Doubt::Sole)))
    }

    /// The step that emitted a tool call with this id: the only one, or the latest that waits for
    /// its result.
    fn emitter(&self, id: u128) -> Option<(Seq, Basis)> {
        let mut emitters = self.called.get(id);
        if let (Some(only), None) = (emitters.next(), emitters.next()) {
            return Some((only, Basis::UniqueId));
        }
        let waits = |step: &Known| {
            step.is_waiting() && step.tools.iter().any(|call| call.id == Some(id) && !call.answered)
        };
        let mut latest = self.called.get(id).rev();
        latest.find(|&seq| self.step(seq).is_some_and(waits)).map(|seq| (seq, Basis::ReusedId))
    }

    /// The step whose answer, or else whose question, ends latest in this history.
    fn link_by_prefix(&self, at: Timestamp, history: &History<'_>) -> Option<Link> {
        let first_user = history.first_user().unwrap_or(usize::MAX);
        (1..=history.len()).rev().find_map(|covers| {
            let chain = history.upto(covers);
            if history.is_answer(covers) {
                let found = choose(at, self.known(self.answered.get(chain)));
                if let Some((step, doubt)) = found {
                    return Some(Link { step, basis: Basis::Answer, doubt, covers });
                }
            }
            // What was asked without the user having spoken is instructions, which many share.
            if covers == history.len() || covers < first_user {
                return None;
            }
            let step = self.only_session(chain)?;
            let edited = history.is_answer(covers + 1);
            let basis = if edited { Basis::EditedAnswer } else { Basis::LostAnswer };
            Some(Link { step, basis, doubt: Doubt::Sole, covers })
        })
    }

    /// The last step that asked this, if one session alone did: a question does not tell two
    /// sessions apart.
    fn only_session(&self, asked: Chain) -> Option<Seq> {
        let mut found = None;
        for (seq, step) in self.known(self.asked.get(asked)) {
            let session = self.flow(step.workflow)?.session;
            if found.is_some_and(|(_, other)| other != session) {
                return None;
            }
            found = Some((seq, session));
        }
        found.map(|(seq, _)| seq)
    }

    fn known(
        &self,
        steps: impl DoubleEndedIterator<Item = Seq> + Clone,
    ) -> impl DoubleEndedIterator<Item = (Seq, &Known)> + Clone {
        steps.filter_map(|seq| self.step(seq).map(|step| (seq, step)))
    }
}

/// Of steps with equal histories, oldest first, the one that a call goes on from. Where nothing
/// has gone on from several, any may be meant: the oldest is taken, since it has waited
/// longest, unless it looks abandoned beside a fresher one.
fn choose<'a>(
    at: Timestamp,
    steps: impl Iterator<Item = (Seq, &'a Known)>,
) -> Option<(Seq, Doubt)> {
    let [mut fresh, mut open, mut used, mut failed] = [Tally::default(); 4];
    for (seq, step) in steps {
        if step.failure().is_some() {
            // What was cut short was repeated, if the client cared.
            failed.add(seq);
        } else if step.continued {
            used.add(seq);
        } else {
            open.add(seq);
            if is_fresh(at, step) {
                fresh.add(seq);
            }
        }
    }
    let fresh = fresh.first.map(|seq| (seq, fresh.doubt()));
    let stale = open.last.map(|seq| (seq, open.doubt()));
    let rest = used.last.or(failed.last).map(|seq| (seq, Doubt::Repeated));
    fresh.or(stale).or(rest)
}

/// Whether a step that nothing has gone on from may still be gone on from soon.
pub(super) fn is_fresh(at: Timestamp, step: &Known) -> bool {
    at.since(step.at).0 <= ABANDONED_MICROS
}

/// The first and the last of some steps.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    first: Option<Seq>,
    last: Option<Seq>,
}

impl Tally {
    fn add(&mut self, seq: Seq) {
        self.first = self.first.or(Some(seq));
        self.last = Some(seq);
    }

    fn doubt(&self) -> Doubt {
        if self.first == self.last { Doubt::Sole } else { Doubt::Twins }
    }
}

/// The first of these steps; half as sure if they belong to several workflows.
fn repeat<'a>(
    mut steps: impl Iterator<Item = (Seq, &'a Known)>,
    confidence: f32,
) -> Option<Repeat> {
    let (step, first) = steps.next()?;
    let alone = steps.all(|(_, other)| other.workflow == first.workflow);
    let confidence = if alone { confidence } else { confidence / 2.0 };
    Some(Repeat { step, confidence: Confidence::new(confidence) })
}

/// The positions in `calls` that the messages bring results for, each once, in the order of the
/// messages. A result without an id answers the next call without one.
pub(super) fn matches(calls: &[Call], tail: &[Message]) -> Vec<usize> {
    let mut taken = vec![false; calls.len()];
    let mut found = Vec::new();
    let mut next = 0;
    for result in results(tail) {
        let id = result.tool_result.as_deref().map(hash_id);
        // Results nearly always come in the order of the calls: look on from the last one.
        let order = (next..calls.len()).chain(0..next);
        let at = order.into_iter().find(|&at| {
            calls.get(at).is_some_and(|call| call.id == id) && !taken.get(at).is_some_and(|&t| t)
        });
        if let Some(at) = at {
            if let Some(taken) = taken.get_mut(at) {
                *taken = true;
            }
            found.push(at);
            next = at + 1;
        }
    }
    found
}

pub(super) fn hash_id(id: &str) -> u128 {
    xxh3_128(id.as_bytes())
}

pub(super) fn hash_model(prompt: &Prompt) -> Option<u64> {
    prompt.model.as_ref().map(|model| xxh3_64(model.as_bytes()))
}

fn results(tail: &[Message]) -> impl Iterator<Item = &Message> {
    tail.iter().filter(|message| is_result(message)).take(limits::TOOL_CALLS_PER_ANSWER)
}

fn is_result(message: &Message) -> bool {
    message.role == Role::Tool || message.tool_result.is_some()
}

/// A step that nothing has gone on from for this long is taken to be abandoned if a fresher one
/// with the same history waits too.
const ABANDONED_MICROS: u64 = 60_000_000;
/// How long after a call the same one is a retry. Clients wait up to two minutes when told to
/// (`retry-after`), and their users a little longer.
const RETRY_WINDOW_MICROS: u64 = 600_000_000;
