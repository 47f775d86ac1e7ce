//! Agents at work: each thing that one does puts an exchange on record, with its truth.

use std::mem::replace;

use serde_json::{Value, json};
use turnpike::call::StepKind;

use super::{
    framework::{Counts, Framework, Names, ToolIds},
    random::Random,
    wire::{self, Ask, Body, Call, Output, Reply, Turn},
};
use crate::eval::record::{
    Bytes, Ended, Headers, Record, Request, Response, Retry, StepRef, Truth,
};

/// Everything that happens.
#[derive(Debug)]
pub(super) struct World {
    pub(super) random: Random,
    pub(super) records: Vec<Record>,
    numbers: u64,
}

/// One conversation of an agent, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub(super) framework: &'static Framework,
    pub(super) names: Names,
    pub(super) agent: usize,
    pub(super) pid: u32,
    pub(super) session: u64,
    pub(super) workflow: u64,
    pub(super) case: &'static str,
    /// Of its calls whose answers call tools: planner, or worker in a sub-agent.
    pub(super) role: StepKind,
    pub(super) turns: Vec<Turn>,
    /// What its next call follows.
    pub(super) parents: Vec<StepRef>,
    pub(super) now: u64,
    pub(super) model: &'static str,
    /// The response that it goes on from by id, and how many turns that holds.
    pub(super) previous: Option<(String, usize)>,
    /// How much later than their consequences the ends of its exchanges are noticed.
    pub(super) skew_us: u64,
    pub(super) failed: Option<Failed>,
}

/// Tries that have failed.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    first: u64,
    reason: &'static str,
    tries: u32,
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

    /// The last so many calls were to tools of a server: it is asked.
    pub(super) fn mcp(&mut self, thread: &mut Thread, exchange: u64, session: &str) {
        let mut texts = Vec::new();
        for call in last_calls(thread) {
            let text = self.random.text(3, 30);
            let params = json!({ "name": call.name, "arguments": call.arguments });
            let id = self.numbers;
            let request =
                json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
            let result = json!({ "content": [{ "type": "text", "text": text }], "isError": false });
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
            thread.now += self.random.between(1_000, 20_000);
            let mut headers = headers("mcp.internal:9000");
            headers.push(("mcp-session-id".to_owned(), session.to_owned()));
            let truth = Truth {
                parents: vec![StepRef::exchange(exchange)],
                ..truth(thread, Some(StepKind::Tool))
            };
            let request = post("/mcp".to_owned(), headers, &request);
            let response = Some((200, Body::document(&answer)));
            let length = self.random.between(5_000, 900_000);
            self.record(thread, request, response, Ended::Whole, truth, length);
            texts.push(text);
        }
        thread.now += self.random.between(1_000, 20_000);
        Self::results_are(thread, exchange, texts);
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

    fn put(&mut self, thread: &mut Thread, made: Made, length_us: u64) -> u64 {
        let framework = thread.framework;
        let chained = framework.wire == wire::Wire::Responses { chained: true };
        let previous = thread.previous.as_ref().filter(|_| chained);
        let ask = Ask {
            model: thread.model,
            turns: thread.turns.get(previous.map_or(0, |(_, held)| *held)..).unwrap_or_default(),
            previous: previous.map(|(id, _)| &**id),
            most: made.manner.most,
            choices: made.choices,
        };
        let mut body = framework.wire.request(&ask);
        if framework.streams {
            body["stream"] = true.into();
        }
        let mut headers = headers(framework.host);
        let tries = thread.failed.as_ref().map_or(0, |failed| failed.tries);
        let count = match framework.counts {
            Counts::Retries => Some(tries),
            Counts::Nothing => Some(0),
            Counts::Absent => None,
        };
        let count = count.map(|count| ("x-stainless-retry-count".to_owned(), count.to_string()));
        headers.extend(count);
        framework.sign(&thread.names, &mut headers, &mut body);
        let truth = truth(thread, made.kind);
        let request = post(framework.wire.target(thread.model), headers, &body);
        self.record(thread, request, made.response, made.ended, truth, length_us)
    }

    fn record(
        &mut self,
        thread: &mut Thread,
        request: Request,
        response: Option<(u16, Body)>,
        ended: Ended,
        truth: Truth,
        length_us: u64,
    ) -> u64 {
        let exchange = self.number();
        let start_us = thread.now;
        let end_us = start_us + length_us;
        // The client goes on a moment after it has its answer.
        thread.now = end_us + self.random.between(1_000, 3_000);
        let response = response.map(|(status, body)| Response {
            status,
            headers: vec![("content-type".to_owned(), body.content_type.to_owned())],
            body: Bytes(body.text.into_bytes()),
        });
        self.records.push(Record {
            exchange,
            agent: format!("agent-{}", thread.agent),
            client: thread.framework.name.to_owned(),
            pid: thread.pid,
            connection: 0,
            start_us,
            end_us: end_us + thread.skew_us,
            request,
            response,
            ended,
            lost: false,
            truth: Some(truth),
        });
        exchange
    }
}

/// What a call comes to.
struct Made {
    manner: Manner,
    kind: Option<StepKind>,
    choices: usize,
    response: Option<(u16, Body)>,
    ended: Ended,
}

fn truth(thread: &Thread, kind: Option<StepKind>) -> Truth {
    let retry = thread.failed.as_ref();
    Truth {
        session: thread.session,
        workflow: thread.workflow,
        case: thread.case.to_owned(),
        parents: thread.parents.clone(),
        kind,
        retry: retry.map(|failed| Retry { of: failed.first, reason: failed.reason.to_owned() }),
    }
}

/// As the framework has its answers.
fn answer(thread: &Thread, id: &str, choices: &[Reply]) -> Body {
    let Framework { wire, streams, .. } = thread.framework;
    let stream = match choices {
        [reply] if *streams => wire.stream(id, thread.model, reply),
        _ => None,
    };
    stream.unwrap_or_else(|| Body::document(&wire.answer(id, thread.model, choices)))
}

/// The tool calls of the last answer.
pub(super) fn last_calls(thread: &Thread) -> Vec<Call> {
    let mut replies = thread.turns.iter().rev();
    let last = replies.find_map(|turn| match turn {
        Turn::Assistant(reply) => Some(reply.calls.clone()),
        _ => None,
    });
    last.unwrap_or_default()
}

fn post(target: String, headers: Headers, body: &Value) -> Request {
    let body = Bytes(body.to_string().into_bytes());
    Request { method: "POST".to_owned(), target, headers, body }
}

fn headers(host: &str) -> Headers {
    let fields = [("host", host), ("content-type", "application/json")];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

impl Thread {
    /// What fails is tried again by who has no part in the counting.
    pub(super) fn counts_anew(&mut self) {
        if let Some(failed) = &mut self.failed {
            failed.tries = 0;
        }
    }

    /// Says something in the user's place, and notes nothing else.
    pub(super) fn hears(&mut self, text: impl Into<String>) {
        self.turns.push(Turn::User(text.into()));
    }

    /// Goes on in another conversation: what was said so far is not sent again.
    pub(super) fn begins_anew(&mut self, turns: Vec<Turn>) -> Vec<Turn> {
        self.previous = None;
        replace(&mut self.turns, turns)
    }
}
