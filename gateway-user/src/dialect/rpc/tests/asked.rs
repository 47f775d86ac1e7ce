use super::*;

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
        assert_eq!(invocation.rpc_id.as_deref(), Some("\"x\""));
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
