use super::*;
use crate::{
    call::{Anchor, Dialect, Operation, Role, Unmetered},
    limits,
};

#[test]
fn a_request_with_tools_is_read() {
    let prompt = ask(&json!({
        "model": "gpt-x", "stream": true, "store": false, "max_output_tokens": 500,
        "instructions": "Be brief.", "service_tier": "flex", "prompt_cache_key": "thread-1",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Rules"}]},
            {"role": "user", "content": "Book a hotel"},
            reasoning_item(),
            call_item("call_a", "get", "{}"),
            {"type": "function_call_output", "call_id": "call_a", "output": "Zürich it is"},
        ],
        "tools": [{"type": "function", "name": "get", "parameters": {"type": "object"}}],
        "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "high"},
        "metadata": {"session_id": "s1", "colour": "red", "n": 1},
        "client_metadata": {"turn_id": "t1", "x-codex-installation-id": "i"},
    }));
    assert_eq!((prompt.dialect, prompt.operation), (Dialect::OpenaiResponses, Operation::Chat));
    assert_eq!(prompt.model.as_deref(), Some("gpt-x"));
    assert_eq!(prompt.wish.as_deref(), Some("Book a hotel"));
    assert!(prompt.stream && prompt.tools_hash.is_some());
    let roles: Vec<_> = prompt.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::System, Role::User, Role::Assistant, Role::Tool]);
    assert_eq!(prompt.messages[3].tool_calls, ["call_a"]);
    assert_eq!(prompt.messages[4].tool_result.as_deref(), Some("call_a"));
    let terms = *prompt.terms;
    assert_eq!((terms.max_output, terms.service_tier.as_deref()), (Some(500), Some("flex")));
    assert!(terms.reports_usage && !terms.background && !terms.prewarms);
    assert_eq!(terms.goes_on_from, None);
    let signals: Vec<_> = terms.signals.iter().map(|it| (it.name, &*it.value)).collect();
    assert_eq!(
        signals,
        [
            ("body.client_metadata.turn_id", "t1"),
            ("body.metadata.session_id", "s1"),
            ("body.prompt_cache_key", "thread-1"),
        ]
    );
    assert_eq!((terms.segments.system, terms.segments.messages), (14, 12 + 13 + 5));
    assert!(terms.segments.tools > 60);
}

#[test]
fn what_the_server_remembers_is_named() {
    let anchor = |body: &Value| ask(body).terms.goes_on_from;
    let response = Some(Anchor::Response("resp_1".into()));
    let conversation = Some(Anchor::Conversation("conv_1".into()));
    assert_eq!(anchor(&json!({"previous_response_id": "resp_1", "input": "go on"})), response);
    assert_eq!(anchor(&json!({"conversation": "conv_1", "input": "go on"})), conversation);
    assert_eq!(anchor(&json!({"conversation": {"id": "conv_1"}})), conversation);
    assert_eq!(
        anchor(&json!({"previous_response_id": null, "conversation": null, "input": ""})),
        None
    );
    assert!(ask(&json!({"input": "x", "background": true})).terms.background);
    for prewarm in [
        json!({"input": [], "generate": false}),
        json!({"input": [], "prompt_cache_options": {"prewarm": true}}),
    ] {
        assert!(ask(&prewarm).terms.prewarms, "{prewarm}");
    }
}

#[test]
fn what_is_no_request_is_said() {
    let lost = |body: &str| ask_as(observer(), body).expect_err(body);
    for body in [
        "{}",
        "[1]",
        r#"{"model":"m"}"#,
        r#"{"messages":[]}"#,
        r#"{"input":7}"#,
        r#"{"input":["x"]}"#,
        r#"{"input":[{"role":"user","content":7}]}"#,
    ] {
        assert_eq!(lost(body), NotUnderstood::NotThisShape, "{body}");
    }
    assert_eq!(lost(r#"{"input":"a","input":"b"}"#), NotUnderstood::DuplicateKey);
    for body in ["", "{", r#"{"input":[}"#, r#"{"input":"a"} x"#, r#"{"input" "a"}"#] {
        assert_eq!(lost(body), NotUnderstood::NotJson, "{body}");
    }
    let deep = format!("{{\"input\":[{{\"x\":{}", "[".repeat(100_000));
    assert_eq!(lost(&deep), NotUnderstood::NotJson);
    let many = vec![json!({"role": "user"}); limits::MESSAGES_PER_PROMPT + 1];
    assert_eq!(lost(&json!({"input": many}).to_string()), NotUnderstood::TooLarge);
}

#[test]
fn a_field_that_comes_twice_could_be_read_either_way() {
    let item = |item: &str| format!(r#"{{"input":[{item}]}}"#);
    for body in [
        r#"{"input":[],"metadata":{"session_id":"a","session_id":"b"}}"#.to_owned(),
        r#"{"conversation":{"id":"a","id":"b"}}"#.to_owned(),
        r#"{"input":[],"tools":[{"type":"function","name":"a","name":"b"}]}"#.to_owned(),
        item(r#"{"role":"user","role":"system","content":"x"}"#),
        item(r#"{"role":"user","content":"x","content":"y"}"#),
        item(r#"{"role":"user","content":[{"type":"input_text","text":"x","text":"y"}]}"#),
        item(
            r#"{"role":"user","content":[{"type":"input_image","image_url":null,"image_url":"y"}]}"#,
        ),
        item(r#"{"type":"function_call","call_id":"a","c\u0061ll_id":"b"}"#),
        item(r#"{"type":"function_call","arguments":"a","input":"b"}"#),
        item(r#"{"type":"web_search_call","action":{"query":"a","query":"b"}}"#),
        item(r#"{"type":"web_search_call","action":{},"action":{}}"#),
        item(r#"{"type":"shell_call","environment":{"type":"local","type":"x"}}"#),
    ] {
        assert_eq!(ask_as(observer(), &body), Err(NotUnderstood::DuplicateKey), "{body}");
    }
}

#[test]
fn what_a_request_does_not_bound_is_said() {
    use Unmetered::{FileReferences, HostedTools, StoredContext};

    let tool = |tool: Value| json!({"input": "x", "tools": [{"type": "function"}, tool]});
    let typed = |kind: &str| tool(json!({"type": kind}));
    let part = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let offered = |item: &str, kind: &str| json!({"input": [{"tools": [{"type": kind}], "type": item, "role": "developer"}]});
    let output =
        |output: Value| json!({"input": [{"type": "function_call_output", "output": output}]});
    for (body, why) in [
        (typed("web_search"), Some(HostedTools)),
        (typed("web_search_preview_2025_03_11"), Some(HostedTools)),
        (typed("file_search"), Some(HostedTools)),
        (typed("code_interpreter"), Some(HostedTools)),
        (typed("image_generation"), Some(HostedTools)),
        (typed("mcp"), Some(HostedTools)),
        (typed("programmatic_tool_calling"), Some(HostedTools)),
        (typed("tool_search"), Some(HostedTools)),
        (tool(json!({"type": "tool_search", "execution": "client"})), None),
        (typed("custom"), None),
        (typed("namespace"), None),
        (typed("local_shell"), None),
        (typed("apply_patch"), None),
        (typed("computer_use_preview"), None),
        (typed("shell"), None),
        (tool(json!({"type": "shell", "environment": {"type": "local"}})), None),
        (
            tool(json!({"type": "shell", "environment": {"type": "container_auto"}})),
            Some(HostedTools),
        ),
        (offered("additional_tools", "web_search"), Some(HostedTools)),
        (offered("additional_tools", "namespace"), None),
        (offered("mcp_list_tools", "web_search"), None),
        (json!({"input": "x", "tools": [{"type": "mcp"}], "generate": false}), None),
        (json!({"prompt": {"id": "pmpt_1"}}), Some(StoredContext)),
        (json!({"input": "x", "prompt": null}), None),
        (json!({"input": "x", "previous_response_id": "resp_1"}), None),
        (json!({"input": "x", "conversation": "conv_1"}), None),
        (part(json!({"type": "input_file", "file_data": "aa"})), None),
        (part(json!({"type": "input_file", "file_id": null, "file_data": "aa"})), None),
        (part(json!({"type": "input_file", "file_id": "a"})), Some(FileReferences)),
        (part(json!({"type": "input_file", "file_url": "a"})), Some(FileReferences)),
        (part(json!({"type": "input_image", "file_id": "a"})), None),
        (part(json!({"type": "input_image", "image_url": "data:x"})), None),
        (output(json!([{"type": "input_file", "file_id": "a"}])), Some(FileReferences)),
        (output(json!("file_id")), None),
        (json!({"input": [{"type": "function_call", "arguments": "{\"file_id\":\"a\"}"}]}), None),
    ] {
        assert_eq!(ask(&body).terms.unmetered, why, "{body}");
    }
}

#[test]
fn a_conversation_hashes_as_in_chat_completions() {
    let image = "data:image/png;base64,AA";
    let items = json!([
        {"role": "developer", "content": "Rules"},
        {"role": "user", "content": [{"type": "input_text", "text": "Look"},
            {"type": "input_image", "image_url": image, "detail": "low"}]},
        reasoning_item(),
        message_item("Let me look."),
        call_item("call_a", "get", "{\"n\":1.0}"),
        call_item("call_b", "put", ""),
        {"type": "custom_tool_call", "call_id": "call_c", "name": "patch", "input": "***"},
        {"type": "function_call_output", "call_id": "call_b", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "custom_tool_call_output", "call_id": "call_c", "output": "patched"},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]);
    let function = |id: &str, name: &str, arguments: &str| {
        json!({"id": id, "type": "function",
        "function": {"name": name, "arguments": arguments}})
    };
    let same = json!([
        {"role": "system", "content": "Rules"},
        {"role": "user", "content": [{"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": image, "detail": "low"}}]},
        {"role": "assistant", "content": "Let me look.", "tool_calls": [
            function("call_a", "get", "{\"n\": 1}"), function("call_b", "put", "{}"),
            {"id": "call_c", "type": "custom", "custom": {"name": "patch", "input": "***"}}]},
        {"role": "tool", "tool_call_id": "call_b", "content": "done"},
        {"role": "tool", "tool_call_id": "call_c", "content": "patched"},
        {"role": "assistant", "content": null, "refusal": "No."},
    ]);
    assert_eq!(messages(&items), chat(&same));
    let with = ask(&json!({"instructions": "s", "input": "u"})).messages;
    assert_eq!(
        with,
        chat(&json!([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]))
    );
}

#[test]
fn an_assistants_items_are_one_message_until_somebody_else_speaks() {
    let said = messages(&json!([message_item("a"), message_item("b")]));
    assert_eq!(said.len(), 1);
    assert_ne!(said, messages(&json!([message_item("ab")])));
    let user = json!({"role": "user", "content": "x"});
    assert_eq!(messages(&json!([message_item("a"), user, message_item("b")])).len(), 3);
    assert!(messages(&json!([reasoning_item()])).is_empty());
    let kinds = messages(&json!([
        {"type": "item_reference", "id": "msg_7"}, {"id": "msg_8"},
        {"type": "compaction", "encrypted_content": "gA"}, {"type": "of_tomorrow", "x": [1, {}]},
        {"type": "mcp_approval_response", "approval_request_id": "m", "approve": true},
        {"type": "additional_tools", "role": "developer", "tools": []},
    ]));
    let roles: Vec<_> = kinds.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::Assistant, Role::Other, Role::System]);
}

#[test]
fn what_differs_hashes_differently() {
    let items = [
        json!({"type": "item_reference", "id": "a"}),
        json!({"type": "item_reference", "id": "b"}),
        json!({"type": "compaction", "encrypted_content": "a"}),
        json!({"type": "compaction", "encrypted_content": "b"}),
        json!({"type": "web_search_call", "action": {"type": "search", "query": "a"}}),
        json!({"type": "web_search_call", "action": {"type": "search", "query": "b"}}),
        json!({"type": "function_call_output", "call_id": "a", "output": "x"}),
        json!({"type": "function_call_output", "call_id": "b", "output": "x"}),
        json!({"type": "shell_call_output", "call_id": "a", "output": [{"stdout": "x"}]}),
        json!({"type": "shell_call_output", "call_id": "a", "output": [{"stdout": "y"}]}),
        json!({"type": "computer_call_output", "call_id": "a", "output": {"type": "computer_screenshot", "file_id": "f"}}),
        call_item("a", "f", "{}"),
        call_item("a", "g", "{}"),
        call_item("b", "f", "{}"),
        message_item("{}"),
    ];
    for (i, a) in items.iter().enumerate() {
        for b in &items[..i] {
            assert_ne!(messages(&json!([a])), messages(&json!([b])), "{a} and {b}");
        }
    }
}

#[test]
fn tools_of_the_provider_that_the_client_executes_are_followed() {
    for (call, output, name) in [
        (
            json!({"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}}),
            json!({"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "x"}]}),
            "shell",
        ),
        (
            json!({"type": "local_shell_call", "id": "lsh", "call_id": "c", "action": {"command": ["ls"]}}),
            json!({"type": "local_shell_call_output", "id": "c", "output": "x"}),
            "local_shell",
        ),
        (
            json!({"type": "apply_patch_call", "call_id": "c", "operation": {"path": "a"}}),
            json!({"type": "apply_patch_call_output", "call_id": "c", "status": "completed"}),
            "apply_patch",
        ),
        (
            json!({"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {"q": 1}}),
            json!({"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": []}),
            "tool_search",
        ),
    ] {
        let said = messages(&json!([call, output]));
        assert_eq!(said.len(), 2, "{call}");
        assert_eq!(said[0].tool_calls, ["c"], "{call}");
        assert_eq!(said[1].tool_result.as_deref(), Some("c"), "{output}");
        let answer = answer(JSON, &finished(&json!([call])).to_string());
        assert_eq!(answer.tool_calls[0].name, name);
        assert_eq!(answer.choices[0], said[0]);
    }
}
