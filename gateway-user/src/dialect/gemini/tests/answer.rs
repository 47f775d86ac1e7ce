use super::*;

#[test]
fn an_answer_is_the_same_streamed_or_not_as_events_or_as_an_array() {
    let streamed = STREAM.answer(EVENTS, events(&chunks()));
    assert_eq!(STREAM.answer(JSON, array(&chunks())), streamed);
    let mut whole = finished(&content()["parts"]);
    whole["candidates"][0]["content"]["parts"][2]["functionCall"]["id"] = "fc-2".into();
    let document = GENERATE.read(JSON, true, [whole.to_string().as_bytes()]);
    assert_eq!(document, Reading { answer: streamed.clone(), not_understood: None });

    assert!(streamed.complete);
    assert_eq!(streamed.model.as_deref(), Some("gemini-2.5-pro"));
    assert_eq!(streamed.response_id.as_deref(), Some("r-1"));
    assert_eq!(streamed.finish_reasons, ["STOP"]);
    assert_eq!(streamed.service_tier.as_deref(), Some("standard"));
    let call = |id, name, arguments| Arguments::in_text(arguments).of_call(id, name);
    assert_eq!(
        streamed.tool_calls,
        [call(None, "get", r#"{"n":1,"city":"Zürich"}"#), call(Some("fc-2"), "put", "{}")]
    );
    assert_eq!(streamed.choices[0].tool_calls, ["fc-2"]);
    assert_eq!(
        streamed.usage,
        Some(Usage {
            input: 53,
            output: 27,
            cache_read: Some(32),
            reasoning: Some(7),
            ..Usage::default()
        })
    );
}

#[test]
fn an_echo_has_the_hash_of_its_answer() {
    let said = STREAM.answer(EVENTS, events(&chunks())).choices.remove(0);
    let chunk_contents: Vec<_> =
        chunks().iter().map(|chunk| chunk["candidates"][0]["content"].clone()).collect();
    let mut given_ids = content();
    given_ids["parts"][1]["functionCall"]["id"] = "made-up".into();
    let user = json!({"role": "user", "parts": [{"text": "x"}]});
    for echo in [
        // Without ids and signatures; with an id of the client's; as it was streamed.
        json!([user, content()]),
        json!([user, given_ids]),
        json!(std::iter::once(user).chain(chunk_contents).collect::<Vec<_>>()),
    ] {
        let echo = messages(&echo);
        assert_eq!(echo.len(), 2);
        assert_eq!(echo[1].hash, said.hash);
    }
}

#[test]
fn what_tools_of_the_server_did_is_part_of_the_answer() {
    let parts = json!([
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"text": "One."},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
    ]);
    let said = STREAM.answer(EVENTS, events(&[finished(&parts)])).choices.remove(0);
    assert_eq!(messages(&json!([{"role": "model", "parts": parts}])), [said]);
}

/// What the chat of `google-genai` 3.6.1 sent once it had been streamed the answer of [`chunks`]: its
/// contents are the chunks'.
const RECORDED: &str = r#"{"contents": [{"parts": [{"text": "Wish"}], "role": "user"}, {"parts": [{"text": "Thinking", "thought": true}, {"text": "Let me "}], "role": "model"}, {"parts": [{"text": "look.", "thoughtSignature": "c2ln"}], "role": "model"}, {"parts": [{"functionCall": {"args": {"city": "Z\u00fcrich", "n": 1}, "name": "get"}, "thoughtSignature": "eA=="}, {"functionCall": {"id": "fc-2", "args": {}, "name": "put"}}], "role": "model"}, {"parts": [{"functionResponse": {"name": "get", "response": {"output": "x"}}}, {"functionResponse": {"id": "fc-2", "name": "put", "response": {"output": "y"}}}], "role": "user"}], "systemInstruction": {"parts": [{"text": "Be brief."}], "role": "user"}, "tools": [{"functionDeclarations": [{"description": "d", "name": "get", "parameters_json_schema": {"type": "object"}}]}], "serviceTier": "flex", "generationConfig": {"candidateCount": 1, "maxOutputTokens": 100}}"#;

#[test]
fn a_recorded_turn_goes_on_from_the_answer_before_it() {
    let asked = STREAM.ask_in([RECORDED.as_bytes()]).expect("a prompt");
    let roles: Vec<_> = asked.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Tool]);
    assert_eq!(asked.messages[2..3], STREAM.answer(EVENTS, events(&chunks())).choices);
    assert_eq!(asked.messages[4].tool_result.as_deref(), Some("fc-2"));
    assert_eq!((asked.stream, asked.wish.as_deref()), (true, Some("Wish")));
    assert_eq!((asked.terms.max_output, asked.terms.choices), (Some(100), Some(1)));
    assert_eq!(asked.terms.service_tier.as_deref(), Some("flex"));
}

#[test]
fn usage_counts_all_input_and_thoughts_once() {
    let usage = |usage: Value| {
        let mut chunk = finished(&json!([{"text": "x"}]));
        chunk["usageMetadata"] = usage;
        STREAM.answer(EVENTS, events(&[chunk])).usage
    };
    let plain =
        |input, output, reasoning| Some(Usage { input, output, reasoning, ..Usage::default() });
    let count = |prompt: u64, candidates: u64, thoughts: u64, total: u64| {
        usage(json!({"promptTokenCount": prompt, "candidatesTokenCount": candidates,
            "thoughtsTokenCount": thoughts, "totalTokenCount": total}))
    };
    assert_eq!(count(10, 5, 3, 18), plain(10, 8, Some(3)));
    assert_eq!(count(10, 8, 3, 18), plain(10, 8, Some(3)), "thoughts are among the candidates'");
    assert_eq!(usage(json!({"promptTokenCount": 10, "totalTokenCount": 10})), plain(10, 0, None));
    for none in [json!({}), json!(null), json!([]), json!({"totalTokenCount": 3})] {
        assert_eq!(usage(none), None);
    }
}

#[test]
fn a_stream_that_was_cut_keeps_what_it_said_and_its_usage_is_an_estimate() {
    let stream = events(&chunks());
    let first = stream.find("\r\n\r\n").expect("an event's end") + 4;
    for (content_type, body) in [(EVENTS, &stream[..first + 10]), (JSON, &array(&chunks())[..600])]
    {
        let Reading { answer, not_understood } =
            STREAM.read(content_type, false, [body.as_bytes()]);
        assert_eq!(not_understood, None);
        assert!(!answer.complete);
        assert_eq!(answer.usage, Some(Usage { input: 50, estimated: true, ..Usage::default() }));
        assert_eq!(answer.response_id.as_deref(), Some("r-1"));
    }
    let document = GENERATE.read(JSON, false, [&b"{\"candi"[..]]);
    assert_eq!(document, Reading::default());
}

#[test]
fn a_prompt_that_was_blocked_is_answered() {
    let blocked = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}, "modelVersion": "m"});
    let answer = STREAM.answer(EVENTS, events(&[blocked]));
    assert!(answer.complete);
    assert_eq!(answer.finish_reasons, ["PROHIBITED_CONTENT"]);
    assert!(answer.choices.is_empty());
}

#[test]
fn several_candidates_are_several_messages_in_order() {
    let part = |index: u32, text: &str| json!({"index": index, "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"});
    let chunk = json!({"candidates": [part(1, "b"), part(0, "a")]});
    let answer = STREAM.answer(EVENTS, events(&[chunk]));
    let said = |text: &str| messages(&json!([{"role": "model", "parts": [{"text": text}]}]));
    assert_eq!(answer.choices, [said("a"), said("b")].concat());
    assert_eq!(answer.finish_reasons, ["STOP", "STOP"]);
}

#[test]
fn errors_are_named() {
    let error = json!({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}});
    for (content_type, body) in [
        (EVENTS, events(&[chunks()[0].clone(), error.clone()])),
        (JSON, array(&[chunks()[0].clone(), error.clone()])),
    ] {
        let answer = STREAM.answer(content_type, body);
        assert_eq!(answer.error.as_deref(), Some("UNAVAILABLE"));
        assert!(!answer.complete);
        assert_eq!(answer.usage.map(|usage| usage.estimated), Some(true));
    }
    let refused = |body: &str| STREAM.read_of(429, JSON, true, [body.as_bytes()]).answer.error;
    assert_eq!(refused(&error.to_string()).as_deref(), Some("UNAVAILABLE"));
    assert_eq!(refused(&array(&[error])).as_deref(), Some("UNAVAILABLE"));
}

#[test]
fn what_is_no_answer_is_said() {
    let lost = |content_type, body: &str| {
        let reading = STREAM.read(content_type, true, [body.as_bytes()]);
        assert!(!reading.answer.complete, "{body}");
        reading.not_understood
    };
    assert_eq!(lost(EVENTS, "data: hello\n\n"), Some(NotUnderstood::NotJson));
    assert_eq!(lost(JSON, "<html>,"), Some(NotUnderstood::NotJson));
    assert_eq!(lost(EVENTS, "data: {\"x\":1}\n\n"), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost(JSON, "[]"), Some(NotUnderstood::NotThisShape));
    let long = "x".repeat(limits::OBSERVED_RESPONSE_BYTES);
    assert_eq!(
        lost(JSON, &array(&[chunk(&json!([{"text": long}]))])),
        Some(NotUnderstood::TooLarge)
    );
    // Vertex AI can stream arguments: they are not put together.
    let partial = json!([{"functionCall": {"name": "f", "willContinue": true}}]);
    let reading = STREAM.read(EVENTS, true, [events(&[finished(&partial)]).as_bytes()]);
    assert_eq!(reading.not_understood, Some(NotUnderstood::NotThisShape));
    assert_eq!(reading.answer.usage.map(|usage| usage.output), Some(27));
    let calls = json!(vec![json!({"functionCall": {"name": "f"}}); 1000]);
    let many = STREAM.answer(EVENTS, events(&[chunk(&calls), finished(&calls)]));
    assert_eq!(many.tool_calls.len(), limits::TOOL_CALLS_PER_ANSWER);
}
