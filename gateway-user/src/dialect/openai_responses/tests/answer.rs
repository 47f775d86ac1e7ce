use super::*;
use crate::{call::Usage, dialect::arguments::Arguments, limits};

fn all() -> Usage {
    Usage {
        input: 90,
        output: 40,
        cache_read: Some(64),
        cache_creation: Some(8),
        reasoning: Some(30),
        ..Usage::default()
    }
}

fn check_turn(answer: &Answer) {
    assert_eq!(answer.model.as_deref(), Some("gpt-x-2026"));
    assert_eq!(answer.response_id.as_deref(), Some("resp_1"));
    assert_eq!(answer.service_tier.as_deref(), Some("default"));
    assert_eq!(answer.choices, messages(&turn_items()));
    assert_eq!(
        answer.tool_calls,
        [("call_a", "get", "{\"city\":\"Zürich\"}"), ("call_b", "patch", "*** Begin")]
            .map(|(id, name, arguments)| Arguments::in_text(arguments).of_call(Some(id), name))
    );
}

#[test]
fn a_turn_is_read_of_a_document_and_of_a_stream() {
    let document = finished(&turn_items()).to_string();
    let stream = events(&turn_events()) + &events(&[completed(&turn_items())]);
    // Some servers leave the output out of the last event.
    let short = events(&turn_events()) + &events(&[completed(&json!([]))]);
    let chatty = format!(": keep-alive\n\n{stream}data: [DONE]\n\n");
    for (content_type, body) in
        [(JSON, document), (EVENTS, stream), (EVENTS, short), (EVENTS, chatty)]
    {
        let answer = answer(content_type, &body);
        check_turn(&answer);
        assert!(answer.complete);
        assert_eq!(answer.usage, Some(all()));
        assert_eq!(answer.finish_reasons, ["tool_calls"]);
    }
}

#[test]
fn a_stream_that_is_cut_holds_what_came() {
    let mut stream = turn_events();
    let reading = read(EVENTS, false, &[events(&stream).as_bytes()]);
    assert_eq!(reading.not_understood, None);
    check_turn(&reading.answer);
    assert!(!reading.answer.complete);
    assert_eq!((reading.answer.usage, reading.answer.finish_reasons.len()), (None, 0));

    stream.truncate(8);
    let reading = read(EVENTS, false, &[events(&stream).as_bytes()]);
    assert_eq!(reading.answer.choices, messages(&json!([message_item("Let me look")])));
    // The last event is all that a client waits for.
    let whole = events(&turn_events()) + &events(&[completed(&turn_items())]);
    assert!(read(EVENTS, false, &[whole.as_bytes()]).answer.complete);
    assert!(!read(EVENTS, true, &[events(&turn_events()).as_bytes()]).answer.complete);
}

#[test]
fn every_end_is_told() {
    let ending = |status: &str, extra: Value| {
        let mut response = finished(&json!([message_item("Hi")]));
        response["status"] = status.into();
        for (field, value) in extra.as_object().expect("an object") {
            response[field] = value.clone();
        }
        let of_document = answer(JSON, &response.to_string());
        let kind = format!("response.{status}");
        let event = events(&[json!({"type": kind, "response": response})]);
        assert_eq!(answer(EVENTS, &event), of_document, "{status}");
        let reasons: Vec<_> = of_document.finish_reasons.iter().map(ToString::to_string).collect();
        (reasons.join(","), of_document.complete, of_document.error.map(|it| it.to_string()))
    };
    assert_eq!(ending("completed", json!({})), ("completed".into(), true, None));
    let details = json!({"incomplete_details": {"reason": "max_output_tokens"}});
    assert_eq!(ending("incomplete", details), ("max_output_tokens".into(), true, None));
    assert_eq!(ending("incomplete", json!({})), ("incomplete".into(), true, None));
    assert_eq!(ending("cancelled", json!({})), ("cancelled".into(), false, None));
    let error = json!({"error": {"code": "rate_limit_exceeded", "message": "slow down"}});
    let failed = ("failed".into(), false, Some("rate_limit_exceeded".into()));
    assert_eq!(ending("failed", error), failed);
}

#[test]
fn errors_are_named() {
    let failed = {
        let mut response = response("resp_1", "failed", &json!([]));
        response["error"] = json!({"code": "server_error", "message": "x"});
        json!({"type": "response.failed", "response": response})
    };
    let flat = json!({"type": "error", "code": "quota", "message": "x", "param": null});
    let nested =
        json!({"type": "error", "sequence_number": 2, "error": {"type": "quota", "message": "x"}});
    for (stream, name) in [
        (vec![flat.clone()], "quota"),
        (vec![nested.clone()], "quota"),
        (vec![failed.clone()], "server_error"),
        (vec![nested, failed], "server_error"),
        (vec![json!({"type": "error"})], "error"),
    ] {
        let answer = answer(EVENTS, &events(&stream));
        assert_eq!(answer.error.as_deref(), Some(name), "{stream:?}");
        assert!(!answer.complete);
    }
    let document = answer(JSON, r#"{"error": {"message": "x", "type": "quota"}}"#);
    assert_eq!((document.error.as_deref(), document.complete), (Some("quota"), false));
}

#[test]
fn hosted_tools_are_part_of_what_is_said() {
    let items = json!([
        {"type": "web_search_call", "id": "ws_1", "status": "completed",
            "action": {"type": "search", "query": "q"}},
        {"type": "shell_call", "id": "sh_1", "call_id": "c", "status": "completed",
            "action": {"commands": ["ls"]}, "environment": {"type": "container_reference"}},
        {"type": "shell_call_output", "id": "sho_1", "call_id": "c", "output": [{"stdout": "x"}]},
        {"type": "mcp_call", "id": "m", "name": "f", "arguments": "{}", "server_label": "s", "output": "o"},
        message_item("Found."),
    ]);
    let answer = answer(JSON, &finished(&items).to_string());
    assert!(answer.tool_calls.is_empty());
    assert_eq!(answer.finish_reasons, ["completed"]);
    assert_eq!(answer.choices, messages(&items));
    // What tells how far an item has come is not sent back by all.
    let mut echo = items.clone();
    for item in echo.as_array_mut().expect("items") {
        let item = item.as_object_mut().expect("an item");
        item.remove("status");
        item.remove("id");
    }
    assert_eq!(answer.choices, messages(&echo));
    // Where the client runs the shell, its result is the client's.
    let results = json!([{"type": "shell_call", "call_id": "c", "action": {}},
        {"type": "shell_call_output", "call_id": "c", "output": []}]);
    assert_eq!(messages(&results).len(), 2);
}

#[test]
fn other_endpoints_answer_in_their_own_shape() {
    let compacted = json!({"id": "resp_2", "object": "response.compaction", "created_at": 1,
        "output": [{"type": "message", "role": "user", "content": "x"},
            {"id": "c", "type": "compaction", "encrypted_content": "gA"}], "usage": usage()});
    let compacted = answer(JSON, &compacted.to_string());
    assert_eq!((compacted.usage, compacted.complete), (Some(all()), true));
    assert_eq!(
        compacted.choices,
        messages(&json!([{"type": "compaction", "encrypted_content": "gA"}]))
    );
    let counted = answer(JSON, r#"{"object": "response.input_tokens", "input_tokens": 11}"#);
    assert_eq!(counted, Answer { complete: true, ..Answer::default() });
    let whole = json!({"id": "r", "status": "completed", "usage": {"input_tokens": 3.0, "output_tokens": 4}});
    let usage = answer(JSON, &whole.to_string()).usage;
    assert_eq!(usage, Some(Usage { input: 3, output: 4, ..Usage::default() }));
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
    assert_eq!(lost(JSON, false, r#"{"output": [{"mess"#), None);
    assert_eq!(lost(EVENTS, true, "data: {\"choices\":[]}\n\n"), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost(EVENTS, true, "data: hello\n\n"), Some(NotUnderstood::NotJson));
    let long = "x".repeat(limits::OBSERVED_RESPONSE_BYTES + 1);
    assert_eq!(lost(EVENTS, true, &format!("data: {long}\n\n")), Some(NotUnderstood::TooLarge));
}

#[test]
fn arguments_of_a_stream_are_kept_up_to_the_bound() {
    let part = json!({"type": "response.function_call_arguments.delta", "output_index": 0,
        "delta": "x".repeat(1024 * 1024)});
    let begun = json!({"type": "response.output_item.added", "output_index": 0,
        "item": call_item("a", "f", "")});
    let (begun, part) = (events(&[begun]), events(&[part]));
    let mut stream = vec![begun.as_bytes()];
    stream.extend(vec![part.as_bytes(); limits::OBSERVED_RESPONSE_BYTES / (1024 * 1024) + 1]);
    let reading = read(EVENTS, false, &stream);
    assert_eq!(reading.not_understood, Some(NotUnderstood::TooLarge));
    assert_eq!(reading.answer.tool_calls.len(), 1);
}

#[test]
fn servers_that_leave_events_out_are_read() {
    let stream = events(&[
        json!({"type": "response.created", "response": {"id": "r"}}),
        json!({"type": "response.output_text.delta", "delta": "Hi"}),
        json!({"type": "response.reasoning_summary_text.delta", "delta": "hm"}),
        json!({"type": "response.of_tomorrow", "delta": {"x": 1}, "output_index": -1}),
        json!({"type": "response.completed", "response": {"id": "r", "usage": {"input_tokens": 1, "output_tokens": 2}}}),
    ]);
    let answer = answer(EVENTS, &stream);
    assert_eq!(answer.choices, messages(&json!([message_item("Hi")])));
    assert!(answer.complete && answer.usage.is_some());
}

/// As the documentation of the API shows it, shortened, and its model renamed.
const RECORDED: &str = r#"event: response.created
data: {"type":"response.created","response":{"id":"resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654","object":"response","created_at":1741290958,"status":"in_progress","error":null,"incomplete_details":null,"instructions":"You are a helpful assistant.","max_output_tokens":null,"model":"gpt-x-2025-04-14","output":[],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"store":true,"temperature":1.0,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":null,"user":null,"metadata":{}}}

event: response.in_progress
data: {"type":"response.in_progress","response":{"id":"resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654","object":"response","created_at":1741290958,"status":"in_progress","error":null,"incomplete_details":null,"instructions":"You are a helpful assistant.","max_output_tokens":null,"model":"gpt-x-2025-04-14","output":[],"parallel_tool_calls":true,"previous_response_id":null,"store":true,"usage":null,"metadata":{}}}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":0,"item":{"id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","type":"message","status":"in_progress","role":"assistant","content":[]}}

event: response.content_part.added
data: {"type":"response.content_part.added","item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"delta":"Hi"}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"delta":" there!"}

event: response.output_text.done
data: {"type":"response.output_text.done","item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"text":"Hi there!"}

event: response.content_part.done
data: {"type":"response.content_part.done","item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"part":{"type":"output_text","text":"Hi there!","annotations":[]}}

event: response.output_item.done
data: {"type":"response.output_item.done","output_index":0,"item":{"id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hi there!","annotations":[]}]}}

event: response.completed
data: {"type":"response.completed","response":{"id":"resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654","object":"response","created_at":1741290958,"status":"completed","error":null,"incomplete_details":null,"instructions":"You are a helpful assistant.","max_output_tokens":null,"model":"gpt-x-2025-04-14","output":[{"id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hi there!","annotations":[]}]}],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"store":true,"temperature":1.0,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":{"input_tokens":37,"output_tokens":11,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":48},"user":null,"metadata":{}}}

"#;

#[test]
fn a_recorded_stream_is_read() {
    insta::assert_debug_snapshot!(answer(EVENTS, RECORDED), @r#"
    Answer {
        model: Some(
            "gpt-x-2025-04-14",
        ),
        response_id: Some(
            "resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654",
        ),
        choices: [
            Message {
                role: Assistant,
                hash: 110998681879892994625097899415541573576,
                content: Some(
                    635877274852022504,
                ),
                tool_calls: [],
                tool_result: None,
            },
        ],
        tool_calls: [],
        values: [],
        finish_reasons: [
            "completed",
        ],
        usage: Some(
            Usage {
                input: 37,
                output: 11,
                cache_read: None,
                cache_creation: None,
                cache_creation_1h: None,
                reasoning: Some(
                    0,
                ),
                estimated: false,
            },
        ),
        service_tier: None,
        error: None,
        complete: true,
    }
    "#);
}
