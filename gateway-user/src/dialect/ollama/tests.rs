use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    call::{Message, Operation, Role, Segments, Usage},
    dialect::{
        NotUnderstood, Reading,
        arguments::Arguments,
        trial::{JSON, Trial},
    },
    limits,
};

const CHAT: Trial<'_> = Trial("/api/chat", ASKED);
const GENERATE: Trial<'_> = Trial("/api/generate", r#"{"model":"m","prompt":"x"}"#);
const ASKED: &str = r#"{"model":"m","messages":[]}"#;

const LINES: &str = "application/x-ndjson";

fn message(message: &Value) -> Message {
    CHAT.ask(&json!({"model": "m", "messages": [message]})).messages.remove(0)
}

fn part(message: &Value) -> Value {
    let mut part =
        json!({"model": "llama3.2", "created_at": "2026-11-20T10:00:00.1Z", "done": false});
    part["message"] = message.clone();
    part
}

fn last() -> Value {
    json!({"model": "llama3.2", "created_at": "2026-11-20T10:00:01.1Z",
        "message": {"role": "assistant", "content": ""}, "done_reason": "stop", "done": true,
        "total_duration": 4_883_583_458_u64, "load_duration": 1_334_875, "prompt_eval_count": 26,
        "prompt_eval_duration": 342_546_000, "eval_count": 282, "eval_duration": 4_535_599_000_u64})
}

/// A stream with thoughts, text and a call.
fn stream() -> String {
    let lines = [
        part(&json!({"role": "assistant", "content": "", "thinking": "Hm."})),
        part(&json!({"role": "assistant", "content": "Let me "})),
        part(&json!({"role": "assistant", "content": "look."})),
        part(&json!({"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_x", "function": {"index": 0, "name": "get", "arguments": {"city": "Zürich", "n": 1}}}]})),
        last(),
    ];
    lines.map(|line| format!("{line}\n")).concat()
}

/// The same, as the Python client sends it back: without the id.
fn echo() -> Value {
    json!({"role": "assistant", "content": "Let me look.", "thinking": "Hm.", "tool_calls": [
        {"function": {"name": "get", "arguments": {"n": 1.0, "city": "Zürich"}}}]})
}

#[test]
fn a_chat_with_tools_is_read() {
    let body = json!({
        "model": "llama3.2", "stream": false, "think": true, "keep_alive": "5m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is it?", "images": ["aGVsbG8="]},
            echo(),
            {"role": "tool", "content": "11 degrees", "tool_name": "get"},
        ],
        "tools": [{"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}],
        "options": {"num_predict": 100, "temperature": 0.5},
    });
    let prompt = CHAT.ask(&body);
    assert_eq!(prompt.operation, Operation::Chat);
    assert_eq!(prompt.model.as_deref(), Some("llama3.2"));
    assert!(!prompt.stream);
    assert_eq!(prompt.wish.as_deref(), Some("What is it?"));
    let roles: Vec<_> = prompt.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    assert!(prompt.tools_hash.is_some());
    assert_eq!(prompt.terms.max_output, Some(100));
    assert_eq!(prompt.terms.segments, Segments { tools: 0, system: 9, messages: 33 + 15 });
    let with_id = json!({"role": "tool", "content": "x", "tool_call_id": "call_x"});
    assert_eq!(message(&with_id).tool_result.as_deref(), Some("call_x"));
}

#[test]
fn it_streams_unless_it_is_told_not_to_and_predicts_without_end_below_zero() {
    let ask = |stream: Value| CHAT.ask(&json!({"model": "m", "messages": [], "stream": stream}));
    assert!(ask(json!(null)).stream);
    assert!(ask(json!(true)).stream);
    assert!(!ask(json!(false)).stream);
    let endless = json!({"model": "m", "messages": [], "options": {"num_predict": -1}});
    assert_eq!(CHAT.ask(&endless).terms.max_output, None);
}

#[test]
fn a_generation_is_a_conversation_of_one_turn() {
    let prompt = GENERATE.ask(
        &json!({"model": "m", "system": "s", "prompt": "Why?", "images": ["aGk="], "context": [1, 2]}),
    );
    assert_eq!(prompt.operation, Operation::TextCompletion);
    assert_eq!(prompt.wish.as_deref(), Some("Why?"));
    assert!(prompt.stream);
    let as_chat = [
        message(&json!({"role": "system", "content": "s"})),
        message(&json!({"role": "user", "content": "Why?", "images": ["aGk="]})),
    ];
    assert_eq!(prompt.messages, as_chat);

    let lines = [
        json!({"model": "m", "created_at": "t", "response": "Be", "done": false}),
        json!({"model": "m", "created_at": "t", "response": "cause", "thinking": "x", "done": false}),
        json!({"model": "m", "created_at": "t", "response": "", "done": true, "done_reason": "length",
            "context": [1, 2, 3], "prompt_eval_count": 5, "eval_count": 2}),
    ];
    let body = lines.map(|line| format!("{line}\n")).concat();
    let request = r#"{"model":"m","prompt":"Why?"}"#;
    let Reading { answer, .. } = Trial(GENERATE.0, request).read(LINES, true, [body.as_bytes()]);
    assert_eq!(answer.choices, [message(&json!({"role": "assistant", "content": "Because"}))]);
    assert_eq!(answer.finish_reasons, ["length"]);
    assert_eq!(answer.usage, Some(Usage { input: 5, output: 2, ..Usage::default() }));
    assert!(answer.complete);
}

#[test]
fn embeddings_are_read() {
    for (target, request, body) in [
        (
            "/api/embed",
            r#"{"model":"m","input":["a","b"]}"#,
            r#"{"model":"m","embeddings":[[0.1],[0.2]],"total_duration":1,"prompt_eval_count":8}"#,
        ),
        ("/api/embeddings", r#"{"model":"m","prompt":"a"}"#, r#"{"embedding":[0.1,0.2]}"#),
    ] {
        let prompt = Trial(target, request).ask_in([request.as_bytes()]).expect("a prompt");
        assert_eq!(prompt.operation, Operation::Embeddings);
        assert!(prompt.messages.is_empty() && !prompt.stream);
        let Reading { answer, not_understood } =
            Trial(target, request).read(JSON, true, [body.as_bytes()]);
        assert_eq!(not_understood, None);
        assert!(answer.complete && answer.choices.is_empty());
        let usage = body.contains("count").then(|| Usage { input: 8, ..Usage::default() });
        assert_eq!(answer.usage, usage);
    }
}

#[test]
fn what_other_programs_send_to_such_paths_is_other_traffic() {
    for body in [
        &b""[..],
        b"hello",
        b"[1]",
        b"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"id\":\"chat-1\"}",
        b"{\"model\":\"m\"}",
        b"{\"model\":\"m\",\"prompt\":\"x\"}",
        b"{\"model\":\"m\",\"messages\":[",
    ] {
        assert_eq!(CHAT.look_at([body]), Ok(None), "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(GENERATE.look_at([&br#"{"model":"m"}"#[..]]), Ok(None), "it only loads the model");
}

#[test]
fn what_ollama_may_read_otherwise_is_not_understood() {
    let ask = |body: &str| CHAT.ask_in([body.as_bytes()]);
    for twice in [
        r#"{"model":"m","messages":[],"messages":[]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"x","content":"y"}]}"#,
        r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":{"x":1,"x":2}}}]}]}"#,
        r#"{"model":"m","messages":[],"tools":[{"type":"function","type":"x"}]}"#,
        r#"{"model":"m","messages":[],"options":{"num_predict":1,"num_predict":2}}"#,
        r#"{"model":"m","messages":[],"Model":"other"}"#,
        r#"{"model":"m","messages":[],"me\u017f\u017fages":[]}"#,
    ] {
        assert_eq!(ask(twice), Err(NotUnderstood::DuplicateKey), "{twice}");
    }
    for body in [
        r#"{"Model":"m","messages":[]}"#,
        r#"{"model":"m","messages":[],"Options":{"num_predict":100000}}"#,
        r#"{"model":"m","messages":[{"role":"user","content":["x"]}]}"#,
        r#"{"model":7,"messages":[]}"#,
    ] {
        assert_eq!(ask(body), Err(NotUnderstood::NotThisShape), "{body}");
    }
    let many = vec![json!({}); limits::MESSAGES_PER_PROMPT + 1];
    let many = json!({"model": "m", "messages": many});
    assert_eq!(CHAT.try_ask(&many), Err(NotUnderstood::TooLarge));
}

#[test]
fn a_streamed_answer_is_the_same_as_a_whole_one() {
    let streamed = CHAT.answer(LINES, stream());
    let mut whole = last();
    whole["message"] = echo();
    whole["message"]["tool_calls"][0]["id"] = "call_x".into();
    assert_eq!(CHAT.answer(JSON, whole.to_string()), streamed);
    assert_eq!(CHAT.answer(LINES, stream().trim_end()), streamed, "the last line has no end");
    assert!(streamed.complete);
    assert_eq!(streamed.model.as_deref(), Some("llama3.2"));
    assert_eq!(streamed.finish_reasons, ["stop"]);
    assert_eq!(streamed.usage, Some(Usage { input: 26, output: 282, ..Usage::default() }));
    let arguments = Arguments::in_text(r#"{"city":"Zürich","n":1}"#);
    assert_eq!(streamed.tool_calls, [arguments.of_call(Some("call_x"), "get")]);
    assert_eq!(streamed.choices[0].hash, message(&echo()).hash, "an echo is the same");
}

/// What the Python client 0.6.3 sent once it had been streamed the answer of [`stream`].
const RECORDED: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Wish"},{"role":"assistant","content":"Let me look.","tool_calls":[{"function":{"name":"get","arguments":{"city":"Zürich","n":1}}}]},{"role":"tool","content":"x","tool_name":"get"}],"tools":[{"type":"function","function":{"name":"get","description":"Gets it.","parameters":{"type":"object","required":["city"],"properties":{"city":{"type":"string","description":"which"}}}}}]}"#;

#[test]
fn a_recorded_turn_goes_on_from_the_answer_before_it() {
    let asked = CHAT.ask_in([RECORDED.as_bytes()]).expect("a prompt");
    let roles: Vec<_> = asked.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool]);
    assert_eq!(asked.messages[1].hash, CHAT.answer(LINES, stream()).choices[0].hash);
    assert!(asked.stream && asked.tools_hash.is_some());
}

#[test]
fn a_stream_is_complete_when_it_says_so() {
    let all = stream();
    let cut = all.find("\"done\":true").expect("an end");
    let Reading { answer: short, not_understood } =
        CHAT.read(LINES, false, [&all.as_bytes()[..cut - 300]]);
    assert_eq!(not_understood, None);
    assert!(!short.complete && short.usage.is_none());
    let error = all.replace(&format!("{}\n", last()), "{\"error\":\"an unexpected error\"}\n");
    let failed = CHAT.answer(LINES, &error);
    assert!(!failed.complete);
    assert_eq!(failed.error.as_deref(), Some("error"));
    assert_eq!(failed.tool_calls.len(), 1);
    let refused = CHAT.read_of(404, JSON, true, [&br#"{"error":"model 'x' not found"}"#[..]]);
    assert_eq!(refused.answer.error.as_deref(), Some("error"));
}

#[test]
fn what_is_no_answer_is_said() {
    let lost =
        |content_type, body: &str| CHAT.read(content_type, true, [body.as_bytes()]).not_understood;
    assert_eq!(lost(LINES, "data: x\n"), Some(NotUnderstood::NotJson));
    assert_eq!(lost(JSON, "{}"), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost(LINES, ""), Some(NotUnderstood::NotThisShape));
    let long = "x".repeat(limits::OBSERVED_RESPONSE_BYTES + 1);
    assert_eq!(lost(LINES, &long), Some(NotUnderstood::TooLarge));
    assert_eq!(lost(LINES, &format!("{long}\n{}\n", last())), Some(NotUnderstood::TooLarge));
}

/// Bodies that are real, real but damaged, or nothing at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let asked = json!({"model": "m", "messages": [{"role": "user", "content": "x"}, echo()]});
    let real = prop_oneof![Just(stream()), Just(last().to_string()), Just(asked.to_string())]
        .prop_map(String::into_bytes);
    let damaged = (real.clone(), any::<prop::sample::Index>(), any::<u8>());
    let damaged = damaged.prop_map(|(mut body, at, byte)| {
        let at = at.index(body.len());
        body[at] = byte;
        body
    });
    prop_oneof![real, damaged, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn where_bodies_are_cut_does_not_matter(body in body(), stride in 1_usize..100, whole: bool) {
        for content_type in [LINES, JSON] {
            let read = |pieces: std::slice::Chunks<'_, u8>| {
                CHAT.read(content_type, whole, pieces)
            };
            prop_assert_eq!(read(body.chunks(stride)), read(body.chunks(body.len().max(1))));
        }
        for trial in [CHAT, GENERATE] {
            prop_assert_eq!(trial.look_at(body.chunks(stride)), trial.look_at([&body[..]]));
        }
    }

    #[test]
    fn text_hashes_the_same_in_any_parts(text in ".{0,60}", stride in 1_usize..10) {
        let chars: Vec<_> = text.chars().collect();
        let lines = chars.chunks(stride).map(|piece| {
            part(&json!({"role": "assistant", "content": piece.iter().collect::<String>()}))
        });
        let body: Vec<_> = lines.chain([last()]).map(|line| format!("{line}\n")).collect();
        let said = message(&json!({"role": "assistant", "content": text}));
        prop_assert_eq!(CHAT.answer(LINES, body.concat()).choices, [said]);
    }
}
