use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    call::{Dialect, Invocation, Operation, Signal},
    dialect::{
        Answered, Asked, CallKey, Known, NotUnderstood, Observer, Reading, RequestInfo,
        ResponseInfo, Traffic, What, canonical::Json, detect,
    },
    limits,
};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn signal(name: &'static str, value: &str) -> Signal {
    Signal { name, value: value.to_owned() }
}

fn info<'a>(method: &'a str, target: &'a str, signals: &'a [Signal]) -> RequestInfo<'a> {
    RequestInfo {
        method,
        target,
        host: Some("mcp.test"),
        content_type: (method == "POST").then_some(JSON),
        content_encoding: None,
        content_length: None,
        client_retry: None,
        signals,
    }
}

/// An agent's exchanges with a server of tools.
#[derive(Default)]
struct Agent {
    known: Known,
    signals: Vec<Signal>,
}

type Read = Result<Vec<Asked>, NotUnderstood>;

impl Agent {
    fn in_session(id: &str) -> Self {
        Self { signals: vec![signal("mcp-session-id", id)], ..Self::default() }
    }

    fn post(&mut self, target: &str, body: &[u8]) -> (Observer, Read) {
        let mut observer = detect(&info("POST", target, &self.signals)).expect("it may be");
        for piece in body.chunks(7) {
            observer.request_body(piece);
        }
        let asked = observer.request_end(&mut self.known);
        (observer, asked)
    }

    /// Posts, and makes one call with it.
    fn call(&mut self, target: &str, body: &Value) -> (Observer, CallKey, Invocation) {
        let (observer, asked) = self.post(target, body.to_string().as_bytes());
        let mut asked = asked.expect("it is understood");
        assert_eq!((asked.len(), observer.traffic()), (1, Traffic::Calls));
        let asked = asked.remove(0);
        let What::Tool(invocation) = asked.what else { panic!("no tool") };
        (observer, asked.key, invocation)
    }

    /// Posts what makes no call.
    fn say(&mut self, target: &str, body: &Value) -> Observer {
        let (observer, asked) = self.post(target, body.to_string().as_bytes());
        assert!(asked.expect("it is understood").is_empty());
        observer
    }

    fn listen(&self, target: &str) -> Observer {
        let mut observer = detect(&info("GET", target, &self.signals)).expect("it may be");
        observer.response_head(&head(200, EVENTS));
        observer
    }

    /// A response of this type, in pieces; what it answers.
    fn answer(
        &mut self,
        mut observer: Observer,
        head: &ResponseInfo<'_>,
        body: &str,
    ) -> Vec<Answered> {
        observer.response_head(head);
        let mut answered = self.hear(&mut observer, body);
        answered.extend(observer.response_end(true, &mut self.known));
        answered
    }

    fn hear(&mut self, observer: &mut Observer, body: &str) -> Vec<Answered> {
        let mut answered = Vec::new();
        for piece in body.as_bytes().chunks(5) {
            observer.response_body(piece);
            if observer.has_answered() {
                answered.extend(observer.answered(&mut self.known));
            }
        }
        answered
    }
}

fn head(status: u16, content_type: &str) -> ResponseInfo<'_> {
    let content_type = Some(content_type);
    ResponseInfo { status, content_type, content_encoding: None, signals: &[] }
}

fn tool(id: &Value, name: &str, arguments: &Value) -> Value {
    let params = json!({"name": name, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

fn result(id: &Value) -> Value {
    let content = json!([{"type": "text", "text": "done"}]);
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": content, "isError": false}})
}

fn event(data: &Value) -> String {
    format!("event: message\ndata: {data}\n\n")
}

/// How the one call ended: its key, finish reason and error.
fn end(answered: &[Answered]) -> (CallKey, Option<&str>, Option<&str>) {
    let [Answered { key, reading, .. }] = answered else { panic!("not one: {answered:?}") };
    assert_eq!(reading.not_understood, None);
    let answer = &reading.answer;
    assert!(answer.complete);
    (*key, answer.finish_reasons.first().map(|it| &**it), answer.error.as_deref())
}

#[test]
fn a_tool_call_is_read_with_all_that_names_it() {
    let mut agent = Agent::in_session("s-1");
    let mut body = tool(&json!(7), "search", &json!({"q": "é", "n": 1.0}));
    body["params"]["_meta"] = json!({"progressToken": 7, "traceparent": "00-1-2-01"});
    let (_, _, invocation) = agent.call("/mcp", &body);
    let arguments = Json::in_text(r#"{"n":1,"q":"\u00e9"}"#).get();
    assert_eq!(
        invocation,
        Invocation {
            dialect: Dialect::Mcp,
            operation: Operation::ExecuteTool,
            tool: Some("search".into()),
            arguments: Some(arguments),
            rpc_id: Some("7".to_owned()),
            signals: vec![
                signal("body.params._meta.traceparent", "00-1-2-01"),
                signal("body.params._meta.progressToken", "7"),
                signal("mcp-session-id", "s-1"),
            ],
        }
    );
    // No arguments, whichever way that is said.
    for params in [json!({"name": "a"}), json!({"name": "a", "arguments": null})] {
        let body = json!({"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": params});
        let (_, _, invocation) = agent.call("/mcp", &body);
        assert_eq!(invocation.arguments, Some(Json::in_text("").get()));
        assert_eq!(invocation.rpc_id.as_deref(), Some("x"));
    }
}

#[test]
fn every_kind_of_answer_is_read() {
    let id = json!(1);
    let of = |result: Value| json!({"jsonrpc": "2.0", "id": 1, "result": result});
    let error = |code: i64, id: Value| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "m"}});
    let cases = [
        (200, result(&id), Some("complete"), None),
        (200, of(json!({"content": [], "isError": true})), Some("complete"), Some("tool_error")),
        (200, of(json!({"resultType": "input_required"})), Some("input_required"), None),
        (200, of(json!({"task": {"taskId": "t-1"}})), Some("task"), None),
        (200, error(-32602, json!(1)), None, Some("-32602")),
        // Where the server did not read as far as to the id.
        (400, error(-32600, Value::Null), None, Some("-32600")),
        (404, error(-32601, json!(1)), None, Some("-32601")),
    ];
    for (status, body, finish, error) in cases {
        let mut agent = Agent::default();
        let (observer, key, _) = agent.call("/mcp", &tool(&id, "a", &json!({})));
        let answered = agent.answer(observer, &head(status, JSON), &body.to_string());
        assert_eq!(end(&answered), (key, finish, error), "{body}");
        if status != 200 {
            continue;
        }
        // The same among other messages of the server's, as a stream.
        let (observer, key, _) = agent.call("/mcp", &tool(&id, "a", &json!({})));
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}});
        let sampling = json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage"});
        let stream = [
            "id: 0\ndata:\n\n".to_owned(),
            event(&progress),
            event(&sampling),
            event(&result(&json!("1"))),
            event(&body),
            ": ping\n\n".to_owned(),
        ];
        let answered = agent.answer(observer, &head(200, EVENTS), &stream.concat());
        assert_eq!(end(&answered), (key, finish, error), "{body}");
    }
}

#[test]
fn what_does_no_work_is_no_call_and_no_error() {
    let mut agent = Agent::default();
    for method in
        ["initialize", "server/discover", "ping", "tools/list", "resources/read", "tasks/get"]
    {
        let observer = agent.say("/mcp", &json!({"jsonrpc": "2.0", "id": 1, "method": method}));
        assert_eq!(observer.traffic(), Traffic::Protocol(method));
        assert!(
            agent.answer(observer, &head(200, JSON), &result(&json!(1)).to_string()).is_empty()
        );
    }
    let observer = agent.say("/mcp", &result(&json!(1)));
    assert_eq!(observer.traffic(), Traffic::Protocol("response"));
    let unknown = json!({"jsonrpc": "2.0", "id": 1, "method": "vendor/thing"});
    assert_eq!(agent.say("/mcp", &unknown).traffic(), Traffic::Other);
    let mut told = Agent::in_session("s");
    assert_eq!(told.say("/mcp", &unknown).traffic(), Traffic::Protocol("other"));
}

#[test]
fn what_is_no_json_rpc_is_other_traffic_unless_its_head_says_otherwise() {
    let huge = vec![b'['; limits::RPC_REQUEST_BYTES + 1];
    let unread = |reason| (Traffic::Unread(reason), reason);
    let other = |reason| (Traffic::Other, reason);
    let cases: [(&[u8], _); 10] = [
        (b"", other(NotUnderstood::NotJson)),
        (b" 12", other(NotUnderstood::NotThisShape)),
        (b"{\"a\":1}", other(NotUnderstood::NotThisShape)),
        // A glance is enough.
        (b"{\"a\":", other(NotUnderstood::NotJson)),
        (b"[]", other(NotUnderstood::NotThisShape)),
        (b"{\"a\":\"\\u00e9\"}", other(NotUnderstood::NotThisShape)),
        (b"{\"jsonrpc\":\"2.0\"", unread(NotUnderstood::NotJson)),
        // Some servers read these, too.
        (b"\xEF\xBB\xBF{\"jsonrpc\":\"2.0\"}", unread(NotUnderstood::NotJson)),
        (b"{\0\"\0j\0", unread(NotUnderstood::NotJson)),
        (&huge, unread(NotUnderstood::TooLarge)),
    ];
    for (body, (traffic, reason)) in cases {
        let (observer, asked) = Agent::default().post("/save", body);
        assert!(asked.is_ok_and(|asked| asked.is_empty()));
        assert_eq!(observer.traffic(), traffic);
        let (_, asked) = Agent::in_session("s").post("/save", body);
        assert_eq!(asked.expect_err("it is told"), reason);
    }
    let twice = br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#;
    let (_, asked) = Agent::default().post("/mcp", twice);
    assert_eq!(asked.expect_err("either"), NotUnderstood::DuplicateKey);
    let twice =
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#;
    let (_, asked) = Agent::default().post("/mcp", twice);
    assert_eq!(asked.expect_err("either"), NotUnderstood::DuplicateKey);
}

#[test]
fn blanks_before_the_body_belong_to_it() {
    let request = format!(" \r\n\t{}", tool(&json!(1), "a", &json!({})));
    let read = |piece: usize| {
        let mut observer = detect(&info("POST", "/mcp", &[])).expect("it may be");
        request.as_bytes().chunks(piece).for_each(|piece| observer.request_body(piece));
        let asked = observer.request_end(&mut Known::default()).expect("it is understood");
        asked.iter().map(|asked| asked.sha256).collect::<Vec<_>>()
    };
    assert_eq!(read(1), read(1000));
    assert_eq!(read(1).len(), 1);
}

#[test]
fn a_batch_makes_many_calls() {
    let mut agent = Agent::default();
    let batch = json!([
        tool(&json!(1), "a", &json!({})),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        tool(&json!("1"), "b", &json!({"x": 1})),
        7,
    ]);
    let (observer, asked) = agent.post("/mcp", batch.to_string().as_bytes());
    let asked = asked.expect("it is understood");
    let keys: Vec<_> = asked.iter().map(|asked| asked.key).collect();
    assert_eq!((keys.len(), observer.traffic()), (2, Traffic::Calls));
    let answers = json!([result(&json!("1")), result(&json!(2)), result(&json!(1))]);
    let answered = agent.answer(observer, &head(200, JSON), &answers.to_string());
    let answered: Vec<_> = answered.iter().map(|answered| answered.key).collect();
    assert_eq!(answered, [keys[1], keys[0]]);
}

#[test]
fn answers_of_the_old_transport_come_on_its_stream() {
    let mut agent = Agent::default();
    let mut stream = agent.listen("/sse");
    assert_eq!(stream.traffic(), Traffic::Other);
    let endpoint = "event: endpoint\ndata: /messages/?session_id=1\n\n";
    assert!(agent.hear(&mut stream, endpoint).is_empty());
    assert_eq!(stream.traffic(), Traffic::Protocol("stream"));

    let target = "/messages/?session_id=1";
    let (first, key, _) = agent.call(target, &tool(&json!(1), "a", &json!({})));
    assert!(agent.answer(first, &head(202, "text/plain"), "Accepted").is_empty());
    assert_eq!(end(&agent.hear(&mut stream, &event(&result(&json!(1))))).0, key);
    assert!(agent.hear(&mut stream, &event(&result(&json!(1)))).is_empty(), "only once");

    // The answer may come before the request has been accepted.
    let (second, key, _) = agent.call(target, &tool(&json!(2), "a", &json!({})));
    assert_eq!(end(&agent.hear(&mut stream, &event(&result(&json!(2))))).0, key);
    assert!(agent.answer(second, &head(202, "text/plain"), "Accepted").is_empty());

    // Another session has ids of its own.
    let (other, _, _) = agent.call("/messages/?session_id=2", &tool(&json!(3), "a", &json!({})));
    assert!(agent.answer(other, &head(202, "text/plain"), "").is_empty());
    assert!(agent.hear(&mut stream, &event(&result(&json!(3)))).is_empty());

    let (lost, key, _) = agent.call(target, &tool(&json!(4), "a", &json!({})));
    assert!(agent.answer(lost, &head(202, "text/plain"), "").is_empty());
    let ended = stream.response_end(false, &mut agent.known);
    assert_eq!(ended, [Answered::new(key, Reading::default())]);
}

#[test]
fn a_stream_that_can_be_resumed_leaves_its_call_waiting() {
    let mut agent = Agent::in_session("s");
    let (observer, key, _) = agent.call("/mcp", &tool(&json!(1), "a", &json!({})));
    assert!(agent.answer(observer, &head(200, EVENTS), "id: 1\ndata:\n\n").is_empty());
    let mut resumed = agent.listen("/mcp");
    assert_eq!(resumed.traffic(), Traffic::Protocol("stream"));
    assert_eq!(end(&agent.hear(&mut resumed, &event(&result(&json!(1))))).0, key);

    // Without ids of events nothing can be resumed.
    let (observer, key, _) = agent.call("/mcp", &tool(&json!(2), "a", &json!({})));
    let answered = agent.answer(observer, &head(200, EVENTS), ": ping\n\n");
    assert_eq!(answered, [Answered::new(key, Reading::default())]);
}

#[test]
fn nothing_is_answered_in_a_session_that_has_ended() {
    let mut agent = Agent::in_session("s");
    let (observer, key, _) = agent.call("/mcp", &tool(&json!(1), "a", &json!({})));
    assert!(agent.answer(observer, &head(202, "text/plain"), "").is_empty());
    for (status, expected) in [(405, vec![]), (200, vec![key])] {
        let end = detect(&info("DELETE", "/mcp", &agent.signals)).expect("it is told");
        assert_eq!(end.traffic(), Traffic::Protocol("end"));
        let ended = agent.answer(end, &head(status, "text/plain"), "");
        assert_eq!(ended.iter().map(|it| it.key).collect::<Vec<_>>(), expected);
    }
    assert!(detect(&info("DELETE", "/things/1", &[])).is_none());
}

/// What the Python SDK 2.3 said to its own server, and was answered.
#[test]
fn recorded_calls_are_read_whole() {
    const MODERN: [&str; 2] = [
        r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"search","arguments":{"q":"é","n":2},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"mcp","version":"0.1.0"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"result":{"content":[{"text":"found é","type":"text"}],"isError":false,"resultType":"complete","structuredContent":{"result":"found é"},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"tools","version":""}}}}"#,
    ];
    const LEGACY: [&str; 2] = [
        r#"{"method":"tools/call","params":{"name":"fail","arguments":{}},"jsonrpc":"2.0","id":4}"#,
        "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{\"content\":[{\"text\":\"Error executing tool fail\",\"type\":\"text\"}],\"isError\":true}}\r\n\r\n",
    ];
    let mut read = Vec::new();
    for ([request, response], kind) in [(MODERN, JSON), (LEGACY, EVENTS)] {
        let mut agent = Agent::default();
        let (observer, asked) = agent.post("/mcp", request.as_bytes());
        let asked = asked.expect("it is understood").remove(0);
        let What::Tool(mut invocation) = asked.what else { panic!("no tool") };
        let arguments = invocation.arguments.take();
        assert!(arguments.is_some());
        let answered = agent.answer(observer, &head(200, kind), response).remove(0);
        assert_eq!(answered.key, asked.key);
        read.push(format!("{invocation:?}\n{:?}", answered.reading));
    }
    insta::assert_snapshot!(read.join("\n"), @r#"
    Invocation { dialect: Mcp, operation: ExecuteTool, tool: Some("search"), arguments: None, rpc_id: Some("3"), signals: [] }
    Reading { answer: Answer { model: None, response_id: None, choices: [], tool_calls: [], finish_reasons: ["complete"], usage: None, service_tier: None, error: None, complete: true }, not_understood: None }
    Invocation { dialect: Mcp, operation: ExecuteTool, tool: Some("fail"), arguments: None, rpc_id: Some("4"), signals: [] }
    Reading { answer: Answer { model: None, response_id: None, choices: [], tool_calls: [], finish_reasons: ["complete"], usage: None, service_tier: None, error: Some("tool_error"), complete: true }, not_understood: None }
    "#);
}

#[test]
fn other_streams_are_other_traffic() {
    let mut agent = Agent::default();
    let mut stream = agent.listen("/events");
    assert!(
        agent.hear(&mut stream, "data: {\"price\": 1}\n\nevent: endpoint\ndata: /x\n\n").is_empty()
    );
    assert_eq!(stream.traffic(), Traffic::Other);
    let mut page = detect(&info("GET", "/", &[])).expect("it may be");
    page.response_head(&head(200, "text/html"));
    assert_eq!(page.traffic(), Traffic::Other);
}

#[test]
fn a_call_that_is_cancelled_and_not_answered_was_given_up() {
    let mut agent = Agent::in_session("s");
    let cancel = |id: u64| {
        let params = json!({"requestId": id, "reason": "user"});
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    };
    // While its exchange goes on.
    let (observer, key, _) = agent.call("/mcp", &tool(&json!(1), "a", &json!({})));
    let said = agent.say("/mcp", &cancel(1));
    assert_eq!(said.traffic(), Traffic::Protocol("notifications/cancelled"));
    assert!(agent.answer(said, &head(202, "text/plain"), "").is_empty());
    let answered = agent.answer(observer, &head(200, EVENTS), "id: 1\ndata:\n\n");
    assert_eq!(answered, [Answered::cancelled(key)]);
    // After it.
    let (observer, key, _) = agent.call("/mcp", &tool(&json!(2), "a", &json!({})));
    assert!(agent.answer(observer, &head(202, "text/plain"), "").is_empty());
    let said = agent.say("/mcp", &cancel(2));
    assert_eq!(agent.answer(said, &head(202, "text/plain"), ""), [Answered::cancelled(key)]);
    // An answer that comes all the same is one.
    let (observer, key, _) = agent.call("/mcp", &tool(&json!(3), "a", &json!({})));
    agent.say("/mcp", &cancel(3));
    let answered = agent.answer(observer, &head(200, JSON), &result(&json!(3)).to_string());
    assert_eq!(end(&answered), (key, Some("complete"), None));
    assert!(!answered[0].cancelled);
}

#[test]
fn what_is_lost_is_said() {
    let mut agent = Agent::default();
    let lost = |agent: &mut Agent, head: &ResponseInfo<'_>, body: &str, whole: bool| {
        let (mut observer, _, _) = agent.call("/mcp", &tool(&json!(1), "a", &json!({})));
        observer.response_head(head);
        observer.response_body(body.as_bytes());
        let mut answered = observer.response_end(whole, &mut agent.known);
        assert_eq!(answered.len(), 1);
        let reading = answered.remove(0).reading;
        (reading.not_understood, reading.answer.complete)
    };
    let other = result(&json!(9)).to_string();
    let shape = Some(NotUnderstood::NotThisShape);
    assert_eq!(lost(&mut agent, &head(200, JSON), &other, true), (shape, false));
    assert_eq!(lost(&mut agent, &head(200, JSON), "{\"jsonrpc\":", false), (None, false));
    assert_eq!(
        lost(&mut agent, &head(200, JSON), "<", true),
        (Some(NotUnderstood::NotJson), false)
    );
    assert_eq!(lost(&mut agent, &head(503, "text/html"), "<", true), (None, true));
    assert_eq!(lost(&mut agent, &head(401, JSON), "{\"error\":\"x\"}", true), (None, true));
    let bad = json!({"jsonrpc": "2.0", "id": 1, "result": []}).to_string();
    assert_eq!(lost(&mut agent, &head(200, JSON), &bad, true), (shape, false));
    let (observer, key, _) = agent.call("/mcp", &tool(&json!(1), "a", &json!({})));
    let answered = observer.response_end(false, &mut agent.known);
    assert_eq!(answered, [Answered::new(key, Reading::default())]);
}

#[test]
fn an_agent_is_given_a_message_in_any_version() {
    let message = json!({
        "messageId": "m-1", "contextId": "c-1", "referenceTaskIds": ["t-0", 5],
        "role": "user", "parts": [{"kind": "text", "text": "hi"}],
    });
    let ask = |method: &str| {
        let params = json!({"message": message});
        json!({"jsonrpc": "2.0", "id": "r-1", "method": method, "params": params})
    };
    let of = |result: Value| json!({"jsonrpc": "2.0", "id": "r-1", "result": result});
    let mut agent = Agent::default();

    let task = json!({"kind": "task", "id": "t-1", "contextId": "c-1",
        "status": {"state": "completed"}});
    let (observer, key, invocation) = agent.call("/", &ask("message/send"));
    assert_eq!((invocation.dialect, invocation.operation), (Dialect::A2a, Operation::InvokeAgent));
    assert_eq!((invocation.tool, invocation.arguments), (None, None));
    let signals = [
        signal("body.params.message.contextId", "c-1"),
        signal("body.params.message.messageId", "m-1"),
        signal("body.params.message.referenceTaskIds", "t-0"),
        signal("body.params.message.referenceTaskIds", "5"),
    ];
    assert_eq!(invocation.signals, signals);
    let answered = agent.answer(observer, &head(200, JSON), &of(task).to_string());
    assert_eq!(end(&answered), (key, Some("completed"), None));
    assert_eq!(answered[0].reading.answer.response_id.as_deref(), Some("t-1"));

    let (observer, key, _) = agent.call("/", &ask("SendMessage"));
    let reply = of(json!({"message": {"messageId": "m-2", "role": "ROLE_AGENT"}}));
    let answered = agent.answer(observer, &head(200, JSON), &reply.to_string());
    assert_eq!(end(&answered), (key, Some("message"), None));

    let update =
        |state: &str| of(json!({"statusUpdate": {"taskId": "t-1", "status": {"state": state}}}));
    for (last, error) in
        [("TASK_STATE_COMPLETED", None), ("TASK_STATE_FAILED", Some("TASK_STATE_FAILED"))]
    {
        let (observer, key, _) = agent.call("/", &ask("SendStreamingMessage"));
        let artifact = of(json!({"artifactUpdate": {"taskId": "t-1", "artifact": {}}}));
        let stream = [update("TASK_STATE_WORKING"), artifact, update(last)];
        let stream = stream.map(|it| event(&it)).concat();
        let answered = agent.answer(observer, &head(200, EVENTS), &stream);
        assert_eq!(end(&answered), (key, Some(last), error));
        assert_eq!(answered[0].reading.answer.response_id.as_deref(), Some("t-1"));
    }
    let get = json!({"jsonrpc": "2.0", "id": 2, "method": "GetTask", "params": {"id": "t-1"}});
    assert_eq!(agent.say("/", &get).traffic(), Traffic::Protocol("GetTask"));
}

fn pieces<'a>(body: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect()
}

fn read(
    request: &[&[u8]],
    head: &ResponseInfo<'_>,
    response: &[&[u8]],
) -> (Option<Vec<What>>, Traffic, Vec<Reading>) {
    let mut known = Known::default();
    let mut observer = detect(&info("POST", "/mcp", &[])).expect("it may be");
    for piece in request {
        observer.request_body(piece);
    }
    let asked = observer.request_end(&mut known).ok();
    let asked = asked.map(|asked| asked.into_iter().map(|asked| asked.what).collect());
    observer.response_head(head);
    let mut answered = Vec::new();
    for piece in response {
        observer.response_body(piece);
        answered.extend(observer.answered(&mut known));
    }
    let traffic = observer.traffic();
    answered.extend(observer.response_end(true, &mut known));
    (asked, traffic, answered.into_iter().map(|it| it.reading).collect())
}

proptest! {
    #[test]
    fn where_the_bytes_are_cut_does_not_matter(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        stream in any::<bool>(),
        garbage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut request = json!([
            tool(&json!(1), "a", &json!({"x": ["é", 1]})),
            tool(&json!(2), "b", &json!({})),
        ]).to_string().into_bytes();
        if let Some((at, byte)) = garbage {
            let at = at.index(request.len());
            request[at] = byte;
        }
        let answers = [result(&json!(2)), result(&json!(1))];
        let (kind, response) = if stream {
            (EVENTS, answers.iter().map(event).collect::<String>())
        } else {
            (JSON, json!(answers).to_string())
        };
        let head = head(200, kind);
        let whole = read(&[&request], &head, &[response.as_bytes()]);
        let bytes: Vec<_> = response.as_bytes().chunks(1).collect();
        let cut = read(&pieces(&request, &cuts), &head, &pieces(response.as_bytes(), &cuts));
        prop_assert_eq!(&cut, &whole);
        prop_assert_eq!(&read(&request.chunks(1).collect::<Vec<_>>(), &head, &bytes), &whole);
    }

    #[test]
    fn garbage_never_panics(request in "[\\[\\]{}\":,a-z0-9. ]{0,60}", response in ".{0,80}") {
        for kind in [JSON, EVENTS] {
            let _ = read(&[request.as_bytes()], &head(200, kind), &[response.as_bytes()]);
        }
    }

    #[test]
    fn key_order_and_escapes_do_not_matter(name in "[a-zé\"]{1,6}", value in any::<i32>()) {
        let escaped: Vec<_> =
            name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let escaped = escaped.concat();
        let one = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{0},"arguments":{{{0}:{value},"b":[]}}}}}}"#,
            json!(name),
        );
        let other = format!(
            r#"{{"params":{{"arguments":{{"b":[ ],"{escaped}":{value}}},"name":"{escaped}"}},"method":"tools\/call","id":1.0,"jsonrpc":"2.0"}}"#
        );
        prop_assume!(name != "b");
        let call = |body: &str| {
            let (_, asked) = Agent::default().post("/mcp", body.as_bytes());
            let What::Tool(call) = asked.expect("a call").remove(0).what else { panic!("no tool") };
            (call.tool, call.arguments)
        };
        prop_assert_eq!(call(&one), call(&other));
    }
}
