mod conversations;
mod streams;

use serde_json::{Value, json};

use crate::{
    call::{Anchor, Dialect, Operation, Role, Signal, Unmetered, Usage},
    dialect::{
        NotUnderstood,
        trial::{EVENT_STREAM, EVENTS, JSON, Trial},
    },
    limits,
};

const ASKED: &str = r#"{"messages":[]}"#;
const MESSAGES: Trial<'_> = Trial("/v1/messages", ASKED);
const COUNT: Trial<'_> = Trial("/v1/messages/count_tokens", ASKED);

/// What `anthropic` 2.14 for Python was sent and accumulated: thinking, text with a source, a search
/// that the server did, a call with arguments in parts, and one without.
const STREAM: &str = include_str!("samples/stream.sse");
/// The same in one document.
const RESPONSE: &str = include_str!("samples/response.json");
/// What it sent next: the answer as it gave it back, and the results of both calls.
const REQUEST: &str = include_str!("samples/request.json");
/// And the question how many tokens that has.
const COUNT_TOKENS: &str = include_str!("samples/count_tokens.json");
/// A short answer as Bedrock streams it.
const BEDROCK: &[u8] = include_bytes!("samples/invoke_stream.bin");

fn signals(signals: &[Signal]) -> Vec<(&str, &str)> {
    signals.iter().map(|signal| (signal.name, &*signal.value)).collect()
}

#[test]
fn a_field_that_comes_twice_could_be_read_either_way() {
    let block = |block: &str| format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
    for body in [
        r#"{"messages":[{"role":"user","role":"assistant","content":"x"}]}"#.to_owned(),
        r#"{"messages":[],"system":[{"type":"text","text":"a","text":"b"}]}"#.to_owned(),
        r#"{"messages":[],"metadata":{"user_id":"a","user_id":"b"}}"#.to_owned(),
        r#"{"messages":[],"tools":[{"name":"a","input_schema":{"type":1,"type":2}}]}"#.to_owned(),
        block(r#"{"type":"text","type":"image","text":"a"}"#),
        block(r#"{"type":"text","text":"a","t\u0065xt":"b"}"#),
        block(r#"{"type":"text","text":null,"text":"b"}"#),
        block(r#"{"type":"image","source":{"type":"url"},"source":{"type":"base64"}}"#),
        block(r#"{"type":"image","source":{"type":"url","url":"a","url":"b"}}"#),
        block(r#"{"type":"tool_use","id":"a","name":"b","input":{"x":1,"x":2}}"#),
        block(r#"{"type":"tool_result","tool_use_id":"a","tool_use_id":"b"}"#),
        block(r#"{"type":"tool_result","content":[{"type":"text","text":"a","text":"b"}]}"#),
        block(r#"{"type":"text","text":"a","cache_control":null,"cache_control":{}}"#),
    ] {
        let asked = MESSAGES.ask_in([body.as_bytes()]);
        assert_eq!(asked, Err(NotUnderstood::DuplicateKey), "{body}");
    }
    // What is not read may say what it likes.
    assert!(MESSAGES.ask_in([&br#"{"messages":[],"x":{"a":1,"a":2}}"#[..]]).is_ok());
}

#[test]
fn what_a_request_does_not_bound_is_said() {
    use Unmetered::{FileReferences, HostedTools, StoredContext};

    let tool = |kind: &str| json!({"messages": [], "tools": [{"type": kind, "name": "x"}]});
    let block = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let source = |kind: &str, source: Value| block(json!({"type": kind, "source": source}));
    let result = |part: Value| block(json!({"type": "tool_result", "content": [part]}));
    let image = json!({"type": "image", "source": {"type": "url", "url": "x"}});
    for (body, why) in [
        (tool("web_search_20250305"), Some(HostedTools)),
        (tool("web_fetch_20250910"), Some(HostedTools)),
        (tool("code_execution_20250825"), Some(HostedTools)),
        (tool("tool_search_tool_regex_20251119"), Some(HostedTools)),
        (tool("advisor_20260301"), Some(HostedTools)),
        (tool("mcp_toolset"), Some(HostedTools)),
        (tool("bash_20250124"), None),
        (tool("text_editor_20250728"), None),
        (tool("computer_20251124"), None),
        (tool("browser_toolset_20260801"), None),
        (tool("memory_20250818"), None),
        (tool("custom"), None),
        (json!({"messages": [], "tools": [{"name": "web_search"}]}), None),
        (json!({"messages": [], "mcp_servers": []}), None),
        (json!({"messages": [], "mcp_servers": [{"type": "url", "url": "x"}]}), Some(HostedTools)),
        (json!({"messages": [], "container": null}), None),
        (json!({"messages": [], "container": "container_1"}), Some(StoredContext)),
        (source("image", json!({"type": "url", "url": "x"})), None),
        (source("image", json!({"type": "file", "file_id": "x"})), None),
        (source("document", json!({"type": "url", "url": "x"})), Some(FileReferences)),
        (source("document", json!({"type": "file", "file_id": "x"})), Some(FileReferences)),
        (source("document", json!({"type": "base64", "data": "x"})), None),
        (source("document", json!({"type": "text", "data": "x"})), None),
        (block(json!({"type": "search_result", "source": "https://x"})), None),
        (block(json!({"type": "container_upload", "file_id": "x"})), Some(FileReferences)),
        (block(json!({"type": "text", "text": "file_id", "citations": [{"file_id": "x"}]})), None),
        (block(json!({"type": "tool_use", "input": {"source": {"type": "url"}}})), None),
        (result(image.clone()), None),
        (result(json!({"type": "document", "source": {"type": "url"}})), Some(FileReferences)),
        (result(json!({"type": "text", "text": "x"})), None),
        (json!({"messages": [], "system": [image]}), None),
    ] {
        assert_eq!(MESSAGES.ask(&body).terms.unmetered, why, "{body}");
    }
}

#[test]
fn a_request_is_read() {
    use Role::{Assistant, System, Tool, User};

    let prompt = MESSAGES.ask_in([REQUEST.as_bytes()]).expect("a prompt");
    assert_eq!((prompt.dialect, prompt.operation), (Dialect::AnthropicMessages, Operation::Chat));
    assert_eq!(prompt.model.as_deref(), Some("claude-x"));
    assert!(!prompt.stream);
    assert_eq!(prompt.wish.as_deref(), Some("What is the weather?"));
    let roles: Vec<_> = prompt.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [System, User, Assistant, Tool, Tool, User]);
    assert_eq!(prompt.messages[2].tool_calls, ["toolu_a", "toolu_b"]);
    assert_eq!(prompt.messages[3].tool_result.as_deref(), Some("toolu_a"));
    assert!(prompt.tools_hash.is_some());
    let terms = prompt.terms;
    assert_eq!(terms.max_output, Some(1024));
    assert!(terms.reports_usage && !terms.prewarms);
    assert_eq!(signals(&terms.signals), [("body.metadata.user_id", "user-1")]);
    assert_eq!((terms.segments.system, terms.segments.messages), (9, 57 + 15 + 3));
    assert!(terms.segments.tools > 0);
}

#[test]
fn a_count_of_tokens_is_no_spending() {
    let asked = MESSAGES.ask_in([REQUEST.as_bytes()]).expect("a prompt");
    let prompt = COUNT.ask_in([COUNT_TOKENS.as_bytes()]).expect("a prompt");
    assert_eq!(prompt.operation, Operation::CountTokens);
    assert_eq!(prompt.messages, asked.messages);
    let answer = COUNT.answer(JSON, r#"{"input_tokens":14}"#);
    assert_eq!(answer.usage, None);
    assert!(answer.complete);
    let other = COUNT.read(JSON, true, [&b"{}"[..]]);
    assert_eq!(other.not_understood, Some(NotUnderstood::NotThisShape));
    let failed = COUNT.answer(JSON, r#"{"type":"error","error":{"type":"api_error"}}"#);
    assert_eq!((failed.error.as_deref(), failed.complete), (Some("api_error"), false));
}

#[test]
fn what_claude_code_says_of_itself_is_kept_and_not_hashed() {
    let ask = |attribution: &str, user_id: &str| {
        MESSAGES.ask(&json!({
            "system": [{"type": "text", "text": attribution},
                {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "metadata": {"user_id": user_id},
        }))
    };
    let old = ask(
        "x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch=36ee5;",
        "user_0a_account_1b_session_3c",
    );
    let new = ask(
        "x-anthropic-billing-header: cc_version=2.1.263; cc_entrypoint=cli; cc_is_subagent=true; \
         cc_prev_req=req_01; cc_prompt_id=018f;",
        r#"{"device_id":"d","account_uuid":"","session_id":"3c","parent_session_id":"2b"}"#,
    );
    assert_eq!(old.messages, new.messages);
    assert_eq!(
        old.messages,
        MESSAGES
            .ask(&json!({"system": "You are Claude Code.", "messages": [{"role": "user", "content": "Hi"}]}))
            .messages
    );
    assert_eq!(
        signals(&old.terms.signals),
        [
            ("body.metadata.user_id", "user_0a_account_1b_session_3c"),
            ("body.metadata.user_id.session_id", "3c")
        ]
    );
    assert_eq!(
        signals(&new.terms.signals)[..3],
        [
            ("body.system.cc_is_subagent", "true"),
            ("body.system.cc_prev_req", "req_01"),
            ("body.system.cc_prompt_id", "018f"),
        ]
    );
    assert_eq!(
        signals(&new.terms.signals)[4..],
        [
            ("body.metadata.user_id.session_id", "3c"),
            ("body.metadata.user_id.parent_session_id", "2b")
        ]
    );
    // In the first line, and alone.
    let line = |system: &str| MESSAGES.ask(&json!({"system": system, "messages": []})).messages;
    let attribution = "x-anthropic-billing-header: cc_version=2;";
    assert_eq!(line(&format!("{attribution}\nYou are")), line("You are"));
    assert_eq!(line(attribution), []);
}

#[test]
fn terms_of_all_kinds_are_read() {
    let terms = |body: Value| {
        let mut body = body;
        body["messages"] = json!([]);
        MESSAGES.ask(&body).terms
    };
    assert_eq!(terms(json!({"service_tier": "auto"})).service_tier.as_deref(), Some("auto"));
    let fast = terms(json!({"service_tier": "auto", "speed": "fast"}));
    assert_eq!(fast.service_tier.as_deref(), Some("fast"));
    assert_eq!(terms(json!({"speed": "standard"})).service_tier, None);
    assert!(terms(json!({"max_tokens": 0})).prewarms);
    assert_eq!(
        terms(json!({"thread": {"type": "continue", "previous_message_id": "msg_1"}})).goes_on_from,
        Some(Anchor::Response("msg_1".into()))
    );
    assert_eq!(terms(json!({"thread": {"type": "create"}})).goes_on_from, None);
    let nothing = terms(json!({"model": null, "system": null, "tools": [], "metadata": null,
        "stream": null, "max_tokens": null, "thread": null, "service_tier": null}));
    assert_eq!((nothing.max_output, nothing.service_tier), (None, None));
    let long = "x".repeat(limits::SIGNAL_BYTES + 1);
    assert_eq!(terms(json!({"metadata": {"user_id": long}})).signals, []);
}

#[test]
fn a_path_may_name_the_model() {
    let vertex = Trial(
        "/v1/projects/p/locations/r/publishers/anthropic/models/claude-x@1:rawPredict",
        ASKED,
    );
    let body = json!({"anthropic_version": "vertex-2023-10-16", "messages": []});
    assert_eq!(vertex.ask(&body).model.as_deref(), Some("claude-x@1"));
    let bedrock = Trial("/model/eu.anthropic.claude-x-v1:0/invoke-with-response-stream", ASKED);
    let prompt = bedrock.ask(&json!({"anthropic_version": "bedrock-2023-05-31", "messages": []}));
    assert_eq!(prompt.model.as_deref(), Some("eu.anthropic.claude-x-v1:0"));
    assert!(prompt.stream);
    let answer = bedrock.answer(EVENT_STREAM, BEDROCK);
    assert!(answer.complete);
    assert_eq!(
        answer.usage,
        Some(Usage {
            input: 9,
            output: 4,
            cache_read: Some(0),
            cache_creation: Some(0),
            ..Usage::default()
        })
    );
    assert_eq!(answer.choices, MESSAGES.messages(&json!([{"role": "assistant", "content": "Hi"}])));
}

#[test]
fn what_is_no_request_is_said() {
    let ask = |body: &str| MESSAGES.ask_in([body.as_bytes()]).map(drop);
    for (body, reason) in [
        ("{", NotUnderstood::NotJson),
        (r#"{"messages":[]} x"#, NotUnderstood::NotJson),
        ("[]", NotUnderstood::NotThisShape),
        (r#"{"roomId":"r","text":"Hi"}"#, NotUnderstood::NotThisShape),
        (r#"{"messages":{}}"#, NotUnderstood::NotThisShape),
        (r#"{"messages":[{"role":"user","content":7}]}"#, NotUnderstood::NotThisShape),
        (r#"{"messages":[],"messages":[]}"#, NotUnderstood::DuplicateKey),
        (r#"{"messages":[],"model":"a","model":"b"}"#, NotUnderstood::DuplicateKey),
    ] {
        assert_eq!(ask(body), Err(reason), "{body}");
    }
    let many = vec![json!({"role": "user", "content": []}); limits::MESSAGES_PER_PROMPT + 1];
    assert_eq!(ask(&json!({"messages": many}).to_string()), Err(NotUnderstood::TooLarge));
    let many = vec![json!({"type": "text", "text": "x"}); limits::PARTS_PER_MESSAGE + 1];
    let many = json!({"messages": [{"role": "user", "content": many}]});
    assert_eq!(ask(&many.to_string()), Err(NotUnderstood::NotThisShape));
    let deep = format!(r#"{{"messages":[{{"role":"user","content":{}"#, "[".repeat(100_000));
    assert!(ask(&deep).is_err());
    let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    assert!(ask(&deep).is_err());
}
