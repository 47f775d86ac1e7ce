//! Records as what they mean, in the order in which a gateway learns of it: each exchange is read by
//! the observers that read it there. Reading keeps nothing of lineage, so the same events are put to
//! the engine and to what it is compared with.

use std::collections::BTreeMap;

use turnpike::{
    call::{Answer, Signal, Timestamp, Url},
    dialect::{
        CallKey, Known, Observer, RequestInfo, ResponseInfo, Traffic, What, detect, signals,
    },
    lineage::{Failure, Outcome},
};

use super::record::{Ended, Headers, Record};

/// Something that became known of an agent's calls.
#[derive(Debug)]
pub struct Event {
    pub agent: usize,
    pub pid: u32,
    /// The exchange that asked.
    pub exchange: u64,
    pub at: Timestamp,
    /// Absent of what is no call by itself.
    pub call: Option<CallKey>,
    pub what: Happening,
}

#[derive(Debug)]
pub enum Happening {
    Asked(What),
    Ended(Box<Outcome>),
    /// A URL is asked for, which speaks no API that is known, and how that will end.
    Fetched(Url, Box<Outcome>),
}

/// What the records come to.
#[derive(Debug, Default)]
pub struct Events {
    pub events: Vec<Event>,
    /// Exchanges whose requests were not understood.
    pub not_understood: usize,
}

/// Reads all records but the lost ones.
pub fn read(records: &[Record]) -> Events {
    let mut reader = Reader::default();
    for (is_end, record) in in_order(records) {
        if is_end {
            reader.end(record);
        } else {
            reader.begin(record);
        }
    }
    reader.read
}

/// The beginnings and ends of exchanges as they come to pass. Of two at the same time an end is first:
/// what begins may be its consequence.
fn in_order(records: &[Record]) -> Vec<(bool, &Record)> {
    let seen = records.iter().filter(|record| !record.lost);
    let mut order: Vec<(bool, &Record)> =
        seen.flat_map(|record| [(false, record), (true, record)]).collect();
    order.sort_by_key(|(is_end, record)| {
        // An exchange ends after its own beginning, though it may take no time.
        let at = if *is_end { record.end_us.max(record.start_us + 1) } else { record.start_us };
        (at, !is_end, record.exchange)
    });
    order
}

#[derive(Debug, Default)]
struct Reader {
    agents: BTreeMap<String, (usize, Agent)>,
    running: BTreeMap<u64, Observer>,
    read: Events,
}

#[derive(Debug, Default)]
struct Agent {
    known: Known,
    /// Which exchange asked, of calls that are not answered.
    waiting: BTreeMap<CallKey, u64>,
}

impl Reader {
    fn begin(&mut self, record: &Record) {
        let signals = signals_of(&record.request.headers);
        let Some(mut observer) = detect(&request(record, &signals)) else {
            return self.fetch(record);
        };
        let (agent, state) = self.agent(record);
        observer.request_body(&record.request.body.0);
        let Ok(asked) = observer.request_end(&mut state.known) else {
            self.read.not_understood += 1;
            return;
        };
        let mut calls = Vec::new();
        for asked in asked {
            let (call, what) = (asked.key, asked.what.clone());
            state.known.keep(asked);
            // It is asked how long a conversation is, which is no step in it.
            if matches!(&what, What::Model(prompt) if !prompt.operation.calls_model()) {
                continue;
            }
            state.waiting.insert(call, record.exchange);
            calls.push((call, what));
        }
        if calls.is_empty() && observer.traffic() == Traffic::Other {
            return self.fetch(record);
        }
        let at = Timestamp(record.start_us);
        self.read.events.extend(calls.into_iter().map(|(call, what)| {
            let (pid, exchange, what) = (record.pid, record.exchange, Happening::Asked(what));
            Event { agent, pid, exchange, at, call: Some(call), what }
        }));
        self.running.insert(record.exchange, observer);
    }

    /// Of records it is not known whether they came in TLS: they are taken for plain.
    fn fetch(&mut self, record: &Record) {
        let host = field(&record.request.headers, "host");
        let Some(url) = Url::of_request(false, host, &record.request.target) else { return };
        let answer = Answer { complete: record.ended == Ended::Whole, ..Answer::default() };
        let (agent, _) = self.agent(record);
        let (pid, at) = (record.pid, Timestamp(record.start_us));
        let what = Happening::Fetched(url, Box::new(outcome(record, false, answer)));
        self.read.events.push(Event {
            agent,
            pid,
            exchange: record.exchange,
            at,
            call: None,
            what,
        });
    }

    fn end(&mut self, record: &Record) {
        let Some(mut observer) = self.running.remove(&record.exchange) else { return };
        let (agent, state) = self.agent(record);
        if let Some(response) = &record.response {
            let signals = signals_of(&response.headers);
            observer.response_head(&ResponseInfo {
                status: response.status,
                content_type: field(&response.headers, "content-type"),
                content_encoding: field(&response.headers, "content-encoding"),
                signals: &signals,
            });
            observer.response_body(&response.body.0);
        }
        let mut answered = observer.answered(&mut state.known);
        let whole = record.ended == Ended::Whole;
        answered.extend(observer.response_end(whole, &mut state.known));
        let mut ended = Vec::new();
        for answered in answered {
            if let Some(exchange) = state.waiting.remove(&answered.key) {
                ended.push((exchange, answered));
            }
        }
        let (pid, at) = (record.pid, Timestamp(record.end_us));
        self.read.events.extend(ended.into_iter().map(|(exchange, answered)| {
            let call = Some(answered.key);
            let outcome = outcome(record, answered.cancelled, answered.reading.answer);
            let what = Happening::Ended(Box::new(outcome));
            Event { agent, pid, exchange, at, call, what }
        }));
    }

    fn agent(&mut self, record: &Record) -> (usize, &mut Agent) {
        let next = self.agents.len();
        let entry = self.agents.entry(record.agent.clone());
        let (number, agent) = entry.or_insert_with(|| (next, Agent::default()));
        (*number, agent)
    }
}

/// How a call ended, as the gateway concludes it.
fn outcome(record: &Record, cancelled: bool, answer: Answer) -> Outcome {
    let status = record.response.as_ref().map(|response| response.status);
    let ended = if cancelled { Ended::ClientGone } else { record.ended };
    let failure = match (ended, status) {
        (Ended::Whole, _) => None,
        (Ended::ClientGone, _) => Some(Failure::ClientGone),
        (Ended::Cut, None) => Some(Failure::ConnReset),
        (Ended::Cut, Some(_)) => Some(Failure::Truncated),
    };
    Outcome { answer, status, failure }
}

fn request<'a>(record: &'a Record, signals: &'a [Signal]) -> RequestInfo<'a> {
    let headers = &record.request.headers;
    RequestInfo {
        method: &record.request.method,
        target: &record.request.target,
        host: field(headers, "host"),
        content_type: field(headers, "content-type"),
        content_encoding: field(headers, "content-encoding"),
        content_length: Some(record.request.body.0.len() as u64),
        client_retry: field(headers, "x-stainless-retry-count")
            .and_then(|count| count.trim().parse().ok()),
        signals,
    }
}

fn field<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
}

fn signals_of(headers: &Headers) -> Vec<Signal> {
    let mut found = Vec::new();
    for (name, value) in headers {
        signals::note(&mut found, name.as_bytes(), value.as_bytes());
    }
    found
}
