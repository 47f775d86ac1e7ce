//! Who plays the model, and so knows the truth: every session has a key of its own, which is no part of
//! the record, and a plot; within a session it is told by what the user or a sub-agent was told to do,
//! which was made up here, which conversation a request is of, and how far it has come. What can't be
//! explained so is an error, and never a guess.

mod cast;
mod thread;

use std::collections::BTreeMap;

use serde_json::Value;
use turnpike::call::StepKind;

use self::{
    cast::{How, Tool},
    thread::{Origin, Outcome, Place, Thread, Try},
};
use super::{
    plot::{Act, Fault, Part, Plot, Scene},
    words,
};
use crate::{
    eval::{
        generate::random::Random,
        record::{Retry, StepRef, Truth},
    },
    model_server::{
        answer::{self, Answer, Call},
        api::Api,
        conversation::Conversation,
    },
};

/// All sessions.
#[derive(Debug)]
pub(super) struct Stage {
    sessions: BTreeMap<String, Session>,
    /// Of exchanges so far.
    exchanges: u64,
    seed: u64,
    ids: Ids,
}

/// What the ids of tool calls are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    Unique,
    /// `call_0` is the first of every answer.
    Restarting,
}

#[derive(Debug)]
struct Session {
    number: u64,
    plot: Plot,
    random: Random,
    threads: Vec<Thread>,
    /// Where the threads of its exchanges are.
    asked: BTreeMap<u64, usize>,
}

/// What is to be done about a request.
#[derive(Debug)]
pub(super) struct Cue {
    pub(super) exchange: u64,
    pub(super) truth: Truth,
    pub(super) answer: Answer,
    /// The ids of the tool calls in it, in order.
    pub(super) calls: Vec<String>,
    pub(super) fault: Option<Fault>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// As the fault would have it.
    Faulty(Fault),
    /// The client went: before or in the answer.
    GaveUp,
    Aborted,
}

/// What is wrong with a request, or with what we believe.
pub(super) type Wrong = String;

impl Stage {
    /// The key of each session is that of its number.
    pub(super) fn new(plots: Vec<Plot>, seed: u64, ids: Ids) -> Self {
        let number = |at: usize| at as u64 + 1;
        let session = |(at, plot)| {
            let random = Random::new(seed ^ (number(at) << 20));
            (key(number(at)), Session::new(number(at), plot, random))
        };
        let sessions = plots.into_iter().enumerate().map(session).collect();
        Self { sessions, exchanges: 0, seed, ids }
    }

    /// A request is there, all of it.
    pub(super) fn ask(&mut self, key: &str, api: &Api, request: &Value) -> Result<Cue, Wrong> {
        let session = self.sessions.get_mut(key).ok_or_else(|| format!("the key {key:?}"))?;
        let conversation = answer::said(api, request);
        conversation.check()?;
        let exchange = self.exchanges + 1;
        let id = answer::digest(&[&self.seed.to_string(), &exchange.to_string()], 12);
        let tools = cast::tools(api, request);
        let asked = session.asked(exchange, &conversation)?;
        let Reply { text, mut calls } = session.reply(&asked, &tools, request)?;
        for (at, call) in calls.iter_mut().enumerate() {
            let own = answer::digest(&[&id, &at.to_string()], 12);
            let own = if self.ids == Ids::Restarting { at.to_string() } else { own };
            call.id = format!("{}{own}", api.call_prefix());
        }
        let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
        let truth = session.truth(&asked);
        session.note(exchange, &asked, text.as_ref(), &calls);
        self.exchanges = exchange;
        let answer = Answer::of(api, request, &id, text, calls);
        Ok(Cue { exchange, truth, answer, calls: ids, fault: asked.fault })
    }

    /// A tool is called that a server has. What is no such call has no truth, and a number.
    pub(super) fn tool(
        &mut self,
        key: &str,
        name: &str,
        arguments: &Value,
    ) -> Result<(u64, Truth), Wrong> {
        let session = self.sessions.get(key).ok_or_else(|| format!("the key {key:?}"))?;
        let mut found = session.threads.iter().filter_map(|thread| {
            let it = thread.open().filter(|it| it.calls(name, arguments))?;
            Some((thread, it))
        });
        let (Some((thread, it)), None) = (found.next(), found.next()) else {
            return Err(format!("{key} calls {name}({arguments}), which not one has asked for"));
        };
        let truth = Truth {
            session: session.number,
            workflow: session.number * WORKFLOWS + thread.wish_of(it.place),
            case: session.plot.case.to_owned(),
            parents: vec![StepRef::exchange(it.exchange)],
            kind: Some(StepKind::Tool),
            retry: None,
        };
        Ok((self.number(), truth))
    }

    /// Of the next exchange.
    pub(super) const fn number(&mut self) -> u64 {
        self.exchanges += 1;
        self.exchanges
    }

    pub(super) fn ended(&mut self, key: &str, exchange: u64, end: End) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(thread) = session.asked.get(&exchange).and_then(|at| session.threads.get_mut(*at))
        else {
            return;
        };
        thread.ended(exchange, end);
    }

    /// The answers that each session had to its wishes, as long as it has been played to its end.
    pub(super) fn played(&self) -> Result<BTreeMap<String, Vec<String>>, Wrong> {
        let played = |(key, session): (&String, &Session)| {
            let main =
                session.threads.first().ok_or_else(|| format!("{key} was never heard of"))?;
            let count = main.answers.len();
            if count < session.plot.wishes.len() {
                return Err(format!("{key} ({}) has {count} answers", session.plot.case));
            }
            Ok((key.clone(), main.answers.clone()))
        };
        self.sessions.iter().map(played).collect()
    }
}

/// What a request turns out to be.
struct Asked {
    thread: usize,
    place: Place,
    parents: Vec<StepRef>,
    retry: Option<Retry>,
    scene: Scene,
    fault: Option<Fault>,
}

/// What the model says.
struct Reply {
    text: Option<String>,
    calls: Vec<Call>,
}

impl Session {
    fn new(number: u64, plot: Plot, random: Random) -> Self {
        let main = Thread::new(plot.wishes.clone(), None);
        Self { number, plot, random, threads: vec![main], asked: BTreeMap::new() }
    }

    fn asked(&self, exchange: u64, conversation: &Conversation) -> Result<Asked, Wrong> {
        let about = |wrong: &str| {
            format!("session {}, exchange {exchange} ({}): {wrong}", self.number, self.plot.case)
        };
        let found = thread::find(&self.threads, conversation);
        let (at, place) = found.ok_or_else(|| about("nobody was told to do this"))?;
        let thread = &self.threads[at];
        let (parents, retry) =
            thread.follows(place, conversation).map_err(|wrong| about(&wrong))?;
        let scene = thread.scene(place).ok_or_else(|| about("the plot has ended"))?;
        let fault = scene.faults.get(thread.tries_at(place)).copied();
        Ok(Asked { thread: at, place, parents, retry, scene, fault })
    }

    fn reply(&mut self, asked: &Asked, tools: &[Tool], request: &Value) -> Result<Reply, Wrong> {
        let random = &mut self.random;
        let delegating = |parts: &[Part], how| {
            parts.iter().map(|part| cast::delegating(tools, &part.text, how)).collect()
        };
        let calls: Result<Vec<Call>, Wrong> = match &asked.scene.act {
            Act::Tools(count) => {
                // Two agents that call the same at the same time could not be told apart.
                let is_open = |call: &Call| {
                    let mut open = self.threads.iter().filter_map(Thread::open);
                    open.any(|it| it.calls(&call.name, &call.arguments))
                };
                let new = || loop {
                    let call = cast::ordinary(tools, random);
                    if !call.as_ref().is_ok_and(is_open) {
                        return call;
                    }
                };
                std::iter::repeat_with(new).take(*count).collect()
            }
            Act::Same => {
                cast::ordinary(tools, &mut Random::new(self.number)).map(|call| vec![call])
            }
            Act::Delegate(parts) => delegating(parts, How::Waiting),
            Act::Launch(parts) => delegating(parts, How::Launching),
            Act::Fork(parts) => delegating(parts, How::Forking),
            Act::WaitFor(which) => {
                let launched = self.threads[asked.thread].launched(*which);
                let launched = launched.ok_or("nobody was launched")?;
                cast::waiting(tools, launched, request).map(|call| vec![call])
            }
            Act::Wait => {
                return Ok(Reply { text: Some(words::answer(random)), calls: Vec::new() });
            }
            Act::HandOff => cast::hand_off(tools).map(|call| vec![call]),
            Act::Blunder => cast::formal(tools, None).map(|call| vec![call]),
            Act::Answer => {
                let text = words::answer(random);
                let is_formal = self.plot.is_formal && asked.thread == 0;
                let calls = is_formal.then(|| cast::formal(tools, Some(&text))).transpose()?;
                return Ok(Reply { text: Some(text), calls: calls.into_iter().collect() });
            }
        };
        let text = (random.below(3) == 0).then(|| words::ASIDE.to_owned());
        Ok(Reply { text, calls: calls? })
    }

    fn truth(&self, asked: &Asked) -> Truth {
        let is_main = asked.thread == 0;
        let kind = match &asked.scene.act {
            _ if !is_main => Some(StepKind::Worker),
            // Whether a form that is filled in is a final answer is left open.
            Act::Blunder | Act::Answer if self.plot.is_formal => None,
            Act::Answer if asked.fault.is_none() => Some(StepKind::Final),
            // It is not the last answer, but nobody knows as much when it is given.
            Act::Wait => None,
            _ => Some(StepKind::Planner),
        };
        let wish = self.threads[asked.thread].wish_of(asked.place);
        Truth {
            session: self.number,
            workflow: self.number * WORKFLOWS + wish,
            case: self.plot.case.to_owned(),
            parents: asked.parents.clone(),
            kind,
            retry: asked.retry.clone(),
        }
    }

    /// From here on the request is part of the history.
    fn note(&mut self, exchange: u64, asked: &Asked, text: Option<&String>, calls: &[Call]) {
        let wish = self.threads[asked.thread].wish_of(asked.place);
        if let (Act::Delegate(parts) | Act::Launch(parts) | Act::Fork(parts), None) =
            (&asked.scene.act, asked.fault)
        {
            let forks = matches!(asked.scene.act, Act::Fork(_));
            for (at, part) in parts.iter().enumerate() {
                let from = Origin { step: StepRef::call(exchange, at), wish, forks };
                self.threads.push(Thread::new(vec![part.clone()], Some(from)));
            }
        }
        let blunders = matches!(asked.scene.act, Act::Blunder);
        self.asked.insert(exchange, asked.thread);
        self.threads[asked.thread].tries.push(Try {
            place: asked.place,
            exchange,
            parents: asked.parents.clone(),
            calls: calls.to_vec(),
            blunders,
            answer: text.filter(|_| matches!(asked.scene.act, Act::Answer)).cloned(),
            outcome: Outcome::Open,
            fault: asked.fault,
        });
    }
}

/// What a program is given as its key to the API.
pub(super) fn key(session: u64) -> String {
    format!("sk-{session}")
}

/// No session has as many.
pub(super) const WORKFLOWS: u64 = 100;

#[cfg(test)]
mod tests;
