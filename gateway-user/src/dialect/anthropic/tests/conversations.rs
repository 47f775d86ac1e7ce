//! What means the same hashes the same.

use proptest::prelude::*;

use super::*;
use crate::{call::Message, dialect::trial::respelled};

const CHAT: Trial<'_> = Trial("/v1/chat/completions", ASKED);
const BEDROCK: Trial<'_> = Trial("/model/m/converse", ASKED);

#[test]
fn a_conversation_hashes_alike_in_each_api() {
    let chat = CHAT.ask(&json!({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "get", "arguments": "{\"city\": \"Zürich\"}"}},
            {"id": "b", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "21 degrees"},
        {"role": "tool", "tool_call_id": "b", "content": "late"},
        {"role": "user", "content": "Go on"},
        {"role": "assistant", "content": "Warm."},
    ]}));
    let anthropic = MESSAGES.ask(&json!({
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is the weather?"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "x"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "a", "name": "get", "input": {"city": "Zürich"}},
                {"type": "tool_use", "id": "b", "name": "now", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "21 degrees", "is_error": false},
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "late"}]},
                {"type": "text", "text": "Go on", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": "Warm."},
        ],
        "system": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}],
    }));
    let bedrock = BEDROCK.ask(&json!({
        "messages": [
            {"role": "user", "content": [{"text": "What is the weather?"}]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm"}}},
                {"text": "I look."},
                {"toolUse": {"toolUseId": "a", "name": "get", "input": {"city": "Zürich"}}},
                {"toolUse": {"toolUseId": "b", "name": "now", "input": {}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "a", "content": [{"text": "21 degrees"}]}},
                {"toolResult": {"toolUseId": "b", "content": [{"text": "late"}], "status": "success"}},
                {"text": "Go on"}, {"cachePoint": {"type": "default"}}]},
            {"role": "assistant", "content": [{"text": "Warm."}]},
        ],
        "system": [{"text": "Be brief."}],
    }));
    assert_eq!(anthropic.messages, chat.messages);
    assert_eq!(bedrock.messages, chat.messages);
    assert_eq!((&anthropic.wish, &bedrock.wish), (&chat.wish, &chat.wish));
}

fn said(content: &Value) -> Vec<Message> {
    MESSAGES.messages(&json!([{"role": "user", "content": content}]))
}

#[test]
fn contents_that_mean_the_same_hash_the_same() {
    let image = json!({"type": "image", "source": {"type": "url", "url": "x"}});
    let marked =
        json!({"source": {"url": "x", "type": "url"}, "type": "image", "cache_control": {}});
    for (one, other) in [
        (
            json!("ab"),
            json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b", "citations": null}]),
        ),
        (
            json!([{"type": "text", "text": "a"}, image]),
            json!([{"text": "a", "type": "text"}, marked]),
        ),
        (
            json!([{"type": "tool_result", "tool_use_id": "a", "content": "x"}]),
            json!([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x"}], "cache_control": {}}]),
        ),
        (
            json!([{"type": "tool_result", "tool_use_id": "a"}]),
            json!([{"type": "tool_result", "tool_use_id": "a", "content": []}]),
        ),
        (json!([]), json!("")),
    ] {
        assert_eq!(said(&one), said(&other), "{one}");
    }
}

#[test]
fn contents_that_differ_hash_differently() {
    let result = |id: &str, content: Value, is_error: bool| json!([{"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error}]);
    let contents = [
        json!(""),
        json!("a"),
        json!([{"type": "document", "source": {"type": "text", "data": "a"}}]),
        json!([{"type": "document", "source": {"type": "text", "data": "b"}}]),
        json!([{"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "a"}]}]),
        json!([{"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "b"}]}]),
        json!([{"type": "server_tool_use", "id": "a", "name": "n", "input": {}}]),
        json!([{"type": "web_search_tool_result", "tool_use_id": "a", "content": []}]),
        json!([{"type": "compaction", "content": "a"}]),
        result("a", json!("x"), false),
        result("a", json!("x"), true),
        result("b", json!("x"), false),
        result("a", json!("y"), false),
        result("a", json!([{"type": "image", "source": {}}]), false),
        json!([{"type": "tool_result", "tool_use_id": "a", "content": "x"}, {"type": "text", "text": "x"}]),
    ];
    for (i, a) in contents.iter().enumerate() {
        for b in &contents[..i] {
            assert_ne!(said(a), said(b), "{a} and {b}");
        }
    }
}

/// A block of an answer: as its document has it, as a client may send it back, and as its stream
/// begins it and goes on.
#[derive(Clone, Debug)]
struct Spoken {
    block: Value,
    echo: Vec<Value>,
    start: Value,
    deltas: Vec<Value>,
}

/// The text in pieces of so many characters, each a delta.
fn parts(text: &str, stride: usize, kind: &str, field: &str) -> Vec<Value> {
    let chars: Vec<_> = text.chars().collect();
    let part = |part: &[char]| json!({"type": kind, field: part.iter().collect::<String>()});
    chars.chunks(stride).map(part).collect()
}

fn spoken() -> impl Strategy<Value = Spoken> {
    let text = (".{0,20}", 1_usize..8).prop_map(|(text, stride)| Spoken {
        block: json!({"type": "text", "text": text, "citations": null}),
        echo: vec![json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})],
        start: json!({"type": "text", "text": ""}),
        deltas: parts(&text, stride, "text_delta", "text"),
    });
    let thought = ".{1,9}".prop_map(|text| Spoken {
        block: json!({"type": "thinking", "thinking": text, "signature": "s"}),
        echo: Vec::new(),
        start: json!({"type": "thinking", "thinking": "", "signature": ""}),
        deltas: parts(&text, 4, "thinking_delta", "thinking"),
    });
    let call = ("[a-z]{1,3}", ".{0,9}", 1_usize..8).prop_map(|(id, text, stride)| {
        let input = json!({"a": text, "b": [1, null, {"c": 2.5}]});
        Spoken {
            block: json!({"type": "tool_use", "id": id, "name": "f", "input": input, "caller": {"type": "direct"}}),
            echo: vec![json!({"input": input, "name": "f", "id": id, "type": "tool_use"})],
            start: json!({"type": "tool_use", "id": id, "name": "f", "input": {}}),
            deltas: parts(&respelled(&input), stride, "input_json_delta", "partial_json"),
        }
    });
    let served = "[a-z]{1,3}".prop_map(|id| Spoken {
        block: json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": id}}),
        echo: vec![json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": id},
            "caller": {"type": "direct"}})],
        start: json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {}}),
        deltas: parts(&format!("{{\"query\":\"{id}\"}}"), 3, "input_json_delta", "partial_json"),
    });
    let summary = ".{1,9}".prop_map(|text| Spoken {
        block: json!({"type": "compaction", "content": text, "encrypted_content": "x"}),
        echo: vec![json!({"type": "compaction", "content": text})],
        start: json!({"type": "compaction", "content": null}),
        deltas: parts(&text, 30, "compaction_delta", "content"),
    });
    prop_oneof![3 => text, 1 => thought, 2 => call, 1 => served, 1 => summary]
}

proptest! {
    #[test]
    fn an_echo_has_the_hash_of_its_answer(spoken in prop::collection::vec(spoken(), 0..6)) {
        let blocks: Vec<_> = spoken.iter().map(|spoken| spoken.block.clone()).collect();
        let document = json!({"role": "assistant", "content": blocks, "stop_reason": "end_turn"});
        let whole = MESSAGES.answer(JSON, document.to_string());
        prop_assert_eq!(whole.choices.len(), 1);

        let mut events = vec![json!({"type": "message_start", "message": {"role": "assistant"}})];
        for (index, spoken) in spoken.iter().enumerate() {
            events.push(json!({"type": "content_block_start", "index": index, "content_block": spoken.start}));
            events.extend(spoken.deltas.iter().map(|delta| {
                json!({"type": "content_block_delta", "index": index, "delta": delta})
            }));
            events.push(json!({"type": "content_block_stop", "index": index}));
        }
        events.push(json!({"type": "message_stop"}));
        let events: Vec<_> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let streamed = MESSAGES.answer(EVENTS, events.concat());
        prop_assert_eq!(&streamed.choices, &whole.choices);
        prop_assert_eq!(&streamed.tool_calls, &whole.tool_calls);

        let echo: Vec<_> = spoken.iter().flat_map(|spoken| spoken.echo.clone()).collect();
        let echo = json!({"role": "assistant", "content": echo});
        prop_assert_eq!(&MESSAGES.messages(&json!([echo])), &whole.choices);
    }

    #[test]
    fn key_order_and_escapes_are_no_matter(text in ".{0,20}", id in "[a-z]{1,4}", is_error: bool) {
        let body = json!({
            "model": "m", "max_tokens": 3, "metadata": {"user_id": text},
            "system": [{"type": "text", "text": text}],
            "messages": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": id, "name": id, "input": {"a": text, "b": [1]}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": id, "is_error": is_error,
                        "content": [{"type": "text", "text": text}, {"type": "image", "source": {"data": text}}]},
                    {"type": "document", "title": text, "source": {"type": "text", "data": text}}]},
            ],
        });
        let respelled = respelled(&body);
        prop_assert_eq!(MESSAGES.ask_in([respelled.as_bytes()]), Ok(MESSAGES.ask(&body)));
    }
}
