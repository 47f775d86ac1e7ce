use serde_json::{Value, json};

use super::{request, response};
use crate::{
    call::{Operation, Usage},
    dialect::{Asking, NotUnderstood},
};

#[test]
fn a_request_is_read() {
    let body = json!({"model": "e", "input": ["a", "bc"], "dimensions": 8}).to_string();
    let mut sample = Asking::default();
    let prompt = request(body.as_bytes(), &mut sample).expect("a prompt");
    assert_eq!((sample.text(), sample.bytes()), ("abc", 3));
    assert_eq!((prompt.operation, prompt.model.as_deref()), (Operation::Embeddings, Some("e")));
    assert_eq!((prompt.messages.len(), prompt.wish), (1, None));
    assert_eq!((prompt.terms.max_output, prompt.terms.segments.messages), (Some(0), 3));
    let hash = |input: Value| {
        let body = json!({"input": input}).to_string();
        request(body.as_bytes(), &mut Asking::default()).map(|prompt| prompt.messages[0].hash)
    };
    assert_eq!(hash(json!("a")), hash(json!(["a"])));
    assert_ne!(hash(json!([1, 2])), hash(json!([[1, 2]])));
    // What another server means by the same path.
    let other = json!({"model": "e", "prompt": "a"}).to_string();
    let other = request(other.as_bytes(), &mut Asking::default());
    assert_eq!(other.map(drop), Err(NotUnderstood::NotThisShape));
}

#[test]
fn what_it_cost_is_read() {
    let body = json!({"object": "list", "model": "e-1",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -2e-3]}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    let answer = response(body.to_string().as_bytes()).expect("an answer");
    assert_eq!((answer.model.as_deref(), answer.complete), (Some("e-1"), true));
    assert_eq!(answer.usage, Some(Usage { input: 8, ..Usage::default() }));
    assert!(answer.choices.is_empty() && answer.finish_reasons.is_empty());
    let failed = response(br#"{"error": {"type": "quota"}}"#).expect("an answer");
    assert_eq!((failed.error.as_deref(), failed.complete), (Some("quota"), false));
    assert_eq!(response(b"{}"), Err(NotUnderstood::NotThisShape));
    assert_eq!(response(b"<"), Err(NotUnderstood::NotJson));
}
