//! Plain HTTP requests that carry tool calls out: a model's tool call names a URL, and the agent then
//! asks for it. Which exchange that is, only the URL says, so it counts while the call has no result.
//!
//! - A tool call is carried out by **one** exchange, by whichever method: the first one for a URL that it
//!   names. One that failed may be made again, and one that was redirected goes on where it was sent.
//!   One that was made over MCP, or that a sub-agent works on, is carried out already.
//! - What nobody named is no step. To say so costs one look-up, and nothing where no call waits.
//! - Of several calls that name the same URL one is taken that the asking process belongs to, else one
//!   that waits not too long and has the URL as an argument of its own; of equal ones the oldest.
//! - The request may be seen before the end of the answer that it follows from: it is asked about
//!   again when it has ended. So its beginning counts.

use std::collections::{VecDeque, hash_map::Entry};

use crate::{
    call::{
        Confidence, EvidenceKind, Mention, SpreadMap, StepId, StepKind, Timestamp, ToolCall, Url,
    },
    limits,
};

use super::{
    Lineage, OpenedTool, Outcome, Placement, known::Known, processes::READING_MICROS, resolve,
    tools::Deed,
};

/// The tool calls of an agent that name URLs and wait for their results.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// Oldest first.
    calls: VecDeque<NamingCall>,
    /// In how many of them each URL is named.
    named: SpreadMap<Url, usize>,
    evicted: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct NamingCall {
    step: StepId,
    /// The model call that emitted it, and the process that made that.
    from: StepId,
    by: Option<u32>,
    /// When the model was asked, and when its answer had ended.
    asked: Timestamp,
    opened: Timestamp,
    deed: Deed,
    urls: Vec<Mention>,
    /// Whether a request carries it out, or has.
    is_taken: bool,
}

/// How a request fits a tool call that names its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    kinship: Kinship,
    is_fresh: bool,
    /// Whether the URL is all of an argument.
    is_whole: bool,
}

/// Who asks for the URL, the least likely one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kinship {
    /// A process that belongs to another tool call.
    Other,
    Unknown,
    /// The one that got the model's answer.
    Asker,
    /// One that belongs to this tool call.
    Own,
}

impl Lineage {
    /// Whether it may matter which URLs are asked for.
    #[must_use]
    pub fn awaits_fetches(&self) -> bool {
        !self.fetches.calls.is_empty()
    }

    /// Whether a tool call names this URL that may be carried out by a request for it.
    #[must_use]
    pub fn awaits_fetch(&self, url: Url) -> bool {
        self.fetches.named.contains_key(&url)
    }

    /// A URL is asked for, or was, from then on: says which tool call's step that is, if it is one's.
    /// It is to be finished by [`finish_tool`](Self::finish_tool).
    pub fn place_fetch(
        &mut self,
        pid: Option<u32>,
        began: Timestamp,
        url: Url,
    ) -> Option<Placement> {
        let (at, confidence) = self.fetched(pid, began, url)?;
        let call = self.fetches.calls.get_mut(at)?;
        call.is_taken = true;
        let (from, step) = (call.from, call.step);
        let seq = self.memory.find(from)?;
        let at = self.memory.step(seq)?.tools.iter().position(|call| call.step == step)?;
        let place = self.place_opened((seq, at), EvidenceKind::UrlFetched, confidence)?;
        Some(Placement { kind: StepKind::Tool, ..place })
    }

    /// The answer to what carries out the tool call, as which it was placed, names another place where
    /// the client may look on.
    pub fn redirect(&mut self, step: StepId, url: Url) {
        self.fetches.redirect(step, url);
    }

    /// Where the tool call is among those that wait that a request carries out, and how sure that is.
    fn fetched(&self, pid: Option<u32>, began: Timestamp, url: Url) -> Option<(usize, Confidence)> {
        if !self.awaits_fetch(url) {
            return None;
        }
        let own = pid.and_then(|pid| self.processes.tool_step(pid));
        let calls = self.fetches.calls.iter().enumerate();
        let fits = calls.filter_map(|(at, call)| {
            let is_open = !call.is_taken && call.may_begin(began) && self.waits(call);
            let named = call.urls.iter().find(|named| is_open && named.url == url)?;
            let rank = Rank {
                kinship: self.kinship(call, pid, own),
                is_fresh: began.since(call.opened).0 <= resolve::ABANDONED_MICROS,
                is_whole: named.is_whole,
            };
            Some((at, call, rank))
        });
        let fits: Vec<_> = fits.collect();
        let best = fits.iter().map(|(_, _, rank)| *rank).max()?;
        let mut bests = fits.iter().filter(|(_, _, rank)| *rank == best);
        let (at, first, _) = *bests.next()?;
        // Equal calls of one answer are as good as one: whichever is made, is made.
        let is_sole =
            bests.all(|(_, other, _)| (other.from, other.deed) == (first.from, first.deed));
        Some((at, best.confidence(is_sole)))
    }

    /// Whether the model has not been told the tool call's result, and no sub-agent works on that, who
    /// asks for what its own model names.
    fn waits(&self, call: &NamingCall) -> bool {
        let from = self.memory.find(call.from).and_then(|seq| self.memory.step(seq));
        let tool = from.and_then(|from| from.tools.iter().find(|tool| tool.step == call.step));
        tool.is_some_and(|tool| !tool.answered && tool.started.is_none())
    }

    /// Whether a process may carry out the tool call, which belongs to the tool call `own`, if to any.
    fn kinship(&self, call: &NamingCall, pid: Option<u32>, own: Option<StepId>) -> Kinship {
        let is_sub_agent = |own| self.stands_under(call.from) == Some(own);
        match own {
            Some(own) if own == call.step => Kinship::Own,
            _ if pid.is_some() && pid == call.by => Kinship::Asker,
            Some(own) if !is_sub_agent(own) => Kinship::Other,
            _ => Kinship::Unknown,
        }
    }

    /// The tool call that started the conversation which a model call is in.
    fn stands_under(&self, model: StepId) -> Option<StepId> {
        let (seq, at) = self.memory.step(self.memory.find(model)?)?.under?;
        let tool = self.memory.step(seq)?.tools.get(usize::from(at))?;
        Some(tool.step)
    }
}

impl Fetches {
    /// Tool calls that were forgotten to make room while they might still have been carried out.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> [usize; 2] {
        [self.calls.len(), self.named.len()]
    }

    /// An answer has opened tool calls: those of them that name URLs.
    pub(super) fn expect(&mut self, at: Timestamp, calls: Vec<NamingCall>) {
        while self.calls.front().is_some_and(|oldest| at.since(oldest.opened).0 > WAIT_MICROS) {
            self.forget_oldest();
        }
        for call in calls {
            for named in &call.urls {
                *self.named.entry(named.url).or_default() += 1;
            }
            self.calls.push_back(call);
        }
        while self.calls.len() > limits::FETCHING_CALLS_PER_AGENT {
            let waited = self.forget_oldest().is_some_and(|call| !call.is_taken);
            self.evicted += u64::from(waited);
        }
    }

    /// These tool calls have their results, or are carried out otherwise.
    pub(super) fn settle(&mut self, steps: &[StepId]) {
        if steps.is_empty() || self.calls.is_empty() {
            return;
        }
        let Self { calls, named, .. } = self;
        calls.retain(|call| {
            let goes_on = !steps.contains(&call.step);
            if !goes_on {
                unname(named, &call.urls);
            }
            goes_on
        });
    }

    /// What carried the tool call out has failed: it may be made again.
    pub(super) fn reopen(&mut self, step: StepId) {
        if let Some(call) = self.calls.iter_mut().find(|call| call.step == step) {
            call.is_taken = false;
        }
    }

    fn redirect(&mut self, step: StepId, url: Url) {
        let Self { calls, named, .. } = self;
        if let Some(call) = calls.iter_mut().find(|call| call.step == step && call.is_taken) {
            let to = Mention { url, is_whole: true };
            unname(named, &std::mem::replace(&mut call.urls, vec![to]));
            *named.entry(url).or_default() += 1;
            call.is_taken = false;
        }
    }

    fn forget_oldest(&mut self) -> Option<NamingCall> {
        let oldest = self.calls.pop_front()?;
        unname(&mut self.named, &oldest.urls);
        Some(oldest)
    }
}

impl NamingCall {
    /// Whether what began then may follow from it.
    fn may_begin(&self, began: Timestamp) -> bool {
        let waited = began.since(self.opened).0;
        let ahead = self.opened.since(began).0;
        began >= self.asked && ahead <= READING_MICROS && waited <= WAIT_MICROS
    }
}

impl Rank {
    fn confidence(self, is_sole: bool) -> Confidence {
        // A URL in other text may be there for another reason than to be asked for.
        let meant = if self.is_whole || self.kinship == Kinship::Own { 0.95 } else { 0.85 };
        let kin = if self.kinship == Kinship::Other { 0.5 } else { 1.0 };
        let fresh = if self.is_fresh { 1.0 } else { 0.75 };
        let doubt = if is_sole { 1.0 } else { 0.5 };
        Confidence::new(meant * kin * fresh * doubt)
    }
}

/// The tool calls of an answer that has ended, as far as they name URLs.
pub(super) fn naming(
    known: &Known,
    at: Timestamp,
    tools: &[OpenedTool],
    outcome: &Outcome,
) -> Vec<NamingCall> {
    let calls = tools.iter().zip(&outcome.answer.tool_calls);
    let naming = calls.filter(|(_, asked)| !asked.urls.is_empty());
    let call = |(tool, asked): (&OpenedTool, &ToolCall)| NamingCall {
        step: tool.step,
        from: known.id,
        by: known.pid,
        asked: known.asked_at,
        opened: at,
        deed: super::tools::deed(0, &asked.name, asked.arguments),
        urls: asked.urls.clone(),
        is_taken: false,
    };
    naming.map(call).collect()
}

/// They are named once less.
fn unname(named: &mut SpreadMap<Url, usize>, urls: &[Mention]) {
    for mention in urls {
        if let Entry::Occupied(mut times) = named.entry(mention.url) {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
    }
}

/// How long after its answer a tool call may begin to be carried out.
const WAIT_MICROS: u64 = 600_000_000;
