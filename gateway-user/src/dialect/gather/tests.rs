use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::trial::{EVENTS, JSON, Trial};

const LINES: &str = "application/x-ndjson";

fn events(documents: &[Value]) -> String {
    documents
        .iter()
        .flat_map(|document| ["data: ".into(), document.to_string(), "\n\n".into()])
        .collect()
}

fn lines(documents: &[Value]) -> String {
    documents.iter().flat_map(|document| [document.to_string(), "\n".into()]).collect()
}

/// Events that are called what their type is.
fn named(documents: &[Value]) -> String {
    let name = |document: &Value| document["type"].as_str().unwrap_or_default().to_owned();
    let named = documents.iter().flat_map(|document| {
        ["event: ".into(), name(document), "\n".into(), events(std::slice::from_ref(document))]
    });
    named.collect()
}

fn gather_of(dialect: Dialect, content_type: &str, pieces: &[&[u8]]) -> Result<Value, Incomplete> {
    let response = ResponseInfo {
        status: 200,
        content_type: Some(content_type),
        content_encoding: None,
        signals: &[],
    };
    let mut gathering = Gathering::of(dialect, &response).expect("a stream");
    for piece in pieces {
        gathering.feed(piece);
    }
    gathering.end().map(|body| serde_json::from_slice(&body).expect("JSON"))
}

/// What a stream comes to, wherever it is cut; and the gateway reads the same of both.
fn gathered(trial: Trial<'_>, dialect: Dialect, stream: &str) -> Value {
    let kind = if dialect == Dialect::Ollama { LINES } else { EVENTS };
    let whole = gather_of(dialect, kind, &[stream.as_bytes()]).expect("whole");
    let bytes: Vec<_> = stream.as_bytes().chunks(1).collect();
    assert_eq!(gather_of(dialect, kind, &bytes).as_ref(), Ok(&whole));
    assert_eq!(trial.answer(kind, stream), trial.answer(JSON, whole.to_string()));
    whole
}

const CHAT: Trial<'_> = Trial("/v1/chat/completions", r#"{"messages":[]}"#);

fn chunk(choices: &Value) -> Value {
    json!({"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","usage":null,
        "system_fingerprint":"fp","choices":choices})
}

#[test]
fn a_chat_with_texts_logprobs_and_what_a_server_adds() {
    let stream = [
        chunk(
            &json!([{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]),
        ),
        chunk(
            &json!([{"index":1,"delta":{"role":"assistant","content":"Ja"},"finish_reason":null}]),
        ),
        chunk(&json!([{"index":0,"delta":{"reasoning_content":"thi"},"finish_reason":null}])),
        chunk(&json!([{"index":0,"delta":{"reasoning_content":"nk"},"finish_reason":null}])),
        chunk(
            &json!([{"index":0,"delta":{"content":"Hel"},"logprobs":{"content":[{"token":"Hel","logprob":-0.5}]},"finish_reason":null}]),
        ),
        chunk(
            &json!([{"index":0,"delta":{"role":"assistant","content":"lo"},"logprobs":{"content":[{"token":"lo","logprob":-0.25}]},"finish_reason":null}]),
        ),
        chunk(&json!([{"index":0,"delta":{},"finish_reason":"stop"}])),
        chunk(&json!([{"index":1,"delta":{},"finish_reason":"length","stop_reason":null}])),
        json!({"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",
            "system_fingerprint":"fp","choices":[],"timings":{"predicted_n":3},
            "usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}}),
    ];
    let stream = events(&stream) + "data: [DONE]\n\n";
    assert_eq!(
        gathered(CHAT, Dialect::OpenaiChat, &stream),
        json!({
            "id":"chatcmpl-1","object":"chat.completion","created":7,"model":"m",
            "system_fingerprint":"fp","timings":{"predicted_n":3},
            "usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9},
            "choices":[
                {"index":0,"finish_reason":"stop",
                    "logprobs":{"content":[{"token":"Hel","logprob":-0.5},{"token":"lo","logprob":-0.25}]},
                    "message":{"role":"assistant","reasoning_content":"think","content":"Hello"}},
                {"index":1,"finish_reason":"length","logprobs":null,"stop_reason":null,
                    "message":{"role":"assistant","content":"Ja"}},
            ],
        })
    );
}

#[test]
fn tool_calls_by_index_and_by_id() {
    let numbered = [
        json!({"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}),
        json!({"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{\"y\""}}),
        json!({"index":0,"function":{"arguments":"{\"x\":"}}),
        json!({"index":0,"function":{"arguments":"1}"}}),
        json!({"index":1,"function":{"arguments":":2}"}}),
    ];
    // As some servers write them: each call whole, or without an index.
    let plain = [
        json!({"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}),
        json!({"id":"b","function":{"name":"g","arguments":"{\"y\""}}),
        json!({"function":{"arguments":":2}"}}),
    ];
    for calls in [&numbered[..], &plain] {
        let mut stream: Vec<_> = calls
            .iter()
            .map(|call| chunk(&json!([{"index":0,"delta":{"tool_calls":[call]}}])))
            .collect();
        stream.push(chunk(&json!([{"index":0,"delta":{},"finish_reason":"tool_calls"}])));
        let whole = gathered(CHAT, Dialect::OpenaiChat, &events(&stream));
        assert_eq!(
            whole["choices"][0]["message"],
            json!({"role":"assistant","content":null,"tool_calls":[
                {"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},
                {"id":"b","type":"function","function":{"name":"g","arguments":"{\"y\":2}"}},
            ]})
        );
    }
}

#[test]
fn a_completion() {
    let trial = Trial("/v1/completions", r#"{"prompt":"a"}"#);
    let part = |text: &str, reason: Option<&str>| {
        json!({"id":"cmpl-1","object":"text_completion","created":7,"model":"m","choices":[
            {"index":0,"text":text,"finish_reason":reason,
                "logprobs":{"tokens":[text],"text_offset":[0]}}]})
    };
    let stream = [
        part("on", None),
        part("ce", Some("stop")),
        json!({"id":"cmpl-1","object":"text_completion","created":7,"model":"m","choices":[],
            "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}),
    ];
    assert_eq!(
        gathered(trial, Dialect::OpenaiCompletions, &events(&stream)),
        json!({"id":"cmpl-1","object":"text_completion","created":7,"model":"m",
            "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},
            "choices":[{"index":0,"text":"once","finish_reason":"stop",
                "logprobs":{"tokens":["on","ce"],"text_offset":[0,0]}}]})
    );
}

#[test]
fn the_last_event_of_responses_has_it_all() {
    let trial = Trial("/v1/responses", r#"{"input":"a"}"#);
    let answer = json!({"id":"resp_1","object":"response","status":"completed","model":"m",
        "output":[{"type":"message","id":"msg_1","role":"assistant","status":"completed",
            "content":[{"type":"output_text","text":"Hi","annotations":[]}]}],
        "usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}});
    let mut begun = answer.clone();
    begun["status"] = json!("in_progress");
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    let stream = [
        json!({"type":"response.created","response":begun}),
        json!({"type":"response.output_item.added","output_index":0,
            "item":{"type":"message","id":"msg_1","role":"assistant","content":[]}}),
        json!({"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hi"}),
        json!({"type":"response.output_item.done","output_index":0,"item":answer["output"][0]}),
        json!({"type":"response.completed","response":answer}),
    ];
    let stream = named(&stream);
    assert_eq!(gathered(trial, Dialect::OpenaiResponses, &stream), answer);
}

const MESSAGES: Trial<'_> = Trial("/v1/messages", r#"{"messages":[],"max_tokens":9}"#);

fn message_of(deltas: &[Value], stop: &str) -> String {
    let mut stream = vec![
        json!({"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",
            "model":"m","content":[],"stop_reason":null,"stop_sequence":null,
            "usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":1}}}),
        json!({"type":"ping"}),
    ];
    stream.extend_from_slice(deltas);
    stream.push(json!({"type":"message_delta","delta":{"stop_reason":stop,"stop_sequence":null},
        "usage":{"output_tokens":9}}));
    stream.push(json!({"type":"message_stop"}));
    named(&stream)
}

#[test]
fn a_message_with_thoughts_citations_and_tools() {
    let delta = |index: u64, delta: Value| json!({"type":"content_block_delta","index":index,"delta":delta});
    let start = |index: u64, block: Value| json!({"type":"content_block_start","index":index,"content_block":block});
    let stream = message_of(
        &[
            start(0, json!({"type":"thinking","thinking":"","signature":""})),
            delta(0, json!({"type":"thinking_delta","thinking":"Hm"})),
            delta(0, json!({"type":"thinking_delta","thinking":"."})),
            delta(0, json!({"type":"signature_delta","signature":"sig"})),
            json!({"type":"content_block_stop","index":0}),
            start(1, json!({"type":"text","text":"","citations":null})),
            delta(1, json!({"type":"text_delta","text":"He"})),
            delta(1, json!({"type":"citations_delta","citation":{"type":"page","n":1}})),
            delta(1, json!({"type":"text_delta","text":"llo"})),
            start(2, json!({"type":"tool_use","id":"toolu_1","name":"f","input":{}})),
            delta(2, json!({"type":"input_json_delta","partial_json":""})),
            delta(2, json!({"type":"input_json_delta","partial_json":"{\"a\":"})),
            delta(2, json!({"type":"input_json_delta","partial_json":"[1]}"})),
            start(3, json!({"type":"tool_use","id":"toolu_2","name":"g","input":{}})),
        ],
        "tool_use",
    );
    let whole = gathered(MESSAGES, Dialect::AnthropicMessages, &stream);
    assert_eq!(
        whole,
        json!({"id":"msg_1","type":"message","role":"assistant","model":"m",
        "stop_reason":"tool_use","stop_sequence":null,
        "usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":9},
        "content":[
            {"type":"thinking","thinking":"Hm.","signature":"sig"},
            {"type":"text","text":"Hello","citations":[{"type":"page","n":1}]},
            {"type":"tool_use","id":"toolu_1","name":"f","input":{"a":[1]}},
            {"type":"tool_use","id":"toolu_2","name":"g","input":{}},
        ]})
    );
}

#[test]
fn an_input_may_be_cut_with_its_answer_and_not_otherwise() {
    let cut = [
        json!({"type":"content_block_start","index":0,
            "content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}),
        json!({"type":"content_block_delta","index":0,
            "delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}),
    ];
    let gather =
        |stop| gather_of(Dialect::AnthropicMessages, EVENTS, &[message_of(&cut, stop).as_bytes()]);
    let whole = gather("max_tokens").expect("whole");
    assert_eq!(whole["content"][0]["input"], json!({}));
    assert_eq!(gather("tool_use"), Err(NotUnderstood::NotJson.into()));
}

#[test]
fn lines_of_ollama() {
    let chat = Trial("/api/chat", r#"{"model":"m","messages":[]}"#);
    let line =
        |message: Value| json!({"model":"m","created_at":"t","message":message,"done":false});
    let last = json!({"model":"m","created_at":"u","message":{"role":"assistant","content":""},
        "done":true,"done_reason":"stop","prompt_eval_count":5,"eval_count":3});
    let stream = [
        line(json!({"role":"assistant","content":"","thinking":"Hm"})),
        line(json!({"role":"assistant","content":"","thinking":"."})),
        line(json!({"role":"assistant","content":"He"})),
        line(json!({"role":"assistant","content":"llo"})),
        line(
            json!({"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}),
        ),
        line(
            json!({"role":"assistant","content":"","tool_calls":[{"function":{"name":"g","arguments":{}}}]}),
        ),
        last,
    ];
    assert_eq!(
        gathered(chat, Dialect::Ollama, &lines(&stream)),
        json!({"model":"m","created_at":"u","done":true,"done_reason":"stop",
            "prompt_eval_count":5,"eval_count":3,
            "message":{"role":"assistant","content":"Hello","thinking":"Hm.","tool_calls":[
                {"function":{"name":"f","arguments":{"a":1}}},
                {"function":{"name":"g","arguments":{}}}]}})
    );
    let generate = Trial("/api/generate", r#"{"model":"m","prompt":"a"}"#);
    let stream = [
        json!({"model":"m","created_at":"t","response":"on","done":false}),
        json!({"model":"m","created_at":"u","response":"ce","done":false}),
        json!({"model":"m","created_at":"v","response":"","done":true,"context":[1,2],"eval_count":2,
            "prompt_eval_count":1}),
    ];
    let whole = gathered(generate, Dialect::Ollama, &lines(&stream));
    assert_eq!((&whole["response"], &whole["context"]), (&json!("once"), &json!([1, 2])));
}

#[test]
fn what_breaks_off_or_reports_an_error_is_no_answer() {
    let gather = |dialect, stream: &str| {
        let kind = if dialect == Dialect::Ollama { LINES } else { EVENTS };
        gather_of(dialect, kind, &[stream.as_bytes()])
    };
    let begun = events(&[chunk(&json!([{"index":0,"delta":{"content":"a"}}]))]);
    assert_eq!(gather(Dialect::OpenaiChat, &begun), Err(Incomplete::Cut));
    assert_eq!(gather(Dialect::OpenaiChat, ""), Err(Incomplete::Cut));
    assert_eq!(gather(Dialect::OpenaiResponses, &begun), Err(Incomplete::Cut));
    assert_eq!(gather(Dialect::Ollama, "{\"message\":{}}\n"), Err(Incomplete::Cut));
    let none = "data: {\"type\":\"message_start\",\"message\":{}}\n\n";
    assert_eq!(gather(Dialect::AnthropicMessages, none), Err(Incomplete::Cut));
    for (dialect, error) in [
        (Dialect::OpenaiChat, r#"{"error":{"message":"CUDA","type":"server_error"}}"#),
        (Dialect::OpenaiChat, r#"{"object":"error","message":"CUDA"}"#),
        (Dialect::AnthropicMessages, r#"{"type":"error","error":{"type":"overloaded_error"}}"#),
        (Dialect::OpenaiResponses, r#"{"type":"error","message":"m"}"#),
        (Dialect::Ollama, r#"{"error":"m"}"#),
    ] {
        let stream = match dialect {
            Dialect::Ollama => format!("{error}\n"),
            _ => format!("data: {error}\n\ndata: [DONE]\n\n"),
        };
        assert_eq!(gather(dialect, &stream), Err(Incomplete::Reported(error.into())));
    }
    let broken = gather(Dialect::OpenaiChat, "data: {\n\n");
    assert_eq!(broken, Err(NotUnderstood::NotJson.into()));
    let stray = "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{}}\n\n";
    assert_eq!(gather(Dialect::AnthropicMessages, stray), Err(NotUnderstood::NotThisShape.into()));
}

#[test]
fn only_so_much_is_kept_and_what_is_replaced_counts_no_more() {
    let text = "x".repeat(64 * 1024);
    let part = chunk(&json!([{"index":0,"delta":{"content":text}}]));
    let parts = OBSERVED_RESPONSE_BYTES / text.len() + 1;
    let stream = events(&vec![part; parts]);
    let gather = |stream: &str| gather_of(Dialect::OpenaiChat, EVENTS, &[stream.as_bytes()]);
    assert_eq!(gather(&stream), Err(NotUnderstood::TooLarge.into()));
    // The same head in each of a hundred thousand chunks.
    let small = events(&[chunk(&json!([{"index":0,"delta":{"content":"x"}}]))]).repeat(100_000);
    let end = events(&[chunk(&json!([{"index":0,"delta":{},"finish_reason":"stop"}]))]);
    let whole = gather(&(small + &end)).expect("whole");
    let content = whole["choices"][0]["message"]["content"].as_str().expect("text");
    assert_eq!(content.len(), 100_000);
}

#[test]
fn what_is_no_stream_is_not_gathered() {
    let of = |dialect, content_type| {
        let response = ResponseInfo {
            status: 200,
            content_type: Some(content_type),
            content_encoding: None,
            signals: &[],
        };
        Gathering::of(dialect, &response).is_some()
    };
    assert!(of(Dialect::OpenaiChat, EVENTS) && of(Dialect::Ollama, LINES));
    assert!(!of(Dialect::OpenaiChat, JSON) && !of(Dialect::OpenaiChat, LINES));
    assert!(!of(Dialect::Gemini, EVENTS) && !of(Dialect::Mcp, EVENTS));
}

proptest! {
    #[test]
    fn nothing_that_a_server_may_write_fails_it(
        stream in prop::collection::vec(
            "(data: )?(\\{\"(choices|type|message|delta|index|usage)\":(\\[\\{\"index\":0,\"delta\":\\{\"a\":1\\}\\}\\]|\"content_block_delta\"|null|1|\\{\\})\\}|x|\\[DONE\\])\n{1,2}",
            0..8,
        ),
    ) {
        let stream = stream.concat();
        for dialect in [
            Dialect::OpenaiChat,
            Dialect::OpenaiCompletions,
            Dialect::OpenaiResponses,
            Dialect::AnthropicMessages,
        ] {
            let _ = gather_of(dialect, EVENTS, &[stream.as_bytes()]);
        }
        let _ = gather_of(Dialect::Ollama, LINES, &[stream.as_bytes()]);
    }
}
