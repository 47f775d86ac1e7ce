//! Answers, whole, streamed, cut and broken.

use proptest::prelude::*;

use super::*;
use crate::call::Answer;

fn events(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect::<Vec<_>>().concat()
}

/// The stream up to the event of this type, and one further byte.
fn cut_at(kind: &str) -> &'static [u8] {
    let at = STREAM.find(&format!("event: {kind}")).expect("the event");
    &STREAM.as_bytes()[..=at]
}

#[test]
fn a_stream_is_read() {
    let answer = Answer { tool_calls: Vec::new(), ..MESSAGES.answer(EVENTS, STREAM) };
    insta::assert_debug_snapshot!(answer, @r#"
    Answer {
        model: Some(
            "claude-x-20260101",
        ),
        response_id: Some(
            "msg_01A",
        ),
        choices: [
            Message {
                role: Assistant,
                hash: 320597309711215954585521645383502207295,
                content: Some(
                    6933114880618202555,
                ),
                tool_calls: [
                    "toolu_a",
                    "toolu_b",
                ],
                tool_result: None,
            },
        ],
        tool_calls: [],
        values: [],
        finish_reasons: [
            "tool_use",
        ],
        usage: Some(
            Usage {
                input: 1112,
                output: 89,
                cache_read: Some(
                    1000,
                ),
                cache_creation: Some(
                    100,
                ),
                cache_creation_1h: Some(
                    40,
                ),
                reasoning: Some(
                    20,
                ),
                estimated: false,
            },
        ),
        service_tier: Some(
            "standard",
        ),
        error: None,
        complete: true,
    }
    "#);
}

#[test]
fn the_tool_calls_of_a_stream_are_read() {
    insta::assert_debug_snapshot!(MESSAGES.answer(EVENTS, STREAM).tool_calls, @r#"
    [
        ToolCall {
            id: Some(
                "toolu_a",
            ),
            name: "get",
            arguments: 209673510015027416824198213218913210001,
            values: [],
            commands: [
                Command {
                    words: 1,
                    ..
                },
            ],
            urls: [],
        },
        ToolCall {
            id: Some(
                "toolu_b",
            ),
            name: "now",
            arguments: 296514245071400783576252705978101371120,
            values: [],
            commands: [],
            urls: [],
        },
    ]
    "#);
}

#[test]
fn a_whole_answer_and_its_echo_are_the_same_as_its_stream() {
    let streamed = MESSAGES.answer(EVENTS, STREAM);
    assert_eq!(MESSAGES.answer(JSON, RESPONSE), streamed);
    let echo = MESSAGES.ask_in([REQUEST.as_bytes()]).expect("a prompt").messages.swap_remove(2);
    assert_eq!(streamed.choices, [echo]);
}

#[test]
fn usage_is_that_of_the_last_report() {
    let usage = |first: Value, reports: &[Value]| {
        let mut all = vec![json!({"type": "message_start", "message": {"usage": first}})];
        for report in reports {
            all.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": report}));
        }
        all.push(json!({"type": "message_stop"}));
        MESSAGES.answer(EVENTS, events(&all)).usage
    };
    let first = json!({"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 2});
    let all = Usage { input: 7, output: 9, cache_read: Some(2), ..Usage::default() };
    assert_eq!(usage(first.clone(), &[json!({"output_tokens": 9})]), Some(all));
    // The figures are of the whole answer each time, and null is none.
    let again = [
        json!({"output_tokens": 3, "input_tokens": 5}),
        json!({"output_tokens": 9, "input_tokens": 5, "cache_read_input_tokens": null}),
    ];
    assert_eq!(usage(first, &again), Some(all));
    // Some servers know the input only at the end.
    let late = json!({"input_tokens": 5.0, "output_tokens": 9, "cache_creation_input_tokens": 1});
    let all = Usage { input: 6, output: 9, cache_creation: Some(1), ..Usage::default() };
    assert_eq!(usage(json!({"input_tokens": 0, "output_tokens": 0}), &[late]), Some(all));
    for none in [json!(null), json!({}), json!([]), json!({"input_tokens": -1})] {
        assert_eq!(usage(none, &[]), None);
    }
}

#[test]
fn usage_beside_the_main_figures_is_added() {
    let iteration = |kind: &str| {
        json!({"type": kind, "input_tokens": 100, "output_tokens": 10, "cache_creation_input_tokens": 1,
            "cache_read_input_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 1, "ephemeral_5m_input_tokens": 0}})
    };
    let usage = |iterations: Value| {
        let usage = json!({"input_tokens": 5, "output_tokens": 7, "iterations": iterations});
        MESSAGES.answer(JSON, json!({"content": [], "usage": usage}).to_string()).usage
    };
    let main = Usage { input: 5, output: 7, ..Usage::default() };
    assert_eq!(usage(json!([iteration("message")])), Some(main));
    assert_eq!(usage(json!(null)), Some(main));
    let all = Usage {
        input: 5 + 103,
        output: 17,
        cache_read: Some(2),
        cache_creation: Some(1),
        cache_creation_1h: Some(1),
        ..Usage::default()
    };
    assert_eq!(usage(json!([iteration("compaction"), iteration("message")])), Some(all));
    let fast =
        json!({"input_tokens": 1, "output_tokens": 1, "speed": "fast", "service_tier": "standard"});
    let answer = MESSAGES.answer(JSON, json!({"content": [], "usage": fast}).to_string());
    assert_eq!(answer.service_tier.as_deref(), Some("fast"));
}

#[test]
fn a_cut_stream_keeps_what_was_reported() {
    let cut = MESSAGES.read(EVENTS, false, [cut_at("message_delta")]);
    assert_eq!(cut.not_understood, None);
    let usage = cut.answer.usage.expect("usage");
    assert_eq!((usage.input, usage.output, usage.estimated), (1112, 2, true));
    assert_eq!(usage.cache_creation_1h, Some(40));
    assert!(!cut.answer.complete);
    assert_eq!(cut.answer.tool_calls.len(), 2);
    assert_eq!(cut.answer.response_id.as_deref(), Some("msg_01A"));

    // What follows the last report is not missed, if the stream ends well.
    let last = MESSAGES.read(EVENTS, true, [cut_at("message_stop")]);
    assert_eq!(last.answer.usage.map(|usage| (usage.output, usage.estimated)), Some((89, false)));
    assert!(last.answer.complete);
    assert!(!MESSAGES.read(EVENTS, false, [cut_at("message_stop")]).answer.complete);
    // Clients hang up once they have read this.
    assert!(MESSAGES.read(EVENTS, false, [STREAM.as_bytes()]).answer.complete);
    assert_eq!(MESSAGES.read(JSON, false, [&RESPONSE.as_bytes()[..99]]).not_understood, None);
}

#[test]
fn an_error_ends_a_stream() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
                 \"message\":\"Overloaded\"},\"request_id\":null}\n\n";
    let begun = cut_at("message_delta");
    let begun = &begun[..begun.len() - 1];
    let reading = MESSAGES.read(EVENTS, true, [begun, error.as_bytes()]);
    assert_eq!(reading.not_understood, None);
    assert_eq!(reading.answer.error.as_deref(), Some("overloaded_error"));
    assert!(!reading.answer.complete);
    assert!(reading.answer.usage.is_some_and(|usage| usage.estimated));
    let alone = Answer { error: Some("overloaded_error".into()), ..Answer::default() };
    assert_eq!(MESSAGES.answer(EVENTS, error), alone);
    let body = r#"{"type":"error","error":{"type":"overloaded_error"}}"#;
    assert_eq!(MESSAGES.answer(JSON, body), alone);
}

#[test]
fn other_servers_flavours_are_read() {
    // Calls whole in their first event, interleaved parts, no index, no `message_stop`, unknown
    // events and blocks.
    let body = events(&[
        json!({"type": "message_start", "message": {"id": "chatcmpl-1", "model": "m", "content": []}}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "b", "name": "g"}}),
        json!({"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "c", "name": "h", "input": null}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"y\""}}),
        json!({"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": "{\"z\""}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ":2}"}}),
        json!({"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": ":3}"}}),
        json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}}),
        json!({"type": "novelty", "index": null, "delta": {"type": "novelty_delta"}, "data": [1]}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"input_tokens": 3, "output_tokens": 4}}),
    ]);
    let answer = MESSAGES.answer(EVENTS, body);
    assert!(answer.complete);
    assert_eq!(answer.usage, Some(Usage { input: 3, output: 4, ..Usage::default() }));
    let echo = json!([{"role": "assistant", "content": [
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {"y": 2}},
        {"type": "tool_use", "id": "c", "name": "h", "input": {"z": 3}},
    ]}]);
    assert_eq!(answer.choices, MESSAGES.messages(&echo));
}

#[test]
fn what_is_no_answer_is_said() {
    let lost = |content_type, body: &str| {
        let reading = MESSAGES.read(content_type, true, [body.as_bytes()]);
        assert!(!reading.answer.complete, "{body}");
        reading.not_understood
    };
    assert_eq!(lost(JSON, "<html>"), Some(NotUnderstood::NotJson));
    assert_eq!(lost(JSON, "{}"), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost(EVENTS, ""), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost(EVENTS, "data: {\"type\":\"ping\"}\n\n"), Some(NotUnderstood::NotThisShape));
    assert_eq!(lost(EVENTS, "data: hello\n\n"), Some(NotUnderstood::NotJson));
    assert_eq!(lost(EVENT_STREAM, "hello, there"), Some(NotUnderstood::BrokenFrames));
}

#[test]
fn arguments_of_a_stream_are_kept_up_to_the_bound() {
    let part = json!({"type": "content_block_delta", "index": 0, "delta":
        {"type": "input_json_delta", "partial_json": "x".repeat(1024 * 1024)}});
    let begin = events(&[
        json!({"type": "message_start", "message": {}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "f"}}),
    ]);
    let part = events(&[part]);
    let parts =
        std::iter::repeat_n(part.as_bytes(), limits::OBSERVED_RESPONSE_BYTES / (1024 * 1024));
    let pieces = |parts| [begin.as_bytes()].into_iter().chain(parts);
    assert_eq!(MESSAGES.read(EVENTS, true, pieces(parts.clone())).not_understood, None);
    let reading = MESSAGES.read(EVENTS, true, pieces(parts).chain([part.as_bytes()]));
    assert_eq!(reading.not_understood, Some(NotUnderstood::TooLarge));
}

/// Bodies that are real, real but damaged, or nothing at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let real = prop_oneof![Just(STREAM), Just(RESPONSE), Just(REQUEST), Just(COUNT_TOKENS)];
    let real = real.prop_map(|body| body.as_bytes().to_vec());
    let real = prop_oneof![4 => real, 1 => Just(BEDROCK.to_vec())];
    let damaged = (real.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut body, at, byte)| {
            let at = at.index(body.len());
            body[at] = byte;
            body
        },
    );
    prop_oneof![real, damaged, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn where_bodies_are_cut_does_not_matter(body in body(), stride in 1_usize..200, whole: bool) {
        for content_type in [JSON, EVENTS, EVENT_STREAM] {
            let one = MESSAGES.read(content_type, whole, [&*body]);
            prop_assert_eq!(MESSAGES.read(content_type, whole, body.chunks(stride)), one);
        }
        for trial in [MESSAGES, COUNT] {
            prop_assert_eq!(trial.ask_in(body.chunks(stride)), trial.ask_in([&*body]));
        }
    }
}
