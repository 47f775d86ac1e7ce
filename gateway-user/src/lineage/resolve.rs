//! Which remembered step a call goes on from, and how sure that is. Reads, changes nothing.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    call::{
        Confidence, Evidence, EvidenceKind, Message, Prompt, Role, SessionId, StepId, Timestamp,
    },
    limits,
};

use super::{
    history::{Chain, History},
    known::{Call, Known, Phase},
    memory::{Memory, Seq},
    traces::{self, Trace},
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
    /// Tool results, by an id that others emit as well, if one step alone waits for it.
    ReusedId,
    /// The answer, word for word.
    Answer,
    /// The last answer, word for word, after another history.
    Echo,
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
    /// Several, of which it is told by its trace.
    Traced,
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
    /// Whether it is told from others by its trace.
    pub(super) traced: bool,
}

impl Link {
    pub(super) fn confidence(&self) -> Confidence {
        let basis = match self.basis {
            Basis::Results | Basis::Response => 0.99,
            Basis::Conversation => 0.9,
            Basis::Answer => 0.97,
            Basis::UniqueId => 0.95,
            Basis::ResultsOfEdited | Basis::Echo => 0.85,
            Basis::EditedAnswer => 0.6,
            Basis::ReusedId | Basis::LostAnswer => 0.4,
        };
        let doubt = match self.doubt {
            Doubt::Sole => 1.0,
            Doubt::Traced => 0.8,
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
            Basis::Answer | Basis::Echo => &[EvidenceKind::AnswerEcho],
            Basis::EditedAnswer | Basis::LostAnswer => &[EvidenceKind::HistoryPrefix],
        };
        let traced = (self.doubt == Doubt::Traced).then_some(EvidenceKind::TraceId);
        let evidence = |kind| Evidence::new(kind, self.confidence(), Some(from));
        kinds.iter().copied().chain(traced).map(evidence).collect()
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
                | Basis::Echo
        )
    }
}

impl Memory {
    /// The earlier call that this one repeats: a failed one that nothing has repeated yet; if the
    /// client says that it tries again, one whose answer it may not have had; or one whose answer was
    /// of no use. `kept` is the step that it names to go on from, if it names one; `counts`, whether its
    /// client is known to count.
    pub(super) fn repeated(
        &self,
        at: Timestamp,
        prompt: &Prompt,
        (history, kept): (&History<'_>, Option<Seq>),
        counts: bool,
    ) -> Option<Repeat> {
        if history.len() == 0 {
            return None;
        }
        let said = prompt.client_retry.unwrap_or(0);
        let previous = said.checked_sub(1);
        let open = self
            .known(self.asked.get(history.whole()))
            .filter(|(_, step)| !step.retried && at.since(step.at).0 <= RETRY_WINDOW_MICROS)
            .filter(|(_, step)| step.instructions == history.instructions);
        let failed = open.clone().rev().filter(|(_, step)| step.failure().is_some());
        // Whoever counts would have counted: others may begin with the same question.
        let others = counts && history.last_answer().is_none();
        let failed = failed.filter(|(_, step)| !others || !step.is_retried_by_sdk(said));
        let counted = failed.clone().filter(|(_, step)| Some(step.client_retry) == previous);
        let trace = history.trace;
        let by_count = repeat(trace, counted, 0.97);
        if let Some(repeat) = by_count.or_else(|| repeat(trace, failed, 0.85)) {
            return Some(repeat);
        }
        // The client says so: its last try is one that it counts as such and has not gone on from.
        let unused = open.clone().filter(|(_, step)| {
            let count = (Some(step.client_retry), Some(step.attempt));
            count == (previous, previous) && !step.continued
        });
        let in_flight = unused.clone().filter(|(_, step)| step.phase == Phase::InFlight);
        // In the middle of a conversation an answer that nobody goes on from is of no use.
        let useless = open.filter(|(_, step)| {
            let answered = matches!(step.phase, Phase::Answered { .. });
            answered && !step.continued && is_fresh(at, step)
        });
        let goes_on = history.last_answer().is_some() || kept.is_some();
        let unanswered = repeat(trace, in_flight, 0.8);
        unanswered.or_else(|| repeat(trace, unused.rev(), 0.6)).or_else(|| {
            let is_free = goes_on && !self.is_awaited(history, kept);
            if is_free { repeat(trace, useless.rev(), 0.8) } else { None }
        })
    }

    /// Whether a step waits for such a call to go on from it.
    fn is_awaited(&self, history: &History<'_>, kept: Option<Seq>) -> bool {
        let emitters = history.last_answer().map(|last| self.answered.get(history.upto(last)));
        let emitters = emitters.into_iter().flatten().chain(kept);
        let mut emitters = emitters.filter_map(|seq| self.step(seq));
        emitters.any(|step| !step.continued && step.failure().is_none())
    }

    /// The step that a call goes on from, by its history.
    pub(super) fn link(&self, at: Timestamp, history: &History<'_>) -> Option<Link> {
        self.link_by_results(at, history).or_else(|| {
            let prefix = self.link_by_prefix(at, history);
            self.link_by_echo(at, history, prefix.as_ref())
                .or_else(|| self.link_by_reused_id(history, prefix.as_ref()))
                .or(prefix)
        })
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
        if let Some(found) = choose(at, history, self.known(emitters)) {
            return Some(link(Basis::Results, found));
        }
        let ids = || results_of(tail).filter_map(|result| result.id);
        if history.first_user().is_some_and(|user| user < covers) {
            let first = ids().next();
            let askers = self.known(self.asked.get(history.upto(covers - 1)));
            let emitters = askers.filter(|(_, step)| {
                first.is_some() && step.tools.iter().any(|call| call.id == first)
            });
            if let Some(found) = choose(at, history, emitters) {
                return Some(link(Basis::ResultsOfEdited, found));
            }
        }
        let unique = results(tail).filter_map(|result| result.tool_result.as_deref());
        let mut unique = unique.filter(|id| looks_unique(id)).map(hash_id);
        unique
            .find_map(|id| self.only_emitter(id))
            .map(|seq| link(Basis::UniqueId, (seq, Doubt::Sole)))
    }

    /// The only step that emitted a tool call with this id.
    fn only_emitter(&self, id: u128) -> Option<Seq> {
        let mut emitters = self.known(self.called.get(id));
        emitters.next().filter(|_| emitters.next().is_none()).map(|(seq, _)| seq)
    }

    /// For results by ids that say little, after an answer that is not known: the only step that waits
    /// for them.
    fn link_by_reused_id(&self, history: &History<'_>, prefix: Option<&Link>) -> Option<Link> {
        let covers = history.last_answer()?;
        let id = results_of(history.after(covers)).find_map(|result| result.id)?;
        let waits = |(_, step): &(Seq, &Known)| {
            step.is_waiting() && step.tools.iter().any(|call| call.id == Some(id) && !call.answered)
        };
        let mut waiting = self.known(self.called.get(id)).filter(waits);
        let (step, known) = waiting.next().filter(|_| waiting.next().is_none())?;
        let session = |seq| self.session(self.step(seq)?);
        let is_near = prefix.is_some_and(|link| session(link.step) == self.session(known));
        is_near.then_some(Link { step, basis: Basis::ReusedId, doubt: Doubt::Sole, covers })
    }

    /// The step that gave the history's last answer, whatever came before it: histories are cut, and
    /// what is old in them is changed. In the session that the history begins in, if that is known.
    fn link_by_echo(
        &self,
        at: Timestamp,
        history: &History<'_>,
        prefix: Option<&Link>,
    ) -> Option<Link> {
        let covers = history.last_answer()?;
        if prefix.is_some_and(|link| link.covers >= covers) {
            return None;
        }
        let said = self.known(self.said.get(history.last_answer_alone()?));
        let begun = prefix.and_then(|link| self.session(self.step(link.step)?));
        let near = said.clone().filter(|(_, step)| begun.is_none() || self.session(step) == begun);
        let open = near.filter(|(_, step)| !step.continued);
        // Gone on from before: if nobody else has ever said so.
        let only = || {
            let mut said = said.filter(|_| begun.is_none());
            said.next().filter(|_| said.next().is_none()).map(|(step, _)| (step, Doubt::Repeated))
        };
        let (step, doubt) = choose(at, history, open).or_else(only)?;
        Some(Link { step, basis: Basis::Echo, doubt, covers })
    }

    pub(super) fn session(&self, step: &Known) -> Option<SessionId> {
        self.flow(step.workflow).map(|flow| flow.session)
    }

    /// The step whose answer, or else whose question, ends latest in this history.
    fn link_by_prefix(&self, at: Timestamp, history: &History<'_>) -> Option<Link> {
        let first_user = history.first_user().unwrap_or(usize::MAX);
        (1..=history.len()).rev().find_map(|covers| {
            let chain = history.upto(covers);
            if history.is_answer(covers) {
                let found = choose(at, history, self.known(self.answered.get(chain)));
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
/// longest, unless it looks abandoned beside a fresher one. Those that were instructed as the call is
/// come before all others; and of several that could be meant, those in the same trace.
fn choose<'a>(
    at: Timestamp,
    history: &History<'_>,
    steps: impl Iterator<Item = (Seq, &'a Known)> + Clone,
) -> Option<(Seq, Doubt)> {
    let is_alike = |step: &Known| step.instructions == history.instructions;
    let any_alike = steps.clone().any(|(_, step)| is_alike(step));
    let steps = steps.filter(|(_, step)| is_alike(step) == any_alike);
    let (seq, doubt) = longest_waiting(at, steps.clone())?;
    let (inside, tells) = traces::narrow(history.trace, steps);
    if doubt == Doubt::Sole || !tells {
        return Some((seq, doubt));
    }
    let (seq, doubt) = longest_waiting(at, inside)?;
    Some((seq, if doubt == Doubt::Twins { doubt } else { Doubt::Traced }))
}

fn longest_waiting<'a>(
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

/// The first of these steps, in the same trace if that tells them apart; half as sure if they belong to
/// several workflows.
fn repeat<'a>(
    trace: Option<Trace>,
    steps: impl Iterator<Item = (Seq, &'a Known)> + Clone,
    confidence: f32,
) -> Option<Repeat> {
    let (mut steps, traced) = traces::narrow(trace, steps);
    let (step, first) = steps.next()?;
    let alone = steps.all(|(_, other)| other.workflow == first.workflow);
    let confidence = if alone { confidence } else { confidence / 2.0 };
    Some(Repeat { step, confidence: Confidence::new(confidence), traced })
}

/// A tool result that came with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResultOf {
    /// Of the tool call, hashed.
    id: Option<u128>,
    content: Option<u64>,
}

/// A tool result, and which of a step's calls it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Returned {
    pub(super) call: usize,
    /// What it says, hashed.
    pub(super) content: Option<u64>,
}

/// Which of the calls the messages bring results of.
pub(super) fn returned(calls: &[Call], tail: &[Message]) -> Vec<Returned> {
    matches(calls, results_of(tail))
}

/// Which of the calls these are results of, each once, in the order of the results. A result without
/// an id answers the next call without one.
pub(super) fn matches(calls: &[Call], results: impl Iterator<Item = ResultOf>) -> Vec<Returned> {
    let mut taken = vec![false; calls.len()];
    let mut found = Vec::new();
    let mut next = 0;
    for ResultOf { id, content } in results {
        // Results nearly always come in the order of the calls: look on from the last one.
        let order = (next..calls.len()).chain(0..next);
        let at = order.into_iter().find(|&at| {
            calls.get(at).is_some_and(|call| call.id == id) && !taken.get(at).is_some_and(|&t| t)
        });
        if let Some(at) = at {
            if let Some(taken) = taken.get_mut(at) {
                *taken = true;
            }
            found.push(Returned { call: at, content });
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

/// The tool results among the messages.
pub(super) fn results_of(tail: &[Message]) -> impl Iterator<Item = ResultOf> {
    let id = |result: &Message| result.tool_result.as_deref().map(hash_id);
    results(tail).map(move |result| ResultOf { id: id(result), content: result.content })
}

/// Whether no other server is likely to have made up the same id: `call_0` is the first of many.
fn looks_unique(id: &str) -> bool {
    let mut runs = id.split(|it: char| !it.is_ascii_alphanumeric());
    runs.any(|run| run.len() >= 8 && run.bytes().any(|it| it.is_ascii_digit()))
}

fn results(tail: &[Message]) -> impl Iterator<Item = &Message> {
    tail.iter().filter(|message| is_result(message)).take(limits::TOOL_CALLS_PER_ANSWER)
}

fn is_result(message: &Message) -> bool {
    message.role == Role::Tool || message.tool_result.is_some()
}

/// A step that nothing has gone on from for this long is taken to be abandoned if a fresher one
/// with the same history waits too.
pub(super) const ABANDONED_MICROS: u64 = 60_000_000;
/// How long after a call the same one is a retry. Clients wait up to two minutes when told to
/// (`retry-after`), and their users a little longer.
const RETRY_WINDOW_MICROS: u64 = 600_000_000;
