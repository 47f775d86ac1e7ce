use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    call::{Answer, Dialect, Operation, Prompt, Role, Usage},
    dialect::{Known, NotUnderstood, Observer, Reading, RequestInfo, ResponseInfo, What, detect},
};

fn observer() -> Observer {
    let request = RequestInfo {
        method: "POST",
        target: "/v1/completions",
        host: None,
        content_type: Some("application/json"),
        content_encoding: None,
        content_length: None,
        client_retry: None,
        signals: &[],
    };
    detect(&request).expect("a completion")
}

fn ask(body: &Value) -> Result<Prompt, NotUnderstood> {
    let mut observer = observer();
    observer.request_body(body.to_string().as_bytes());
    let asked = observer.request_end(&mut Known::default())?.remove(0);
    let What::Model(prompt) = asked.what else { panic!("no model") };
    Ok(prompt)
}

fn read(content_type: &str, whole: bool, pieces: &[&[u8]]) -> Reading {
    let (mut observer, mut known) = (observer(), Known::default());
    observer.request_body(b"{\"prompt\":\"x\"}");
    assert!(observer.request_end(&mut known).is_ok());
    observer.response_head(&ResponseInfo {
        status: 200,
        content_type: Some(content_type),
        content_encoding: None,
        signals: &[],
    });
    for piece in pieces {
        observer.response_body(piece);
    }
    observer.response_end(whole, &mut known).remove(0).reading
}

fn events(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<Vec<_>>().concat()
}

fn chunk(index: u64, text: &str, finish: Option<&str>) -> Value {
    json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{"text": text, "index": index, "logprobs": null, "finish_reason": finish}]})
}

#[test]
fn a_request_is_read() {
    let prompt = ask(&json!({"model": "m", "prompt": "Once upon", "max_tokens": 16, "n": 2,
        "stream": true, "stream_options": {"include_usage": true}}))
    .expect("a prompt");
    assert_eq!(prompt.dialect, Dialect::OpenaiCompletions);
    assert_eq!(prompt.operation, Operation::TextCompletion);
    assert_eq!((prompt.model.as_deref(), prompt.wish.as_deref()), (Some("m"), Some("Once upon")));
    assert_eq!(prompt.messages[0].role, Role::User);
    assert_eq!((prompt.terms.max_output, prompt.terms.choices), (Some(16), Some(2)));
    assert!(prompt.stream && prompt.terms.reports_usage);
    assert_eq!(prompt.terms.segments.messages, 9);
}

#[test]
fn one_text_means_the_same_alone_or_in_a_list() {
    let hash = |prompt: Value| ask(&json!({"prompt": prompt})).expect("a prompt").messages[0].hash;
    assert_eq!(hash(json!("a")), hash(json!(["a"])));
    let all = [
        json!("a"),
        json!("b"),
        json!(["a", "b"]),
        json!(["ab"]),
        json!([1, 2]),
        json!([[1, 2]]),
        json!([[1], [2]]),
    ];
    for (i, a) in all.iter().enumerate() {
        for b in &all[..i] {
            assert_ne!(hash(a.clone()), hash(b.clone()), "{a} and {b}");
        }
    }
    let choices = |body: &Value| ask(body).expect("a prompt").terms.choices;
    assert_eq!(choices(&json!({"prompt": "a"})), None);
    assert_eq!(choices(&json!({"prompt": ["a", "b"]})), Some(2));
    assert_eq!(choices(&json!({"prompt": ["a", "b"], "n": 3})), Some(6));
    assert_eq!(choices(&json!({"prompt": [1, 2, 3]})), None);
}

#[test]
fn what_is_no_request_is_said() {
    for body in [json!({}), json!({"prompt": null}), json!({"prompt": 1}), json!({"messages": []})]
    {
        assert_eq!(ask(&body), Err(NotUnderstood::NotThisShape), "{body}");
    }
}

#[test]
fn choices_are_read_of_a_document_and_of_a_stream() {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12});
    let mut document = chunk(0, " a time", Some("stop"));
    document["choices"] = json!([{"text": " a time", "index": 0, "finish_reason": "stop"},
        {"text": " a day", "index": 1, "finish_reason": "length"}]);
    document["usage"] = usage.clone();
    let mut last = chunk(1, "", Some("length"));
    last["usage"] = usage;
    let stream = events(&[
        chunk(1, " a", None),
        chunk(0, " a ", None),
        chunk(0, "time", Some("stop")),
        chunk(1, " day", None),
        last,
    ]) + "data: [DONE]\n\n";
    let whole = read("application/json", true, &[document.to_string().as_bytes()]);
    assert_eq!(read("text/event-stream", true, &[stream.as_bytes()]), whole);
    let Answer { response_id, finish_reasons, usage, choices, complete, .. } = whole.answer;
    assert_eq!((response_id.as_deref(), complete), (Some("cmpl-1"), true));
    assert_eq!(finish_reasons, ["stop", "length"]);
    assert_eq!(usage, Some(Usage { input: 5, output: 7, ..Usage::default() }));
    assert_eq!(choices.len(), 2);
    assert_ne!(choices[0], choices[1]);
}

#[test]
fn what_is_cut_or_failed_is_not_complete() {
    let said = events(&[chunk(0, "Hi", None)]);
    let failed =
        said.clone() + &events(&[json!({"error": {"code": "quota"}})]) + "data: [DONE]\n\n";
    let reading = read("text/event-stream", false, &[said.as_bytes()]);
    assert_eq!((reading.answer.complete, reading.not_understood), (false, None));
    assert_eq!(reading.answer.choices.len(), 1);
    let reading = read("text/event-stream", true, &[failed.as_bytes()]);
    assert_eq!((reading.answer.error.as_deref(), reading.answer.complete), (Some("quota"), false));
    let lost =
        |content_type, body: &str| read(content_type, true, &[body.as_bytes()]).not_understood;
    assert_eq!(lost("application/json", "{}"), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost("text/event-stream", "data: x\n\n"), Some(NotUnderstood::NotJson));
    assert_eq!(lost("text/event-stream", ""), Some(NotUnderstood::NotThisShape));
}

proptest! {
    #[test]
    fn where_bodies_are_cut_does_not_matter(at: prop::sample::Index, byte: u8, stride in 1_usize..50, whole: bool) {
        let mut body = events(&[chunk(0, "Hi", None), chunk(0, "!", Some("stop"))]).into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let pieces: Vec<_> = body.chunks(stride).collect();
        for content_type in ["text/event-stream", "application/json"] {
            prop_assert_eq!(read(content_type, whole, &pieces), read(content_type, whole, &[&body]));
        }
    }
}
