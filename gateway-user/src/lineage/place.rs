//! Where a model call is put: in the place of a try before it, after another step, or first in a
//! conversation. What leads there is found by `resolve` and `values`.

use crate::call::{
    Confidence, Evidence, EvidenceKind, Prompt, Retry, RetryReason, SessionId, SideEffects, Signal,
    StepId, StepKind, Timestamp, TraceId, WorkflowId,
};

use super::{
    Correction, Lineage, Placement,
    history::History,
    known::{Known, Part, Phase},
    memory::Seq,
    reports,
    resolve::{self, Link, Repeat},
    returned::{Started, Under},
    sessions::Opened,
    values::{Choice, Passed, Source},
};

/// Where a call is put, what part it plays there, and how many of its messages that accounts for.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) placement: Placement,
    pub(super) part: Part,
    /// The tool call that started the conversation which it is in, if one did.
    pub(super) under: Option<Under>,
    /// How sure it is that it belongs to its workflow.
    pub(super) sure: Confidence,
    pub(super) covers: usize,
}

/// Which of two calls is a fork of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fork {
    This,
    Other(Seq),
}

/// A call that nothing is known to go before.
#[derive(Debug)]
pub(super) struct First<'a> {
    pub(super) at: Timestamp,
    pub(super) prompt: &'a Prompt,
    pub(super) history: &'a History<'a>,
    /// The conversation has begun where it was not seen.
    pub(super) begun_elsewhere: bool,
    /// The session that the client names.
    pub(super) named: Option<Opened>,
    /// The process that has asked.
    pub(super) pid: Option<u32>,
}

impl Lineage {
    /// In the place of the call's first try.
    pub(super) fn put_again(
        &mut self,
        repeat: &Repeat,
        model: Option<u64>,
        history: &History<'_>,
    ) -> Option<Put> {
        let tried = self.memory.step_mut(repeat.step)?;
        tried.retried = true;
        let failure = match tried.phase {
            Phase::Failed(reason) => reason,
            Phase::Answered { .. } => RetryReason::ContentInvalid,
            Phase::InFlight => RetryReason::ClientAbort,
        };
        let retry = Retry {
            of_step_id: tried.first_try.unwrap_or(tried.id),
            reason: if tried.model == model { failure } else { RetryReason::FallbackModel },
            attempt: tried.attempt.saturating_add(1),
            side_effects: SideEffects::default(),
            replayed: false,
        };
        let spent_tries = tried.spent_tries.saturating_add(tried.may_have_effects().into());
        let (from, part, under) = (tried.id, tried.part, tried.under);
        let confidence = least(repeat.confidence, tried.confidence);
        let (workflow, parents) = (tried.workflow, tried.parents.clone());
        let because = Evidence::new(EvidenceKind::SameRequest, confidence, Some(from));
        let mut placement = self.within(workflow, confidence, vec![because])?;
        placement.evidence.extend(repeat.traced.then_some(in_trace(confidence, from)));
        placement.parents = parents;
        placement.retry = Some(retry);
        placement.spent_tries = spent_tries;
        Some(Put { placement, part, under, sure: confidence, covers: history.len() })
    }

    /// After the step that the call's history leads to.
    pub(super) fn put_after(
        &mut self,
        link: &Link,
        prompt: &Prompt,
        history: &History<'_>,
    ) -> Option<Put> {
        let known = self.memory.step(link.step)?;
        if known.probes {
            let put = self.put_behind(&[link.step], EvidenceKind::ResponseId, 0.95)?;
            return Some(Put { covers: link.covers, ..put });
        }
        let (from, workflow, part) = (known.id, known.workflow, known.part);
        let under = known.under;
        let confidence = least(link.confidence(), known.confidence);
        let is_new_wish =
            known.is_final() && part == Part::Main && self.wishes(link, prompt, history);
        let results = if link.brings_results() {
            resolve::returned(&known.tools, history.after(link.covers))
        } else {
            Vec::new()
        };
        let (parents, answered) = self.memory.answer(link.step, &results);
        let (returned, put_right) = self.take_back(link.step, &results);
        let forked = self.forked(link, history, !parents.is_empty());
        let part = if forked == Some(Fork::This) { Part::Nested } else { part };
        self.memory.go_on(link.step);
        // It was not the last one that works on the wish.
        let corrections = if is_new_wish { None } else { self.passes_on(link.step) };
        let mut placement = self.within(workflow, confidence, link.evidence(from))?;
        if is_new_wish {
            (placement.workflow, placement.trace) = (self.ids.workflow(), self.ids.trace());
            placement.opens_workflow = true;
        }
        placement.parents = if parents.is_empty() { vec![from] } else { parents };
        placement.answered = answered;
        placement.evidence.extend(returned);
        placement.corrections.extend(corrections.into_iter().chain(put_right));
        if let Some(Fork::Other(fork)) = forked {
            placement.corrections.extend(self.recast(fork, |step| step.part = Part::Nested));
        }
        Some(Put { placement, part, under, sure: confidence, covers: link.covers })
    }

    /// Whether the user wants something, after that answer: not if what is said in the user's place
    /// comes from a tool or from an agent.
    fn wishes(&self, link: &Link, prompt: &Prompt, history: &History<'_>) -> bool {
        let says = prompt.terms.latest.as_deref().or(prompt.wish.as_deref());
        history.user_speaks_after(link.covers)
            && !says.is_some_and(reports::is_report)
            && !self.memory.hears_of_sub_agent(link.step, prompt)
    }

    /// Of two calls that go on with the same results, the one to which the user says more: an agent
    /// that was started with all that another one knows, while that one works on.
    fn forked(&mut self, link: &Link, history: &History<'_>, has_results: bool) -> Option<Fork> {
        let this = self.memory.next();
        let step =
            self.memory.step_mut(link.step).filter(|step| has_results && !step.is_final())?;
        if !history.user_speaks_after(link.covers) {
            return step.steered.take().map(Fork::Other);
        }
        if step.continued {
            return Some(Fork::This);
        }
        step.steered = Some(this);
        None
    }

    /// As the first call of a conversation: one that another step began, or that stands beside
    /// another one; else a workflow of its own.
    pub(super) fn put_first(&mut self, first: &First<'_>) -> Put {
        let probes = first.probes();
        let may_be_behind = !probes && self.memory.was_probed(first.at);
        let put = if may_be_behind { self.put_warmed(first) } else { None };
        let put = put.or_else(|| self.put_passed(first));
        let put = put.or_else(|| self.put_in_tool(first.pid));
        let put = put.or_else(|| if may_be_behind { self.put_probed(first) } else { None });
        if put.is_none()
            && let Some(put) = self.put_traced(first)
        {
            return put;
        }
        let mut put = put.unwrap_or_else(|| self.put_alone(first));
        if probes {
            put.part = Part::Aside;
        }
        match put.part {
            Part::Nested => self.manners.note(first.history.kind, true),
            Part::Main if put.placement.opens_workflow && !first.begun_elsewhere => {
                self.manners.note(first.history.kind, false);
            }
            Part::Main | Part::Aside => {}
        }
        put
    }

    /// The same call was made before, only so that its prompt is known.
    fn put_warmed(&mut self, first: &First<'_>) -> Option<Put> {
        let asked = self.memory.asked.get(first.history.whole());
        let warmed = asked.filter(|&seq| first.may_be_behind(self.memory.step(seq)));
        let warmed: Vec<Seq> = warmed.collect();
        self.put_behind(&warmed, EvidenceKind::SameRequest, 0.9)
    }

    /// Before it was tried whether anything works at all: in the session that is named, in the same
    /// trace, or by the same instructions a moment ago.
    fn put_probed(&mut self, first: &First<'_>) -> Option<Put> {
        let named = first.named.and_then(|named| self.memory.find(named.by));
        let named = named.filter(|&seq| first.may_be_behind(self.memory.step(seq)));
        if named.is_some() {
            return self.put_behind(named.as_slice(), EvidenceKind::SessionId, 0.9);
        }
        // Who names a session would have named this one.
        if names_session(first.prompt) {
            return None;
        }
        let traced = first.history.trace.and_then(|trace| self.memory.alone_in(trace));
        let traced = traced.into_iter().flatten();
        let traced = traced.filter(|(_, step)| first.may_be_behind(Some(step)));
        let traced: Vec<Seq> = traced.map(|(seq, _)| seq).collect();
        if let [_] = *traced {
            return self.put_behind(&traced, EvidenceKind::TraceId, 0.8);
        }
        let lately = self.memory.lately(first.at, PROBED_MICROS);
        let says_nothing = |step: Option<&Known>| step.is_some_and(|step| step.values.is_empty());
        let probes = lately.filter(|&seq| {
            let step = self.memory.step(seq);
            first.may_be_behind(step) && says_nothing(step)
        });
        let probes: Vec<Seq> = probes.collect();
        if probes.len() == 1 { self.put_behind(&probes, EvidenceKind::Time, 0.7) } else { None }
    }

    /// In the workflow of one of these, which prepared it.
    fn put_behind(&mut self, prepared: &[Seq], kind: EvidenceKind, confidence: f32) -> Option<Put> {
        let &seq = prepared.first()?;
        let known = self.memory.step(seq)?;
        let confidence = if prepared.len() == 1 { confidence } else { confidence / 2.0 };
        let confidence = least(Confidence::new(confidence), known.confidence);
        let (workflow, because) = (known.workflow, Evidence::new(kind, confidence, Some(known.id)));
        let placement = self.within(workflow, confidence, vec![because])?;
        self.memory.go_on(seq);
        Some(Put { placement, part: Part::Main, under: None, sure: confidence, covers: 0 })
    }

    /// What it begins with came from another step.
    fn put_passed(&mut self, first: &First<'_>) -> Option<Put> {
        let serves_users = self.manners.serves_users(first.history.kind);
        let passed = self.memory.passed(first.at, first.prompt, first.history, serves_users)?;
        let mut put = match passed.from {
            Source::Call(call) => self.put_nested(&passed, call),
            Source::Answer => self.put_on(first, &passed),
            Source::User => self.put_beside(first, &passed),
        }?;
        if passed.choice == Choice::Traced {
            let from = put.placement.evidence.first().and_then(|it| it.from_step_id);
            put.placement.evidence.extend(from.map(|from| in_trace(put.sure, from)));
        }
        Some(put)
    }

    /// A tool call said what to do.
    fn put_nested(&mut self, passed: &Passed, at: u16) -> Option<Put> {
        let this = self.memory.next();
        let known = self.memory.step_mut(passed.step)?;
        let under = Some((passed.step, at));
        let call = known.tools.get_mut(usize::from(at))?;
        let again = call.started.replace(Started::by(this)).is_some();
        let (workflow, parent) = (known.workflow, call.step);
        let confidence = passed.choice.confidence(if again { 0.8 } else { 0.95 });
        let confidence = least(confidence, known.confidence);
        let because = Evidence::new(EvidenceKind::ArgumentPassed, confidence, Some(parent));
        let mut placement = self.within(workflow, confidence, vec![because])?;
        placement.parents = vec![parent];
        Some(Put { placement, part: Part::Nested, under, sure: confidence, covers: 0 })
    }

    /// A tool call said what to do to an agent that knows what was said before.
    pub(super) fn put_fork(&mut self, passed: &Passed, history: &History<'_>) -> Option<Put> {
        let Source::Call(call) = passed.from else { return None };
        Some(Put { covers: history.len(), ..self.put_nested(passed, call)? })
    }

    /// It goes on with what another step answered, or judges it.
    fn put_on(&mut self, first: &First<'_>, passed: &Passed) -> Option<Put> {
        let known = self.memory.step(passed.step)?;
        let (workflow, part, from) = (known.workflow, known.part, known.id);
        let under = known.under;
        let confidence = least(passed.choice.confidence(0.9), known.confidence);
        let because = Evidence::new(EvidenceKind::AnswerPassed, confidence, Some(from));
        let is_aside = first.is_aside(known);
        // The same agent goes on: with a summary of what was said so far.
        let sums_up = known.instructions == first.history.instructions && !known.parents.is_empty();
        let mut placement = self.within(workflow, confidence, vec![because])?;
        if is_aside {
            return Some(Put {
                placement,
                part: Part::Aside,
                under: None,
                sure: confidence,
                covers: 0,
            });
        }
        let others = passed.beside.iter().filter_map(|&seq| self.memory.step(seq));
        placement.parents = [from].into_iter().chain(others.map(|step| step.id)).collect();
        self.memory.go_on(passed.step);
        placement.corrections.extend(if sums_up {
            self.recast(passed.step, |step| step.part = Part::Aside)
        } else {
            self.passes_on(passed.step)
        });
        for &seq in &passed.beside {
            placement.corrections.extend(self.passes_on(seq));
        }
        Some(Put { placement, part, under, sure: confidence, covers: 0 })
    }

    /// Other instructions are given for what the user of a running workflow says.
    fn put_beside(&mut self, first: &First<'_>, passed: &Passed) -> Option<Put> {
        let known = self.memory.step_mut(passed.step)?;
        known.quoted = true;
        let (workflow, from, under) = (known.workflow, known.id, known.under);
        let confidence = least(passed.choice.confidence(0.85), known.confidence);
        let because = Evidence::new(EvidenceKind::WishQuoted, confidence, Some(from));
        let part = if first.is_aside(known) { Part::Aside } else { known.part };
        // It may have been the other one that stands beside.
        let was_aside = known.says_little || (first.offers_tools() && !known.offers_tools);
        let mut placement = self.within(workflow, confidence, vec![because])?;
        if was_aside && part == Part::Main {
            let recast = self.recast(passed.step, |step| step.part = Part::Aside);
            placement.corrections.extend(recast);
        }
        Some(Put { placement, part, under, sure: confidence, covers: 0 })
    }

    /// Nothing is known to lead there.
    fn put_alone(&mut self, first: &First<'_>) -> Put {
        let history = first.history;
        let is_twin = self.memory.asked.get(history.whole()).any(|seq| {
            self.memory.step(seq).is_some_and(|it| it.instructions == history.instructions)
        });
        let confidence = match (is_twin, first.begun_elsewhere) {
            (true, _) => Confidence::new(0.6),
            (false, true) => Confidence::new(0.7),
            (false, false) => Confidence::new(0.95),
        };
        let mut evidence = vec![Evidence::new(EvidenceKind::NewHistory, confidence, None)];
        let named = first.named;
        evidence.extend(
            named.map(|it| Evidence::new(EvidenceKind::SessionId, confidence, Some(it.by))),
        );
        let workflow = self.ids.workflow();
        let session = named.map_or_else(|| self.ids.session(), |named| named.session);
        let trace = self.ids.trace();
        let step = self.step_in((workflow, session, trace), confidence, evidence);
        let placement = Placement { opens_workflow: true, ..step };
        // It is in what it opens.
        Put { placement, part: Part::Main, under: None, sure: Confidence::CERTAIN, covers: 0 }
    }

    /// Another step goes on from what this one answered, so that it was not the last.
    fn passes_on(&mut self, seq: Seq) -> Option<Correction> {
        self.recast(seq, |step| step.passed_on = true)
    }

    /// A step of that workflow, without parents so far.
    pub(super) fn within(
        &mut self,
        workflow: WorkflowId,
        confidence: Confidence,
        evidence: Vec<Evidence>,
    ) -> Option<Placement> {
        let flow = self.memory.flow(workflow)?;
        let place = (workflow, flow.session, flow.trace);
        Some(self.step_in(place, confidence, evidence))
    }

    /// The same, of one that may not be known yet.
    fn step_in(
        &mut self,
        (workflow, session, trace): (WorkflowId, SessionId, TraceId),
        confidence: Confidence,
        evidence: Vec<Evidence>,
    ) -> Placement {
        Placement {
            workflow,
            session,
            trace,
            step: self.ids.step(),
            parents: Vec::new(),
            opens_workflow: false,
            depth: 1,
            sub_plan: None,
            under: None,
            kind: StepKind::Planner,
            confidence,
            evidence,
            retry: None,
            spent_tries: 0,
            answered: Vec::new(),
            corrections: Vec::new(),
        }
    }
}

impl First<'_> {
    /// Whether next to nothing is to be generated.
    pub(super) fn probes(&self) -> bool {
        probes(self.prompt)
    }

    fn offers_tools(&self) -> bool {
        self.prompt.tools_hash.is_some()
    }

    /// Whether that step may have prepared this call.
    fn may_be_behind(&self, step: Option<&Known>) -> bool {
        step.is_some_and(|step| {
            step.probes
                && !step.continued
                && step.instructions == self.history.instructions
                && resolve::is_fresh(self.at, step)
        })
    }

    /// Whether it only looks at what that step is about: it may say little, or do less.
    pub(super) fn is_aside(&self, step: &Known) -> bool {
        let is_short = says_little(self.prompt) && !step.says_little;
        is_short || (step.offers_tools && !self.offers_tools())
    }
}

/// Whether next to nothing is to be generated.
pub(super) fn probes(prompt: &Prompt) -> bool {
    prompt.terms.prewarms || prompt.terms.max_output.is_some_and(|most| most <= 1)
}

/// Whether its client says which session it is of.
pub(super) fn names_session(prompt: &Prompt) -> bool {
    prompt.terms.signals.iter().any(Signal::names_session)
}

/// That the trace tells a step from others that are equal.
const fn in_trace(confidence: Confidence, from: StepId) -> Evidence {
    Evidence::new(EvidenceKind::TraceId, confidence, Some(from))
}

/// Whether the answer may have no more than a few words.
pub(super) fn says_little(prompt: &Prompt) -> bool {
    prompt.terms.max_output.is_some_and(|most| most <= LITTLE_TOKENS)
}

/// A step is in its workflow no surer than the one that led it there.
pub(super) fn least(one: Confidence, other: Confidence) -> Confidence {
    if other < one { other } else { one }
}

/// Tokens of a title, or of a yes or no.
const LITTLE_TOKENS: u64 = 64;
/// How long a client waits, at most, after it has tried whether anything works.
const PROBED_MICROS: u64 = 100_000;
