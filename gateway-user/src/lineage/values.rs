//! Values that flow: what a user, an answer or a tool call says, and a conversation begins with later.

use std::cmp::Reverse;

use crate::{
    call::{Answer, Confidence, Opening, Passage, Prompt, Timestamp, Value},
    limits,
};

use super::{
    history::History,
    known::{Call, Known, Part, Phase},
    memory::{Memory, Seq},
    resolve::{self, Link},
    traces::Trace,
};

/// A value of a step, and who says it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flowing {
    pub(super) value: Value,
    pub(super) from: Source,
}

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The user, in what the step was asked.
    User,
    /// The model, in its answer.
    Answer,
    /// A tool call of that answer, by its place among them.
    Call(u16),
}

/// The step whose values a conversation begins with.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) step: Seq,
    pub(super) from: Source,
    pub(super) choice: Choice,
    /// Other steps of the same workflow whose answers are in it, too.
    pub(super) beside: Vec<Seq>,
}

/// Whether other workflows could be meant as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Sole,
    /// Several, of which it is told by its trace.
    Traced,
    Several,
}

impl Choice {
    /// Of a step that is the best of several equal ones.
    fn of<'a>(
        trace: Option<Trace>,
        best: &Known,
        equal: impl Iterator<Item = &'a Known> + Clone,
    ) -> Self {
        let mut others = equal.filter(|step| step.workflow != best.workflow);
        if others.clone().next().is_none() {
            Self::Sole
        } else if best.is_in(trace) && !others.any(|step| step.is_in(trace)) {
            Self::Traced
        } else {
            Self::Several
        }
    }

    /// How sure it is, if it is that where nothing else could be meant.
    pub(super) const fn confidence(self, sole: f32) -> Confidence {
        Confidence::new(match self {
            Self::Sole => sole,
            Self::Traced => sole.min(0.8),
            Self::Several => 0.5,
        })
    }
}

impl Flowing {
    /// By what it is looked up.
    pub(super) fn key(&self) -> u128 {
        key(self.value.opening())
    }

    /// What the user says last: clients put words of their own before it, the same in every session.
    pub(super) fn asked(prompt: &Prompt) -> Vec<Self> {
        let says = prompt.terms.latest.as_deref().or(prompt.wish.as_deref());
        let value = says.and_then(Value::of);
        value.map(|value| Self { value, from: Source::User }).into_iter().collect()
    }
}

impl Flowing {
    /// What an answer and its tool calls say.
    pub(super) fn answered(answer: &Answer) -> impl Iterator<Item = Self> {
        let said = answer.values.iter().map(|&value| Self { value, from: Source::Answer });
        let called = (0..).zip(answer.tool_calls.iter().take(limits::TOOL_CALLS_PER_ANSWER));
        said.chain(called.flat_map(|(at, call)| {
            call.values.iter().map(move |&value| Self { value, from: Source::Call(at) })
        }))
    }
}

/// How much of a source stands in a conversation's beginning.
#[derive(Clone, Copy, Debug)]
struct Found {
    step: Seq,
    from: Source,
    bytes: usize,
    /// Of the text that it stands in.
    share: Share,
}

/// How much of a text a value makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    Little,
    Some,
    Most,
}

impl Share {
    const fn of(bytes: usize, all: usize) -> Self {
        // Of longer ones only that much is known.
        if bytes * 2 >= all || bytes >= limits::VALUE_BYTES {
            Self::Most
        } else if bytes * 10 >= all * 3 {
            Self::Some
        } else {
            Self::Little
        }
    }
}

impl Found {
    /// The tool call that says it, if one does.
    fn call<'k>(&self, step: &'k Known) -> Option<&'k Call> {
        let Source::Call(call) = self.from else { return None };
        step.tools.get(usize::from(call))
    }

    /// Whether the call says enough, and lately enough, that the conversation is not begun by chance
    /// with the same words.
    fn tells(&self, at: Timestamp, step: &Known, history: &History<'_>) -> bool {
        let is_other = step.instructions != history.instructions;
        let tells = match self.share {
            Share::Most => true,
            Share::Some => is_other,
            Share::Little => is_other && self.bytes >= TELLING_BYTES,
        };
        if is_own(step, history) {
            let is_soon = at.since(step.at).0 <= STARTED_MICROS;
            return self.share == Share::Most && is_soon;
        }
        tells && resolve::is_fresh(at, step)
    }
}

impl Memory {
    /// From where the values come that a new conversation begins with.
    pub(super) fn passed(
        &self,
        at: Timestamp,
        prompt: &Prompt,
        history: &History<'_>,
        serves_users: bool,
    ) -> Option<Passed> {
        let found = self.found(texts(prompt));
        let known = |found: &Found| Some((*found, self.step(found.step)?));
        let found: Vec<(Found, &Known)> = found.iter().filter_map(known).collect();
        // Where users say so as a rule, what a tool call says is the same by chance.
        let by_call = if serves_users { None } else { self.passed_by_call(at, history, &found) };
        by_call
            .or_else(|| passed_by_answer(at, history.trace, &found))
            .or_else(|| self.passed_by_user(at, history, &found))
    }

    /// A tool call says what to do: the one that nothing has begun with, and that says the most of it;
    /// of equal ones the one in the same trace, then the first.
    fn passed_by_call(
        &self,
        at: Timestamp,
        history: &History<'_>,
        found: &[(Found, &Known)],
    ) -> Option<Passed> {
        let open: Vec<&(Found, &Known)> = found
            .iter()
            .filter(|(found, step)| {
                found.call(step).is_some_and(|call| {
                    found.tells(at, step, history) && self.may_start(call, history)
                })
            })
            .collect();
        let begun = |found: &Found, step: &Known| {
            found.call(step).is_some_and(|call| call.started.is_some())
        };
        let rank = |(found, step): &&(Found, &Known)| {
            let is_near = step.is_in(history.trace);
            (begun(found, step), Reverse(found.bytes), !is_near, found.step, found.from)
        };
        let (best, step) = open.iter().copied().min_by_key(rank)?;
        let equal =
            open.iter().filter(|(found, step)| found.bytes == best.bytes && !begun(found, step));
        let choice = Choice::of(history.trace, step, equal.map(|(_, step)| *step));
        Some(Passed { step: best.step, from: best.from, choice, beside: Vec::new() })
    }

    /// Whether a conversation may begin with what the call says: if none has yet, or if that one
    /// begins anew. A call in the background has its result before.
    fn may_start(&self, call: &Call, history: &History<'_>) -> bool {
        call.started.is_none_or(|started| {
            let first = self.step(started.first);
            !call.answered && first.is_some_and(|it| it.kind == history.kind)
        })
    }

    /// The call of the link's session whose argument is all that the user says last: it has started
    /// an agent that knows what was said so far.
    pub(super) fn passed_to_fork(
        &self,
        at: Timestamp,
        prompt: &Prompt,
        link: &Link,
    ) -> Option<Passed> {
        let last = self.step(link.step)?;
        let says = prompt.terms.latest.as_deref().or(prompt.wish.as_deref());
        let found = self.found(says.into_iter());
        let found = found.iter().filter(|found| found.share == Share::Most);
        let (step, from) = found.rev().find_map(|found| {
            let step = self.step(found.step)?;
            found.call(step).filter(|call| call.started.is_none())?;
            // Who goes on with another conversation than the caller's is told more, not started.
            let is_callers = self.session(step) == self.session(last) && step.under == last.under;
            let is_near = is_callers && resolve::is_fresh(at, step);
            is_near.then_some((found.step, found.from))
        })?;
        Some(Passed { step, from, choice: Choice::Sole, beside: Vec::new() })
    }

    /// Whether what the user says last holds what a sub-agent of the step's workflow answered: then no
    /// user says it.
    pub(super) fn hears_of_sub_agent(&self, step: Seq, prompt: &Prompt) -> bool {
        let Some(workflow) = self.step(step).map(|step| step.workflow) else { return false };
        let found = self.found(prompt.terms.latest.as_deref().into_iter());
        found.iter().filter(|found| found.from == Source::Answer).any(|found| {
            let step = self.step(found.step);
            step.is_some_and(|it| it.workflow == workflow && it.part == Part::Nested)
        })
    }

    /// The same user is quoted by other instructions, while the workflow is under way.
    fn passed_by_user(
        &self,
        at: Timestamp,
        history: &History<'_>,
        found: &[(Found, &Known)],
    ) -> Option<Passed> {
        let is_near = |step: &Known| {
            self.flow(step.workflow).is_some_and(|flow| at.since(flow.seen).0 <= BESIDE_MICROS)
        };
        let quoted: Vec<&(Found, &Known)> = found
            .iter()
            .filter(|(found, step)| {
                found.from == Source::User
                    && (found.share != Share::Little || found.bytes >= TELLING_BYTES)
                    && step.instructions != history.instructions
                    && is_near(step)
            })
            .collect();
        let (best, step) = quoted.iter().copied().min_by_key(|(found, step)| {
            let is_near = step.is_in(history.trace);
            (step.quoted && !is_near, Reverse(found.bytes), !is_near, found.step)
        })?;
        let equal = quoted.iter().filter(|(found, _)| found.bytes == best.bytes);
        let choice = Choice::of(history.trace, step, equal.map(|(_, step)| *step));
        Some(Passed { step: best.step, from: best.from, choice, beside: Vec::new() })
    }

    /// Every value that is known and stands in these texts.
    fn found<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        if self.passed.is_empty() {
            return found;
        }
        for text in texts {
            let passage = Passage::new(text);
            // What stands there many times is looked for once.
            let mut done: Vec<Opening> = Vec::new();
            for (place, opening) in passage.openings(|start| self.starts.may_hold(start)) {
                if done.contains(&opening) {
                    continue;
                }
                let before = found.len();
                for step in self.passed.get(key(opening)).rev().take(CANDIDATES) {
                    let values = self.step(step).into_iter().flat_map(|known| &known.values);
                    let there = |it: &&Flowing| {
                        it.value.opening() == opening && passage.has(&it.value, place)
                    };
                    for it in values.filter(there) {
                        add(&mut found, step, it, passage.bytes());
                    }
                }
                if found.len() > before {
                    done.push(opening);
                }
            }
        }
        found
    }
}

/// An answer is passed on: the latest, and those beside it.
fn passed_by_answer(
    at: Timestamp,
    trace: Option<Trace>,
    found: &[(Found, &Known)],
) -> Option<Passed> {
    let is_answer = |(found, step): &&(Found, &Known)| {
        found.from == Source::Answer
            && (found.share == Share::Most || found.bytes >= TELLING_BYTES)
            && matches!(step.phase, Phase::Answered { .. })
            && at.since(step.at).0 <= PASSED_ON_MICROS
    };
    let answers = found.iter().filter(is_answer);
    let (best, step) =
        answers.clone().max_by_key(|(found, step)| (found.bytes, step.is_in(trace), found.step))?;
    let others = answers.clone().filter(|(found, _)| found.step != best.step);
    let (same, other): (Vec<_>, Vec<_>) =
        others.partition(|(_, other)| other.workflow == step.workflow);
    let equal = other.iter().filter(|(found, _)| found.bytes >= best.bytes);
    let choice = Choice::of(trace, step, equal.map(|(_, step)| *step));
    let beside = same.iter().map(|(found, _)| found.step).collect();
    Some(Passed { step: best.step, from: Source::Answer, choice, beside })
}

/// Whether an agent would start another one of its kind: whose own user may well say the same.
fn is_own(step: &Known, history: &History<'_>) -> bool {
    step.kind == history.kind && step.part == Part::Main
}

fn add(found: &mut Vec<Found>, step: Seq, it: &Flowing, all: usize) {
    let bytes = it.value.bytes();
    let share = Share::of(bytes, all);
    let is_full = found.len() >= limits::LINEAGE_CANDIDATES;
    match found.iter_mut().find(|known| known.step == step && known.from == it.from) {
        Some(known) => {
            known.share = known.share.max(share);
            // What stands there twice says no more.
            known.bytes = known.bytes.max(bytes);
        }
        None if is_full => {}
        None => found.push(Found { step, from: it.from, bytes, share }),
    }
}

/// What the user says first, and last.
fn texts(prompt: &Prompt) -> impl Iterator<Item = &str> {
    prompt.wish.as_deref().into_iter().chain(prompt.terms.latest.as_deref())
}

fn key(opening: Opening) -> u128 {
    opening.into()
}

/// A value of so many bytes is hardly said by chance.
const TELLING_BYTES: usize = 24;
/// How soon after its answer a model's call starts another agent of its own kind.
const STARTED_MICROS: u64 = 1_000_000;
/// How many steps are looked at that have a value with the same beginning: the latest.
const CANDIDATES: usize = 32;
/// How long after anything happened in a workflow it may be quoted beside it.
const BESIDE_MICROS: u64 = 10_000_000;
/// How long an answer may be passed on.
const PASSED_ON_MICROS: u64 = 600_000_000;
