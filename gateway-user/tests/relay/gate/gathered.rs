//! One answer for the client, and a stream from its server.

use std::{net::TcpStream, sync::Arc};

use turnpike::{
    call::{CancelCause, Cause, Reason, Usage},
    policy::upstreams::Upstreams,
    proxy::Agent,
};

use super::{
    super::bed::{Bed, eventually},
    chat, enforced, expect, post, rest, send,
};

/// As a server writes the head of a stream, with a field of its own.
const HEAD: &str = "HTTP/1.1 200 OK\r\nX-Request-Id: 7\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                    transfer-encoding: chunked\r\n\r\n";

const CHUNKS: [&str; 4] = [
    r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}"#,
    r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"lo"}}]}"#,
    r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}"#,
];

const DOCUMENT: &str = r#"{"choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":"Hello","role":"assistant"}}],"id":"c","model":"m","object":"chat.completion","usage":{"completion_tokens":5,"prompt_tokens":11,"total_tokens":16}}"#;

fn streaming(agent: Agent) -> Agent {
    enforced(agent).asking(Arc::new(Upstreams::default()))
}

fn bed() -> Bed {
    Bed::with(streaming)
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn event(data: &str) -> String {
    chunk(&format!("data: {data}\n\n"))
}

/// The request as it goes on.
fn as_stream(request: &str) -> String {
    let body = request.split_once("\r\n\r\n").expect("a head").1;
    let added = r#"{"stream_options":{"include_usage":true},"stream":true,"#;
    post("", &body.replacen('{', added, 1))
}

fn ask(client: &mut TcpStream, server: &mut TcpStream) {
    let request = post("", &chat(""));
    send(client, &request);
    expect(server, &as_stream(&request));
}

fn document() -> String {
    format!(
        "HTTP/1.1 200 OK\r\nX-Request-Id: 7\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{DOCUMENT}",
        DOCUMENT.len()
    )
}

#[test]
fn the_client_gets_the_answer_that_it_asked_for() {
    let bed = bed();
    let (mut client, mut server) = bed.pair();
    for turn in 1..=2 {
        ask(&mut client, &mut server);
        send(&mut server, HEAD);
        for data in CHUNKS {
            // Cut where the server likes it.
            let (first, last) = data.split_at(20);
            send(&mut server, chunk(&format!("data: {first}")));
            send(&mut server, chunk(&format!("{last}\n\n")));
        }
        send(&mut server, event("[DONE]") + "0\r\n\r\n");
        expect(&mut client, &document());
        let step = bed.steps.finished(turn).remove(turn - 1).step;
        assert_eq!(step.usage, Some(Usage { input: 11, output: 5, ..Usage::default() }));
        assert_eq!(
            (step.status, step.error, &*step.finish_reasons),
            (Some(200), None, &["stop".into()][..])
        );
    }
}

#[test]
fn a_stream_that_ends_with_its_connection_is_whole_too() {
    let bed = bed();
    let (mut client, mut server) = bed.pair();
    ask(&mut client, &mut server);
    let head = HEAD.replace("transfer-encoding: chunked\r\n", "");
    let events: String = CHUNKS.iter().flat_map(|data| ["data: ", data, "\n\n"]).collect();
    send(&mut server, head + &events);
    drop(server);
    assert_eq!(rest(&mut client), document());
}

#[test]
fn who_answers_in_one_piece_all_the_same_is_passed_on() {
    let bed = bed();
    let (mut client, mut server) = bed.pair();
    ask(&mut client, &mut server);
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"choices\":[]}";
    send(&mut server, answer);
    expect(&mut client, answer);
    // So is an error that is not about the stream.
    ask(&mut client, &mut server);
    let answer = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}";
    send(&mut server, answer);
    expect(&mut client, answer);
}

#[test]
fn who_takes_no_stream_is_asked_as_the_client_did_and_remembered() {
    let bed = bed();
    let (mut client, mut server) = bed.pair();
    ask(&mut client, &mut server);
    send(&mut server, "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}");
    let request = post("", &chat(""));
    expect(&mut server, &request);
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"choices\":[]}";
    send(&mut server, answer);
    expect(&mut client, answer);
    send(&mut client, &request);
    expect(&mut server, &request);
    send(&mut server, answer);
    expect(&mut client, answer);
}

#[test]
fn an_error_in_the_stream_is_one_of_the_server() {
    let bed = bed();
    let (mut client, mut server) = bed.pair();
    ask(&mut client, &mut server);
    let error = r#"{"error":{"message":"CUDA error","type":"server_error"}}"#;
    send(
        &mut server,
        format!("{HEAD}{}{}{}0\r\n\r\n", event(CHUNKS[0]), event(error), event("[DONE]")),
    );
    let told = rest(&mut client);
    assert!(told.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{told}");
    assert!(told.ends_with(error), "{told}");
    assert_eq!(bed.steps.finished(1).remove(0).step.error, Some("server_error".into()));
}

#[test]
fn a_stream_that_ends_before_its_answer_is_told_as_that() {
    let bed = bed();
    let (mut client, mut server) = bed.pair();
    ask(&mut client, &mut server);
    send(&mut server, format!("{HEAD}{}0\r\n\r\n", event(CHUNKS[0])));
    let told = rest(&mut client);
    assert!(told.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{told}");
    assert!(told.contains("its stream ended before its answer did"), "{told}");
    // A connection that breaks is a connection that breaks.
    let (mut client, mut server) = bed.pair();
    ask(&mut client, &mut server);
    send(&mut server, format!("{HEAD}{}", event(CHUNKS[0])));
    drop(server);
    assert_eq!(rest(&mut client), "");
}

#[test]
fn what_is_ended_meanwhile_is_answered_and_its_generation_with_it() {
    let bed = bed();
    let (mut client, mut server) = bed.pair();
    ask(&mut client, &mut server);
    send(&mut server, format!("{HEAD}{}{}", event(CHUNKS[0]), event(CHUNKS[1])));
    let came = (HEAD.len() + CHUNKS[0].len() + CHUNKS[1].len()) as u64;
    eventually("it has come", || bed.agent.coverage.snapshot().bytes_observed > came);
    bed.agent.cut(&Reason::new(Cause::Cancelled, "killed for a test"), |_, _| true);
    let told = rest(&mut client);
    assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{told}");
    assert!(told.contains("killed for a test"), "{told}");
    let step = bed.steps.settled(1).remove(0).step;
    let cancel = step.cancel.expect("it was ended");
    assert_eq!((cancel.cause, cancel.generation_may_continue), (CancelCause::Kill, Some(false)));
    assert!(step.usage.is_some_and(|usage| usage.output > 0), "what came has been spent");
}

#[test]
fn what_may_not_be_changed_is_not() {
    let bed = bed();
    let (mut client, mut server) = bed.pair();
    let sealed = post("Content-Digest: sha-256=:x:\r\n", &chat(""));
    send(&mut client, &sealed);
    expect(&mut server, &sealed);
    // In audit nothing is.
    let audit = Bed::with(|agent| agent.asking(Arc::new(Upstreams::default())));
    let (mut watched, mut upstream) = audit.pair();
    let request = post("", &chat(""));
    send(&mut watched, &request);
    expect(&mut upstream, &request);
    // And what is a stream already goes on as one.
    let (mut client, mut server) = bed.pair();
    send(&mut client, post("", &chat(r#","stream":true"#)));
    let sent = r#"{"stream_options":{"include_usage":true},"#;
    let asked = chat(r#","stream":true"#).replacen('{', sent, 1);
    expect(&mut server, &post("", &asked));
}
