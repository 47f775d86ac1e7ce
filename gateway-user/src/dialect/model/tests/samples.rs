//! What is kept of what is asked and answered, in each API, to count its tokens by.

use serde_json::{Value, json};

use crate::{
    call::{Prompt, Segments},
    dialect::{
        Asked, Known, ResponseInfo, What,
        trial::{EVENT_STREAM, EVENTS, JSON, observer},
    },
};

const COMPLETIONS: &str = "/v1/completions";
const RESPONSES: &str = "/v1/responses";
const ANTHROPIC: &str = "/v1/messages";
const BEDROCK: &str = "/model/m/converse";
const BEDROCK_STREAM: &str = "/model/m/converse-stream";
const GEMINI: &str = "/v1beta/models/m:generateContent";
const GEMINI_STREAM: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";
const OLLAMA: &str = "/api/chat";
const GENERATE: &str = "/api/generate";
const LINES: &str = "application/x-ndjson";

/// The same stream as in its dialect's tests.
const CONVERSE: &[u8] = include_bytes!("../../bedrock/samples/converse_stream.bin");

fn ask(target: &str, body: &Value) -> Asked {
    let mut observer = observer(target, None);
    observer.request_body(body.to_string().as_bytes());
    observer.request_end(&mut Known::default()).expect(target).remove(0)
}

/// What is kept of a response, and of how many bytes it is.
fn said(target: &str, content_type: &str, body: &[u8], whole: bool) -> (String, u64) {
    let mut observer = observer(target, None);
    let any = json!({"model": "m", "prompt": "x", "input": "x", "messages": [], "contents": []});
    observer.request_body(any.to_string().as_bytes());
    assert!(observer.request_end(&mut Known::default()).is_ok(), "{target}");
    let (status, content_type, content_encoding) = (200, Some(content_type), None);
    observer.response_head(&ResponseInfo { status, content_type, content_encoding, signals: &[] });
    for byte in body.chunks(1) {
        observer.response_body(byte);
    }
    let answered = observer.response_end(whole, &mut Known::default()).remove(0);
    assert_eq!(answered.reading.not_understood, None, "{target}");
    assert_eq!(answered.reading.answer.complete, whole, "{target}");
    (answered.sample.text().to_owned(), answered.sample.bytes())
}

fn cut(target: &str, content_type: &str, body: &[u8]) -> (String, u64) {
    said(target, content_type, body, false)
}

/// What is kept, and how many bytes there are of which only the size is known.
fn kept(text: &str, unread: usize) -> (String, u64) {
    (text.to_owned(), (text.len() + unread) as u64)
}

fn events(events: &[Value]) -> Vec<u8> {
    events.iter().flat_map(|event| format!("data: {event}\n\n").into_bytes()).collect()
}

fn lines(lines: &[Value]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

#[test]
fn some_of_a_cut_completion_is_kept() {
    let chunk = |text: &str| json!({"choices": [{"index": 0, "text": text}]});
    let body = events(&[chunk("Hi "), chunk("there")]);
    assert_eq!(cut(COMPLETIONS, EVENTS, &body), kept("Hi there", 0));
}

#[test]
fn some_of_a_cut_response_is_kept() {
    let delta = |kind: &str, delta: &str| json!({"type": kind, "output_index": 1, "delta": delta});
    let call = json!({"type": "function_call", "call_id": "a", "name": "find", "arguments": ""});
    let body = events(&[
        json!({"type": "response.created", "response": {"id": "r", "status": "in_progress"}}),
        delta("response.reasoning_summary_text.delta", "Hm. "),
        delta("response.reasoning_text.delta", "Well. "),
        delta("response.output_text.delta", "Hi. "),
        delta("response.refusal.delta", "No. "),
        json!({"type": "response.output_item.added", "output_index": 1, "item": call}),
        delta("response.function_call_arguments.delta", "{\"a\":"),
        delta("response.function_call_arguments.delta", "1}"),
        delta("response.custom_tool_call_input.delta", "ls"),
    ]);
    assert_eq!(cut(RESPONSES, EVENTS, &body), kept("Hm. Well. Hi. No. find{\"a\":1}ls", 0));
}

#[test]
fn some_of_a_cut_message_is_kept() {
    let block = |block: Value| json!({"type": "content_block_start", "content_block": block});
    let delta = |delta: Value| json!({"type": "content_block_delta", "delta": delta});
    let body = events(&[
        json!({"type": "message_start", "message": {"id": "a", "role": "assistant"}}),
        block(json!({"type": "thinking", "thinking": ""})),
        delta(json!({"type": "thinking_delta", "thinking": "Hm. "})),
        delta(json!({"type": "signature_delta", "signature": "c2ln", "thinking": null})),
        block(json!({"type": "text", "text": "Hi"})),
        delta(json!({"type": "text_delta", "text": " there. "})),
        block(json!({"type": "compaction", "content": null})),
        delta(json!({"type": "compaction_delta", "content": "All. "})),
        block(json!({"type": "tool_use", "id": "x", "name": "find", "input": {}})),
        delta(json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
        delta(json!({"type": "input_json_delta", "partial_json": "1}"})),
    ]);
    assert_eq!(cut(ANTHROPIC, EVENTS, &body), kept("Hm. Hi there. All. find{\"a\":1}", 0));
}

#[test]
fn some_of_a_cut_conversation_with_bedrock_is_kept() {
    let text = "Which city?I look in Zürich.get{\"city\": \"Zürich\"}now";
    // Within the event that says why it stopped.
    let body = &CONVERSE[..CONVERSE.len() - 400];
    assert_eq!(cut(BEDROCK_STREAM, EVENT_STREAM, body), kept(text, 0));
}

#[test]
fn some_of_a_cut_answer_of_gemini_is_kept() {
    let part =
        |part: Value| json!({"candidates": [{"content": {"role": "model", "parts": [part]}}]});
    let body = events(&[
        part(json!({"text": "Hm. ", "thought": true})),
        part(json!({"text": "Hi. "})),
        part(json!({"functionCall": {"name": "find", "args": {"a": "bc"}}})),
    ]);
    assert_eq!(cut(GEMINI_STREAM, EVENTS, &body), kept("Hm. Hi. find", 3));
}

#[test]
fn some_of_a_cut_answer_of_ollama_is_kept() {
    let call = json!({"function": {"name": "find", "arguments": {"a": "bc"}}});
    let body = lines(&[
        json!({"message": {"role": "assistant", "content": "", "thinking": "Hm. "}, "done": false}),
        json!({"message": {"role": "assistant", "content": "Hi. "}, "done": false}),
        json!({"message": {"role": "assistant", "tool_calls": [call]}, "done": false}),
    ]);
    assert_eq!(cut(OLLAMA, LINES, &body), kept("Hm. Hi. find", 3));
    let body = lines(&[
        json!({"response": "", "thinking": "Hm. ", "done": false}),
        json!({"response": "Hi.", "done": false}),
    ]);
    assert_eq!(cut(GENERATE, LINES, &body), kept("Hm. Hi.", 0));
}

#[test]
fn some_of_a_document_is_kept_unless_it_reports_its_usage() {
    let input = json!({"a": "bc"});
    let cases = [
        (
            COMPLETIONS,
            json!({"choices": [{"index": 0, "text": "Hi."}]}),
            json!({"usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
            kept("Hi.", 0),
        ),
        (
            RESPONSES,
            json!({"id": "r", "status": "completed", "output": [
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]},
                {"type": "function_call", "call_id": "a", "name": "find", "arguments": "{}"},
            ]}),
            json!({"usage": {"input_tokens": 1, "output_tokens": 1}}),
            kept("Hi.find", 2),
        ),
        (
            ANTHROPIC,
            json!({"role": "assistant", "content": [{"type": "text", "text": "Hi."},
                {"type": "tool_use", "id": "x", "name": "find", "input": input}]}),
            json!({"usage": {"input_tokens": 1, "output_tokens": 1}}),
            kept("Hi.find", 3),
        ),
        (
            BEDROCK,
            json!({"output": {"message": {"role": "assistant", "content": [{"text": "Hi."},
                {"toolUse": {"toolUseId": "x", "name": "find", "input": input}}]}}}),
            json!({"usage": {"inputTokens": 1, "outputTokens": 1}}),
            kept("Hi.find", 3),
        ),
        (
            GEMINI,
            json!({"candidates": [{"content": {"parts": [{"text": "Hi."},
                {"functionCall": {"name": "find", "args": input}}]}, "finishReason": "STOP"}]}),
            json!({"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1}}),
            kept("Hi.find", 3),
        ),
        (
            OLLAMA,
            json!({"message": {"role": "assistant", "content": "Hi."}, "done": true}),
            json!({"prompt_eval_count": 1, "eval_count": 1}),
            kept("Hi.", 0),
        ),
    ];
    for (target, mut document, usage, expected) in cases {
        let whole = |document: &Value| said(target, JSON, document.to_string().as_bytes(), true);
        assert_eq!(whole(&document), expected, "{target}");
        for (name, value) in usage.as_object().expect("an object") {
            document[name] = value.clone();
        }
        assert_eq!(whole(&document), kept("", 0), "{target}");
    }
}

/// What is kept of a question, and its sizes: of instructions, of messages, and of what is no text.
fn asked(target: &str, body: &Value) -> (String, (u64, u64, u64)) {
    let asked = ask(target, body);
    let What::Model(Prompt { terms, .. }) = &asked.what else { panic!("{asked:?}") };
    let Segments { system, messages, .. } = terms.segments;
    (asked.sample.text().to_owned(), (system, messages, terms.other_parts))
}

#[test]
fn some_of_what_openai_is_asked_is_kept_and_all_of_it_is_measured() {
    let body = json!({"prompt": ["What ", "is it?"]});
    assert_eq!(asked(COMPLETIONS, &body), ("What is it?".into(), (0, 11, 0)));
    let body = json!({"input": "What?"});
    assert_eq!(asked("/v1/embeddings", &body), ("What?".into(), (0, 5, 0)));
    let body = json!({"instructions": "Be kind. ", "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "What is it? "},
            {"type": "input_image", "image_url": "data:,x"}]},
        {"type": "function_call", "call_id": "a", "name": "find", "arguments": "{\"a\":1}"},
        {"type": "function_call_output", "call_id": "a", "output": " It."},
    ]});
    let text = "Be kind. What is it? find It.";
    assert_eq!(asked(RESPONSES, &body), (text.into(), (9, 12 + 4 + 7 + 4, 1)));
}

#[test]
fn some_of_what_is_asked_in_blocks_is_kept_and_all_of_it_is_measured() {
    let input = json!({"a": "bc"});
    let text = "What is it? find It. Be kind.";
    let image = json!({"type": "image", "source": {"type": "base64", "data": "x"}});
    let body = json!({"system": "Be kind.", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is it? "}, image]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."},
            {"type": "tool_use", "id": "a", "name": "find", "input": input}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a",
            "content": [{"type": "text", "text": " It. "}, image]}]},
    ]});
    assert_eq!(asked(ANTHROPIC, &body), (text.into(), (8, 12 + 4 + 3 + 5, 2)));
    let body = json!({"system": [{"text": "Be kind."}], "messages": [
        {"role": "user", "content": [{"text": "What is it? "},
            {"image": {"format": "png", "source": {"bytes": "x"}}}]},
        {"role": "assistant", "content": [
            {"toolUse": {"toolUseId": "a", "name": "find", "input": input}}]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "a", "content": [{"text": " It. "}]}}]},
    ]});
    assert_eq!(asked(BEDROCK, &body), (text.into(), (8, 12 + 4 + 3 + 5, 1)));
}

#[test]
fn some_of_what_ollama_is_asked_is_kept_and_all_of_it_is_measured() {
    let call = json!({"function": {"name": "find", "arguments": {"a": "bc"}}});
    let body = json!({"model": "m", "messages": [
        {"role": "system", "content": "Be kind. "},
        {"role": "user", "content": "What is it? ", "images": ["x", "y"]},
        {"role": "assistant", "tool_calls": [call]},
    ]});
    assert_eq!(asked(OLLAMA, &body), ("Be kind. What is it? find".into(), (9, 12 + 4 + 3, 2)));
    let body =
        json!({"model": "m", "system": "Be kind. ", "prompt": "What is it?", "images": ["x"]});
    assert_eq!(asked(GENERATE, &body), ("Be kind. What is it?".into(), (9, 11, 1)));
    let body = json!({"model": "m", "input": ["What?"]});
    let text = body.to_string();
    assert_eq!(asked("/api/embed", &body), (text.clone(), (0, text.len() as u64, 0)));
}

/// There, sizes are those of the JSON.
#[test]
fn some_of_what_gemini_is_asked_is_kept() {
    let body = json!({
        "contents": [
            {"role": "user", "parts": [{"text": "What is it?"},
                {"inlineData": {"mimeType": "image/png", "data": "x"}}]},
            {"role": "model", "parts": [{"text": "Hm.", "thought": true},
                {"functionCall": {"name": "find", "args": {}}}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be kind. "}]},
    });
    let (text, (.., other_parts)) = asked(GEMINI, &body);
    assert_eq!((&*text, other_parts), ("Be kind. What is it?", 1));
    let content = json!({"parts": [{"text": "What?"}]});
    let text = content.to_string();
    let sizes = (0, text.len() as u64, 0);
    let embed = "/v1beta/models/m:embedContent";
    assert_eq!(asked(embed, &json!({"content": content})), (text, sizes));
}
