//! Plain HTTP exchanges that carry out tool calls, because these name their URLs.

use std::net::TcpStream;

use serde_json::{Value, json};
use turnpike::{
    call::{CallKind, CancelCause, EvidenceKind, Holder, Operation, State, StepKind, Unmetered},
    config::Mode,
};

use super::{
    bed::{Bed, Finished, Server, eventually},
    chat::pass,
    gate::{heard_nothing, send},
    kill::kill,
};

fn document(content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One exchange on a connection.
fn exchange((client, server): &mut (TcpStream, TcpStream), request: &str, response: &str) {
    pass(client, server, request);
    pass(server, client, response);
}

fn question(messages: &[Value]) -> String {
    let body = json!({ "model": "m-1", "messages": messages }).to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn request(method: &str, target: &str, host: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
}

/// A model that asks for tool calls, and the conversation with it.
pub(crate) struct Model {
    pair: (TcpStream, TcpStream),
    history: Vec<Value>,
}

impl Model {
    pub(crate) fn new(bed: &Bed) -> Self {
        let wish = json!({ "role": "user", "content": "read the page" });
        Self { pair: bed.pair(), history: vec![wish] }
    }

    /// It asks for a call of a tool with these arguments.
    pub(crate) fn plans(&mut self, name: &str, arguments: &Value) {
        let function = json!({ "name": name, "arguments": arguments.to_string() });
        let plan = json!({ "role": "assistant", "content": null,
            "tool_calls": [{ "id": "call_7", "type": "function", "function": function }] });
        self.answers(&plan, "tool_calls");
        self.history.push(plan);
    }

    /// It is told the result, and is done.
    fn is_told(&mut self) {
        let told = json!({ "role": "tool", "tool_call_id": "call_7", "content": "r" });
        self.history.push(told);
        self.answers(&json!({ "role": "assistant", "content": "it says r" }), "stop");
    }

    fn answers(&mut self, message: &Value, finish_reason: &str) {
        let completion = json!({ "id": "chatcmpl-1", "model": "m",
            "choices": [{ "index": 0, "message": message, "finish_reason": finish_reason }] });
        let answer = document("application/json", &completion.to_string());
        exchange(&mut self.pair, &question(&self.history), &answer);
    }
}

pub(crate) fn is_fetch(fetch: &Finished, planned: &Finished) {
    let [opened] = &planned.completion.tools[..] else { panic!("{planned:?}") };
    let step = &fetch.step;
    assert_eq!((fetch.workflow, step.step_id), (planned.workflow, opened.step));
    assert_eq!(step.parent_step_ids, [planned.step.step_id]);
    assert_eq!((step.kind, step.call, step.settled), (StepKind::Tool, CallKind::Tool, true));
    assert_eq!((step.dialect, step.operation), (None, Some(Operation::ExecuteTool)));
    assert_eq!(step.evidence[0].kind, EvidenceKind::UrlFetched);
    assert!(step.duration_ms.is_some() && step.original_dst.is_some() && step.pid.is_some());
}

#[test]
fn a_url_that_a_tool_call_names_is_one_step_when_it_is_fetched() {
    let bed = Bed::start();
    let mut model = Model::new(&bed);
    model.plans("fetch", &json!({ "url": "http://Docs.test/page?x=1#part" }));
    let planned = bed.steps.finished(1).remove(0);

    let mut pages = bed.pair();
    let page = document("text/html", "<p>r</p>");
    exchange(&mut pages, &request("GET", "/other", "docs.test"), &page);
    exchange(&mut pages, &request("GET", "/page?x=1", "docs.test"), &page);
    let fetch = bed.steps.finished(2).remove(1);
    is_fetch(&fetch, &planned);
    assert_eq!((fetch.step.status, fetch.step.exchange_seq), (Some(200), Some(1)));
    assert_eq!(fetch.step.host.as_deref(), Some("docs.test"));
    assert!(fetch.step.ttft_ms.is_some() && fetch.step.evidence[0].confidence.get() > 0.9);
    assert_eq!(fetch.completion.state, State::Active, "the model waits for it");
    // Once more, it is nobody's.
    exchange(&mut pages, &request("GET", "/page?x=1", "docs.test"), &page);

    model.is_told();
    let ended = bed.steps.finished(3).remove(2);
    assert_eq!((ended.workflow, ended.completion.state), (planned.workflow, State::Done));
    assert_eq!(ended.step.parent_step_ids, [fetch.step.step_id]);
    eventually("the rest is listed", || bed.counted("exchanges_other") == 2);
    exchange(&mut pages, &request("GET", "/page?x=1", "docs.test"), &page);
    eventually("so is what comes later", || bed.counted("exchanges_other") == 3);
    assert_eq!(bed.agent.coverage.snapshot().calls, 3);
    bed.steps.finished(3);
}

#[test]
fn any_method_counts_and_so_does_a_url_within_a_command() {
    for method in ["HEAD", "POST", "PUT", "DELETE"] {
        let bed = Bed::start();
        let mut model = Model::new(&bed);
        model.plans("shell", &json!({ "command": ["sh", "-c", "curl -s http://a.test/b;"] }));
        let planned = bed.steps.finished(1).remove(0);
        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        exchange(&mut bed.pair(), &request(method, "/b", "a.test:80"), answer);
        let fetch = bed.steps.finished(2).remove(1);
        is_fetch(&fetch, &planned);
        assert_eq!(fetch.step.status, Some(204), "{method}");
    }
}

#[test]
fn a_redirected_request_is_the_same_step_where_it_goes_on() {
    let bed = Bed::start();
    let mut model = Model::new(&bed);
    model.plans("fetch", &json!({ "url": "http://a.test/old" }));
    let planned = bed.steps.finished(1).remove(0);
    let mut pages = bed.pair();
    let moved = |to| format!("HTTP/1.1 301 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    exchange(&mut pages, &request("GET", "/old", "a.test"), &moved("/new"));
    exchange(&mut pages, &request("GET", "/new", "a.test"), &moved("http://b.test/"));
    let page = document("text/plain", "r");
    exchange(&mut bed.pair(), &request("GET", "/", "b.test"), &page);
    let steps = bed.steps.finished(4);
    for (fetch, status) in steps[1..].iter().zip([301, 301, 200]) {
        is_fetch(fetch, &planned);
        assert_eq!(fetch.step.status, Some(status));
    }
    assert_eq!(steps[3].step.host.as_deref(), Some("b.test"));
}

#[test]
fn an_exchange_that_is_cut_is_a_failed_try() {
    let bed = Bed::start();
    let mut model = Model::new(&bed);
    model.plans("fetch", &json!({ "url": "http://a.test/b" }));
    let planned = bed.steps.finished(1).remove(0);
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, &request("GET", "/b", "a.test"));
    eventually("it is placed before it is answered", || bed.steps.placed().len() == 2);
    drop(server);
    let cut = bed.steps.finished(2).remove(1);
    is_fetch(&cut, &planned);
    assert_eq!(cut.step.status, None);
    exchange(&mut bed.pair(), &request("GET", "/b", "a.test"), &document("text/plain", "r"));
    is_fetch(&bed.steps.finished(3)[2], &planned);
}

#[test]
fn what_a_killed_workflow_fetches_ends_with_it() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, agents, latch) = Bed::mortal(mode);
        let mut model = Model::new(&bed);
        model.plans("fetch", &json!({ "url": "http://a.test/b", "then": "http://a.test/c" }));
        let planned = bed.steps.finished(1).remove(0);
        let get = |(client, server): &mut (TcpStream, TcpStream), target: &str| {
            pass(client, server, &request("GET", target, "a.test"));
        };
        let (mut first, mut bystander) = (bed.pair(), bed.pair());
        get(&mut first, "/b");
        get(&mut bystander, "/other");
        eventually("it is placed", || bed.steps.placed().len() == 2);
        let aftermath = kill(&agents, &latch, Holder::Workflow(planned.workflow));
        heard_nothing(&mut first.0);
        heard_nothing(&mut first.1);
        eventually("it is over", || aftermath.is_over());
        assert_eq!(aftermath.told(), 1);
        let fetch = bed.steps.finished(2).remove(1);
        is_fetch(&fetch, &planned);
        let cancel = fetch.step.cancel.as_deref().expect("it was ended");
        assert_eq!((cancel.cause, cancel.generation_may_continue), (CancelCause::Kill, None));

        let mut second = bed.pair();
        send(&mut second.0, request("GET", "/c", "a.test"));
        heard_nothing(&mut second.0);
        bed.steps.finished(3);
        let page = document("text/plain", "r");
        pass(&mut bystander.1, &mut bystander.0, &page);
    }
}

#[test]
fn another_agents_request_is_other_traffic() {
    let (bed, other) = (Bed::start(), Bed::start());
    let mut model = Model::new(&bed);
    model.plans("fetch", &json!({ "url": "http://a.test/b" }));
    bed.steps.finished(1);
    let page = document("text/plain", "r");
    exchange(&mut other.pair(), &request("GET", "/b", "a.test"), &page);
    eventually("it is listed", || other.counted("exchanges_other") == 1);
    assert_eq!(other.steps.placed().len(), 0);
}

#[test]
fn enforce_lets_go_what_it_would_without_a_tool_call() {
    let bed = Bed::with(|agent| agent.in_mode(Mode::Enforce));
    let mut model = Model::new(&bed);
    let batches = "http://a.test/v1/messages/batches";
    model.plans("send", &json!({ "first": "http://a.test/b", "then": batches }));
    let planned = bed.steps.finished(1).remove(0);
    let server = Server::new();
    let mut client = bed.connect(server.address);
    // What can't be metered is refused, and no step.
    let refused = request("POST", "/v1/messages/batches", "a.test");
    std::io::Write::write_all(&mut client, refused.as_bytes()).expect("it is read");
    eventually("it is refused", || bed.counted("calls_refused") == 1);
    assert_eq!(bed.steps.placed().len(), 1);
    let lines = bed.agent.others.snapshot();
    assert!(lines.iter().any(|(kind, _)| kind.unmetered == Some(Unmetered::Batch)));
    exchange(&mut bed.pair(), &request("GET", "/b", "a.test"), &document("text/plain", "r"));
    is_fetch(&bed.steps.finished(2)[1], &planned);
}
