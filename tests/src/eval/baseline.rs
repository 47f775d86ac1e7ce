//! What the engine is compared with: simple ways to put calls together, on the same events.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher as _},
};

use turnpike::{
    call::{Message, Prompt, Role, StepKind},
    dialect::What,
    lineage::Outcome,
};

use super::{
    guess::{Guess, Guesser, Place},
    read::{Event, Events, Happening},
    record::StepRef,
};

/// A simple way. In each of them a call whose history holds no answer opens a workflow; any other one
/// goes on from one earlier call, or from its tool calls if it brings results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// From the last call of the agent that has ended.
    ArrivalOrder,
    /// From the last one of the process.
    Process,
    /// From the last one of the session: what the client calls it, else the instructions and the
    /// first question.
    SessionHash,
    /// From the last one whose question and answer begin its history, the longest such counting.
    LongestPrefix,
}

pub const ALL: [Baseline; 4] =
    [Baseline::ArrivalOrder, Baseline::SessionHash, Baseline::LongestPrefix, Baseline::Process];

impl Guesser for Baseline {
    fn name(&self) -> &'static str {
        match self {
            Self::ArrivalOrder => "arrival order",
            Self::Process => "process only",
            Self::SessionHash => "session hash",
            Self::LongestPrefix => "longest prefix",
        }
    }

    fn guess(&self, events: &Events) -> Guess {
        let mut guesses = Guesses { way: *self, latest: HashMap::new(), guess: Guess::new() };
        let mut prompts = BTreeMap::new();
        for event in &events.events {
            match &event.what {
                Happening::Asked(What::Model(prompt)) => {
                    guesses.asked(event, prompt);
                    prompts.insert(event.exchange, prompt);
                }
                Happening::Asked(What::Tool(_)) | Happening::Fetched(..) => guesses.called(event),
                Happening::Ended(outcome) => {
                    guesses.ended(event, prompts.remove(&event.exchange), outcome);
                }
            }
        }
        guesses.guess
    }
}

struct Guesses {
    way: Baseline,
    /// The last call that ended under a key.
    latest: HashMap<u64, Latest>,
    guess: Guess,
}

#[derive(Clone, Copy)]
struct Latest {
    exchange: u64,
    tools: usize,
}

impl Guesses {
    fn asked(&mut self, event: &Event, prompt: &Prompt) {
        let answers = prompt.messages.iter().rposition(|message| message.role == Role::Assistant);
        let from = answers.and_then(|_| self.found(event, prompt));
        let before = from.and_then(|from| Some((from, self.guess.get(&from.exchange)?)));
        let place = match before {
            Some((from, before)) => Place {
                session: before.session,
                workflow: before.workflow,
                parents: parents(from, prompt, answers.unwrap_or(0)),
                ..opening(event, StepKind::Planner)
            },
            None => opening(event, StepKind::Planner),
        };
        self.guess.insert(event.exchange, place);
    }

    /// A tool call that the agent makes: of the last call that is known, if there is a key for it.
    fn called(&mut self, event: &Event) {
        let key = match self.way {
            Baseline::ArrivalOrder => hash(&event.agent),
            Baseline::Process => hash(&(event.agent, event.pid)),
            Baseline::SessionHash | Baseline::LongestPrefix => 0,
        };
        let from = self.latest.get(&key).copied();
        let before = from.and_then(|from| Some((from, self.guess.get(&from.exchange)?)));
        let place = match before {
            Some((from, before)) => Place {
                session: before.session,
                workflow: before.workflow,
                parents: vec![StepRef::exchange(from.exchange)],
                ..opening(event, StepKind::Tool)
            },
            None => opening(event, StepKind::Tool),
        };
        self.guess.insert(event.exchange, place);
    }

    fn ended(&mut self, event: &Event, prompt: Option<&Prompt>, outcome: &Outcome) {
        let Some(prompt) = prompt else { return };
        if outcome.fault().is_some() {
            return;
        }
        let tools = outcome.answer.tool_calls.len();
        if let (0, Some(place)) = (tools, self.guess.get_mut(&event.exchange)) {
            place.kind = StepKind::Final;
        }
        let latest = Latest { exchange: event.exchange, tools };
        if self.way != Baseline::LongestPrefix {
            self.latest.insert(self.key(event, prompt), latest);
            return;
        }
        for choice in &outcome.answer.choices {
            let whole = prompt.messages.iter().chain([choice]);
            self.latest.insert(beginnings(event, whole).last().unwrap_or(0), latest);
        }
    }

    fn found(&self, event: &Event, prompt: &Prompt) -> Option<Latest> {
        if self.way != Baseline::LongestPrefix {
            return self.latest.get(&self.key(event, prompt)).copied();
        }
        let beginnings: Vec<u64> = beginnings(event, prompt.messages.iter()).collect();
        beginnings.iter().rev().find_map(|key| self.latest.get(key)).copied()
    }

    fn key(&self, event: &Event, prompt: &Prompt) -> u64 {
        match self.way {
            Baseline::Process => hash(&(event.agent, event.pid)),
            Baseline::SessionHash => hash(&(event.agent, session(prompt))),
            Baseline::ArrivalOrder | Baseline::LongestPrefix => hash(&event.agent),
        }
    }
}

fn parents(from: Latest, prompt: &Prompt, answer: usize) -> Vec<StepRef> {
    let tail = prompt.messages.get(answer..).unwrap_or_default();
    let results = tail.iter().filter(|message| is_result(message)).count();
    let calls: Vec<StepRef> =
        (0..from.tools.min(results)).map(|call| StepRef::call(from.exchange, call)).collect();
    if calls.is_empty() { vec![StepRef::exchange(from.exchange)] } else { calls }
}

fn is_result(message: &Message) -> bool {
    message.role == Role::Tool || message.tool_result.is_some()
}

fn opening(event: &Event, kind: StepKind) -> Place {
    let own = u128::from(event.exchange);
    Place { session: own, workflow: own, parents: Vec::new(), kind, retry: None, confidence: None }
}

/// What the client calls its session, else what nearly always stays the same in it.
fn session(prompt: &Prompt) -> u64 {
    let names = ["session", "thread", "prompt_cache_key", "user_id"];
    let mut signals = prompt.terms.signals.iter();
    if let Some(said) = signals.find(|signal| names.iter().any(|name| signal.name.contains(name))) {
        return hash(&said.value);
    }
    let first = prompt.messages.iter().position(|message| message.role == Role::User);
    let head = prompt.messages.iter().take(first.map_or(0, |at| at + 1));
    hash(&head.map(|message| message.hash).collect::<Vec<u128>>())
}

/// A hash of each beginning of the conversation.
fn beginnings<'a>(
    event: &Event,
    messages: impl Iterator<Item = &'a Message>,
) -> impl Iterator<Item = u64> {
    let salt = hash(&event.agent);
    messages.scan(salt, |key, message| {
        *key = hash(&(*key, message.hash));
        Some(*key)
    })
}

/// The same in every run.
fn hash<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
