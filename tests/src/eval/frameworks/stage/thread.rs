//! One conversation of a session, and how far it has come.

use serde_json::Value;

use super::{
    super::plot::{Act, Fault, Part, Scene},
    End, Wrong,
};
use crate::{
    eval::record::{Retry, StepRef},
    model_server::{
        answer::Call,
        conversation::{Conversation, Said},
    },
};

/// The user's with the main agent, or a sub-agent's.
#[derive(Debug)]
pub(super) struct Thread {
    parts: Vec<Part>,
    /// None: the user has started it.
    from: Option<Origin>,
    pub(super) tries: Vec<Try>,
    /// Those that were given, oldest first.
    pub(super) answers: Vec<String>,
}

/// What has started a sub-agent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// The tool call.
    pub(super) step: StepRef,
    /// The wish that it is for.
    pub(super) wish: u64,
    /// Whether it is told all that was said before.
    pub(super) forks: bool,
}

/// How much of a conversation a request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which of the thread's parts it is about, from 0.
    part: usize,
    /// How often the model has called tools, over all parts.
    called: usize,
    /// How often it was told that something is done that it had launched.
    heard: usize,
}

#[derive(Debug)]
pub(super) struct Try {
    pub(super) place: Place,
    pub(super) exchange: u64,
    pub(super) parents: Vec<StepRef>,
    pub(super) calls: Vec<Call>,
    pub(super) blunders: bool,
    /// What ends the part, if it does.
    pub(super) answer: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Answered,
    /// For this reason, as a retry gives it.
    Failed(&'static str),
}

/// What a request follows, and what it tries again.
type Follows = (Vec<StepRef>, Option<Retry>);

/// The thread that a conversation is, and its place there: the last thing that somebody is known to
/// have been told tells.
pub(super) fn find(threads: &[Thread], conversation: &Conversation) -> Option<(usize, Place)> {
    let said = conversation.said();
    let told = said.iter().rev().find_map(|said| {
        let Said::Wish(text) = said else { return None };
        // A newer thread may have been told the same as an old one, which has ended then.
        let mut found = threads.iter().enumerate().rev().filter_map(|(at, thread)| {
            Some((at, thread.parts.iter().position(|part| is_told(text, &part.text))?))
        });
        found.next()
    });
    let (at, part) = told?;
    let calls = |said: &&Said| matches!(said, Said::Called(ids) if !ids.is_empty());
    let is_notice =
        |said: &&Said| matches!(said, Said::Wish(text) if text.contains("<task-notification>"));
    let called = said.iter().filter(calls).count();
    let heard = said.iter().filter(is_notice).count();
    Some((at, Place { part, called, heard }))
}

fn is_told(text: &str, part: &str) -> bool {
    text.trim() == part || text.trim_end().ends_with(&format!("\n{part}"))
}

impl Thread {
    pub(super) const fn new(parts: Vec<Part>, from: Option<Origin>) -> Self {
        Self { parts, from, tries: Vec::new(), answers: Vec::new() }
    }

    /// The turn that the model is to take there.
    pub(super) fn scene(&self, place: Place) -> Option<Scene> {
        let part = self.parts.get(place.part)?;
        let is_before =
            |it: &&Try| it.place.part < place.part && it.is_answered() && !it.calls.is_empty();
        let before = self.tries.iter().filter(is_before).count();
        // What was called before a fork is not its own.
        let forks = self.from.is_some_and(|from| from.forks);
        let base = self.tries.first().map_or(place.called, |first| first.place.called);
        let at = place.called.checked_sub(before + if forks { base } else { 0 })?;
        match part.scenes.last()?.act {
            Act::Launch(ref launched) if at == part.scenes.len() => {
                let act = if place.heard < launched.len() { Act::Wait } else { Act::Answer };
                Some(Scene { act, faults: Vec::new() })
            }
            _ => part.scenes.get(at).cloned(),
        }
    }

    /// The id of the call that has launched an agent, of those that were launched last.
    pub(super) fn launched(&self, which: usize) -> Option<&str> {
        let launches = |it: &&Try| it.calls.iter().any(|call| call.name == "spawn_agent");
        let last = self.tries.iter().rev().find(launches)?;
        last.calls.get(which).map(|call| call.id.as_str())
    }

    /// How often that was tried.
    pub(super) fn tries_at(&self, place: Place) -> usize {
        self.tries.iter().filter(|it| it.place == place).count()
    }

    /// The wish of the session that it is part of, from 0.
    pub(super) fn wish_of(&self, place: Place) -> u64 {
        self.from.map_or(place.part as u64, |from| from.wish)
    }

    /// What a request at this place follows.
    pub(super) fn follows(&self, place: Place, said: &Conversation) -> Result<Follows, Wrong> {
        let mut tries = self.tries.iter().filter(|it| it.place == place);
        if let Some(first) = tries.next() {
            let last = tries.next_back().unwrap_or(first);
            let reason = last.why_again()?;
            let retry = Retry { of: first.exchange, reason: reason.to_owned() };
            return Ok((first.parents.clone(), Some(retry)));
        }
        let Some(last) = self.tries.last() else {
            let may_be_later = self.from.is_some_and(|from| from.forks);
            let is_first = place.part == 0 && (place.called == 0 || may_be_later);
            let from = self.from.map(|from| from.step);
            return if is_first { Ok((from.into_iter().collect(), None)) } else { Err(odd(place)) };
        };
        if !last.is_answered() {
            return Err(format!("it goes on from {}, which has no answer", last.exchange));
        }
        let calls = usize::from(!last.calls.is_empty());
        let called = last.place.called + calls;
        let next =
            Place { part: last.place.part + usize::from(last.answer.is_some()), called, ..place };
        let hears = place.heard > last.place.heard;
        if place != next || place.heard < last.place.heard {
            return Err(odd(place));
        }
        if last.answer.is_some() || (last.calls.is_empty() && hears) {
            return Ok((vec![StepRef::exchange(last.exchange)], None));
        }
        last.expect_results(said)?;
        let parents = (0..last.calls.len()).map(|at| StepRef::call(last.exchange, at)).collect();
        let retry = last
            .blunders
            .then(|| Retry { of: last.exchange, reason: "content_invalid".to_owned() });
        Ok((parents, retry))
    }

    /// The try whose answer has called what, and has no results yet.
    pub(super) fn open(&self) -> Option<&Try> {
        self.tries.last().filter(|it| it.is_answered() && it.answer.is_none())
    }

    pub(super) fn ended(&mut self, exchange: u64, end: End) {
        let Some(it) = self.tries.iter_mut().find(|it| it.exchange == exchange) else { return };
        it.outcome = match end {
            End::Whole => Outcome::Answered,
            End::Faulty(fault) => Outcome::Failed(reason(fault)),
            End::GaveUp => Outcome::Failed("timeout"),
            End::Aborted => Outcome::Failed("client_abort"),
        };
        if it.is_answered() {
            self.answers.extend(it.answer.clone());
        }
    }
}

impl Try {
    pub(super) fn calls(&self, name: &str, arguments: &Value) -> bool {
        self.calls.iter().any(|call| call.name == name && call.arguments == *arguments)
    }

    fn is_answered(&self) -> bool {
        self.outcome == Outcome::Answered
    }

    fn why_again(&self) -> Result<&'static str, Wrong> {
        match (self.outcome, self.fault) {
            (Outcome::Failed(reason), _) => Ok(reason),
            // That the client has gone may be noticed later than that it comes back.
            (Outcome::Open, Some(fault)) => Ok(reason(fault)),
            (outcome, None) => Err(format!("{} is asked again, though {outcome:?}", self.exchange)),
            (Outcome::Answered, Some(fault)) => Err(format!("answered in spite of {fault:?}")),
        }
    }

    /// Its calls, and no others, must be the last ones of the conversation.
    fn expect_results(&self, said: &Conversation) -> Result<(), Wrong> {
        let mut called = said.said().iter().rev().filter_map(|said| match said {
            Said::Called(ids) if !ids.is_empty() => Some(ids),
            _ => None,
        });
        let last = called.next();
        let has_all = last.is_some_and(|last| {
            last.len() == self.calls.len() && self.calls.iter().all(|call| last.contains(&call.id))
        });
        has_all.then_some(()).ok_or_else(|| format!("{last:?}, after {:?}", self.calls))
    }
}

fn odd(place: Place) -> Wrong {
    format!("nothing leads to {place:?}")
}

/// As traces name it.
fn reason(fault: Fault) -> &'static str {
    match fault {
        Fault::Status(429) => "rate_limit",
        Fault::Status(408) | Fault::Silence => "timeout",
        Fault::Status(_) => "overloaded",
        Fault::Reset => "conn_reset",
        Fault::Truncated => "stream_truncated",
    }
}
