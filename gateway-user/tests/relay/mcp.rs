//! Tools are called as they are understood; what makes no calls is listed.

mod refused;

use std::net::TcpStream;

use serde_json::{Value, json};
use turnpike::{
    call::{CallKind, Dialect, EvidenceKind, Name, Operation, State, StepKind, Unmetered},
    limits::Bound,
};

use super::{
    bed::{Bed, Finished, Server, eventually},
    chat::{event, pass, question},
};

pub(super) fn post(target: &str, session: Option<&str>, body: &Value) -> String {
    let body = body.to_string();
    let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
    format!(
        "POST {target} HTTP/1.1\r\nHost: mcp.test\r\nContent-Type: application/json\r\n{session}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn answer(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn document(body: &Value) -> String {
    answer("200 OK", "application/json", &body.to_string())
}

pub(super) fn accepted() -> String {
    answer("202 Accepted", "text/plain", "Accepted")
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                      Transfer-Encoding: chunked\r\n\r\n";

pub(super) fn call(id: u64, name: &str, arguments: &Value) -> Value {
    let params = json!({"name": name, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

fn result(id: u64, is_error: bool) -> Value {
    let content = json!([{"type": "text", "text": "r"}]);
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": content, "isError": is_error}})
}

/// One exchange on a connection.
fn exchange((client, server): &mut (TcpStream, TcpStream), request: &str, response: &str) {
    pass(client, server, request);
    pass(server, client, response);
}

fn is_tool(step: &Finished, name: &str) {
    let step = &step.step;
    assert_eq!((step.kind, step.call, step.settled), (StepKind::Tool, CallKind::Tool, true));
    assert_eq!((step.dialect, step.operation), (Some(Dialect::Mcp), Some(Operation::ExecuteTool)));
    let tool = step.tool.as_ref().expect("a tool");
    assert_eq!((&*tool.name, tool.server.as_deref()), (name, Some("mcp.test")));
    assert_eq!(step.host.as_deref(), Some("mcp.test"));
    assert!(step.duration_ms.is_some() && step.request_sha256.is_some());
}

#[test]
fn a_call_that_is_answered_by_a_document_is_a_step_and_the_rest_is_listed() {
    let bed = Bed::start();
    let mut pair = bed.pair();
    let ask = |id: u64, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method});
    let session = Some("s-1");
    exchange(&mut pair, &post("/mcp", None, &ask(0, "initialize")), &document(&json!({})));
    exchange(&mut pair, &post("/mcp", session, &ask(1, "tools/list")), &document(&json!({})));
    let request = post("/mcp", session, &call(2, "search", &json!({"q": "x"})));
    exchange(&mut pair, &request, &document(&result(2, true)));
    let step = bed.steps.finished(1).remove(0);
    is_tool(&step, "search");
    assert_eq!((step.step.status, step.step.exchange_seq), (Some(200), Some(2)));
    assert_eq!(step.step.error.as_deref(), Some("tool_error"));
    assert_eq!(step.step.finish_reasons, ["complete"]);
    assert_eq!(step.completion.state, State::Failed);

    let listed = |method: &'static str| {
        let lines = bed.agent.others.snapshot();
        lines.into_iter().find(|(kind, _)| kind.rpc_method == Some(method)).map(|(_, tally)| tally)
    };
    for method in ["initialize", "tools/list"] {
        eventually("it is listed", || listed(method).is_some());
        assert_eq!(listed(method).map(|it| (it.exchanges, it.status)), Some((1, Some(200))));
    }
    assert_eq!(bed.agent.others.snapshot().len(), 2, "a call is none of them");
    let seen = bed.agent.coverage.snapshot();
    assert_eq!((seen.calls, seen.calls_not_understood, bed.counted("exchanges_other")), (1, 0, 0));
}

#[test]
fn a_call_that_is_answered_in_a_stream_ends_with_its_result() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, &post("/mcp", Some("s"), &call(1, "fetch", &json!({}))));
    eventually("the call is placed", || bed.steps.placed().len() == 1);
    pass(&mut server, &mut client, EVENTS);
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}});
    pass(&mut server, &mut client, &event(&progress.to_string()));
    pass(&mut server, &mut client, &event(&result(1, false).to_string()));
    // Before the stream has ended.
    let step = bed.steps.finished(1).remove(0);
    is_tool(&step, "fetch");
    assert_eq!((step.completion.state, step.step.error), (State::Done, None));
    assert!(step.step.ttft_ms <= step.step.duration_ms);
    pass(&mut server, &mut client, "0\r\n\r\n");
    bed.steps.finished(1);
}

#[test]
fn a_batch_is_a_step_for_each_call() {
    let bed = Bed::start();
    let mut pair = bed.pair();
    let ask = json!([call(1, "a", &json!({})), call(2, "b", &json!({}))]);
    let answers = json!([result(2, false), result(1, false)]);
    exchange(&mut pair, &post("/mcp", None, &ask), &document(&answers));
    let steps = bed.steps.finished(2);
    is_tool(&steps[0], "b");
    is_tool(&steps[1], "a");
    assert_ne!(steps[0].workflow, steps[1].workflow);
}

#[test]
fn the_old_transport_answers_on_another_connection() {
    let bed = Bed::start();
    let listening = Server::new();
    let mut stream_client = bed.connect(listening.address);
    let mut stream_server = listening.accept();
    let get = "GET /sse HTTP/1.1\r\nHost: mcp.test\r\nAccept: text/event-stream\r\n\r\n";
    pass(&mut stream_client, &mut stream_server, get);
    pass(&mut stream_server, &mut stream_client, EVENTS);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let endpoint = chunk("event: endpoint\ndata: /messages/?session_id=1\n\n");
    pass(&mut stream_server, &mut stream_client, &endpoint);

    let mut client = bed.connect(listening.address);
    let mut server = listening.accept();
    let target = "/messages/?session_id=1";
    pass(&mut client, &mut server, &post(target, None, &call(1, "old", &json!({}))));
    pass(&mut server, &mut client, &accepted());
    eventually("the call is placed", || bed.steps.placed().len() == 1);
    let answer = format!("event: message\ndata: {}\n\n", result(1, false));
    pass(&mut stream_server, &mut stream_client, &chunk(&answer));
    is_tool(&bed.steps.finished(1)[0], "old");

    // One that is cancelled has been given up, one that is lost with the stream has failed.
    for id in [2, 3] {
        pass(&mut client, &mut server, &post(target, None, &call(id, "old", &json!({}))));
        pass(&mut server, &mut client, &accepted());
    }
    let params = json!({"requestId": 2});
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
    pass(&mut client, &mut server, &post(target, None, &cancel));
    pass(&mut server, &mut client, &accepted());
    assert_eq!(bed.steps.finished(2)[1].completion.state, State::Cancelled);
    drop(stream_server);
    assert_eq!(bed.steps.finished(3)[2].completion.state, State::Failed);
}

#[test]
fn a_call_that_a_model_asked_for_is_one_step() {
    let bed = Bed::start();
    let mut model = bed.pair();
    let wish = json!({ "role": "user", "content": "find x" });
    let function = json!({ "name": "search", "arguments": "{\"q\": \"x\"}" });
    let plan = json!({ "role": "assistant", "content": null,
        "tool_calls": [{ "id": "call_7", "type": "function", "function": function }] });
    let completion = json!({ "id": "chatcmpl-1", "model": "m",
        "choices": [{ "index": 0, "message": plan, "finish_reason": "tool_calls" }] });
    exchange(&mut model, &question(&json!([wish])), &document(&completion));
    let planned = bed.steps.finished(1).remove(0);
    let [opened] = &planned.completion.tools[..] else { panic!("{planned:?}") };

    let mut tools = bed.pair();
    let request = post("/mcp", Some("s"), &call(1, "search", &json!({"q": "x"})));
    exchange(&mut tools, &request, &document(&result(1, false)));
    let made = bed.steps.finished(2).remove(1);
    is_tool(&made, "search");
    assert_eq!((made.workflow, made.step.step_id), (planned.workflow, opened.step));
    assert_eq!(made.step.parent_step_ids, [planned.step.step_id]);
    assert_eq!(made.step.evidence[0].kind, EvidenceKind::ToolArguments);
    assert_eq!(made.completion.state, State::Active, "the model waits for it");

    let told = json!({ "role": "tool", "tool_call_id": "call_7", "content": "r" });
    let last = json!({ "id": "chatcmpl-2", "model": "m",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "x is there" },
            "finish_reason": "stop" }] });
    exchange(&mut model, &question(&json!([wish, plan, told])), &document(&last));
    let ended = bed.steps.finished(3).remove(2);
    assert_eq!((ended.workflow, ended.completion.state), (planned.workflow, State::Done));
    assert_eq!(ended.step.parent_step_ids, [opened.step]);
}

#[test]
fn other_traffic_is_listed_by_kind() {
    let bed = Bed::start();
    let mut pair = bed.pair();
    let fine = document(&json!({"ok": true}));
    for user in 1..=3 {
        let body = json!({"name": format!("user {user}")});
        exchange(&mut pair, &post(&format!("/users/{user}?x=1"), None, &body), &fine);
    }
    let get = "GET /users/7 HTTP/1.1\r\nHost: mcp.test\r\n\r\n";
    exchange(&mut pair, get, &answer("404 Not Found", "text/plain", "no"));
    let batch = post("/v1/messages/batches", None, &json!({"requests": []}));
    exchange(&mut pair, &batch, &fine);
    // Anybody may have such a path.
    exchange(&mut pair, &post("/v1/files", None, &json!({})), &fine);
    eventually("they are counted", || bed.counted("exchanges_other") == 6);
    let lines = bed.agent.others.snapshot();
    let line = |path: &str, method: &str| {
        let of = lines.iter().find(|(kind, _)| &*kind.path == path && &*kind.method == method);
        of.unwrap_or_else(|| panic!("{method} {path}")).clone()
    };
    let (users, tally) = line("/users/{id}", "POST");
    assert_eq!((users.host.as_deref(), users.rpc_method), (Some("mcp.test"), None));
    let bytes = r#"{"name":"user 1"}"#.len() as u64;
    assert_eq!((tally.exchanges, tally.request_bytes, tally.status), (3, 3 * bytes, Some(200)));
    assert_eq!(tally.response_bytes, 3 * r#"{"ok":true}"#.len() as u64);
    assert_eq!(line("/users/{id}", "GET").1.status, Some(404));
    assert_eq!(line("/v1/messages/batches", "POST").0.unmetered, Some(Unmetered::Batch));
    assert_eq!(line("/v1/files", "POST").0.unmetered, None);
    let seen = bed.agent.coverage.snapshot();
    assert_eq!((seen.calls_unmetered, seen.calls, seen.calls_not_understood), (1, 0, 0));
}

#[test]
fn tool_calls_without_answers_make_room() {
    const MOST: u64 = turnpike::limits::WAITING_CALLS_PER_AGENT as u64;
    let bed = Bed::start();
    let mut pair = bed.pair();
    for first in (0..=MOST).step_by(512) {
        let last = (first + 512).min(MOST + 1);
        let calls: Vec<_> = (first..last).map(|id| call(id, "slow", &json!({}))).collect();
        exchange(&mut pair, &post("/messages?sessionId=1", None, &json!(calls)), &accepted());
    }
    let lost = bed.steps.finished(1).remove(0);
    assert_eq!(lost.step.host, Some(Name::from("mcp.test")));
    assert_eq!(bed.agent.bounds.hits(Bound::WaitingCalls), 1);
    assert_eq!(bed.agent.coverage.snapshot().calls_not_understood, 1);
}
