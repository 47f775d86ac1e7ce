//! The same over HTTP/2.

use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE};
use serde_json::json;
use turnpike::{
    call::Decision,
    config::Mode,
    ledger::{Budget, Dimension, OnExceed},
};

use super::{
    super::{
        bed::Bed,
        gate::h2::{Ends, run, whole},
    },
    of,
};

fn word() -> String {
    let chunk = json!({ "id": "c", "model": "m", "choices": [
        { "index": 0, "delta": { "content": "archive " }, "finish_reason": null }] });
    format!("data: {chunk}\n\n")
}

fn body(fields: &str) -> String {
    format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"stream":true{fields}}}"#
    )
}

const USAGE: &str = r#","stream_options":{"include_usage":true}"#;

#[test]
fn a_stream_ends_where_it_comes_to_more_than_is_held() {
    run(async {
        for fields in [USAGE, ""] {
            for size in [7, 1000, 100_000] {
                let (bed, _purse) =
                    Bed::paying(Mode::Enforce, vec![of(Dimension::OutputTokens, 100)]);
                let mut ends = Ends::new(&bed).await;
                let answer = ends.ask_chat(&body(fields)).await;
                let (_request, mut respond) = ends.accept().await;
                let head = Response::builder().header(CONTENT_TYPE, "text/event-stream");
                let head = head.body(()).expect("a response");
                let mut to = respond.send_response(head, false).expect("it is open");
                for piece in word().repeat(130).as_bytes().chunks(size) {
                    to.send_data(Bytes::copy_from_slice(piece), false).expect("it is open");
                }
                let read = async {
                    let mut body = answer.await.expect("an answer").into_body();
                    whole(&mut body).await.expect("an orderly end")
                };
                let got = ends.serving(read).await;
                let last = got.strip_prefix(&*word().repeat(100)).expect("what fits, as it is");
                assert!(last.starts_with("data: {\"error\":"), "{last}");
                assert!(last.contains("turnpike: budget agent holds 100 output_tokens"), "{last}");
                let reset = ends.serving(std::future::poll_fn(|cx| to.poll_reset(cx))).await;
                assert_eq!(reset.expect("upstream is told"), ::h2::Reason::CANCEL);
                let step = bed.steps.settled(1).remove(0).step;
                assert_eq!(step.policy.last().map(|it| it.decision), Some(Decision::Cut));
            }
        }
    });
}

#[test]
fn a_stream_at_exactly_its_limit_is_whole() {
    run(async {
        for (fields, size) in [(USAGE, 9), ("", 1000), (USAGE, 100_000)] {
            let (bed, _purse) = Bed::paying(Mode::Enforce, vec![of(Dimension::OutputTokens, 100)]);
            let mut ends = Ends::new(&bed).await;
            let answer = ends.ask_chat(&body(fields)).await;
            let (_request, mut respond) = ends.accept().await;
            let head = Response::builder().header(CONTENT_TYPE, "text/event-stream");
            let head = head.body(()).expect("a response");
            let mut to = respond.send_response(head, false).expect("it is open");
            // Its last event has no end.
            let events = word().repeat(100) + "data: [DONE]\n\n: half";
            for piece in events.as_bytes().chunks(size) {
                to.send_data(Bytes::copy_from_slice(piece), false).expect("it is open");
            }
            to.send_data(Bytes::new(), true).expect("it is open");
            let read = async {
                let mut body = answer.await.expect("an answer").into_body();
                whole(&mut body).await.expect("an orderly end")
            };
            assert_eq!(ends.serving(read).await, events);
            assert_eq!(bed.counted("calls_cut"), 0);
        }
    });
}

#[test]
fn a_warning_is_in_the_head_of_the_answer() {
    run(async {
        let warns = Budget { on_exceed: OnExceed::Warn, ..of(Dimension::ModelCalls, 0) };
        let (bed, _purse) = Bed::paying(Mode::Enforce, vec![warns]);
        let mut ends = Ends::new(&bed).await;
        let answer = ends.ask_chat(&body(USAGE)).await;
        let (_request, mut respond) = ends.accept().await;
        let head = Response::builder().header(CONTENT_TYPE, "text/event-stream");
        let head = head.header("x-own", "1").body(()).expect("a response");
        let mut to = respond.send_response(head, false).expect("it is open");
        to.send_data(Bytes::from(word()), true).expect("it is open");
        let read = async {
            let (head, mut body) = answer.await.expect("an answer").into_parts();
            (head.headers, whole(&mut body).await.expect("an orderly end"))
        };
        let (fields, body) = ends.serving(read).await;
        assert_eq!(body, word());
        assert_eq!(fields["x-own"], "1");
        let warning = fields["x-turnpike-warning"].to_str().expect("a text");
        assert!(warning.starts_with("budget agent allows agent a 0 model_calls"), "{warning}");
    });
}
