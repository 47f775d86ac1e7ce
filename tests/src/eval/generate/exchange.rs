//! From what agents do to exchanges as they are on the wire, each with its truth.

use serde_json::{Value, json};
use turnpike::call::StepKind;

use super::{
    framework::{Counts, Framework},
    thread::{Thread, last_calls},
    wire::{Ask, Body, Reply, Wire},
    world::{Manner, World},
};
use crate::eval::record::{
    Bytes, Ended, Headers, Record, Request, Response, Retry, StepRef, Truth,
};

/// What a call comes to.
pub(super) struct Made {
    pub(super) manner: Manner,
    pub(super) kind: Option<StepKind>,
    pub(super) choices: usize,
    pub(super) response: Option<(u16, Body)>,
    pub(super) ended: Ended,
}

impl World {
    /// The last so many calls were to tools of a server: it is asked.
    pub(super) fn mcp(&mut self, thread: &mut Thread, exchange: u64, session: &str) {
        let mut texts = Vec::new();
        for call in last_calls(thread) {
            let text = self.random.text(3, 30);
            let params = json!({ "name": call.name, "arguments": call.arguments });
            let id = self.number();
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

    /// The last tool calls name these pages of a host, in order: they are fetched.
    pub(super) fn fetch(
        &mut self,
        thread: &mut Thread,
        exchange: u64,
        host: &str,
        pages: &[String],
    ) {
        let mut texts = Vec::new();
        for page in pages {
            let text = self.random.text(3, 30);
            thread.now += self.random.between(1_000, 20_000);
            let truth = Truth {
                parents: vec![StepRef::exchange(exchange)],
                ..truth(thread, Some(StepKind::Tool))
            };
            let request = get(page.clone(), host);
            let response = Some((200, Body { content_type: "text/plain", text: text.clone() }));
            let length = self.random.between(5_000, 900_000);
            self.record(thread, request, response, Ended::Whole, truth, length);
            texts.push(text);
        }
        thread.now += self.random.between(1_000, 20_000);
        Self::results_are(thread, exchange, texts);
    }

    /// The conversation is sent as it stands.
    pub(super) fn put(&mut self, thread: &mut Thread, made: Made, length_us: u64) -> u64 {
        let framework = thread.framework;
        let chained = framework.wire == Wire::Responses { chained: true };
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
        framework.sign(&thread.names, thread.workflow, &mut headers, &mut body);
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
pub(super) fn answer(thread: &Thread, id: &str, choices: &[Reply]) -> Body {
    let Framework { wire, streams, .. } = thread.framework;
    let stream = match choices {
        [reply] if *streams => wire.stream(id, thread.model, reply),
        _ => None,
    };
    stream.unwrap_or_else(|| Body::document(&wire.answer(id, thread.model, choices)))
}

fn post(target: String, headers: Headers, body: &Value) -> Request {
    let body = Bytes(body.to_string().into_bytes());
    Request { method: "POST".to_owned(), target, headers, body }
}

fn get(target: String, host: &str) -> Request {
    let headers = vec![("host".to_owned(), host.to_owned())];
    Request { method: "GET".to_owned(), target, headers, body: Bytes(Vec::new()) }
}

fn headers(host: &str) -> Headers {
    let fields = [("host", host), ("content-type", "application/json")];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
