use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    call::{Dialect, Operation, Role, Unmetered, Usage},
    dialect::{
        NotUnderstood,
        canonical::Json,
        trial::{EVENT_STREAM, JSON, Trial, respelled},
    },
    limits,
};

const ASKED: &str = r#"{"messages":[]}"#;
const CONVERSE: Trial<'_> = Trial("/model/us.amazon.nova-lite-v1%3A0/converse", ASKED);
const STREAM: Trial<'_> = Trial("/model/us.amazon.nova-lite-v1%3A0/converse-stream", ASKED);

/// A stream in the shapes of the service model, which botocore's own parser has read: reasoning,
/// text, a call with arguments in two parts, and one without.
const SAMPLE: &[u8] = include_bytes!("samples/converse_stream.bin");
/// The same up to its first text, and then an exception.
const FAULT: &[u8] = include_bytes!("samples/converse_stream_fault.bin");

/// The answer of [`SAMPLE`], as a client sends it back.
fn echo() -> Value {
    json!({"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "Which city?", "signature": "c2ln"}}},
        {"text": "I look in Zürich."},
        {"toolUse": {"toolUseId": "tooluse_a", "name": "get", "input": {"city": "Zürich"}}},
        {"toolUse": {"toolUseId": "tooluse_b", "name": "now", "input": {}}},
    ]})
}

#[test]
fn a_field_that_comes_twice_could_be_read_either_way() {
    let block = |block: &str| format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
    for body in [
        r#"{"messages":[{"role":"user","role":"assistant"}]}"#.to_owned(),
        r#"{"inferenceConfig":{"maxTokens":1,"maxTokens":2}}"#.to_owned(),
        r#"{"toolConfig":{"tools":[],"tools":[]}}"#.to_owned(),
        r#"{"toolConfig":{"tools":[{"toolSpec":{"name":"a","name":"b"}}]}}"#.to_owned(),
        block(r#"{"text":null,"text":"a"}"#),
        block(r#"{"image":null,"image":{}}"#),
        block(r#"{"image":{"format":"png","format":"jpeg"}}"#),
        block(r#"{"toolUse":{"toolUseId":"a","toolUseId":"b"}}"#),
        block(r#"{"toolUse":{"toolUseId":"a","input":{"x":1,"x":2}}}"#),
        block(r#"{"toolResult":{"content":[{"json":{"x":1,"x":2}}]}}"#),
    ] {
        let asked = CONVERSE.ask_in([body.as_bytes()]);
        assert_eq!(asked, Err(NotUnderstood::DuplicateKey), "{body}");
    }
}

#[test]
fn what_a_request_does_not_bound_is_said() {
    use Unmetered::{FileReferences, HostedTools, StoredContext};

    let tools = |tools: Value| json!({"messages": [], "toolConfig": {"tools": tools}});
    let block = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let bucket = json!({"source": {"s3Location": {"uri": "s3://a/b"}}});
    for (body, why) in [
        (tools(json!([{"toolSpec": {"name": "a"}}, {"cachePoint": {"type": "default"}}])), None),
        (tools(json!([{"systemTool": {"name": "nova_grounding"}}])), Some(HostedTools)),
        (json!({}), Some(StoredContext)),
        (json!({"messages": [], "promptVariables": {"x": {"text": "y"}}}), Some(StoredContext)),
        (block(json!({"image": {"format": "png", "source": {"bytes": "aa"}}})), None),
        (block(json!({"image": bucket})), Some(FileReferences)),
        (block(json!({"document": bucket})), Some(FileReferences)),
        (block(json!({"video": bucket})), Some(FileReferences)),
        (block(json!({"toolResult": {"content": [{"video": bucket}]}})), Some(FileReferences)),
        (block(json!({"toolResult": {"content": [{"json": {"video": bucket}}]}})), None),
        (block(json!({"toolUse": {"toolUseId": "a", "input": {"video": bucket}}})), None),
    ] {
        assert_eq!(CONVERSE.ask(&body).terms.unmetered, why, "{body}");
    }
}

#[test]
fn a_request_is_read() {
    use Role::{Assistant, System, Tool, User};

    let prompt = STREAM.ask(&json!({
        "messages": [
            {"role": "user", "content": [{"text": "What is "}, {"text": "the weather?"},
                {"cachePoint": {"type": "default"}}]},
            echo(),
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "tooluse_a", "content": [{"json": {"c": 21}}], "status": "success"}},
                {"toolResult": {"toolUseId": "tooluse_b", "content": [{"text": "late"}], "status": "error"}},
                {"text": "Go on"},
            ]},
        ],
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "inferenceConfig": {"maxTokens": 512, "temperature": 0.5},
        "serviceTier": {"type": "flex"},
        "toolConfig": {"tools": [{"toolSpec": {"name": "get", "inputSchema": {"json": {}}}}]},
        "additionalModelRequestFields": {"top_k": 5},
    }));
    assert_eq!((prompt.dialect, prompt.operation), (Dialect::Bedrock, Operation::Chat));
    assert_eq!(prompt.model.as_deref(), Some("us.amazon.nova-lite-v1:0"));
    assert!(prompt.stream);
    assert_eq!(prompt.wish.as_deref(), Some("What is the weather?"));
    let roles: Vec<_> = prompt.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [System, User, Assistant, Tool, Tool, User]);
    assert_eq!(prompt.messages[2].tool_calls, ["tooluse_a", "tooluse_b"]);
    assert_eq!(prompt.messages[3].tool_result.as_deref(), Some("tooluse_a"));
    assert_eq!(prompt.terms.max_output, Some(512));
    assert_eq!(prompt.terms.service_tier.as_deref(), Some("flex"));
    assert!(prompt.terms.reports_usage);
    assert_eq!((prompt.terms.segments.system, prompt.terms.segments.messages), (9, 47 + 14 + 3));
    assert!(prompt.terms.segments.tools > 0);
    assert!(!CONVERSE.ask(&json!({"messages": []})).stream);
}

#[test]
fn marks_for_the_cache_change_nothing() {
    let ask = |tools: Value, content: Value| {
        let prompt = CONVERSE.ask(&json!({"toolConfig": {"tools": tools},
            "messages": [{"role": "user", "content": content}]}));
        (prompt.tools_hash, prompt.messages)
    };
    let (tool, mark) =
        (json!({"toolSpec": {"name": "get"}}), json!({"cachePoint": {"type": "default"}}));
    let plain = ask(json!([tool]), json!([{"text": "a"}]));
    assert_eq!(ask(json!([tool, mark]), json!([{"text": "a", "image": null}, mark])), plain);
    assert!(plain.0.is_some());
    assert_eq!(ask(json!([]), json!([])).0, None);
}

#[test]
fn a_whole_answer_is_read_and_its_echo_hashes_alike() {
    let answer = CONVERSE.answer(
        JSON,
        json!({
            "output": {"message": echo()}, "stopReason": "tool_use", "metrics": {"latencyMs": 1},
            "usage": {"inputTokens": 12, "outputTokens": 34, "totalTokens": 46},
        })
        .to_string(),
    );
    assert!(answer.complete);
    assert_eq!(answer.choices, CONVERSE.messages(&json!([echo()])));
    assert_eq!(answer.finish_reasons, ["tool_use"]);
    assert_eq!(answer.usage, Some(Usage { input: 12, output: 34, ..Usage::default() }));
    assert_eq!(answer.tool_calls[0].arguments, Json::in_text(r#"{"city":"Zürich"}"#).get());
}

#[test]
fn a_stream_is_read_as_a_whole_answer_is() {
    let answer = STREAM.answer(EVENT_STREAM, SAMPLE);
    assert!(answer.complete);
    assert_eq!(answer.choices, CONVERSE.messages(&json!([echo()])));
    let calls: Vec<_> =
        answer.tool_calls.iter().map(|call| (call.id.as_deref(), &*call.name)).collect();
    assert_eq!(calls, [(Some("tooluse_a"), "get"), (Some("tooluse_b"), "now")]);
    assert_eq!(answer.tool_calls[0].arguments, Json::in_text(r#"{"city":"Zürich"}"#).get());
    assert_eq!(answer.finish_reasons, ["tool_use"]);
    assert_eq!(answer.service_tier.as_deref(), Some("default"));
    // Cached tokens are counted beside `inputTokens`.
    let usage = Usage {
        input: 1112,
        output: 34,
        cache_read: Some(1000),
        cache_creation: Some(100),
        cache_creation_1h: Some(40),
        ..Usage::default()
    };
    assert_eq!(answer.usage, Some(usage));
}

#[test]
fn a_stream_that_fails_or_is_cut_is_not_complete() {
    let failed = STREAM.answer(EVENT_STREAM, FAULT);
    assert_eq!(failed.error.as_deref(), Some("throttlingException"));
    assert!(!failed.complete);
    assert_eq!(failed.usage, None);
    let cut = STREAM.read(EVENT_STREAM, false, [&SAMPLE[..SAMPLE.len() - 1]]);
    assert_eq!(cut.not_understood, None);
    assert!(!cut.answer.complete);
    assert_eq!(cut.answer.choices.len(), 1);

    let mut damaged = SAMPLE.to_vec();
    damaged[1000] ^= 1;
    let broken = STREAM.read(EVENT_STREAM, true, [&*damaged]);
    assert_eq!(broken.not_understood, Some(NotUnderstood::BrokenFrames));
    assert!(!broken.answer.complete);
    let none = STREAM.read(EVENT_STREAM, true, []);
    assert_eq!(none.not_understood, Some(NotUnderstood::NotThisShape));
}

#[test]
fn what_a_server_called_itself_is_part_of_its_answer() {
    let told =
        |content: Value| CONVERSE.messages(&json!([{"role": "assistant", "content": content}]));
    let call = json!({"toolUse": {"toolUseId": "s1", "name": "code", "input": {"a": 1}, "type": "server_tool_use"}});
    let result = json!({"toolResult": {"toolUseId": "s1", "content": [{"text": "1"}], "type": "code_result"}});
    let whole = told(json!([call, result, {"text": "One"}]));
    assert_eq!(whole.len(), 1);
    assert!(whole[0].tool_calls.is_empty() && whole[0].tool_result.is_none());
    assert_ne!(told(json!([call, {"text": "One"}])), whole);
    assert_ne!(told(json!([{"text": "One"}])), whole);

    let cited = json!([{"citationsContent": {"content": [{"text": "On"}, {"text": "e"}], "citations": [{}]}}]);
    assert_eq!(told(cited), told(json!([{"text": "One"}])));
}

#[test]
fn what_is_no_request_or_answer_is_said() {
    let ask = |body: &str| CONVERSE.ask_in([body.as_bytes()]).map(drop);
    assert_eq!(ask("{"), Err(NotUnderstood::NotJson));
    assert_eq!(ask("{} {}"), Err(NotUnderstood::NotJson));
    assert_eq!(ask("[]"), Err(NotUnderstood::NotThisShape));
    assert_eq!(ask(r#"{"messages":[],"messages":[]}"#), Err(NotUnderstood::DuplicateKey));
    let twofold = r#"{"messages":[{"role":"user","content":[{"text":"a","image":{}}]}]}"#;
    assert_eq!(ask(twofold), Err(NotUnderstood::NotThisShape));
    let many = vec![json!({"role": "user", "content": []}); limits::MESSAGES_PER_PROMPT + 1];
    assert_eq!(ask(&json!({"messages": many}).to_string()), Err(NotUnderstood::TooLarge));
    let lost = |body: &str| CONVERSE.read(JSON, true, [body.as_bytes()]).not_understood;
    assert_eq!(lost("<html>"), Some(NotUnderstood::NotJson));
    assert_eq!(lost("{}"), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost(r#"{"output":{}}"#), Some(NotUnderstood::NotThisShape));
}

proptest! {
    #[test]
    fn where_a_stream_is_cut_does_not_matter(
        at in any::<prop::sample::Index>(),
        byte in prop::option::weighted(0.5, any::<u8>()),
        stride in 1_usize..200,
        whole: bool,
    ) {
        let mut body = SAMPLE.to_vec();
        if let Some(byte) = byte {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let one = STREAM.read(EVENT_STREAM, whole, [&*body]);
        prop_assert_eq!(STREAM.read(EVENT_STREAM, whole, body.chunks(stride)), one);
    }

    #[test]
    fn key_order_and_escapes_are_no_matter(text in ".{0,20}", id in "[a-z]{1,4}", failed: bool) {
        let status = if failed { "error" } else { "success" };
        let body = json!({
            "system": [{"text": text}],
            "messages": [
                {"role": "user", "content": [{"text": text}, {"image": {"format": "png", "source": {"bytes": text}}}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": id, "name": id, "input": {"a": text, "b": [1]}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": id, "status": status, "content": [{"text": text}]}}]},
            ],
            "inferenceConfig": {"maxTokens": 3, "topP": 1.0},
        });
        let respelled = respelled(&body);
        prop_assert_eq!(CONVERSE.ask_in([respelled.as_bytes()]), Ok(CONVERSE.ask(&body)));
    }
}
