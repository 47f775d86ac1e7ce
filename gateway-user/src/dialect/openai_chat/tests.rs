use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    call::{Answer, Digest, Message, Prompt, Role, ToolCall, Unmetered, Usage},
    dialect::{
        Asked, Known, NotUnderstood, Observer, Reading, RequestInfo, ResponseInfo, What,
        beginnings::Bounds, canonical::Json, detect,
    },
    limits,
};

const JSON: Option<&str> = Some("application/json");
const EVENTS: Option<&str> = Some("text/event-stream; charset=utf-8");

fn request_info(target: &str) -> RequestInfo<'_> {
    RequestInfo {
        method: "POST",
        target,
        host: None,
        content_type: JSON,
        content_encoding: None,
        content_length: None,
        client_retry: Some(1),
        signals: &[],
    }
}

fn observer() -> Observer {
    detect(&request_info("/v1/chat/completions")).expect("a chat completion")
}

fn ask(body: &Value) -> Result<Prompt, NotUnderstood> {
    let mut observer = observer();
    observer.request_body(body.to_string().as_bytes());
    end(observer)
}

/// What was asked, of an agent that nothing is known of.
fn end(mut observer: Observer) -> Result<Prompt, NotUnderstood> {
    observer.request_end(&mut Known::default()).map(|asked| prompt(&asked))
}

/// What the one call asks.
fn prompt(asked: &[Asked]) -> Prompt {
    let [Asked { what: What::Model(prompt), .. }] = asked else { panic!("not one: {asked:?}") };
    prompt.clone()
}

/// What the response to the one call says.
fn end_response(observer: Observer, whole: bool) -> Reading {
    observer.response_end(whole, &mut Known::default()).remove(0).reading
}

/// What a request's history with this one message comes to.
fn message(message: &Value) -> Message {
    ask(&json!({"messages": [message]})).expect("a prompt").messages.remove(0)
}

fn read(content_type: Option<&str>, whole: bool, pieces: &[&[u8]]) -> Reading {
    let mut observer = asked();
    observer.response_head(&ResponseInfo {
        status: 200,
        content_type,
        content_encoding: None,
        signals: &[],
    });
    for piece in pieces {
        observer.response_body(piece);
    }
    end_response(observer, whole)
}

/// A call that has been asked.
fn asked() -> Observer {
    let mut observer = observer();
    observer.request_body(b"{\"messages\":[]}");
    assert!(observer.request_end(&mut Known::default()).is_ok());
    observer
}

fn answer(content_type: Option<&str>, body: &str) -> Answer {
    let reading = read(content_type, true, &[body.as_bytes()]);
    assert_eq!(reading.not_understood, None);
    reading.answer
}

/// An answer in one document that holds this message.
fn answered(message: &Value) -> Message {
    answer(JSON, &json!({"choices": [{"message": message}]}).to_string()).choices.remove(0)
}

fn events(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<Vec<_>>().concat()
}

fn delta(delta: &Value) -> Value {
    json!({"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// Two parallel tool calls whose parts are interleaved.
fn tool_stream() -> String {
    let part = |index: u32, part: Value| {
        let mut part = part;
        part["index"] = index.into();
        delta(&json!({"tool_calls": [part]}))
    };
    events(&[
        delta(&json!({"role": "assistant", "content": null, "refusal": null})),
        part(
            0,
            json!({"id": "call_a", "type": "function", "function": {"name": "get", "arguments": ""}}),
        ),
        part(
            1,
            json!({"id": "call_b", "type": "function", "function": {"name": "put", "arguments": ""}}),
        ),
        part(0, json!({"function": {"arguments": "{\"city\": \"Zür"}})),
        part(1, json!({"function": {"arguments": "{\"n\":"}})),
        part(0, json!({"function": {"arguments": "ich\"}"}})),
        part(1, json!({"function": {"arguments": "1}"}})),
        finish("tool_calls"),
        json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}),
    ]) + "data: [DONE]\n\n"
}

fn tool_message() -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_a", "type": "function",
         "function": {"name": "get", "arguments": "{\"city\":\"Z\\u00fcrich\"}"}},
        {"id": "call_b", "type": "function", "function": {"name": "put", "arguments": "{\"n\": 1.0}"}},
    ]})
}

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
fn what_is_not_bounded_in_a_beginning_is_not_bounded_later() {
    let file = json!({"type": "file", "file": {"file_id": "a"}});
    let said = json!({"role": "user", "content": [file]});
    let mut known = Known::default();
    let mut unmetered = |body: &Value| {
        let (prompt, _) = ask_knowing(&mut known, &body.to_string()).expect("a prompt");
        prompt.terms.unmetered
    };
    let search = json!({"messages": [said], "web_search_options": {}});
    assert_eq!(unmetered(&search), Some(Unmetered::HostedTools));
    let more = json!({"messages": [said, {"role": "user", "content": "x"}]});
    assert_eq!(unmetered(&more), Some(Unmetered::FileReferences));
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
fn a_whole_answer_with_tools_is_read() {
    let body = json!({
        "id": "chatcmpl-9", "object": "chat.completion", "model": "gpt-x-2026", "choices": [{
            "index": 0, "finish_reason": "tool_calls", "logprobs": null, "message": tool_message(),
        }],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20.0, "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 5}},
        "service_tier": "default",
    });
    let answer = answer(JSON, &body.to_string());
    assert_eq!(answer.response_id.as_deref(), Some("chatcmpl-9"));
    assert_eq!(answer.model.as_deref(), Some("gpt-x-2026"));
    assert_eq!(answer.finish_reasons, ["tool_calls"]);
    assert!(answer.complete);
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: Some(id.into()),
        name: name.into(),
        arguments: Json::in_text(arguments).get(),
    };
    assert_eq!(
        answer.tool_calls,
        [call("call_a", "get", r#"{"city":"Zürich"}"#), call("call_b", "put", r#"{"n":1}"#)]
    );
    assert_eq!(
        answer.usage,
        Some(Usage {
            input: 100,
            output: 20,
            cache_read: Some(64),
            cache_creation_1h: None,
            cache_creation: Some(8),
            reasoning: Some(5),
            estimated: false,
        })
    );
}

#[test]
fn usage_that_makes_no_sense_is_no_usage() {
    for usage in [json!(null), json!({}), json!("x"), json!({"prompt_tokens": -1}), json!([])] {
        let body = json!({"choices": [], "usage": usage});
        assert_eq!(answer(JSON, &body.to_string()).usage, None, "{usage}");
    }
    let odd = json!({"prompt_tokens": 3, "completion_tokens": null, "prompt_tokens_details": "none",
        "completion_tokens_details": null});
    let body = json!({"choices": [], "usage": odd});
    let usage = answer(JSON, &body.to_string()).usage;
    assert_eq!(usage, Some(Usage { input: 3, ..Usage::default() }));
}

#[test]
fn a_streamed_answer_is_the_same_as_a_whole_one() {
    let streamed = answer(EVENTS, &tool_stream());
    assert!(streamed.complete);
    assert_eq!(streamed.choices, [answered(&tool_message())]);
    assert_eq!(streamed.tool_calls.len(), 2);
    assert_eq!(streamed.finish_reasons, ["tool_calls"]);
    assert_eq!(streamed.usage, Some(Usage { input: 9, output: 4, ..Usage::default() }));
    assert_eq!(streamed.response_id.as_deref(), Some("chatcmpl-1"));
}

#[test]
fn an_echo_has_the_hash_of_its_answer() {
    let said = answered(
        &json!({"role": "assistant", "content": "Hi", "refusal": null, "annotations": []}),
    );
    for echo in [
        json!({"role": "assistant", "content": "Hi"}),
        json!({"role": "assistant", "content": [{"type": "text", "text": "Hi"}], "name": "writer"}),
        json!({"role": "assistant", "content": "Hi", "refusal": null, "annotations": [], "audio": null,
            "function_call": null, "tool_calls": null, "reasoning_content": "hm", "reasoning": "hm"}),
    ] {
        assert_eq!(message(&echo), said, "{echo}");
    }

    let called = answer(EVENTS, &tool_stream()).choices.remove(0);
    let calls = |arguments: [Value; 2]| {
        let mut message = tool_message();
        for (at, arguments) in arguments.into_iter().enumerate() {
            message["tool_calls"][at]["function"]["arguments"] = arguments;
        }
        message
    };
    let mut empty = tool_message();
    empty["content"] = "".into();
    let mut absent = tool_message();
    absent.as_object_mut().expect("an object").remove("content");
    absent["tool_calls"][0]["index"] = 0.into();
    let respelled = calls([json!("{ \"city\" : \"Zürich\" }"), json!("{\"n\":1}")]);
    let unwrapped = calls([json!({"city": "Zürich"}), json!({"n": 1})]);
    for echo in [tool_message(), empty, absent, respelled, unwrapped] {
        assert_eq!(message(&echo), called, "{echo}");
    }

    let refused = answer(EVENTS, &(events(&[delta(&json!({"refusal": "No"})), finish("stop")])));
    for echo in [
        json!({"role": "assistant", "content": null, "refusal": "No"}),
        json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}),
    ] {
        assert_eq!(message(&echo), refused.choices[0], "{echo}");
    }
}

#[test]
fn arguments_that_are_no_json_echo_as_text() {
    let call = |arguments: &str| json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": arguments}}]});
    assert_eq!(message(&call("{\"a\":")), answered(&call("{\"a\":")));
    assert_ne!(message(&call("{\"a\":")), answered(&call("{\"a\" :")));
    assert_eq!(message(&call("{}")), answered(&call("")));
}

#[test]
fn custom_and_legacy_calls_are_followed() {
    let custom = json!({"role": "assistant", "tool_calls": [
        {"id": "c", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}]});
    let stream = events(&[
        delta(
            &json!({"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "patch", "input": "***"}}]}),
        ),
        delta(&json!({"tool_calls": [{"index": 0, "custom": {"input": " Begin"}}]})),
        finish("tool_calls"),
    ]);
    assert_eq!(answer(EVENTS, &stream).choices, [message(&custom)]);

    let legacy = json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}});
    let stream = events(&[
        delta(&json!({"function_call": {"name": "f", "arguments": "{"}})),
        delta(&json!({"function_call": {"arguments": "}"}})),
        finish("function_call"),
    ]);
    let answer = answer(EVENTS, &stream);
    assert_eq!(answer.choices, [message(&legacy)]);
    assert_eq!(
        answer.tool_calls,
        [ToolCall { id: None, name: "f".into(), arguments: Json::in_text("{}").get() }]
    );
}

#[test]
fn calls_come_apart_though_a_server_misuses_the_index() {
    let part = |part: Value| delta(&json!({"tool_calls": [part]}));
    let full = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
    let names = |chunks: &[Value]| -> Vec<_> {
        answer(EVENTS, &events(chunks)).tool_calls.into_iter().filter_map(|call| call.id).collect()
    };
    let mut zero = [full("a"), full("b")];
    assert_eq!(names(&[part(zero[0].clone()), part(zero[1].clone()), finish("x")]), ["a", "b"]);
    for call in &mut zero {
        call["index"] = 0.into();
    }
    assert_eq!(names(&[part(zero[0].clone()), part(zero[1].clone()), finish("x")]), ["a", "b"]);
    // A fresh id in every part, but one call.
    let more = json!({"index": 0, "id": "z", "function": {"arguments": " "}});
    assert_eq!(names(&[part(zero[0].clone()), part(more), finish("x")]), ["a"]);
}

#[test]
fn several_choices_are_several_messages_in_order() {
    let chunk =
        |index: u32, text: &str| json!({"choices": [{"index": index, "delta": {"content": text}}]});
    let ends = json!({"choices": [{"index": 0, "finish_reason": "stop"}, {"index": 1, "finish_reason": "length"}]});
    let answer = answer(EVENTS, &events(&[chunk(1, "b"), chunk(0, "a"), chunk(1, "B"), ends]));
    let expected = ["a", "bB"].map(|text| message(&json!({"role": "assistant", "content": text})));
    assert_eq!(answer.choices, expected);
    assert_eq!(answer.finish_reasons, ["stop", "length"]);
    assert!(answer.complete);
}

#[test]
fn other_servers_flavours_are_read() {
    let llama = events(&[
        delta(&json!({"role": "assistant", "content": ""})),
        json!({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": null}], "usage": null}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "timings": {"n": 1.5},
            "usage": {"prompt_tokens": 2, "completion_tokens": 1, "prompt_tokens_details": null}}),
    ]) + ": keep-alive\r\n\r\ndata: [DONE]\r\n\r\n";
    let azure = events(&[
        json!({"id": "", "model": "", "object": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
        json!({"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "content_filter_results": {},
            "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": null}]}),
        finish("stop"),
        json!({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}),
    ]) + "data: [DONE]\n\n";
    for stream in [llama, azure] {
        let answer = answer(EVENTS, &stream);
        assert!(answer.complete);
        assert_eq!(answer.response_id.as_deref(), Some("chatcmpl-1"));
        assert_eq!(answer.model.as_deref(), Some("m"));
        assert_eq!(answer.choices, [message(&json!({"role": "assistant", "content": "Hi"}))]);
        assert_eq!(answer.usage, Some(Usage { input: 2, output: 1, ..Usage::default() }));
    }
}

#[test]
fn a_stream_is_complete_when_it_is_done_or_all_choices_are_finished() {
    let said = events(&[delta(&json!({"content": "Hi"}))]);
    let finished = said.clone() + &events(&[finish("stop")]);
    let complete = |stream: &str, whole| {
        let reading = read(EVENTS, whole, &[stream.as_bytes()]);
        assert_eq!(reading.not_understood, None, "{stream}");
        reading.answer.complete
    };
    assert!(!complete(&said, true));
    assert!(complete(&finished, true));
    assert!(!complete(&finished, false));
    // Clients hang up once they have read this.
    assert!(complete(&(finished.clone() + "data: [DONE]\n\n"), false));
    for error in
        [json!({"error": {"message": "overloaded"}}), json!({"object": "error", "message": "x"})]
    {
        let failed = finished.clone() + &events(&[error]) + "data: [DONE]\n\n";
        assert!(!complete(&failed, true));
    }
}

#[test]
fn an_error_is_an_answer_without_choices() {
    let mut refused = asked();
    refused.response_head(&ResponseInfo {
        status: 429,
        content_type: JSON,
        content_encoding: Some("gzip"),
        signals: &[],
    });
    refused.response_body(b"\x1f\x8b");
    let complete = Answer { complete: true, ..Answer::default() };
    assert_eq!(end_response(refused, true), Reading { answer: complete, not_understood: None });
    let failed = Answer { error: Some("error".into()), ..Answer::default() };
    assert_eq!(answer(JSON, r#"{"error": {"message": "x"}}"#), failed);
    assert_eq!(end_response(asked(), false), Reading::default());
}

#[test]
fn what_is_no_answer_is_said() {
    let lost = |content_type, whole, body: &str| {
        let reading = read(content_type, whole, &[body.as_bytes()]);
        assert!(!reading.answer.complete, "{body}");
        reading.not_understood
    };
    assert_eq!(lost(JSON, true, "<html>"), Some(NotUnderstood::NotJson));
    assert_eq!(lost(JSON, true, "{}"), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost(JSON, false, r#"{"choices": [{"mess"#), None);
    assert_eq!(lost(EVENTS, true, "data: {\"type\":\"x\"}\n\n"), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost(EVENTS, true, "data: hello\n\n"), Some(NotUnderstood::NotJson));
    let long = "x".repeat(limits::OBSERVED_RESPONSE_BYTES + 1);
    assert_eq!(lost(JSON, true, &long), Some(NotUnderstood::TooLarge));
    assert_eq!(lost(EVENTS, true, &format!("data: {long}\n\n")), Some(NotUnderstood::TooLarge));

    let mut encoded = asked();
    encoded.response_head(&ResponseInfo {
        status: 200,
        content_type: JSON,
        content_encoding: Some("dcb"),
        signals: &[],
    });
    let reading = end_response(encoded, true);
    assert_eq!(reading.not_understood, Some(NotUnderstood::Encoded));
}

#[test]
fn arguments_of_a_stream_are_kept_up_to_the_bound() {
    let part = |text: &str| {
        delta(
            &json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": text}}]}),
        )
    };
    let mebibyte = events(&[part(&"x".repeat(1024 * 1024))]);
    let stream = vec![mebibyte.as_bytes(); limits::OBSERVED_RESPONSE_BYTES / (1024 * 1024)];
    let reading = read(EVENTS, true, &stream);
    assert_eq!(reading.not_understood, Some(NotUnderstood::TooLarge));
    assert_eq!(reading.answer.tool_calls.len(), 1);
}

/// Bodies that are real, real but damaged, or nothing at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let whole = json!({"choices": [{"message": tool_message()}]}).to_string();
    let asked = json!({"messages": [tool_message(), {"role": "user", "content": "x"}]}).to_string();
    let real =
        prop_oneof![Just(tool_stream()), Just(whole), Just(asked)].prop_map(String::into_bytes);
    let damaged = (real.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut body, at, byte)| {
            let at = at.index(body.len());
            body[at] = byte;
            body
        },
    );
    prop_oneof![real, damaged, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn where_bodies_are_cut_does_not_matter(body in body(), stride in 1_usize..100, whole: bool) {
        let pieces: Vec<_> = body.chunks(stride).collect();
        for content_type in [JSON, EVENTS, None] {
            let one = read(content_type, whole, &[&body]);
            prop_assert_eq!(read(content_type, whole, &pieces), one);
        }
        let mut one = observer();
        one.request_body(&body);
        let mut many = observer();
        for piece in pieces {
            many.request_body(piece);
        }
        prop_assert_eq!(end(many), end(one));
    }

    #[test]
    fn text_hashes_the_same_in_any_parts(text in ".{0,60}", stride in 1_usize..10) {
        let chars: Vec<_> = text.chars().collect();
        let parts: Vec<_> = chars
            .chunks(stride)
            .map(|part| json!({"type": "text", "text": part.iter().collect::<String>()}))
            .collect();
        let chunks: Vec<_> = parts.iter().map(|part| delta(&json!({"content": part["text"]}))).collect();
        let said = message(&json!({"role": "assistant", "content": text}));
        prop_assert_eq!(&message(&json!({"role": "assistant", "content": parts})), &said);
        let streamed = answer(EVENTS, &(events(&chunks) + &events(&[finish("stop")])));
        prop_assert_eq!(&streamed.choices[0], &said);
    }
}

/// What is asked, and the body's digest.
fn ask_knowing(known: &mut Known, body: &str) -> Result<(Prompt, Digest), NotUnderstood> {
    let mut observer = observer();
    observer.request_body(body.as_bytes());
    let asked = observer.request_end(known)?.remove(0);
    let What::Model(prompt) = asked.what.clone() else { panic!("no model: {asked:?}") };
    let read = (prompt, asked.sha256);
    known.keep(asked);
    Ok(read)
}

/// Three conversations, each with a way of its own to write them.
fn conversation(number: usize, messages: &[usize]) -> String {
    let said = |at: &usize| match at % 5 {
        0 => json!({"role": "system", "content": format!("rules {number}")}),
        1 => json!({"role": "user", "content": [{"type": "text", "text": format!("wish {at}")}]}),
        2 => tool_message(),
        3 => json!({"role": "tool", "tool_call_id": "call_a", "content": format!("{at} \"é\"")}),
        _ => json!({"role": "assistant", "content": format!("said {at}")}),
    };
    let messages: Vec<_> = messages.iter().map(|at| said(at).to_string()).collect();
    match number {
        0 => format!("{{\"messages\":[{}],\"model\":\"m\"}}", messages.join(",")),
        1 => format!(
            " {{ \"stream\": true, \"tools\": [{{\"a\": 1}}], \"messages\" : [ {} ] , \"x\": [] }} ",
            messages.join(" ,\n")
        ),
        _ => format!("{{\"model\":null,\"messages\":[{}]}}", messages.join(", ")),
    }
}

/// A turn: whose, how many messages are taken back, what is said then, and where what is damaged.
type Turn = (usize, usize, Vec<usize>, Option<(prop::sample::Index, u8)>);

fn turn() -> impl Strategy<Value = Turn> {
    let damage = prop::option::weighted(0.2, (any::<prop::sample::Index>(), b' '..=b'~'));
    (0_usize..3, 0_usize..3, prop::collection::vec(0_usize..20, 0..4), damage)
}

proptest! {
    #[test]
    fn what_is_known_changes_nothing_of_what_is_read(
        turns in prop::collection::vec(turn(), 1..30),
        count in 1_usize..6,
    ) {
        let mut known = Known::bounded(Bounds { block: 16, count, weight: 100 });
        let mut said: [Vec<usize>; 3] = Default::default();
        for (number, taken_back, more, damage) in turns {
            let messages = &mut said[number];
            messages.truncate(messages.len().saturating_sub(taken_back));
            messages.extend(more);
            let mut body = conversation(number, messages);
            if let Some((at, byte)) = damage {
                let at = at.index(body.len());
                if body.is_char_boundary(at) && body.is_char_boundary(at + 1) {
                    body.replace_range(at..=at, &char::from(byte).to_string());
                }
            }
            let alone = ask_knowing(&mut Known::default(), &body);
            prop_assert_eq!(ask_knowing(&mut known, &body), alone, "{}", body);
        }
    }
}

#[test]
fn what_goes_on_is_read_from_there() {
    let mut known = Known::bounded(Bounds { block: 16, count: 4, weight: 100 });
    let first = conversation(0, &[0, 1, 2, 3]);
    let next = conversation(0, &[0, 1, 2, 3, 4, 6]);
    let (prompt, _) = ask_knowing(&mut known, &first).expect("a prompt");
    assert_eq!(prompt.messages.len(), 4);
    let mut hashed = known.openai_chat.hash(next.as_bytes());
    let (length, _) = known.openai_chat.take(&mut hashed).expect("it is known");
    assert_eq!(first[..length], next[..length]);
    assert_eq!(&next[length..=length], ",");
    // Who takes it keeps what follows it, or nothing.
    assert!(known.openai_chat.take(&mut hashed).is_none());
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

/// What is kept of the response to the one call.
fn sampled(content_type: Option<&str>, body: &str) -> (String, u64) {
    let mut observer = asked();
    observer.response_head(&ResponseInfo {
        status: 200,
        content_type,
        content_encoding: None,
        signals: &[],
    });
    for byte in body.as_bytes().chunks(1) {
        observer.response_body(byte);
    }
    let sample = observer.response_end(true, &mut Known::default()).remove(0).sample;
    (sample.text().to_owned(), sample.bytes())
}

#[test]
fn some_of_the_answer_is_kept_where_it_may_be_needed() {
    let delta = |delta: Value| {
        let chunk = json!({"choices": [{"index": 0, "delta": delta}]});
        format!("data: {chunk}\n\n")
    };
    let call = json!([{"index": 0, "id": "x", "function": {"name": "find", "arguments": "{}"}}]);
    let stream = [
        delta(json!({"reasoning_content": "Hm. "})),
        delta(json!({"reasoning": "Well. ", "reasoning_content": null})),
        delta(json!({"reasoning": {"odd": 1}, "content": "Hello. "})),
        delta(json!({"tool_calls": call})),
    ];
    assert_eq!(sampled(EVENTS, &stream.concat()), ("Hm. Well. Hello. find{}".into(), 23));
    let message = json!({"role": "assistant", "content": "Hello."});
    let mut answer = json!({"choices": [{"message": message, "finish_reason": "stop"}]});
    assert_eq!(sampled(JSON, &answer.to_string()), ("Hello.".into(), 6));
    answer["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 1});
    assert_eq!(sampled(JSON, &answer.to_string()), (String::new(), 0));
}
