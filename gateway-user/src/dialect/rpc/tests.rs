mod answered;
mod asked;
mod properties;

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
