use super::*;

#[test]
fn a_request_with_tools_is_read() {
    let body = json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Book "}, {"text": "a hotel"},
                {"inlineData": {"mimeType": "image/png", "data": "aGVsbG8="}}]},
            content(),
            {"role": "user", "parts": [
                {"functionResponse": {"name": "get", "response": {"output": "it is"}}},
                {"functionResponse": {"id": "fc-2", "name": "put", "response": {"error": "no"}}},
                {"text": "Go on."},
            ]},
        ],
        "tools": [{"functionDeclarations": [{"name": "get", "parametersJsonSchema": {"type": "object"}}]}],
        "generationConfig": {"maxOutputTokens": 1000, "candidateCount": 2, "temperature": 0.5},
        "serviceTier": "flex",
    });
    let prompt = GENERATE.ask(&body);
    assert_eq!(prompt.operation, Operation::GenerateContent);
    assert_eq!(prompt.model.as_deref(), Some("gemini-2.5-pro"));
    assert!(!prompt.stream);
    assert_eq!(prompt.wish.as_deref(), Some("Book a hotel"));
    let roles: Vec<_> = prompt.messages.iter().map(|message| message.role).collect();
    assert_eq!(
        roles,
        [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::User]
    );
    assert_eq!(prompt.messages[3].tool_result, None);
    assert_eq!(prompt.messages[4].tool_result.as_deref(), Some("fc-2"));
    assert!(prompt.tools_hash.is_some());
    assert_eq!(prompt.terms.max_output, Some(1000));
    assert_eq!(prompt.terms.choices, Some(2));
    assert_eq!(prompt.terms.service_tier.as_deref(), Some("flex"));
    assert!(prompt.terms.reports_usage);
    let size = |value: &Value| value.to_string().len() as u64;
    assert_eq!(
        prompt.terms.segments,
        Segments {
            tools: size(&body["tools"]),
            system: size(&body["systemInstruction"]),
            messages: size(&body["contents"]) - "aGVsbG8=".len() as u64,
        }
    );
}

#[test]
fn both_spellings_and_short_forms_are_the_same() {
    let camel = GENERATE.ask(&json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"inlineData": {"mimeType": "m", "data": "d"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
        ],
        "generationConfig": {"maxOutputTokens": 9, "candidateCount": 1},
    }));
    let snake = GENERATE.ask(&json!({
        "generation_config": {"max_output_tokens": 9, "candidate_count": 1},
        "contents": [
            {"parts": [{"text": "a", "thought": null}, {"inline_data": {"mime_type": "m", "data": "d"}}]},
            {"role": "model", "parts": {"function_call": {"name": "f"}}},
            {"role": "function", "parts": {"function_response": {"name": "f", "response": {}}}},
        ],
        "system_instruction": {"role": "system", "parts": {"text": "Be brief."}},
    }));
    assert_eq!(snake.messages, camel.messages);
    assert_eq!(snake.terms.max_output, camel.terms.max_output);
    assert_eq!(snake.terms.choices, camel.terms.choices);
    let one = messages(&json!({"role": "user", "parts": {"text": "a"}}));
    assert_eq!(one, messages(&json!([{"parts": [{"text": "a"}]}])));
}

#[test]
fn code_assist_wraps_the_request_and_the_answer() {
    let wrapped = json!({
        "model": "gemini-2.5-flash", "project": "p", "user_prompt_id": "s-1########4",
        "request": {
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "generationConfig": {"maxOutputTokens": 7},
            "session_id": "s-1",
        },
    });
    let prompt = CODE_ASSIST.ask(&wrapped);
    assert_eq!(prompt.model.as_deref(), Some("gemini-2.5-flash"));
    assert!(prompt.stream);
    assert_eq!(prompt.messages, messages(&wrapped["request"]["contents"]));
    assert_eq!(prompt.terms.max_output, Some(7));
    let signal = |name, value: &str| Signal { name, value: value.to_owned() };
    // In the order of the keys.
    assert_eq!(
        prompt.terms.signals,
        [signal("body.request.session_id", "s-1"), signal("body.user_prompt_id", "s-1########4"),]
    );

    let wrap = |mut chunk: Value| {
        chunk.as_object_mut().expect("an object").remove("responseId");
        json!({"response": chunk, "traceId": "t-1", "remainingCredits": []})
    };
    let plain = STREAM.answer(EVENTS, events(&chunks()));
    let unwrapped = STREAM.answer(EVENTS, events(&chunks().map(wrap)));
    assert_eq!(unwrapped, Answer { response_id: Some("t-1".to_owned()), ..plain });
}

#[test]
fn counting_and_embedding_are_no_conversations_of_their_own() {
    let count = "/v1beta/models/m:countTokens";
    let contents = json!([{"role": "user", "parts": [{"text": "hi"}]}]);
    for body in [
        json!({"contents": contents}),
        json!({"generateContentRequest": {"model": "models/m", "contents": contents, "tools": []}}),
    ] {
        let prompt = Trial(count, ASKED).ask(&body);
        assert_eq!(prompt.operation, Operation::CountTokens);
        assert_eq!(prompt.messages, messages(&contents));
        assert_eq!(prompt.tools_hash, None);
    }
    let counted = |body: &str| {
        let contents = json!({"contents": contents}).to_string();
        Trial(count, &contents).read(JSON, true, [body.as_bytes()])
    };
    let reading = counted(r#"{"totalTokens":31,"cachedContentTokenCount":2}"#);
    assert_eq!(
        reading.answer,
        Answer { complete: true, ..Answer::default() },
        "counting costs nothing"
    );

    let embed = "/v1beta/models/m:batchEmbedContents";
    let body = json!({"requests": [{"model": "models/m", "content": {"parts": [{"text": "hi"}]}}]});
    let prompt = Trial(embed, ASKED).ask(&body);
    assert_eq!(prompt.operation, Operation::Embeddings);
    assert!(prompt.messages.is_empty());
    assert!(prompt.terms.segments.messages > 0);
    let vectors = r#"{"embeddings":[{"values":[0.1,0.2]}],"usageMetadata":{"promptTokenCount":4}}"#;
    let reading = Trial(embed, &body.to_string()).read(JSON, true, [vectors.as_bytes()]);
    assert_eq!(reading.answer.usage, Some(Usage { input: 4, ..Usage::default() }));
    assert!(reading.answer.complete);
}

#[test]
fn a_field_that_comes_twice_could_be_read_either_way() {
    let part = |part: &str| format!(r#"{{"contents":[{{"role":"user","parts":[{part}]}}]}}"#);
    for body in [
        r#"{"contents":{"role":"user","role":"model"}}"#.to_owned(),
        r#"{"contents":{"parts":[],"parts":[]}}"#.to_owned(),
        r#"{"contents":[],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}}"#
            .to_owned(),
        r#"{"contents":[],"systemInstruction":{"parts":{"text":"a","text":"b"}}}"#.to_owned(),
        r#"{"contents":[],"tools":[{"functionDeclarations":[{"name":"a","name":"b"}]}]}"#
            .to_owned(),
        part(r#"{"text":"a","text":"b"}"#),
        part(r#"{"text":"a","thought":false,"thought":true}"#),
        part(r#"{"functionCall":{"name":"a"},"function_call":{"name":"b"}}"#),
        part(r#"{"functionCall":{"name":"a","args":{"x":1,"x":2}}}"#),
        part(r#"{"functionResponse":{"name":"a","name":"b"}}"#),
        part(r#"{"inlineData":{"data":"a"},"inline_data":{"data":"b"}}"#),
        part(r#"{"fileData":{"fileUri":"a","file_uri":"b"}}"#),
        part(r#"{"executableCode":{"code":"a"},"executable_code":{"code":"b"}}"#),
    ] {
        let asked = GENERATE.ask_in([body.as_bytes()]);
        assert_eq!(asked, Err(NotUnderstood::DuplicateKey), "{body}");
    }
}

#[test]
fn what_a_request_does_not_bound_is_said() {
    use Unmetered::{FileReferences, HostedTools, StoredContext};

    let tool = |name: &str| json!({"contents": [], "tools": [{name: {}}]});
    let part = |part: Value| json!({"contents": [{"parts": [part]}]});
    for (body, why) in [
        (tool("functionDeclarations"), None),
        (tool("function_declarations"), None),
        (tool("computerUse"), None),
        (tool("googleSearch"), Some(HostedTools)),
        (tool("google_search"), Some(HostedTools)),
        (tool("googleSearchRetrieval"), Some(HostedTools)),
        (tool("codeExecution"), Some(HostedTools)),
        (tool("url_context"), Some(HostedTools)),
        (tool("fileSearch"), Some(HostedTools)),
        (tool("googleMaps"), Some(HostedTools)),
        (tool("enterpriseWebSearch"), Some(HostedTools)),
        (tool("retrieval"), Some(HostedTools)),
        (json!({"contents": [], "tools": [{"googleSearch": null}]}), None),
        (json!({"contents": [], "tools": {"googleSearch": {}}}), Some(HostedTools)),
        (json!({"contents": [], "cachedContent": ""}), None),
        (json!({"contents": [], "cachedContent": "cachedContents/a"}), Some(StoredContext)),
        (json!({"contents": [], "cached_content": "cachedContents/a"}), Some(StoredContext)),
        (json!({"request": {"contents": [], "cachedContent": "a"}}), Some(StoredContext)),
        (part(json!({"inlineData": {"data": "aa"}})), None),
        (part(json!({"fileData": {"fileUri": "a"}})), Some(FileReferences)),
        (part(json!({"file_data": {"file_uri": "a"}})), Some(FileReferences)),
        (
            json!({"contents": [], "systemInstruction": {"parts": {"fileData": {"fileUri": "a"}}}}),
            Some(FileReferences),
        ),
        (part(json!({"functionResponse": {"response": {"fileData": {"fileUri": "a"}}}})), None),
        (
            part(json!({"functionResponse": {"parts": [{"fileData": {"fileUri": "a"}}]}})),
            Some(FileReferences),
        ),
    ] {
        let asked = GENERATE.ask(&body);
        assert_eq!(asked.terms.unmetered, why, "{body}");
    }
}

#[test]
fn what_is_no_request_is_said() {
    for body in [
        json!({}),
        json!([]),
        json!({"contents": "hi"}),
        json!({"contents": [{"parts": [{"text": 7}]}]}),
        json!({"request": [], "contents": []}),
    ] {
        assert_eq!(GENERATE.try_ask(&body), Err(NotUnderstood::NotThisShape), "{body}");
    }
    let ask = |body: &str| GENERATE.ask_in([body.as_bytes()]);
    for twice in [
        r#"{"contents":[],"contents":[]}"#,
        r#"{"request":{"request":{"contents":[]}}}"#,
        r#"{"contents":[],"request":{"contents":[]}}"#,
        r#"{"contents":[],"systemInstruction":{},"system_instruction":{}}"#,
        r#"{"contents":[{"role":"user","role":"model"}]}"#,
        r#"{"contents":[],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}}"#,
    ] {
        let read = ask(twice).expect_err(twice);
        let reasons = [NotUnderstood::DuplicateKey, NotUnderstood::NotThisShape];
        assert!(reasons.contains(&read), "{twice}: {read}");
    }
    for broken in ["", "{\"contents\":[", "{\"contents\":[]}x", "{\"contents\":[]", "<html>"] {
        assert_eq!(ask(broken), Err(NotUnderstood::NotJson), "{broken}");
    }
    let deep = format!("{{\"contents\":[],\"tools\":[{{\"x\":{}", "[".repeat(100_000));
    assert_eq!(ask(&deep), Err(NotUnderstood::NotJson));
    let many = vec![json!({}); limits::MESSAGES_PER_PROMPT + 1];
    assert_eq!(GENERATE.try_ask(&json!({"contents": many})), Err(NotUnderstood::TooLarge));
    let many = vec![json!({"text": "x"}); limits::PARTS_PER_MESSAGE + 1];
    let many = json!({"contents": [{"parts": many}]});
    assert_eq!(GENERATE.try_ask(&many), Err(NotUnderstood::TooLarge));
}

#[test]
fn messages_that_differ_hash_differently() {
    let call = |name: &str, args: Value| json!({"functionCall": {"name": name, "args": args}});
    let result = |name: &str, id: Value, said: &str| json!({"functionResponse": {"name": name, "id": id, "response": {"output": said}}});
    let file = |uri: &str| json!({"fileData": {"fileUri": uri, "mimeType": "m"}});
    let contents = [
        json!({"role": "user", "parts": [{"text": "ab"}]}),
        json!({"role": "user", "parts": [{"text": "ab "}]}),
        json!({"role": "model", "parts": [{"text": "ab"}]}),
        json!({"role": "user", "parts": [{"text": "ab"}, file("x")]}),
        json!({"role": "user", "parts": [{"text": "ab"}, file("y")]}),
        json!({"role": "user", "parts": [file("x"), {"text": "ab"}]}),
        json!({"role": "user", "parts": [{"inlineData": {"data": "x", "mimeType": "m"}}]}),
        json!({"role": "model", "parts": [call("a", json!({}))]}),
        json!({"role": "model", "parts": [call("b", json!({}))]}),
        json!({"role": "model", "parts": [call("a", json!({"c": 1}))]}),
        json!({"role": "model", "parts": [call("a", json!({})), call("b", json!({}))]}),
        json!({"role": "model", "parts": [call("b", json!({})), call("a", json!({}))]}),
        json!({"role": "model", "parts": [{"executableCode": {"language": "PYTHON", "code": "1"}}]}),
        json!({"role": "user", "parts": [result("a", json!(null), "x")]}),
        json!({"role": "user", "parts": [result("b", json!(null), "x")]}),
        json!({"role": "user", "parts": [result("a", json!("1"), "x")]}),
        json!({"role": "user", "parts": [result("a", json!(null), "y")]}),
    ];
    let hashes = contents.each_ref().map(|content| messages(&json!([content]))[0].hash);
    for (i, a) in hashes.iter().enumerate() {
        for (j, b) in hashes[..i].iter().enumerate() {
            assert_ne!(a, b, "{} and {}", contents[i], contents[j]);
        }
    }
}

#[test]
fn data_is_the_same_in_either_alphabet() {
    let image = |data: &str| {
        let part = json!({"inlineData": {"data": data, "mimeType": "image/png"}});
        messages(&json!([{"parts": [part]}]))
    };
    assert_eq!(image("__5oZWxsbz4-AA"), image("//5oZWxsbz4+AA=="));
    assert_ne!(image("__5oZWxsbz4-AA"), image("//5oZWxsbz4+AB"));
}
