use super::*;

#[test]
fn a_chat_completion_is_known_by_method_and_path() {
    let is_model = |info: &RequestInfo<'_>| matches!(detect(info), Some(Observer::Model(_)));
    for target in [
        "/v1/chat/completions",
        "/chat/completions?x=/y",
        "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        "http://host:8000/api/v1/chat/completions/",
    ] {
        assert!(is_model(&request_info(target)), "{target}");
    }
    for target in ["/v1/chat/completions/id", "/?q=/chat/completions", "*", ""] {
        assert!(!is_model(&request_info(target)), "{target}");
    }
    let get = RequestInfo { method: "GET", ..request_info("/v1/chat/completions") };
    assert!(!is_model(&get));
}

#[test]
fn a_request_with_tools_is_read() {
    let prompt = ask(&json!({
        "model": "gpt-x", "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Book "}, {"type": "text", "text": "a hotel"}]},
            tool_message(),
            {"role": "tool", "tool_call_id": "call_a", "content": "Zürich it is"},
        ],
        "tools": [{"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}],
    }))
    .expect("a prompt");
    assert_eq!(prompt.model.as_deref(), Some("gpt-x"));
    assert!(prompt.stream);
    assert_eq!(prompt.client_retry, Some(1));
    assert_eq!(prompt.wish.as_deref(), Some("Book a hotel"));
    assert!(prompt.tools_hash.is_some());
    let roles: Vec<_> = prompt.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    assert_eq!(prompt.messages[2].tool_calls, ["call_a", "call_b"]);
    assert_eq!(prompt.messages[3].tool_result.as_deref(), Some("call_a"));
}

#[test]
fn tools_hash_alike_whatever_their_spelling_and_none_is_none() {
    let hash = |tools: &str| {
        let mut observer = observer();
        observer.request_body(format!(r#"{{"messages":[]{tools}}}"#).as_bytes());
        end(observer).expect("a prompt").tools_hash
    };
    assert_eq!(hash(r#","tools":[{"a":1,"b":null}]"#), hash(r#", "tools": [ {"a": 1.0} ]"#));
    assert_ne!(hash(r#","tools":[{"a":1}]"#), hash(r#","functions":[{"a":1}],"tools":[{"a":1}]"#));
    for none in ["", r#","tools":null"#, r#","tools":[],"functions":[]"#] {
        assert_eq!(hash(none), None, "{none}");
    }
}

#[test]
fn the_wish_is_the_first_user_message_cut_at_a_character() {
    let wish = |messages: Value| ask(&json!({"messages": messages})).expect("a prompt").wish;
    assert_eq!(wish(json!([{"role": "system", "content": "s"}])), None);
    assert_eq!(
        wish(json!([{"role": "user", "content": ""}, {"role": "user", "content": "b"}])),
        None
    );
    let long = format!("x{}", "é".repeat(limits::WISH_BYTES));
    let cut = wish(json!([{"role": "user", "content": long}])).expect("a wish");
    assert_eq!(cut.len(), limits::WISH_BYTES - 1);
    assert!(long.starts_with(&cut));
}

#[test]
fn what_is_no_chat_request_is_said() {
    assert_eq!(ask(&json!({"input": "x"})), Err(NotUnderstood::NotThisShape));
    assert_eq!(
        ask(&json!({"messages": [{"role": "user", "content": 7}]})),
        Err(NotUnderstood::NotThisShape)
    );
    let many = vec![json!({}); limits::MESSAGES_PER_PROMPT + 1];
    assert_eq!(ask(&json!({"messages": many})), Err(NotUnderstood::TooLarge));
    let many = vec![json!({"type": "text", "text": "x"}); limits::PARTS_PER_MESSAGE + 1];
    let many = json!({"messages": [{"role": "user", "content": many}]});
    assert_eq!(ask(&many), Err(NotUnderstood::NotThisShape));
    let mut cut = observer();
    cut.request_body(b"{\"messages\": [");
    assert_eq!(end(cut), Err(NotUnderstood::NotJson));
    let info =
        RequestInfo { content_encoding: Some("compress"), ..request_info("/chat/completions") };
    let encoded = detect(&info).expect("a chat completion");
    assert_eq!(end(encoded), Err(NotUnderstood::Encoded));
}

#[test]
fn a_field_that_comes_twice_could_be_read_either_way() {
    for body in [
        r#"{"messages":[],"messages":[]}"#,
        r#"{"messages":[],"max_tokens":1,"max_tokens":100000}"#,
        r#"{"messages":[],"model":"a","mod\u0065l":"b"}"#,
        r#"{"messages":[],"stream_options":{"include_usage":true,"include_usage":false}}"#,
        r#"{"messages":[{"role":"user","role":"system","content":"x"}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","type":"x","text":"b"}]}]}"#,
        r#"{"messages":[{"role":"user","content":{"type":"image_url","x":1,"x":1}}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"a","file_data":"b"}}]}]}"#,
        r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"a","id":"b"}]}]}"#,
        r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"a","name":"b"}}]}]}"#,
        r#"{"messages":[],"tools":[{"type":"function","function":{"parameters":{"x":1,"x":2}}}]}"#,
    ] {
        let mut observer = observer();
        observer.request_body(body.as_bytes());
        assert_eq!(end(observer), Err(NotUnderstood::DuplicateKey), "{body}");
    }
    // These say it in two spellings, which both may be given.
    let both = json!({"messages": [], "max_tokens": 9, "max_completion_tokens": 7});
    assert_eq!(ask(&both).expect("a prompt").terms.max_output, Some(7));
    let part = json!({"type": "text", "text": "a", "refusal": null});
    let asked = ask(&json!({"messages": [{"role": "user", "content": [part]}]}));
    assert_eq!(asked.expect("a prompt").wish.as_deref(), Some("a"));
}

#[test]
fn what_a_request_does_not_bound_is_said() {
    use Unmetered::{FileReferences, HostedTools};

    let tool = |kind: &str| json!({"messages": [], "tools": [{"type": kind}]});
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    for (body, why) in [
        (tool("function"), None),
        (tool("custom"), None),
        (tool("web_search"), Some(HostedTools)),
        (json!({"messages": [], "functions": [{"name": "x"}]}), None),
        (json!({"messages": [], "web_search_options": null}), None),
        (json!({"messages": [], "web_search_options": {}}), Some(HostedTools)),
        (part(json!({"type": "file", "file": {"file_data": "aa"}})), None),
        (part(json!({"type": "file", "file": {"file_id": "a"}})), Some(FileReferences)),
        (part(json!({"type": "image_url", "image_url": {"url": "data:x"}})), None),
        (part(json!({"type": "text", "text": "{\"file_id\":1}"})), None),
    ] {
        assert_eq!(ask(&body).expect("a prompt").terms.unmetered, why, "{body}");
    }
}

#[test]
fn messages_that_mean_the_same_hash_the_same() {
    let image = json!({"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}});
    let groups = [
        vec![
            json!({"role": "user", "content": "a\nb"}),
            json!({"content": [{"text": "a", "type": "text"}, {"type": "text", "text": "\nb",
                    "cache_control": {"type": "ephemeral"}}], "role": "user", "name": null}),
        ],
        vec![
            json!({"role": "system", "content": "s"}),
            json!({"role": "developer", "content": ["s"]}),
        ],
        vec![
            json!({"role": "user", "content": [{"type": "text", "text": "look"}, image]}),
            json!({"role": "user", "content": [{"type": "text", "text": "lo"}, {"type": "text", "text": "ok"},
                {"image_url": {"detail": "low", "url": "data:x"}, "type": "image_url", "cache_control": {}},
                {"type": "text", "text": ""}]}),
        ],
        vec![
            json!({"role": "assistant"}),
            json!({"role": "assistant", "content": "", "tool_calls": [], "function_call": null}),
            json!({"role": "assistant", "content": [], "tool_calls": null}),
        ],
    ];
    for group in &groups {
        for same in group {
            assert_eq!(message(same), message(&group[0]), "{same}");
        }
    }
}

#[test]
fn messages_that_differ_hash_differently() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "function": {"name": name, "arguments": arguments}});
    let messages = [
        json!({"role": "user", "content": "ab"}),
        json!({"role": "user", "content": "ab "}),
        json!({"role": "assistant", "content": "ab"}),
        json!({"role": "critic", "content": "ab"}),
        json!({"role": "user", "content": "ab", "name": "c"}),
        json!({"role": "user", "content": [{"type": "text", "text": "ab"}, image("x")]}),
        json!({"role": "user", "content": [image("x"), {"type": "text", "text": "ab"}]}),
        json!({"role": "user", "content": ["a", image("x"), "b"]}),
        json!({"role": "user", "content": [image("y")]}),
        json!({"role": "tool", "tool_call_id": "a", "content": "ab"}),
        json!({"role": "tool", "tool_call_id": "b", "content": "ab"}),
        json!({"role": "assistant", "tool_calls": [call("a", "b", "{}")]}),
        json!({"role": "assistant", "tool_calls": [call("b", "a", "{}")]}),
        json!({"role": "assistant", "tool_calls": [call("a", "b", "{\"c\":1}")]}),
        json!({"role": "assistant", "tool_calls": [call("a", "b", "{}"), call("b", "b", "{}")]}),
        json!({"role": "assistant", "tool_calls": [call("b", "b", "{}"), call("a", "b", "{}")]}),
    ];
    for (i, a) in messages.iter().enumerate() {
        for b in &messages[..i] {
            assert_ne!(message(a).hash, message(b).hash, "{a} and {b}");
        }
    }
}

#[test]
fn some_of_the_question_is_kept_and_all_of_it_is_measured() {
    let call = json!({"id": "x", "function": {"name": "find", "arguments": "{\"a\":1}"}});
    let image = json!({"type": "image_url", "image_url": {"url": "data:,x"}});
    let body = json!({"messages": [
        {"role": "system", "content": "Be kind. "},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]},
        {"role": "assistant", "content": null, "tool_calls": [call]},
    ]});
    let mut observer = observer();
    observer.request_body(body.to_string().as_bytes());
    let asked = observer.request_end(&mut Known::default()).expect("a prompt").remove(0);
    assert_eq!(asked.sample.text(), "Be kind. What is this?");
    let What::Model(Prompt { terms, .. }) = &asked.what else { panic!("a prompt") };
    let sizes = (terms.segments.system, terms.segments.messages, terms.other_parts);
    assert_eq!(sizes, (9, 13 + 4 + 7, 1));
}
