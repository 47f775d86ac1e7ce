//! Usage that a stream reports because the gateway asked for it.

use std::net::TcpStream;

use turnpike::call::Usage;

use super::{super::bed::Bed, chat, expect, post, send};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The request as it goes on for one that asks for a stream.
fn with_usage(request: &str) -> String {
    let body = request.split_once("\r\n\r\n").expect("a head").1;
    let added = r#"{"stream_options":{"include_usage":true},"#;
    post("", &body.replacen('{', added, 1))
}

/// A stream is asked for, and goes on asking for its usage.
fn ask(client: &mut TcpStream, server: &mut TcpStream) {
    let request = post("", &chat(r#","stream":true"#));
    send(client, &request);
    expect(server, &with_usage(&request));
}

#[test]
fn what_the_client_did_not_ask_for_is_known_and_hidden() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    for turn in 1..=2 {
        ask(&mut client, &mut server);
        send(&mut server, HEAD);
        expect(&mut client, HEAD);
        let first = r#"data: {"id":"c", "choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"}}],"usage":null}"#;
        let shown = first.replace(r#","usage":null"#, "");
        send(&mut server, chunk(&format!("{first}\n\n")));
        expect(&mut client, &chunk(&format!("{shown}\n\n")));
        // Cut where the server likes it.
        send(&mut server, chunk("data: {\"id\":\"c\",\"choices\":[],\"usa"));
        let usage = "ge\":{\"prompt_tokens\":11,\"completion_tokens\":5,\"total_tokens\":16}}\n\n";
        send(&mut server, chunk(&format!("{usage}data: [DONE]\n\n")));
        expect(&mut client, &chunk("data: [DONE]\n\n"));
        send(&mut server, "0\r\n\r\n");
        expect(&mut client, "0\r\n\r\n");
        let step = bed.steps.finished(turn).remove(turn - 1).step;
        assert_eq!(step.usage, Some(Usage { input: 11, output: 5, ..Usage::default() }));
    }
}

#[test]
fn a_body_that_ends_with_its_connection_is_filtered_to_its_end() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    ask(&mut client, &mut server);
    send(&mut server, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    send(&mut server, "data: {\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{}}\n\ndata: [DO");
    drop(server);
    let expected =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\ndata: [DO";
    assert_eq!(super::rest(&mut client), expected);
}

#[test]
fn whoever_asked_gets_it() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    let asked = chat(r#","stream":true,"stream_options":{"include_usage":true}"#);
    for request in [post("", &asked), post("", &chat(""))] {
        send(&mut client, &request);
        expect(&mut server, &request);
        let stream = format!("{HEAD}{}0\r\n\r\n", chunk("data: {\"usage\":null}\n\n"));
        send(&mut server, &stream);
        expect(&mut client, &stream);
    }
}

#[test]
fn an_answer_in_which_nothing_can_be_hidden_goes_on_as_it_is() {
    let bed = Bed::enforcing();
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 22\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\n\
         Content-Length: 22\r\n\r\n",
    ] {
        let (mut client, mut server) = bed.pair();
        ask(&mut client, &mut server);
        let answer = format!("{head}data: {{\"usage\":null}}\n\n");
        send(&mut server, &answer);
        expect(&mut client, &answer);
    }
}

fn refusal(fields: &str, error: &str) -> String {
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json";
    format!("{head}\r\n{fields}Content-Length: {}\r\n\r\n{error}", error.len())
}

/// A request goes on as it is, and so does its answer.
fn ask_unchanged(client: &mut TcpStream, server: &mut TcpStream) {
    let request = post("", &chat(r#","stream":true"#));
    send(client, &request);
    expect(server, &request);
    let stream = format!("{HEAD}{}0\r\n\r\n", chunk("data: {\"usage\":null}\n\n"));
    send(server, &stream);
    expect(client, &stream);
}

#[test]
fn a_server_that_does_not_take_it_is_asked_again_without_and_left_alone_afterwards() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    let request = post("", &chat(r#","stream":true"#));
    ask(&mut client, &mut server);
    for byte in refusal("", "{\"error\":\"extra field\"}").as_bytes().chunks(7) {
        send(&mut server, byte);
    }
    expect(&mut server, &request);
    let stream = format!("{HEAD}{}0\r\n\r\n", chunk("data: {\"usage\":null}\n\n"));
    send(&mut server, &stream);
    expect(&mut client, &stream);
    ask_unchanged(&mut client, &mut server);
    assert_eq!(bed.steps.finished(2)[0].step.status, Some(200));
}

#[test]
fn a_request_that_is_wrong_either_way_is_answered_once_and_its_server_asked_on() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    for _ in 0..2 {
        ask(&mut client, &mut server);
        send(&mut server, refusal("", "no such model"));
        expect(&mut server, &post("", &chat(r#","stream":true"#)));
        send(&mut server, refusal("", "no such model, really"));
        expect(&mut client, &refusal("", "no such model, really"));
    }
    assert_eq!(bed.steps.finished(2)[1].step.status, Some(400));
}

#[test]
fn a_server_that_ends_the_connection_is_not_asked_again_but_remembered() {
    let bed = Bed::enforcing();
    for error in ["no such model", "stream_options: extra field"] {
        let (mut client, mut server) = bed.pair();
        ask(&mut client, &mut server);
        let answer = refusal("Connection: close\r\n", error);
        send(&mut server, &answer);
        drop(server);
        assert_eq!(super::rest(&mut client), answer);
    }
    let (mut client, mut server) = bed.pair();
    ask_unchanged(&mut client, &mut server);
}

#[test]
fn a_request_with_others_behind_it_is_not_sent_again() {
    let bed = Bed::enforcing();
    let (mut client, mut server) = bed.pair();
    let request = post("", &chat(r#","stream":true"#));
    send(&mut client, [&request, super::GET].concat());
    expect(&mut server, &[&*with_usage(&request), super::GET].concat());
    send(&mut server, refusal("", "no"));
    expect(&mut client, &refusal("", "no"));
}
