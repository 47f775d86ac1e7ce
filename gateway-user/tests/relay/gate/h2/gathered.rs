//! One answer for the client, and a stream from its server.

use std::sync::Arc;

use ::h2::Reason as Code;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde_json::Value;
use turnpike::{call::Usage, policy::upstreams::Upstreams};

use super::{
    super::super::bed::Bed,
    super::{chat, enforced, no},
    Ends, events, read, run, whole,
};

/// A chat that is asked of a server as a stream, and how it answers.
async fn gathered(bed: &Bed, pieces: &[&'static str]) -> (StatusCode, HeaderMap, Value) {
    let mut ends = Ends::new(bed).await;
    let answer = ends.ask_chat(&chat("")).await;
    let (mut call, mut respond) = ends.accept().await;
    let body = ends.serving(whole(call.body_mut())).await.expect("whole");
    let added = r#"{"stream_options":{"include_usage":true},"stream":true,"model""#;
    assert!(body.starts_with(added), "{body}");
    let mut to = respond.send_response(events(), false).expect("it is open");
    for piece in pieces {
        to.send_data(Bytes::from_static(piece.as_bytes()), false).expect("it is open");
    }
    to.send_data(Bytes::new(), true).expect("it is open");
    ends.serving(read(answer)).await
}

#[test]
fn one_answer_is_given_for_a_stream_that_the_gateway_asked_for() {
    let bed = Bed::with(|agent| enforced(agent).asking(Arc::new(Upstreams::default())));
    let pieces = [
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"He\"}}],\"usage\":null}\n\ndata: {\"id\":\"c\",",
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"y\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n",
    ];
    run(async {
        let (status, head, document) = gathered(&bed, &pieces).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(head.get(CONTENT_TYPE).expect("a type"), "application/json");
        assert_eq!(document["choices"][0]["message"]["content"], "Hey");
        let step = bed.steps.finished(1).remove(0).step;
        assert_eq!(step.usage, Some(Usage { input: 3, output: 1, ..Usage::default() }));
        // Without its end it is none.
        let (status, _, told) = gathered(&bed, &pieces[..1]).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        let message = told["error"]["message"].as_str().expect("a text");
        assert!(message.contains("its stream ended before its answer did"), "{message}");
    });
}

#[test]
fn what_is_ended_before_it_is_whole_is_answered_with_why() {
    let bed = Bed::with(|agent| enforced(agent).asking(Arc::new(Upstreams::default())));
    run(async {
        let mut ends = Ends::new(&bed).await;
        let answer = ends.ask_chat(&chat("")).await;
        let (_call, mut respond) = ends.accept().await;
        let mut to = respond.send_response(events(), false).expect("it is open");
        let part = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"He\"}}]}\n\n";
        to.send_data(Bytes::from_static(part), false).expect("it is open");
        let seen = || bed.agent.coverage.snapshot().bytes_observed;
        let before = seen();
        let arrival = async {
            while seen() < before + part.len() as u64 {
                tokio::task::yield_now().await;
            }
        };
        ends.serving(arrival).await;
        assert_eq!(bed.agent.cut(&no(), |_, _| true), 1);
        let reset = std::future::poll_fn(|cx| to.poll_reset(cx));
        let (code, (status, _, told)) =
            ends.serving(async { tokio::join!(reset, read(answer)) }).await;
        assert_eq!(code.expect("a reset"), Code::CANCEL);
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(told["error"]["message"].as_str().is_some_and(|text| text.contains("not today")));
    });
}
