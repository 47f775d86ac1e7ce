//! Model calls in every dialect.

use std::collections::BTreeSet;

use turnpike_tests::{
    dialects::{Case, case},
    trace::Spent,
};

use super::audited::{AUDITED, Conversation};

/// Whatever the model server answered must have reached the client, and be what the gateway shows.
#[track_caller]
fn assert_understood(names: &[&str]) {
    for name in names {
        let case = case(name);
        let conversation = AUDITED.conversation(case);
        assert_seen(case, &conversation);
        assert_shown(case, &conversation);
    }
}

/// How long a conversation is was asked, which is no step in it.
#[track_caller]
fn assert_counted(names: &[&str]) {
    for name in names {
        let case = case(name);
        let (seen, logged) = (AUDITED.seen(case), AUDITED.logged_of(case));
        assert!(seen.errors.is_empty(), "{name}: {seen:?}");
        assert_eq!((logged.len(), seen.attempts, seen.texts.len()), (1, 1, 1), "{name}: {seen:?}");
        let shown = AUDITED.step(logged[0]);
        assert!(shown.is_none(), "{name}: {shown:?}");
    }
}

/// The client and the server must agree, and the conversation be what it was to be.
#[track_caller]
pub(super) fn assert_seen(case: Case, Conversation { seen, calls, .. }: &Conversation<'_>) {
    let name = case.name;
    assert!(seen.errors.is_empty(), "{name}: {seen:?}");
    let expected = if case.tools { 2 } else { 1 };
    assert_eq!((calls.len(), seen.attempts), (expected, expected), "{name}: {seen:?}");
    assert_eq!(seen.texts.len(), 1, "{name}: {seen:?}");
    let ids: Vec<&String> = calls.iter().filter_map(|(it, _)| it.response_id.as_ref()).collect();
    assert_eq!(seen.response_ids.iter().collect::<Vec<_>>(), ids, "{name}");
    let emitted = calls.iter().flat_map(|(logged, _)| &logged.tool_calls);
    let called: Vec<&str> = emitted.map(|call| call.name.as_str()).collect();
    let expected: &[&str] = if case.tools { &["search", "read"] } else { &[] };
    assert_eq!(called, expected, "{name}");
    let asked: Vec<&str> = seen.calls.iter().map(|(_, tool)| tool.as_str()).collect();
    assert_eq!(asked, expected, "{name}");
}

/// The gateway and the server must agree.
#[track_caller]
pub(super) fn assert_shown(case: Case, Conversation { calls, tools, .. }: &Conversation<'_>) {
    let name = case.name;
    for (logged, step) in calls {
        assert_eq!(step.dialect.as_deref(), Some(case.dialect), "{name}");
        assert_eq!(step.operation.as_deref(), Some(case.operation), "{name}");
        assert_eq!(step.request_model, logged.request_model, "{name}");
        assert_eq!(step.response_model, logged.response_model, "{name}");
        assert_eq!(step.response_id, logged.response_id, "{name}");
        assert_eq!(step.upstream_local, Some(logged.peer), "{name}");
        assert_eq!(step.original_dst, Some(logged.local), "{name}");
        assert_eq!((step.status, step.settled), (Some(200), true), "{name}");
        assert_eq!(step.unmetered, None, "{name}");
        let spent = logged.usage.map(|usage| Spent { usage, estimated: false });
        assert_eq!(step.usage, spent, "{name}: {logged:?}");
        let finish = logged.finish_reason.as_deref().map(|finish| match finish {
            // A response is always that; which kind it is its output tells.
            "completed" if !logged.tool_calls.is_empty() => "tool_calls",
            finish => finish,
        });
        let shown: Vec<&str> = step.finish_reasons.iter().map(String::as_str).collect();
        assert_eq!(shown, finish.into_iter().collect::<Vec<_>>(), "{name}");
    }
    let emitted = calls.iter().flat_map(|(logged, _)| &logged.tool_calls);
    let emitted: BTreeSet<(Option<&str>, &str)> =
        emitted.map(|call| (call.id.as_deref(), call.name.as_str())).collect();
    assert_eq!(*tools, emitted, "{name}");
}

#[test]
fn chat() {
    assert_understood(&["openai-chat", "js-openai-chat", "ai-openai-chat"]);
}

#[test]
fn chat_streamed() {
    assert_understood(&["openai-chat-stream", "js-openai-chat-stream"]);
}

#[test]
fn chat_streamed_by_the_ai_sdk() {
    assert_understood(&["ai-openai-chat-stream"]);
}

#[test]
fn completions() {
    assert_understood(&["openai-completions", "js-openai-completions"]);
}

#[test]
fn completions_streamed() {
    assert_understood(&["openai-completions-stream", "js-openai-completions-stream"]);
}

#[test]
fn embeddings() {
    assert_understood(&["openai-embeddings", "js-openai-embeddings", "ai-openai-embeddings"]);
}

#[test]
fn responses() {
    assert_understood(&["openai-responses", "js-openai-responses", "ai-openai-responses"]);
}

#[test]
fn responses_streamed() {
    assert_understood(&[
        "openai-responses-stream",
        "js-openai-responses-stream",
        "ai-openai-responses-stream",
    ]);
}

#[test]
fn responses_that_the_server_remembers() {
    assert_understood(&["openai-stored-responses", "openai-stored-responses-stream"]);
}

#[test]
fn messages() {
    assert_understood(&["anthropic-messages", "js-anthropic-messages", "ai-anthropic-messages"]);
}

#[test]
fn messages_streamed() {
    assert_understood(&[
        "anthropic-messages-stream",
        "js-anthropic-messages-stream",
        "ai-anthropic-messages-stream",
    ]);
}

#[test]
fn messages_counted() {
    assert_counted(&["anthropic-count-tokens", "js-anthropic-count-tokens"]);
}

#[test]
fn gemini() {
    assert_understood(&["genai"]);
}

#[test]
fn gemini_streamed() {
    assert_understood(&["genai-stream"]);
}

#[test]
fn gemini_streamed_as_an_array() {
    assert_understood(&["httpx-gemini-array-stream"]);
}

#[test]
fn gemini_counted() {
    assert_counted(&["genai-count-tokens"]);
}

#[test]
fn ollama() {
    assert_understood(&["ollama-chat", "ollama-generate"]);
}

#[test]
fn ollama_streamed() {
    assert_understood(&["ollama-chat-stream", "ollama-generate-stream"]);
}

#[test]
fn nothing_is_left_unread() {
    let coverage = &AUDITED.coverage;
    for name in ["calls_not_understood", "calls_unmetered", "connections_opaque", "left_direct"] {
        assert_eq!(coverage[name], 0, "{name}: {coverage}");
    }
    assert!(coverage["calls"].as_u64() >= Some(AUDITED.logged.len() as u64), "{coverage}");
}
