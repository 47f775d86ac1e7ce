use super::*;

fn gemini(stream: bool, events: bool) -> Api {
    Api::Gemini { model: "m".into(), stream, events, counts: false }
}

fn answer(api: &Api, request: &Value) -> Answer {
    let said = said(api, request);
    Answer::to(api, request, &said, &Script::parse(said.wish()), 1).expect("a valid request")
}

#[test]
fn it_calls_tools_for_as_many_turns_as_told_and_then_answers() {
    let mut messages = json!([{"role": "user", "content": "[steps=2 parallel=2]"}]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let answer = answer(&Api::Chat, &json!({"tools": [{}], "messages": messages}));
        seen.push(answer.calls.len());
        let all = messages.as_array_mut().expect("a list");
        all.push(chat::message(&answer));
        for call in &answer.calls {
            all.push(json!({"role": "tool", "tool_call_id": call.id, "content": "r"}));
        }
    }
    assert_eq!(seen, [2, 2, 0]);
}

#[test]
fn an_answer_that_fills_its_limit_comes_to_exactly_that() {
    let messages = json!([{"role": "user", "content": "[fill think seed=9]"}]);
    let limited = json!({"max_completion_tokens": 70, "messages": messages});
    let limited = answer(&Api::Chat, &limited);
    assert_eq!(limited.usage.output_tokens, 70);
    assert_eq!(limited.text.map(|text| text.split(' ').count()), Some(70));
    let usual = answer(&Api::Chat, &json!({"messages": messages}));
    assert!(usual.text.is_some_and(|text| text.starts_with("Answer 9")));
}

/// A request in each API, after one turn with two tool calls.
fn second_turns() -> Vec<(Api, Value)> {
    let user = json!({"role": "user", "content": "[steps=1 parallel=2 words=30 seed=9 think]"});
    let messages = json!({"messages": [
        user,
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t"}, {"type": "tool_use", "id": "a", "name": "search"},
            {"type": "tool_use", "id": "b", "name": "read"},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "b"}, {"type": "tool_result", "tool_use_id": "a"},
        ]},
    ]});
    let responses = json!({"input": [
        user, {"type": "reasoning", "id": "r"},
        {"type": "function_call", "call_id": "a"}, {"type": "function_call", "call_id": "b"},
        {"type": "function_call_output", "call_id": "a"},
        {"type": "function_call_output", "call_id": "b"},
    ]});
    let google = json!({"contents": [
        {"role": "user", "parts": [{"text": user["content"]}]},
        {"role": "model", "parts": [
            {"text": "t", "thought": true}, {"functionCall": {"name": "search"}},
            {"functionCall": {"name": "read", "id": "b"}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "search"}}, {"functionResponse": {"id": "b"}},
        ]},
    ]});
    let function = |name: &str| json!({"function": {"name": name}});
    let ollama = json!({"messages": [
        user, {"role": "assistant", "tool_calls": [function("search"), function("read")]},
        {"role": "tool", "tool_name": "search"}, {"role": "tool", "tool_name": "read"},
    ]});
    vec![
        (Api::Messages, messages),
        (Api::Responses, responses),
        (gemini(true, true), google),
        (Api::OllamaChat, ollama),
    ]
}

#[test]
fn results_are_told_from_wishes_in_every_api() {
    for (api, mut request) in second_turns() {
        request["tools"] = json!([{}]);
        let answer = answer(&api, &request);
        assert!(answer.calls.is_empty(), "{api:?}");
        assert!(answer.usage.cache_read_tokens > 0, "{api:?}");
        assert!(fresh(answer.usage) > 0, "{api:?}");
    }
}

#[test]
fn the_pieces_of_a_stream_make_up_the_document() {
    let user = json!({"role": "user", "content": "[words=30 seed=9]"});
    let requests = [(Api::Chat, json!({"messages": [user]}))].into_iter();
    let prompt = json!({"prompt": user["content"]});
    let requests = requests.chain([(Api::Completions, prompt.clone())]);
    for (api, request) in requests.chain([(Api::OllamaGenerate, prompt)]).chain(second_turns()) {
        let answer = answer(&api, &request);
        let stream = answer.stream(&api, &request).expect("the API has streams");
        let text: String = stream.pieces.iter().map(text_of).collect();
        assert_eq!(Some(text), answer.text, "{api:?}");
    }
}

/// The text that a piece of a stream adds.
fn text_of(piece: &Bytes) -> String {
    let piece = String::from_utf8(piece.to_vec()).expect("text");
    let data = piece.split_once("data: ").map_or(piece.as_str(), |(_, data)| data);
    let Ok(event) = serde_json::from_str::<Value>(data) else { return String::new() };
    let part = &event["candidates"][0]["content"]["parts"][0];
    let text = [
        &event["choices"][0]["delta"]["content"],
        &event["choices"][0]["text"],
        &event["message"]["content"],
        &event["response"],
        if event["type"] == "response.output_text.delta" { &event["delta"] } else { &Value::Null },
        &event["delta"]["text"],
        if part["thought"] == true { &Value::Null } else { &part["text"] },
    ];
    text.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned()
}

#[test]
fn an_array_that_grows_is_one_document() {
    let (api, request) = (gemini(true, false), second_turns().remove(2).1);
    let stream = answer(&api, &request).stream(&api, &request).expect("it has streams");
    let whole: Vec<Value> = serde_json::from_slice(&stream.pieces.concat()).expect("JSON");
    assert_eq!(whole.len(), stream.pieces.len() - 1);
}
