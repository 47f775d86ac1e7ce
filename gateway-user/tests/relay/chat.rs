//! Model calls are understood as they pass.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use serde_json::{Value, json};
use turnpike::call::{
    CallKind, CancelCause, ConnectionId, Dialect, Operation, State, StepKind, Usage,
};

use super::bed::{Bed, Finished, Server, reset};

pub(crate) fn question(messages: &Value) -> String {
    let body = json!({ "model": "m-1", "stream": true, "messages": messages }).to_string();
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// One event, in a chunk of its own.
pub(crate) fn event(data: &str) -> String {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// The parts of a streamed answer, each to be sent by itself.
fn answer(id: &str, text: &str) -> Vec<String> {
    let piece = |choices: Value, usage: Value| {
        let body = json!({
            "id": id, "object": "chat.completion.chunk", "created": 1, "model": "m-1-2026",
            "choices": choices, "usage": usage,
        });
        event(&body.to_string())
    };
    let delta = |delta: Value, finish: Value| {
        piece(json!([{ "index": 0, "delta": delta, "finish_reason": finish }]), Value::Null)
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let usage = json!({ "prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16 });
    vec![
        head.into(),
        delta(json!({ "role": "assistant", "content": "" }), Value::Null),
        delta(json!({ "content": text }), Value::Null),
        delta(json!({}), "stop".into()),
        piece(json!([]), usage),
        event("[DONE]"),
        "0\r\n\r\n".into(),
    ]
}

pub(crate) fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &str) {
    from.write_all(bytes.as_bytes()).expect("it is open");
    let mut received = vec![0; bytes.len()];
    to.read_exact(&mut received).expect("it comes");
    assert_eq!(String::from_utf8_lossy(&received), bytes);
}

pub(crate) fn ask(text: &str) -> String {
    question(&json!([{ "role": "user", "content": text }]))
}

#[test]
fn a_streamed_answer_makes_one_whole_step() {
    let bed = Bed::start();
    let listening = Server::new();
    let mut client = bed.connect(listening.address);
    let mut server = listening.accept();
    let from = server.peer_addr().expect("connected");
    pass(&mut client, &mut server, &ask("hello"));
    super::bed::eventually("the call is placed", || bed.steps.placed().len() == 1);
    let (_, placed) = bed.steps.placed().remove(0);
    assert!(!placed.settled && placed.duration_ms.is_none());
    for part in answer("chatcmpl-1", "Hi.") {
        pass(&mut server, &mut client, &part);
    }
    let Finished { step, completion, .. } = bed.steps.finished(1).remove(0);
    assert_eq!((completion.state, completion.kind), (State::Done, StepKind::Final));
    assert_eq!((step.kind, step.call), (StepKind::Final, CallKind::Model));
    assert_eq!((step.dialect, step.operation), (Some(Dialect::OpenaiChat), Some(Operation::Chat)));
    assert_eq!(step.request_model.as_deref(), Some("m-1"));
    assert_eq!(step.response_model.as_deref(), Some("m-1-2026"));
    assert_eq!(step.response_id.as_deref(), Some("chatcmpl-1"));
    assert_eq!(step.finish_reasons, ["stop"]);
    assert_eq!(step.usage, Some(Usage { input: 11, output: 5, ..Usage::default() }));
    assert_eq!(step.host.as_deref(), Some("api.test"));
    assert_eq!(step.original_dst, Some(listening.address));
    assert_eq!(step.upstream_local, Some(from));
    assert_eq!((step.pid, step.connection_id), (Some(42), Some(ConnectionId(1))));
    assert_eq!((step.exchange_seq, step.status), (Some(0), Some(200)));
    assert!(step.settled);
    let (first, whole) = (step.ttft_ms.expect("it came"), step.duration_ms.expect("it ended"));
    assert!(first < whole, "{first:?} {whole:?}");
    assert_eq!(bed.agent.coverage.snapshot().calls, 1);
}

#[test]
fn kept_alive_connections_carry_one_step_for_each_exchange() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    for turn in 0..3 {
        pass(&mut client, &mut server, &ask(&format!("question {turn}")));
        pass(&mut server, &mut client, &answer(&format!("id-{turn}"), "text").concat());
    }
    let steps = bed.steps.finished(3);
    let seen: Vec<_> =
        steps.iter().map(|it| (it.step.exchange_seq, it.step.response_id.clone())).collect();
    assert_eq!(seen, [0, 1, 2].map(|turn| (Some(turn), Some(format!("id-{turn}")))),);
    assert_ne!(steps[0].workflow, steps[1].workflow);
}

#[test]
fn conversations_over_several_connections_come_apart() {
    let bed = Bed::start();
    let mut pairs: Vec<_> = (0..4).map(|_| bed.pair()).collect();
    for (n, (client, server)) in pairs.iter_mut().enumerate() {
        pass(client, server, &ask(&format!("wish {n}")));
    }
    let answers: Vec<_> =
        (0..4).map(|n| answer(&format!("first-{n}"), &format!("text {n}"))).collect();
    for part in 0..answers[0].len() {
        for ((client, server), answer) in pairs.iter_mut().zip(&answers) {
            pass(server, client, &answer[part]);
        }
    }
    bed.steps.finished(4);
    // Each goes on over another connection than it began on.
    for (n, (client, server)) in pairs.iter_mut().rev().enumerate() {
        let messages = json!([
            { "role": "user", "content": format!("wish {n}") },
            { "role": "assistant", "content": format!("text {n}") },
            { "role": "user", "content": "go on" },
        ]);
        pass(client, server, &question(&messages));
        pass(server, client, &answer(&format!("second-{n}"), "done").concat());
    }
    let steps = bed.steps.finished(8);
    for n in 0..4 {
        let of = |id: String| {
            let id = Some(id);
            steps.iter().find(|it| it.step.response_id == id).expect("it was recorded").step.clone()
        };
        let (first, second) = (of(format!("first-{n}")), of(format!("second-{n}")));
        assert_eq!(second.parent_step_ids, [first.step_id], "conversation {n}");
    }
}

/// How an exchange ends; gives the side that stays.
type End = fn(TcpStream, TcpStream) -> TcpStream;

#[test]
fn an_answer_that_is_cut_is_recorded_as_failed_or_as_given_up() {
    let bed = Bed::start();
    let cut = answer("chatcmpl-1", "Hi.")[..3].concat();
    // Each in its own way.
    let ends: [(State, End); 4] = [
        (State::Failed, |client, server| {
            reset(server);
            client
        }),
        (State::Failed, |client, server| {
            drop(server);
            client
        }),
        (State::Cancelled, |client, server| {
            reset(client);
            server
        }),
        (State::Cancelled, |client, server| {
            client.shutdown(Shutdown::Write).expect("it is open");
            drop(server);
            client
        }),
    ];
    for (n, (state, end)) in ends.into_iter().enumerate() {
        let (mut client, mut server) = bed.pair();
        pass(&mut client, &mut server, &ask(&format!("wish {n}")));
        pass(&mut server, &mut client, &cut);
        let _stays = end(client, server);
        let Finished { step, completion, .. } = bed.steps.finished(n + 1).remove(n);
        assert_eq!(completion.state, state, "end {n}");
        let cause = step.cancel.as_ref().map(|cancel| cancel.cause);
        assert_eq!(cause, (state == State::Cancelled).then_some(CancelCause::ClientGone));
        assert_eq!((step.status, step.finish_reasons), (Some(200), vec![]));
    }
}

#[test]
fn a_call_without_any_answer_is_recorded_as_failed() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, &ask("hello"));
    reset(server);
    let Finished { step, completion, .. } = bed.steps.finished(1).remove(0);
    assert_eq!((completion.state, step.status), (State::Failed, None));
    drop(client);
}

#[test]
fn an_answer_may_come_before_the_end_of_its_question() {
    let bed = Bed::start();
    let (mut client, mut server) = bed.pair();
    let question = ask("hello");
    let (begin, end) = question.split_at(question.len() - 1);
    pass(&mut client, &mut server, begin);
    pass(&mut server, &mut client, "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n");
    pass(&mut client, &mut server, end);
    pass(&mut client, &mut server, &ask("hello again"));
    pass(&mut server, &mut client, &answer("chatcmpl-2", "Hi.").concat());
    let Finished { step, .. } = bed.steps.finished(1).remove(0);
    assert_eq!((step.exchange_seq, step.response_id.as_deref()), (Some(1), Some("chatcmpl-2")));
    assert_eq!(bed.agent.coverage.snapshot().calls_not_understood, 1);
}
