//! What calls spent, where nobody says it.

use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};
use turnpike::call::Usage;

use super::{
    bed::{Bed, Server, reset},
    chat::{ask, event, pass},
};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
const TEXT: &str = "The quick brown fox jumps over the lazy dog.";

fn piece(delta: &Value, finish: &Value) -> String {
    let choices = json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    event(&json!({ "id": "c1", "model": "gpt-4o-2024-08-06", "choices": choices }).to_string())
}

fn text() -> String {
    piece(&json!({ "role": "assistant", "content": TEXT }), &Value::Null)
}

/// Nine tokens and a full stop, and six around the message.
const ESTIMATE: Usage = Usage {
    input: 16,
    output: 10,
    cache_read: None,
    cache_creation: None,
    cache_creation_1h: None,
    reasoning: None,
    estimated: true,
};

#[test]
fn a_stream_without_usage_is_estimated() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, &ask(TEXT));
    let end = piece(&json!({}), &"stop".into());
    pass(&mut server, &mut client, &(HEAD.to_owned() + &text() + &end));
    pass(&mut server, &mut client, &(event("[DONE]") + "0\r\n\r\n"));
    let step = bed.steps.settled(1).remove(0).step;
    assert_eq!((step.usage, step.unpriced), (Some(ESTIMATE), false));
    assert_eq!(step.usd.expect("a price").to_string(), "0.00014");
    // The connection goes on meanwhile, and so do its estimates.
    pass(&mut client, &mut server, &ask(TEXT));
    pass(&mut server, &mut client, &(HEAD.to_owned() + &text() + &end + "0\r\n\r\n"));
    let step = bed.steps.settled(2).remove(1).step;
    assert_eq!(step.usage, Some(ESTIMATE));
    assert_eq!(bed.agent.coverage.snapshot().calls_estimated, 2);
}

#[test]
fn a_stream_that_is_cut_has_the_usage_of_what_was_read() {
    let bed = Bed::start();
    // Each ends the answer in its own way.
    let ends: [fn(TcpStream, TcpStream); 4] = [
        |_client, server| reset(server),
        |_client, server| drop(server),
        |client, _server| reset(client),
        |client, server| {
            client.shutdown(Shutdown::Write).expect("it is open");
            drop(server);
        },
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let (mut client, mut server) = bed.pair();
        pass(&mut client, &mut server, &ask(TEXT));
        pass(&mut server, &mut client, &(HEAD.to_owned() + &text()));
        end(client, server);
        let step = bed.steps.settled(n + 1).remove(n).step;
        assert_eq!(step.usage, Some(ESTIMATE), "end {n}");
    }
}

#[test]
fn a_call_that_is_given_up_has_had_its_prompt_read() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, &ask(TEXT));
    reset(client);
    let step = bed.steps.settled(1).remove(0).step;
    assert_eq!(step.usage, Some(Usage { output: 0, ..ESTIMATE }));
    // By the name that the client asked for: the server never told its own.
    assert!(step.unpriced && step.usd.is_none());
}

#[test]
fn what_was_reported_before_the_cut_holds() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, &ask(TEXT));
    let usage = json!({ "prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42 });
    let report = event(&json!({ "id": "c1", "choices": [], "usage": usage }).to_string());
    pass(&mut server, &mut client, &(HEAD.to_owned() + &report + &text()));
    reset(server);
    let step = bed.steps.settled(1).remove(0).step;
    assert_eq!(step.usage, Some(Usage { input: 40, ..ESTIMATE }));
}

#[test]
fn what_is_refused_costs_nothing() {
    let bed = Bed::start();
    let listening = Server::new();
    for (n, status) in
        ["429 Too Many Requests", "400 Bad Request", "503 Unavailable"].iter().enumerate()
    {
        let mut client = bed.connect(listening.address);
        let mut server = listening.accept();
        pass(&mut client, &mut server, &ask(TEXT));
        let refusal = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        pass(&mut server, &mut client, &refusal);
        let step = bed.steps.finished(n + 1).remove(n).step;
        assert!(step.settled && step.usage.is_none() && step.usd.is_none() && !step.unpriced);
    }
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, &ask(TEXT));
    reset(server);
    let step = bed.steps.finished(4).remove(3).step;
    assert!(step.settled && step.usage.is_none());
    assert_eq!(bed.agent.coverage.snapshot().calls_estimated, 0);
}

#[test]
fn a_message_that_is_cut_has_its_reported_input_and_an_estimate_of_its_output() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    let messages = json!([{ "role": "user", "content": TEXT }]);
    let body = json!({ "model": "claude-3-5-haiku-latest", "max_tokens": 100, "stream": true,
        "messages": messages });
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: api.anthropic.com\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    pass(&mut client, &mut server, &request);
    let usage = json!({ "input_tokens": 20, "cache_read_input_tokens": 1000, "output_tokens": 1 });
    let message = json!({ "id": "msg_1", "role": "assistant", "model": "claude-3-5-haiku-20241022",
        "content": [], "usage": usage });
    let delta = json!({ "type": "text_delta", "text": TEXT });
    let begun = [
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "delta": delta }),
    ];
    let events: Vec<_> = begun.iter().map(|it| event(&it.to_string())).collect();
    pass(&mut server, &mut client, &(HEAD.to_owned() + &events.concat()));
    reset(server);
    let step = bed.steps.settled(1).remove(0).step;
    let usage = Usage { input: 1020, cache_read: Some(1000), ..ESTIMATE };
    assert_eq!((step.usage, step.unpriced), (Some(usage), false));
    assert_eq!(bed.agent.coverage.snapshot().calls_estimated, 1);
}
