use super::*;

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
fn answers_of_the_old_transport_come_on_its_stream() {
    let mut agent = Agent::default();
    let mut stream = agent.listen("/sse");
    assert_eq!((stream.traffic(), stream.session()), (Traffic::Other, None));
    let endpoint = "event: endpoint\ndata: /messages/?session_id=1\n\n";
    assert!(agent.hear(&mut stream, endpoint).is_empty());
    assert_eq!(stream.traffic(), Traffic::Protocol("stream"));

    let target = "/messages/?session_id=1";
    let (first, key, _) = agent.call(target, &tool(&json!(1), "a", &json!({})));
    assert!(first.session().is_some() && first.session() == stream.session());
    assert!(agent.answer(first, &head(202, "text/plain"), "Accepted").is_empty());
    assert_eq!(end(&agent.hear(&mut stream, &event(&result(&json!(1))))).0, key);
    assert!(agent.hear(&mut stream, &event(&result(&json!(1)))).is_empty(), "only once");

    // The answer may come before the request has been accepted.
    let (second, key, _) = agent.call(target, &tool(&json!(2), "a", &json!({})));
    assert_eq!(end(&agent.hear(&mut stream, &event(&result(&json!(2))))).0, key);
    assert!(agent.answer(second, &head(202, "text/plain"), "Accepted").is_empty());

    // Another session has ids of its own.
    let (other, _, _) = agent.call("/messages/?session_id=2", &tool(&json!(3), "a", &json!({})));
    assert_ne!(other.session(), stream.session());
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
    Reading { answer: Answer { model: None, response_id: None, choices: [], tool_calls: [], values: [], finish_reasons: ["complete"], usage: None, service_tier: None, error: None, complete: true }, not_understood: None }
    Invocation { dialect: Mcp, operation: ExecuteTool, tool: Some("fail"), arguments: None, rpc_id: Some("4"), signals: [] }
    Reading { answer: Answer { model: None, response_id: None, choices: [], tool_calls: [], values: [], finish_reasons: ["complete"], usage: None, service_tier: None, error: Some("tool_error"), complete: true }, not_understood: None }
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
    let mut said = agent.say("/mcp", &cancel(1));
    assert_eq!(said.take_withdrawn(), [key]);
    assert_eq!(said.traffic(), Traffic::Protocol("notifications/cancelled"));
    assert!(agent.answer(said, &head(202, "text/plain"), "").is_empty());
    let answered = agent.answer(observer, &head(200, EVENTS), "id: 1\ndata:\n\n");
    assert_eq!(answered, [Answered::cancelled(key)]);
    // After it.
    let (observer, key, _) = agent.call("/mcp", &tool(&json!(2), "a", &json!({})));
    assert!(agent.answer(observer, &head(202, "text/plain"), "").is_empty());
    let mut said = agent.say("/mcp", &cancel(2));
    assert_eq!(said.take_withdrawn(), []);
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
