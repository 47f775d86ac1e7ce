mod samples;

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use crate::{
    call::{Digest, Unmetered},
    dialect::{Known, NotUnderstood, Observer, Reading, RequestInfo, ResponseInfo, What, detect},
};

const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
const EVENTS: [&str; 3] = [
    "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n",
];

fn observer(content_encoding: Option<&str>) -> Observer {
    detect(&RequestInfo {
        method: "POST",
        target: "/v1/chat/completions",
        host: None,
        content_type: Some("application/json"),
        content_encoding,
        content_length: None,
        client_retry: None,
        signals: &[],
    })
    .expect("a chat completion")
}

fn gzip(pieces: &[&str]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in pieces {
        encoder.write_all(piece.as_bytes()).expect("memory");
        encoder.flush().expect("memory");
    }
    encoder.finish().expect("memory")
}

/// What a response of these pieces says.
fn answer(status: u16, content_type: &str, pieces: &[&[u8]], whole: bool) -> Reading {
    let mut observer = observer(None);
    observer.request_body(REQUEST.as_bytes());
    assert!(observer.request_end(&mut Known::default()).is_ok());
    observer.response_head(&ResponseInfo {
        status,
        content_type: Some(content_type),
        content_encoding: Some("gzip"),
        signals: &[],
    });
    for piece in pieces {
        observer.response_body(piece);
    }
    observer.response_end(whole, &mut Known::default()).remove(0).reading
}

#[test]
fn an_encoded_request_is_read_and_digested_as_it_was_sent() {
    let body = gzip(&[REQUEST]);
    let mut observer = observer(Some("gzip"));
    for piece in body.chunks(7) {
        observer.request_body(piece);
    }
    let asked = observer.request_end(&mut Known::default()).expect("a call").remove(0);
    assert_eq!(asked.sha256, Digest(Sha256::digest(&body).into()));
    let What::Model(prompt) = &asked.what else { panic!("no model: {asked:?}") };
    assert_eq!(prompt.wish.as_deref(), Some("hello"));
}

#[test]
fn a_broken_coding_is_said_of_a_request() {
    let mut broken = observer(Some("gzip"));
    broken.request_body(REQUEST.as_bytes());
    let reason = broken.request_end(&mut Known::default()).expect_err("it is no gzip");
    assert_eq!(reason, NotUnderstood::BrokenCoding);
    assert_eq!(Unmetered::from(reason), Unmetered::BrokenCoding);
    assert_eq!(Unmetered::from(NotUnderstood::Encoded), Unmetered::UnknownCoding);
}

#[test]
fn an_encoded_stream_is_read_as_far_as_it_came() {
    let body = gzip(&EVENTS);
    let stream = |pieces: &[&[u8]], whole| answer(200, "text/event-stream", pieces, whole);
    let reading = stream(&[&body], true);
    assert_eq!(reading.not_understood, None);
    assert!(reading.answer.complete);
    assert_eq!(reading.answer.finish_reasons, ["stop"]);
    let pieces: Vec<_> = body.chunks(1).collect();
    assert_eq!(stream(&pieces, true), reading);

    let first = gzip(&EVENTS[..1]);
    let cut = stream(&[&first[..first.len() - 12]], false);
    assert_eq!((cut.answer.response_id.as_deref(), cut.not_understood), (Some("a"), None));
    let short = stream(&[&body[..body.len() - 1]], true);
    assert_eq!(short.not_understood, Some(NotUnderstood::BrokenCoding));
    assert_eq!(short.answer.finish_reasons, ["stop"]);
    let broken = stream(&[&body, b"more"], true);
    assert_eq!(broken, Reading::lost(NotUnderstood::BrokenCoding));
}

#[test]
fn an_encoded_document_that_was_cut_is_not_broken() {
    let body = gzip(&[r#"{"choices":[]}"#]);
    let document = |bytes: &[u8], whole| answer(200, "application/json", &[bytes], whole);
    assert_eq!(document(&body, true).not_understood, None);
    assert_eq!(document(&body[..20], false), Reading::default());
    assert_eq!(document(&body[..20], true), Reading::lost(NotUnderstood::BrokenCoding));
}
