use super::*;

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
    let call = |id, name, arguments| Arguments::in_text(arguments).of_call(Some(id), name);
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
    assert_eq!(answer.tool_calls, [Arguments::in_text("{}").of_call(None, "f")]);
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
