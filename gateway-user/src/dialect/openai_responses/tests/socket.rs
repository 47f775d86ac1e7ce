use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::{
    call::{Anchor, Cause, Reason, Signal},
    dialect::{CallKey, Heard, Refused, Socket, socket},
    limits,
};

/// A socket, and what is known of the agent's calls.
struct Bench {
    socket: Socket,
    known: Known,
}

impl Bench {
    fn new() -> Self {
        let signal = Signal { name: "session-id", value: "s1".into() };
        let request = RequestInfo { signals: &[signal], ..info("GET", "/v1/responses") };
        Self { socket: socket(&request).expect("a socket"), known: Known::default() }
    }

    fn client(&mut self, message: &Value) -> Option<Heard> {
        self.socket.client_message(Some(message.to_string().as_bytes()), &mut self.known)
    }

    fn asked(&mut self, message: &Value) -> (CallKey, Prompt) {
        match self.client(message) {
            Some(Heard::Asked(asked)) => (asked.key, prompt(&[*asked])),
            other => panic!("{other:?}"),
        }
    }

    /// What was heard, in short.
    fn server(&mut self, message: &Value) -> Vec<Said> {
        let heard =
            self.socket.server_message(Some(message.to_string().as_bytes()), &mut self.known);
        heard.into_iter().map(Said::from).collect()
    }
}

#[derive(Debug, PartialEq)]
enum Said {
    Asked(CallKey, Box<Prompt>),
    Begun(CallKey),
    Answered(CallKey, Box<Answer>, Option<u16>),
    NotUnderstood(NotUnderstood),
}

impl From<Heard> for Said {
    fn from(heard: Heard) -> Self {
        match heard {
            Heard::Asked(asked) => Self::Asked(asked.key, Box::new(prompt(&[*asked]))),
            Heard::Begun(key) => Self::Begun(key),
            Heard::Answered(answered, status) => {
                Self::Answered(answered.key, Box::new(answered.reading.answer), status)
            }
            Heard::NotUnderstood(reason) => Self::NotUnderstood(reason),
        }
    }
}

fn create(fields: &Value) -> Value {
    let mut message =
        json!({"type": "response.create", "model": "gpt-x", "store": false, "input": []});
    for (name, value) in fields.as_object().expect("an object") {
        message[name] = value.clone();
    }
    message
}

fn created(id: &str) -> Value {
    json!({"type": "response.created", "response": response(id, "in_progress", &json!([]))})
}

fn done(id: &str, output: &Value) -> Value {
    let mut response = finished(output);
    response["id"] = id.into();
    json!({"type": "response.completed", "response": response})
}

fn on(lane: &str, mut message: Value) -> Value {
    message["stream_id"] = lane.into();
    message
}

/// Of the one call that was answered.
fn answered(said: &[Said]) -> (CallKey, Option<String>) {
    let [Said::Answered(key, answer, None)] = said else { panic!("{said:?}") };
    (*key, answer.response_id.clone())
}

#[test]
fn a_conversation_goes_on_from_what_was_answered() {
    let mut bench = Bench::new();
    let (warm, prompt) = bench.asked(&create(&json!({"generate": false, "instructions": "s"})));
    assert!(prompt.terms.prewarms && prompt.stream);
    assert_eq!(prompt.terms.signals[0].value, "s1");
    assert_eq!(bench.server(&created("resp_0")), [Said::Begun(warm)]);
    assert_eq!(answered(&bench.server(&done("resp_0", &json!([])))), (warm, Some("resp_0".into())));

    let input = json!([{"role": "user", "content": "hello"}]);
    let fields = json!({"previous_response_id": "resp_0", "input": input});
    let (first, prompt) = bench.asked(&create(&fields));
    assert_eq!(prompt.terms.goes_on_from, Some(Anchor::Response("resp_0".into())));
    assert_eq!(prompt.wish.as_deref(), Some("hello"));
    for event in turn_events() {
        let begun = event["type"] == "response.created";
        assert_eq!(bench.server(&event).len(), usize::from(begun), "{event}");
        assert!(bench.server(&json!({"type": "codex.rate_limits", "rate_limits": {}})).is_empty());
    }
    let said = bench.server(&completed(&json!([])));
    let [Said::Answered(key, answer, None)] = &*said else { panic!("{said:?}") };
    assert_eq!(*key, first);
    assert_eq!(answer.choices, messages(&turn_items()));
    assert!(answer.complete && answer.usage.is_some());
    assert!(
        bench.client(&json!({"type": "response.processed", "response_id": "resp_1"})).is_none()
    );
    assert!(bench.socket.end().is_empty());
}

#[test]
fn calls_on_a_lane_are_answered_in_order_and_lanes_are_apart() {
    let mut bench = Bench::new();
    let [first, second] = [(); 2].map(|()| bench.asked(&create(&json!({}))).0);
    let other = bench.asked(&on("b", create(&json!({})))).0;
    assert_eq!(bench.server(&on("b", created("b1"))), [Said::Begun(other)]);
    assert_eq!(bench.server(&created("a1")), [Said::Begun(first)]);
    assert_eq!(answered(&bench.server(&on("b", done("b1", &json!([]))))).0, other);
    assert_eq!(answered(&bench.server(&done("a1", &json!([])))).0, first);
    // What comes late of the one before is not the second's.
    assert!(bench.server(&done("a1", &json!([]))).is_empty());
    assert_eq!(bench.server(&created("a2")), [Said::Begun(second)]);
    assert_eq!(answered(&bench.server(&done("a2", &json!([])))), (second, Some("a2".into())));
}

#[test]
fn an_error_answers_the_call_that_waits() {
    let mut bench = Bench::new();
    let [first, second] = [(); 2].map(|()| bench.asked(&create(&json!({}))).0);
    let error = json!({"type": "error", "status": 429,
        "error": {"type": "usage_limit_reached", "code": "usage_limit_reached", "message": "x"}});
    let said = bench.server(&error);
    let [Said::Begun(_), Said::Answered(key, answer, Some(429))] = &*said else {
        panic!("{said:?}")
    };
    assert_eq!((*key, answer.error.as_deref()), (first, Some("usage_limit_reached")));
    // One in the middle of an answer is followed by its end, or by the next answer.
    bench.server(&created("a2"));
    assert!(bench.server(&json!({"type": "error", "code": "x", "sequence_number": 3})).is_empty());
    let third = bench.asked(&create(&json!({}))).0;
    let said = bench.server(&created("a3"));
    let [Said::Answered(key, answer, None), Said::Begun(begun)] = &*said else {
        panic!("{said:?}")
    };
    assert_eq!((*key, answer.error.as_deref(), *begun), (second, Some("x"), third));
}

#[test]
fn what_is_cut_is_answered_as_far_as_it_came() {
    let mut bench = Bench::new();
    let keys = [(); 2].map(|()| bench.asked(&create(&json!({}))).0);
    for event in &turn_events()[..8] {
        bench.server(event);
    }
    let answered = bench.socket.end();
    assert_eq!(answered.iter().map(|it| it.key).collect::<Vec<_>>(), keys);
    assert_eq!(answered[0].reading.answer.choices, messages(&json!([message_item("Let me look")])));
    assert!(!answered[0].reading.answer.complete);
    assert_eq!(answered[1].reading, Reading::default());
}

#[test]
fn an_answer_into_which_the_user_speaks_is_followed_by_another() {
    let mut bench = Bench::new();
    let first = bench.asked(&create(&json!({}))).0;
    bench.server(&created("a1"));
    let steer =
        |text: &str| json!({"type": "response.steer", "previous_response_id": "a1", "input": text});
    assert!(bench.client(&steer("shorter")).is_none());
    assert!(bench.client(&steer("in French")).is_none());
    let accepted = json!({"type": "response.steer.accepted", "steer": {"id": "s", "previous_response_id": "a1"}});
    assert!(bench.server(&accepted).is_empty());
    let mut steered = done("a1", &json!([]));
    steered["type"] = "response.incomplete".into();
    steered["response"]["status"] = "incomplete".into();
    steered["response"]["incomplete_details"] = json!({"reason": "steered"});
    let said = bench.server(&steered);
    let [Said::Answered(key, answer, None)] = &*said else { panic!("{said:?}") };
    assert_eq!((*key, answer.finish_reasons.clone()), (first, vec!["steered".into()]));
    let mut successor = created("a2");
    successor["response"]["previous_response_id"] = "a1".into();
    let said = bench.server(&successor);
    let [Said::Asked(second, prompt), Said::Begun(begun)] = &*said else { panic!("{said:?}") };
    assert_eq!(second, begun);
    assert_eq!(prompt.terms.goes_on_from, Some(Anchor::Response("a1".into())));
    assert_eq!(prompt.model.as_deref(), Some("gpt-x-2026"));
    let spoken =
        json!([{"role": "user", "content": "shorter"}, {"role": "user", "content": "in French"}]);
    assert_eq!(prompt.messages, messages(&spoken));
    assert_eq!(answered(&bench.server(&done("a2", &json!([])))), (*second, Some("a2".into())));

    // Where tools have to answer first, it comes before their results.
    assert!(
        bench
            .client(
                &json!({"type": "response.steer", "previous_response_id": "a2", "input": "wait"})
            )
            .is_none()
    );
    let result = json!({"type": "function_call_output", "call_id": "c", "output": "x"});
    let (_, prompt) =
        bench.asked(&create(&json!({"previous_response_id": "a2", "input": [result]})));
    assert_eq!(prompt.messages, messages(&json!([{"role": "user", "content": "wait"}, result])));
}

#[test]
fn a_call_that_is_not_understood_leaves_the_others_their_answers() {
    let mut bench = Bench::new();
    let lost = |heard: Option<Heard>| match heard {
        Some(Heard::NotUnderstood(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        lost(bench.client(&json!({"type": "response.create"}))),
        NotUnderstood::NotThisShape
    );
    let too_large = bench.socket.client_message(None, &mut bench.known);
    assert_eq!(lost(too_large), NotUnderstood::TooLarge);
    let no_json = bench.socket.client_message(Some(b"hello"), &mut bench.known);
    assert_eq!(lost(no_json), NotUnderstood::NotJson);
    let third = bench.asked(&create(&json!({}))).0;
    for id in ["a1", "a2", "a3"] {
        assert!(bench.server(&created(id)).is_empty());
        assert!(bench.server(&done(id, &json!([]))).is_empty());
    }
    assert_eq!(bench.server(&created("a4")), [Said::Begun(third)]);
    // An event that can't be read is of some answer.
    assert!(bench.socket.server_message(None, &mut bench.known).is_empty());
    let heard = bench
        .socket
        .server_message(Some(done("a4", &json!([])).to_string().as_bytes()), &mut bench.known);
    let [Heard::Answered(answered, None)] = &*heard else { panic!("{heard:?}") };
    assert_eq!(answered.reading.not_understood, Some(NotUnderstood::TooLarge));
    assert!(answered.reading.answer.usage.is_some());
}

#[test]
fn what_waits_is_bounded() {
    let mut bench = Bench::new();
    for n in 0..limits::CALLS_PER_SOCKET {
        bench.asked(&on(&n.to_string(), create(&json!({}))));
    }
    let heard = bench.client(&create(&json!({})));
    assert!(matches!(heard, Some(Heard::NotUnderstood(NotUnderstood::TooLarge))), "{heard:?}");
    assert_eq!(bench.socket.end().len(), limits::CALLS_PER_SOCKET);
}

#[test]
fn a_message_that_is_refused_is_answered_and_not_waited_for() {
    let mut bench = Bench::new();
    let reason = Reason::new(Cause::Budget, "spent; raise it");
    let first = bench.asked(&create(&json!({}))).0;
    let second = bench.asked(&on("x", create(&json!({})))).0;
    let Refused { text, status, answered } = bench.socket.refuse(&reason);
    let event: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &event["status"], &event["stream_id"]), (400, &json!(400), &json!("x")));
    assert_eq!(event["error"]["code"], "turnpike_budget_exceeded");
    let answered = answered.expect("it was a call");
    assert_eq!(answered.key, second);
    assert_eq!(answered.reading.answer.error.as_deref(), Some("turnpike_budget_exceeded"));
    assert!(bench.socket.refuse(&reason).answered.is_none(), "only the last");
    assert_eq!(bench.socket.last_words(&reason).len(), 1);
    // What was not understood is nobody's, and not waited for either.
    let heard = bench.client(&json!({"type": "response.create"}));
    assert!(matches!(heard, Some(Heard::NotUnderstood(_))), "{heard:?}");
    assert!(bench.socket.refuse(&reason).answered.is_none());
    bench.client(&json!({"type": "other"}));
    assert!(bench.socket.refuse(&reason).answered.is_none());
    assert_eq!(bench.server(&created("a1")), [Said::Begun(first)]);
    let long = "x".repeat(limits::LANE_NAME_BYTES + 1);
    bench.asked(&on(&long, create(&json!({}))));
    assert!(bench.socket.refuse(&reason).text.len() < limits::LANE_NAME_BYTES * 2);
}

/// What either side may say, sensible or not.
fn said() -> impl Strategy<Value = (bool, Option<Value>)> {
    let id = prop::sample::select(vec!["a", "b", "c"]);
    let lane = prop::option::weighted(0.3, prop::sample::select(vec!["x", "y"]));
    let client = (id.clone(), 0..4).prop_map(|(id, kind)| match kind {
        0 => create(&json!({"previous_response_id": id})),
        1 => json!({"type": "response.steer", "previous_response_id": id, "input": "x"}),
        2 => json!({"type": "response.create", "input": 7}),
        _ => create(&json!({})),
    });
    let server = (id.clone(), id, 0..6).prop_map(|(id, previous, kind)| match kind {
        0 => done(id, &json!([])),
        1 => json!({"type": "error", "code": "x"}),
        2 => json!({"type": "error", "status": 400, "error": {}}),
        3 => json!({"type": "response.output_text.delta", "delta": "x"}),
        _ => {
            let mut event = created(id);
            event["response"]["previous_response_id"] = previous.into();
            event
        }
    });
    let message = prop_oneof![
        client.prop_map(|message| (true, message)),
        server.prop_map(|message| (false, message)),
    ];
    (message, lane, prop::bool::weighted(0.05)).prop_map(|((client, message), lane, lost)| {
        let message = lane.map_or(message.clone(), |lane| on(lane, message));
        (client, (!lost).then_some(message))
    })
}

proptest! {
    #[test]
    fn each_call_is_answered_once(
        messages in prop::collection::vec((said(), prop::bool::weighted(0.2)), 0..60),
    ) {
        let mut bench = Bench::new();
        let mut waiting = HashSet::new();
        for ((client, message), refused) in messages {
            let text = message.map(|message| message.to_string());
            let text = text.as_deref().map(str::as_bytes);
            let heard: Vec<_> = if client {
                bench.socket.client_message(text, &mut bench.known).into_iter().collect()
            } else {
                bench.socket.server_message(text, &mut bench.known)
            };
            for heard in heard {
                match heard {
                    Heard::Asked(asked) => prop_assert!(waiting.insert(asked.key)),
                    Heard::Begun(key) => prop_assert!(waiting.contains(&key)),
                    Heard::Answered(answered, _) => prop_assert!(waiting.remove(&answered.key)),
                    Heard::NotUnderstood(_) => {}
                }
            }
            if client && refused {
                let answered = bench.socket.refuse(&Reason::ending()).answered;
                prop_assert!(answered.is_none_or(|answered| waiting.remove(&answered.key)));
            }
        }
        for answered in bench.socket.end() {
            prop_assert!(waiting.remove(&answered.key));
        }
        prop_assert!(waiting.is_empty());
    }
}

#[test]
fn some_of_what_is_said_is_kept_with_its_size() {
    let mut bench = Bench::new();
    let input = json!([{"role": "user", "content": "Hello"}]);
    let asked = bench.client(&create(&json!({"instructions": "Be kind. ", "input": input})));
    let Some(Heard::Asked(asked)) = asked else { panic!("{asked:?}") };
    assert_eq!((asked.sample.text(), asked.sample.bytes()), ("Be kind. Hello", 14));
    bench.server(&created("resp_1"));
    for text in ["Hi ", "there"] {
        let delta = json!({"type": "response.output_text.delta", "output_index": 0, "delta": text});
        bench.server(&delta);
    }
    let answered = bench.socket.end().remove(0);
    assert_eq!((answered.sample.text(), answered.sample.bytes()), ("Hi there", 8));
    assert!(!answered.reading.answer.complete);
}
