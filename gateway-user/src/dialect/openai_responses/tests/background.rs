use super::*;
use crate::{
    dialect::{Answered, CallKey},
    limits,
};

/// A background call, asked and answered with this.
fn begin(known: &mut Known, content_type: Option<&str>, body: &str) -> (CallKey, Vec<Answered>) {
    let mut observer = observer();
    observer.request_body(b"{\"input\":\"x\",\"background\":true}");
    let key = observer.request_end(known).expect("a prompt")[0].key;
    head(&mut observer, content_type);
    observer.response_body(body.as_bytes());
    (key, observer.response_end(false, known))
}

/// Asks for the response, and is answered with this.
fn ask_for(
    known: &mut Known,
    content_type: Option<&str>,
    body: &str,
    how: (&str, &str),
) -> Vec<Answered> {
    let mut observer = detect(&info(how.0, how.1)).expect("one response");
    assert!(observer.request_end(known).expect("no body").is_empty());
    head(&mut observer, content_type);
    observer.response_body(body.as_bytes());
    observer.response_end(true, known)
}

const POLL: (&str, &str) = ("GET", "/v1/responses/resp_1");

#[test]
fn a_call_is_answered_by_whoever_asks_for_it_later() {
    let queued = response("resp_1", "queued", &json!([])).to_string();
    let working = response("resp_1", "in_progress", &json!([])).to_string();
    let done = finished(&turn_items()).to_string();
    let streamed = events(&turn_events()) + &events(&[completed(&turn_items())]);
    let stopped = response("resp_1", "cancelled", &json!([])).to_string();
    for (content_type, last, how) in [
        (JSON, done, POLL),
        (EVENTS, streamed, ("GET", "/v1/responses/resp_1?stream=true")),
        (JSON, stopped, ("POST", "/v1/responses/resp_1/cancel")),
    ] {
        let mut known = Known::default();
        let (key, answered) = begin(&mut known, JSON, &queued);
        assert_eq!(answered, []);
        assert_eq!(ask_for(&mut known, JSON, &working, POLL), []);
        let answered = ask_for(&mut known, content_type, &last, how);
        assert_eq!(answered.iter().map(|it| it.key).collect::<Vec<_>>(), [key]);
        assert_eq!(answered[0].reading.answer.response_id.as_deref(), Some("resp_1"));
        // Once only.
        assert_eq!(ask_for(&mut known, content_type, &last, how), []);
    }
}

#[test]
fn a_background_stream_that_is_cut_goes_on() {
    let mut known = Known::default();
    let (key, answered) = begin(&mut known, EVENTS, &events(&turn_events()));
    assert_eq!(answered, []);
    let rest = events(&[completed(&turn_items())]);
    let answered = ask_for(&mut known, EVENTS, &rest, POLL);
    assert_eq!(answered[0].key, key);
    assert!(answered[0].reading.answer.complete);
    // One that failed does not.
    let failed = events(&turn_events()) + &events(&[json!({"type": "error", "code": "x"})]);
    assert_eq!(begin(&mut known, EVENTS, &failed).1.len(), 1);
}

#[test]
fn what_was_not_asked_for_here_is_no_answer() {
    let mut known = Known::default();
    for (content_type, body) in [(JSON, finished(&json!([])).to_string()), (JSON, "<html>".into())]
    {
        assert_eq!(ask_for(&mut known, content_type, &body, POLL), []);
    }
}

#[test]
fn the_oldest_makes_room() {
    let mut known = Known::default();
    let id = |n: usize| format!("resp_{n}");
    for n in 0..=limits::BACKGROUND_ANSWERS_PER_AGENT {
        begin(&mut known, JSON, &response(&id(n), "queued", &json!([])).to_string());
    }
    let mut found = |n: usize| {
        let done = response(&id(n), "completed", &json!([])).to_string();
        ask_for(&mut known, JSON, &done, POLL).len()
    };
    assert_eq!((found(0), found(1), found(limits::BACKGROUND_ANSWERS_PER_AGENT)), (0, 1, 1));
}
