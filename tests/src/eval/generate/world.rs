//! Agents at work: each thing that one does puts an exchange on record, with its truth.

use serde_json::Value;
use turnpike::call::StepKind;

use super::{
    exchange::{Made, answer},
    framework::{Framework, Names, ToolIds},
    random::Random,
    thread::{Failed, Thread, last_calls},
    wire::{self, Body, Call, Output, Reply, Turn},
};
use crate::eval::record::{Ended, Record, StepRef};

/// Everything that happens.
#[derive(Debug)]
pub(super) struct World {
    pub(super) random: Random,
    pub(super) records: Vec<Record>,
    numbers: u64,
}

/// How a try fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Status(u16),
    /// The connection breaks before an answer.
    Reset,
    /// The answer breaks off.
    Truncated,
    /// The client goes: before an answer, or in it.
    GivesUp,
    Aborts,
}

/// What is special about a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// Absent: as follows from the answer.
    pub(super) kind: Option<StepKind>,
    pub(super) most: Option<u32>,
}

impl World {
    pub(super) const fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), records: Vec::new(), numbers: 0 }
    }

    pub(super) const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A new session with its first workflow, in which nothing has been said but the instructions.
    pub(super) fn open(
        &mut self,
        framework: &'static Framework,
        case: &'static str,
        now: u64,
    ) -> Thread {
        let names = Names::new(&mut self.random);
        Thread {
            framework,
            names,
            agent: 0,
            pid: 100,
            session: self.number(),
            workflow: self.number(),
            case,
            role: StepKind::Planner,
            turns: vec![Turn::System(framework.instructions.to_owned())],
            parents: Vec::new(),
            now,
            model: framework.model,
            previous: None,
            skew_us: 0,
            failed: None,
        }
    }

    /// Somebody else who says the same so far, a moment later.
    pub(super) fn sibling(&mut self, thread: &Thread) -> Thread {
        Thread {
            names: Names::new(&mut self.random),
            session: self.number(),
            workflow: self.number(),
            now: thread.now + self.random.between(1, 20_000),
            ..thread.clone()
        }
    }

    /// The sub-agent that a tool call starts.
    pub(super) fn sub_agent(&mut self, thread: &Thread, from: StepRef, task: &str) -> Thread {
        let [before, after] = thread.framework.task;
        let instructions = format!("{} You are a sub-agent.", thread.framework.instructions);
        Thread {
            names: thread.names.within(&mut self.random),
            role: StepKind::Worker,
            turns: vec![Turn::System(instructions), Turn::User(format!("{before}{task}{after}"))],
            parents: vec![from],
            now: thread.now + self.random.between(1_000, 30_000),
            previous: None,
            failed: None,
            ..thread.clone()
        }
    }

    /// A conversation beside the thread's, in the same workflow, with instructions of its own.
    pub(super) fn beside(&mut self, thread: &Thread, instructions: &str, says: &str) -> Thread {
        Thread {
            turns: vec![Turn::System(instructions.to_owned()), Turn::User(says.to_owned())],
            parents: Vec::new(),
            previous: None,
            failed: None,
            now: thread.now + self.random.between(0, 20_000),
            ..thread.clone()
        }
    }

    /// The user wants something.
    pub(super) fn wish(&mut self, thread: &mut Thread) -> String {
        let wish = self.random.wish();
        thread.turns.push(Turn::User(wish.clone()));
        wish
    }

    /// The user wants something else, after an answer.
    pub(super) fn next_wish(&mut self, thread: &mut Thread) {
        thread.workflow = self.number();
        thread.now += self.random.between(200_000, 20_000_000);
        self.wish(thread);
    }

    /// A reply that calls so many tools.
    pub(super) fn calls(&mut self, thread: &Thread, count: u64) -> Reply {
        let text =
            if self.random.between(0, 1) == 0 { String::new() } else { self.random.text(3, 9) };
        let tools: Vec<(String, Value)> = (0..count).map(|_| self.random.tool()).collect();
        self.calling(thread, text, tools)
    }

    /// A reply that calls these.
    pub(super) fn calling(
        &mut self,
        thread: &Thread,
        text: String,
        tools: Vec<(String, Value)>,
    ) -> Reply {
        let ids = thread.framework.tool_ids;
        let calls = tools.into_iter().enumerate().map(|(at, (name, arguments))| {
            let id = match ids {
                ToolIds::Unique => format!("call_{}", self.random.hex()),
                ToolIds::Restarting => format!("call_{at}"),
                ToolIds::None => String::new(),
            };
            Call { id, name, arguments }
        });
        Reply { text, calls: calls.collect() }
    }

    pub(super) fn says(&mut self) -> Reply {
        Reply { text: self.random.text(8, 40), calls: Vec::new() }
    }

    /// The conversation is sent and answered, and goes on from there.
    pub(super) fn call(&mut self, thread: &mut Thread, reply: Reply) -> u64 {
        self.call_as(thread, Manner::default(), &[reply], 0)
    }

    /// The same, as something else than what follows from the answer.
    pub(super) fn utility(&mut self, thread: &mut Thread, reply: Reply, most: Option<u32>) -> u64 {
        let manner = Manner { kind: Some(StepKind::Utility), most };
        self.call_as(thread, manner, &[reply], 0)
    }

    /// The same with several choices, of which one is gone on from.
    pub(super) fn call_as(
        &mut self,
        thread: &mut Thread,
        manner: Manner,
        choices: &[Reply],
        taken: usize,
    ) -> u64 {
        let reply = choices.get(taken).cloned().unwrap_or_default();
        let is_text = reply.calls.is_empty();
        let kind = manner.kind.or(match thread.role {
            StepKind::Planner if is_text => Some(StepKind::Final),
            role => Some(role),
        });
        let id = self.random.hex();
        let length = self.random.between(200_000, 4_000_000);
        let response = Some((200, answer(thread, &id, choices)));
        let made = Made { manner, kind, choices: choices.len(), response, ended: Ended::Whole };
        let exchange = self.put(thread, made, length);
        thread.failed = None;
        thread.turns.push(Turn::Assistant(reply));
        thread.previous = Some((format!("resp_{id}"), thread.turns.len()));
        thread.parents = vec![StepRef::exchange(exchange)];
        exchange
    }

    /// Tools were called: their results, in the order of the calls.
    pub(super) fn results(&mut self, thread: &mut Thread, exchange: u64) {
        let count = last_calls(thread).len();
        let texts = (0..count).map(|_| self.random.text(3, 60)).collect();
        thread.now += self.random.between(2_000, 1_500_000);
        Self::results_are(thread, exchange, texts);
    }

    pub(super) fn results_are(thread: &mut Thread, exchange: u64, texts: Vec<String>) {
        let calls = last_calls(thread);
        thread.parents = (0..calls.len()).map(|at| StepRef::call(exchange, at)).collect();
        let outputs = calls.into_iter().zip(texts);
        let outputs = outputs.map(|(call, text)| Output { id: call.id, name: call.name, text });
        thread.turns.push(Turn::Results(outputs.collect()));
    }

    /// The conversation is sent, to no avail. The next call is a retry, for this reason.
    pub(super) fn fails(&mut self, thread: &mut Thread, fault: Fault, reason: &'static str) -> u64 {
        let (response, ended) = match fault {
            Fault::Status(status) => {
                (Some((status, Body::document(&wire::error(status)))), Ended::Whole)
            }
            Fault::Reset => (None, Ended::Cut),
            Fault::GivesUp => (None, Ended::ClientGone),
            Fault::Truncated => (Some((200, self.beginning(thread))), Ended::Cut),
            Fault::Aborts => (Some((200, self.beginning(thread))), Ended::ClientGone),
        };
        let kind = Some(thread.role);
        let manner = Manner::default();
        let length = match fault {
            Fault::GivesUp => 30_000_000,
            _ => self.random.between(20_000, 900_000),
        };
        let made = Made { manner, kind, choices: 1, response, ended };
        let exchange = self.put(thread, made, length);
        self.is_to_be_repeated(thread, exchange, reason);
        exchange
    }

    /// The next call repeats this one.
    pub(super) fn is_to_be_repeated(
        &mut self,
        thread: &mut Thread,
        exchange: u64,
        reason: &'static str,
    ) {
        let before = thread.failed.take();
        let first = before.as_ref().map_or(exchange, |failed| failed.first);
        let tries = before.map_or(0, |failed| failed.tries) + 1;
        thread.failed = Some(Failed { first, reason, tries });
        thread.now += self.random.between(400_000, 6_000_000);
    }

    /// Whoever looks on does not see the exchange.
    pub(super) fn lose(&mut self, exchange: u64) {
        let mut records = self.records.iter_mut().rev();
        if let Some(record) = records.find(|record| record.exchange == exchange) {
            record.lost = true;
        }
    }

    /// Half of an answer.
    fn beginning(&mut self, thread: &Thread) -> Body {
        let says = self.says();
        let mut body = answer(thread, "cut", &[says]);
        body.text.truncate(body.text.floor_char_boundary(body.text.len() / 2));
        body
    }
}
