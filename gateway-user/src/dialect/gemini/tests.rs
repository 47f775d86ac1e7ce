use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    call::{
        Answer, Message, Operation, Prompt, Role, Segments, Signal, ToolCall, Unmetered, Usage,
    },
    dialect::{NotUnderstood, Reading, canonical::Json, trial},
    limits,
};

const GENERATE: &str = "/v1beta/models/gemini-2.5-pro:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";
const CODE_ASSIST: &str = "/v1internal:streamGenerateContent?alt=sse";
const ASKED: &str = r#"{"contents":[]}"#;

const JSON: Option<&str> = Some("application/json; charset=UTF-8");
const EVENTS: Option<&str> = Some("text/event-stream");

fn try_ask(target: &str, body: &Value) -> Result<Prompt, NotUnderstood> {
    let asked = trial::ask(target, [body.to_string().as_bytes()]);
    asked.map(|asked| asked.expect("the path is this API's own"))
}

fn ask(body: &Value) -> Prompt {
    try_ask(GENERATE, body).expect("a prompt")
}

/// The messages of a history.
fn messages(contents: &Value) -> Vec<Message> {
    ask(&json!({"contents": contents})).messages
}

fn read(content_type: Option<&str>, whole: bool, body: &str) -> Reading {
    trial::read((STREAM, ASKED), (200, content_type), whole, [body.as_bytes()])
}

fn answer(content_type: Option<&str>, body: &str) -> Answer {
    let reading = read(content_type, true, body);
    assert_eq!(reading.not_understood, None, "{body}");
    reading.answer
}

/// As the API sends events.
fn events(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect::<Vec<_>>().concat()
}

/// As it sends them to those who don't ask for events.
fn array(chunks: &[Value]) -> String {
    let chunks: Vec<_> = chunks.iter().map(|chunk| format!("{chunk:#}")).collect();
    format!("[{}\n]\n", chunks.join("\n,\r\n"))
}

fn chunk(parts: &Value) -> Value {
    json!({
        "candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 50, "totalTokenCount": 50,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 50}]},
        "modelVersion": "gemini-2.5-pro", "responseId": "r-1",
    })
}

fn finished(parts: &Value) -> Value {
    let mut chunk = chunk(parts);
    chunk["candidates"][0]["finishReason"] = "STOP".into();
    chunk["usageMetadata"] = json!({"promptTokenCount": 50, "candidatesTokenCount": 20,
        "thoughtsTokenCount": 7, "toolUsePromptTokenCount": 3, "cachedContentTokenCount": 32,
        "totalTokenCount": 80, "serviceTier": "standard"});
    chunk
}

/// An answer in three chunks, with thoughts, text and two calls, one of which has an id.
fn chunks() -> [Value; 3] {
    [
        chunk(&json!([{"text": "**Thinking**", "thought": true}, {"text": "Let me "}])),
        chunk(&json!([{"text": "look.", "thoughtSignature": "c2ln"}])),
        finished(&json!([
            {"functionCall": {"name": "get", "args": {"city": "Zürich", "n": 1}}, "thoughtSignature": "eA=="},
            {"functionCall": {"id": "fc-2", "name": "put", "args": {}}},
            {"text": "", "thoughtSignature": "eQ=="},
        ])),
    ]
}

/// The same as one content.
fn content() -> Value {
    json!({"role": "model", "parts": [
        {"text": "Let me look."},
        {"functionCall": {"name": "get", "args": {"n": 1.0, "city": "Zürich"}}},
        {"functionCall": {"name": "put"}},
    ]})
}

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
    let prompt = ask(&body);
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
    let camel = ask(&json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"inlineData": {"mimeType": "m", "data": "d"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
        ],
        "generationConfig": {"maxOutputTokens": 9, "candidateCount": 1},
    }));
    let snake = ask(&json!({
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
    let prompt = try_ask(CODE_ASSIST, &wrapped).expect("a prompt");
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
    let plain = answer(EVENTS, &events(&chunks()));
    let unwrapped = answer(EVENTS, &events(&chunks().map(wrap)));
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
        let prompt = try_ask(count, &body).expect("a prompt");
        assert_eq!(prompt.operation, Operation::CountTokens);
        assert_eq!(prompt.messages, messages(&contents));
        assert_eq!(prompt.tools_hash, None);
    }
    let counted = |body: &str| {
        let contents = json!({"contents": contents}).to_string();
        trial::read((count, &contents), (200, JSON), true, [body.as_bytes()])
    };
    let reading = counted(r#"{"totalTokens":31,"cachedContentTokenCount":2}"#);
    assert_eq!(
        reading.answer,
        Answer { complete: true, ..Answer::default() },
        "counting costs nothing"
    );

    let embed = "/v1beta/models/m:batchEmbedContents";
    let body = json!({"requests": [{"model": "models/m", "content": {"parts": [{"text": "hi"}]}}]});
    let prompt = try_ask(embed, &body).expect("a prompt");
    assert_eq!(prompt.operation, Operation::Embeddings);
    assert!(prompt.messages.is_empty());
    assert!(prompt.terms.segments.messages > 0);
    let vectors = r#"{"embeddings":[{"values":[0.1,0.2]}],"usageMetadata":{"promptTokenCount":4}}"#;
    let reading = trial::read((embed, &body.to_string()), (200, JSON), true, [vectors.as_bytes()]);
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
        let asked = trial::ask(GENERATE, [body.as_bytes()]);
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
        (part(json!({"functionResponse": {"response": {"fileData": {"fileUri": "a"}}}})), None),
        (
            part(json!({"functionResponse": {"parts": [{"fileData": {"fileUri": "a"}}]}})),
            Some(FileReferences),
        ),
    ] {
        let asked = try_ask(GENERATE, &body).expect("a prompt");
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
        assert_eq!(try_ask(GENERATE, &body), Err(NotUnderstood::NotThisShape), "{body}");
    }
    let ask = |body: &str| trial::ask(GENERATE, [body.as_bytes()]);
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
    assert_eq!(try_ask(GENERATE, &json!({"contents": many})), Err(NotUnderstood::TooLarge));
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
fn an_answer_is_the_same_streamed_or_not_as_events_or_as_an_array() {
    let streamed = answer(EVENTS, &events(&chunks()));
    assert_eq!(answer(JSON, &array(&chunks())), streamed);
    let mut whole = finished(&content()["parts"]);
    whole["candidates"][0]["content"]["parts"][2]["functionCall"]["id"] = "fc-2".into();
    let document =
        trial::read((GENERATE, ASKED), (200, JSON), true, [whole.to_string().as_bytes()]);
    assert_eq!(document, Reading { answer: streamed.clone(), not_understood: None });

    assert!(streamed.complete);
    assert_eq!(streamed.model.as_deref(), Some("gemini-2.5-pro"));
    assert_eq!(streamed.response_id.as_deref(), Some("r-1"));
    assert_eq!(streamed.finish_reasons, ["STOP"]);
    assert_eq!(streamed.service_tier.as_deref(), Some("standard"));
    let call = |id: Option<&str>, name: &str, arguments| ToolCall {
        id: id.map(str::to_owned),
        name: name.to_owned(),
        arguments: Json::in_text(arguments).get(),
    };
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
    let said = answer(EVENTS, &events(&chunks())).choices.remove(0);
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
    let said = answer(EVENTS, &events(&[finished(&parts)])).choices.remove(0);
    assert_eq!(messages(&json!([{"role": "model", "parts": parts}])), [said]);
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

/// What the chat of `google-genai` 3.6.1 sent once it had been streamed the answer of [`chunks`]: its
/// contents are the chunks'.
const RECORDED: &str = r#"{"contents": [{"parts": [{"text": "Wish"}], "role": "user"}, {"parts": [{"text": "Thinking", "thought": true}, {"text": "Let me "}], "role": "model"}, {"parts": [{"text": "look.", "thoughtSignature": "c2ln"}], "role": "model"}, {"parts": [{"functionCall": {"args": {"city": "Z\u00fcrich", "n": 1}, "name": "get"}, "thoughtSignature": "eA=="}, {"functionCall": {"id": "fc-2", "args": {}, "name": "put"}}], "role": "model"}, {"parts": [{"functionResponse": {"name": "get", "response": {"output": "x"}}}, {"functionResponse": {"id": "fc-2", "name": "put", "response": {"output": "y"}}}], "role": "user"}], "systemInstruction": {"parts": [{"text": "Be brief."}], "role": "user"}, "tools": [{"functionDeclarations": [{"description": "d", "name": "get", "parameters_json_schema": {"type": "object"}}]}], "serviceTier": "flex", "generationConfig": {"candidateCount": 1, "maxOutputTokens": 100}}"#;

#[test]
fn a_recorded_turn_goes_on_from_the_answer_before_it() {
    let asked = trial::ask(STREAM, [RECORDED.as_bytes()]).expect("a prompt").expect("Gemini's");
    let roles: Vec<_> = asked.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Tool]);
    assert_eq!(asked.messages[2..3], answer(EVENTS, &events(&chunks())).choices);
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
        answer(EVENTS, &events(&[chunk])).usage
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
        let Reading { answer, not_understood } = read(content_type, false, body);
        assert_eq!(not_understood, None);
        assert!(!answer.complete);
        assert_eq!(answer.usage, Some(Usage { input: 50, estimated: true, ..Usage::default() }));
        assert_eq!(answer.response_id.as_deref(), Some("r-1"));
    }
    let document = trial::read((GENERATE, ASKED), (200, JSON), false, [&b"{\"candi"[..]]);
    assert_eq!(document, Reading::default());
}

#[test]
fn a_prompt_that_was_blocked_is_answered() {
    let blocked = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}, "modelVersion": "m"});
    let answer = answer(EVENTS, &events(&[blocked]));
    assert!(answer.complete);
    assert_eq!(answer.finish_reasons, ["PROHIBITED_CONTENT"]);
    assert!(answer.choices.is_empty());
}

#[test]
fn several_candidates_are_several_messages_in_order() {
    let part = |index: u32, text: &str| json!({"index": index, "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"});
    let chunk = json!({"candidates": [part(1, "b"), part(0, "a")]});
    let answer = answer(EVENTS, &events(&[chunk]));
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
        let answer = answer(content_type, &body);
        assert_eq!(answer.error.as_deref(), Some("UNAVAILABLE"));
        assert!(!answer.complete);
        assert_eq!(answer.usage.map(|usage| usage.estimated), Some(true));
    }
    let refused = |body: &str| {
        trial::read((STREAM, ASKED), (429, JSON), true, [body.as_bytes()]).answer.error
    };
    assert_eq!(refused(&error.to_string()).as_deref(), Some("UNAVAILABLE"));
    assert_eq!(refused(&array(&[error])).as_deref(), Some("UNAVAILABLE"));
}

#[test]
fn what_is_no_answer_is_said() {
    let lost = |content_type, body: &str| {
        let reading = read(content_type, true, body);
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
    let reading = read(EVENTS, true, &events(&[finished(&partial)]));
    assert_eq!(reading.not_understood, Some(NotUnderstood::NotThisShape));
    assert_eq!(reading.answer.usage.map(|usage| usage.output), Some(27));
    let calls = json!(vec![json!({"functionCall": {"name": "f"}}); 1000]);
    let many = answer(EVENTS, &events(&[chunk(&calls), finished(&calls)]));
    assert_eq!(many.tool_calls.len(), limits::TOOL_CALLS_PER_ANSWER);
}

/// Bodies that are real, real but damaged, or nothing at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let asked = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}, content()]});
    let real = prop_oneof![
        Just(events(&chunks())),
        Just(array(&chunks())),
        Just(finished(&content()["parts"]).to_string()),
        Just(asked.to_string()),
    ]
    .prop_map(String::into_bytes);
    let damaged = (real.clone(), any::<prop::sample::Index>(), any::<u8>());
    let damaged = damaged.prop_map(|(mut body, at, byte)| {
        let at = at.index(body.len());
        body[at] = byte;
        body
    });
    prop_oneof![real, damaged, prop::collection::vec(any::<u8>(), 0..200)]
}

/// The value with its keys in reverse order, spaces, and each character escaped.
fn respelled(value: &Value) -> String {
    let text = |text: &str| {
        let units: Vec<_> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{}\"", units.concat())
    };
    match value {
        Value::Array(items) => {
            format!("[ {} ]", items.iter().map(respelled).collect::<Vec<_>>().join(" , "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().rev();
            let fields: Vec<_> =
                fields.map(|(k, v)| format!("{} :\n{}", text(k), respelled(v))).collect();
            format!("{{ {} }}", fields.join(" , "))
        }
        Value::String(string) => text(string),
        leaf => leaf.to_string(),
    }
}

#[test]
fn spelling_is_no_matter() {
    let request = json!({
        "contents": [{"role": "user", "parts": [{"text": "né\n"}]}, content()],
        "tools": [{"functionDeclarations": [{"name": "get", "description": "d"}]}],
        "generationConfig": {"maxOutputTokens": 5},
    });
    let mut plain = ask(&request);
    let mut other = trial::ask(GENERATE, [respelled(&request).as_bytes()]);
    for prompt in
        [Some(&mut plain), other.as_mut().expect("a prompt").as_mut()].into_iter().flatten()
    {
        prompt.terms.segments = Segments::default();
    }
    assert_eq!(other, Ok(Some(plain)));
    let stream: Vec<_> = chunks()
        .iter()
        .map(|it| format!("data: {}\n\n", respelled(it).replace('\n', " ")))
        .collect();
    assert_eq!(answer(EVENTS, &stream.concat()), answer(EVENTS, &events(&chunks())));
}

proptest! {
    #[test]
    fn where_bodies_are_cut_does_not_matter(body in body(), stride in 1_usize..100, whole: bool) {
        for (target, content_type) in [(STREAM, EVENTS), (STREAM, JSON), (GENERATE, JSON)] {
            let read = |pieces: std::slice::Chunks<'_, u8>| {
                trial::read((target, ASKED), (200, content_type), whole, pieces)
            };
            prop_assert_eq!(read(body.chunks(stride)), read(body.chunks(body.len().max(1))));
            prop_assert_eq!(trial::ask(target, body.chunks(stride)), trial::ask(target, [&body[..]]));
        }
    }

    #[test]
    fn text_hashes_the_same_in_any_parts(text in ".{0,60}", stride in 1_usize..10) {
        let chars: Vec<_> = text.chars().collect();
        let parts: Vec<_> = chars
            .chunks(stride)
            .map(|part| json!({"text": part.iter().collect::<String>()}))
            .collect();
        let mut chunks: Vec<_> = parts.iter().map(|part| chunk(&json!([part]))).collect();
        chunks.push(finished(&json!([])));
        let said = messages(&json!([{"role": "model", "parts": [{"text": text}]}]));
        prop_assert_eq!(&messages(&json!([{"role": "model", "parts": parts}])), &said);
        prop_assert_eq!(&answer(EVENTS, &events(&chunks)).choices, &said);
        prop_assert_eq!(&answer(JSON, &array(&chunks)).choices, &said);
    }
}
