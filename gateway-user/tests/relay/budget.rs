//! Calls that are held to budgets.

mod h2;
mod socket;
mod streams;

use std::{io::Read as _, net::TcpStream, time::Duration};

use serde_json::json;
use turnpike::{
    call::{Decision, Ruling, Usage},
    config::Mode,
    ledger::{Amounts, Budget, Dimension, Limits, OnExceed, Scope},
    proxy::Purse,
};

use super::{
    bed::{Bed, Server, eventually},
    gate::{answer, expect, rest, send},
};

/// A budget of the agent, of so much of one thing.
pub(super) fn of(dimension: Dimension, most: u64) -> Budget {
    let limits = Limits { amounts: Amounts::MOST.with(dimension, most), ..Limits::default() };
    Budget::new("agent", Scope::Agent, limits)
}

/// A chat about that, with further fields.
pub(super) fn chat(wish: &str, fields: &str) -> String {
    let body = format!(
        r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{wish}"}}]{fields}}}"#
    );
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// An answer that spent so much.
pub(super) fn answered(input: u64, output: u64) -> String {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "yes" },
            "finish_reason": "stop" }],
        "usage": { "prompt_tokens": input, "completion_tokens": output,
            "total_tokens": input + output },
    });
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn spent(purse: &Purse, dimension: Dimension) -> (u64, u64) {
    purse.with(|ledger| {
        let mut balances = ledger.balances();
        balances.next().map_or((0, 0), |it| (it.spent[dimension], it.held[dimension]))
    })
}

/// What a server is sent before the connection is given up, or before it waits.
fn heard(server: &mut TcpStream) -> String {
    server.set_read_timeout(Some(Duration::from_millis(200))).expect("an option");
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = server.read(&mut piece) {
        heard.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(heard).expect("text")
}

#[test]
fn of_two_hundred_calls_at_once_those_that_fit_go_upstream() {
    let (bed, purse) = Bed::paying(Mode::Enforce, vec![of(Dimension::OutputTokens, 1000)]);
    let server = Server::new();
    let mut calls: Vec<(TcpStream, TcpStream)> =
        (0..200).map(|_| (bed.connect(server.address), server.accept())).collect();
    for (number, (client, _)) in calls.iter_mut().enumerate() {
        send(client, chat(&format!("wish {number}"), r#","max_tokens":100"#));
    }
    eventually("all are decided on", || {
        bed.counted("calls_refused") == 190 && spent(&purse, Dimension::OutputTokens) == (0, 1000)
    });
    let mut made = 0;
    for (client, server) in &mut calls {
        if bed_passed(server) {
            made += 1;
            send(server, answered(10, 100));
            expect(client, &answered(10, 100));
        } else {
            let (head, body) = answer(client);
            assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
            assert!(head.contains("\r\nx-should-retry: false\r\n"), "{head}");
            assert_eq!(body["error"]["code"], "turnpike_budget_exceeded");
            let message = body["error"]["message"].as_str().expect("a text");
            assert!(message.contains("1000 output_tokens, of which 0 are spent and 1000 held"));
        }
    }
    assert_eq!(made, 10);
    eventually("they are settled", || spent(&purse, Dimension::OutputTokens) == (1000, 0));
}

/// Whether a request has come. Of one that was refused the connection is reset.
fn bed_passed(server: &mut TcpStream) -> bool {
    let mut first = [0; 1];
    let passed = matches!(server.read(&mut first), Ok(1));
    assert!(!passed || first == *b"P");
    passed
}

#[test]
fn what_asks_for_more_than_is_left_is_given_that() {
    let (bed, purse) = Bed::paying(Mode::Enforce, vec![of(Dimension::OutputTokens, 500)]);
    let (mut client, mut server) = bed.pair();
    for (number, (asked, given)) in [
        (r#","max_tokens":100"#, r#","max_tokens":100"#),
        ("", r#""max_completion_tokens":450,"#),
        (r#","n":2,"max_completion_tokens":4000"#, r#","n":2,"max_completion_tokens":200"#),
    ]
    .into_iter()
    .enumerate()
    {
        let wish = format!("wish {number}");
        send(&mut client, chat(&wish, asked));
        // A field that is added stands first.
        let passed = match asked {
            "" => chat(&wish, given)
                .replace(given, "")
                .replace("{\"model", &format!("{{{given}\"model")),
            _ => chat(&wish, given),
        };
        expect(&mut server, &passed);
        send(&mut server, answered(5, 50));
        expect(&mut client, &answered(5, 50));
    }
    eventually("all are settled", || spent(&purse, Dimension::OutputTokens) == (150, 0));
    let clamped = [Ruling::new("budget".into(), Decision::Clamp)];
    let rulings: Vec<_> = bed.steps.placed().into_iter().map(|(_, step)| step.policy).collect();
    assert_eq!(rulings, [vec![], clamped.to_vec(), clamped.to_vec()]);
}

#[test]
fn audit_refuses_nothing_and_says_what_it_would() {
    let (bed, purse) = Bed::paying(Mode::Audit, vec![of(Dimension::ModelCalls, 1)]);
    let (mut client, mut server) = bed.pair();
    for wish in ["hi", "again"] {
        send(&mut client, chat(wish, ""));
        expect(&mut server, &chat(wish, ""));
        send(&mut server, answered(5, 50));
        expect(&mut client, &answered(5, 50));
    }
    eventually("both are settled", || spent(&purse, Dimension::ModelCalls) == (2, 0));
    let rulings: Vec<_> = bed.steps.placed().into_iter().map(|(_, step)| step.policy).collect();
    assert_eq!(rulings, [vec![], vec![Ruling::new("agent".into(), Decision::WouldDeny)]]);
}

/// As an answer has it that is passed on with a warning.
fn warned(answer: &str) -> String {
    let warning = "x-turnpike-warning: budget agent allows agent a 1 model_calls, of which 1 are spent, and \
                   this call takes at least 1; an operator can raise it, or go on with `turnpike budget \
                   reset`";
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    format!("{head}\r\n{warning}\r\n\r\n{body}")
}

#[test]
fn a_call_beyond_a_limit_that_only_warns_is_answered_with_the_warning() {
    let warns = Budget { on_exceed: OnExceed::Warn, ..of(Dimension::ModelCalls, 1) };
    let (bed, purse) = Bed::paying(Mode::Enforce, vec![warns]);
    let (mut client, mut server) = bed.pair();
    for (number, wish) in [(0, "hi"), (1, "again"), (2, "still")] {
        send(&mut client, chat(wish, r#","max_tokens":50"#));
        expect(&mut server, &chat(wish, r#","max_tokens":50"#));
        let answered = answered(5, 50);
        // However its head comes.
        let (first, last) = answered.split_at(if number == 1 { 0 } else { 30 });
        send(&mut server, first);
        send(&mut server, last);
        let spent_before = format!("{number} are spent");
        let warned = warned(&answered).replace("1 are spent", &spent_before);
        expect(&mut client, if number == 0 { &answered } else { &warned });
        eventually("it is settled", || spent(&purse, Dimension::ModelCalls) == (number + 1, 0));
    }
    let steps = bed.steps.settled(3);
    let would_deny = [Ruling::new("agent".into(), Decision::WouldDeny)];
    assert_eq!(steps[1].step.policy, would_deny);
}

#[test]
fn a_refused_call_says_which_budget_and_costs_nothing() {
    let (bed, purse) = Bed::paying(Mode::Enforce, vec![of(Dimension::ModelCalls, 1)]);
    let (mut client, mut server) = bed.pair();
    send(&mut client, chat("hi", ""));
    expect(&mut server, &chat("hi", ""));
    send(&mut server, answered(5, 50));
    expect(&mut client, &answered(5, 50));
    eventually("it is settled", || spent(&purse, Dimension::ModelCalls) == (1, 0));
    send(&mut client, chat("again", ""));
    let (_, body) = answer(&mut client);
    let message = body["error"]["message"].as_str().expect("a text");
    assert_eq!(
        message,
        "turnpike: budget agent allows agent a 1 model_calls, of which 1 are spent, and this call takes \
         at least 1; an operator can raise it, or go on with `turnpike budget reset`"
    );
    let step = bed.steps.settled(2).remove(1).step;
    assert_eq!((step.status, step.usage), (Some(400), None));
    assert_eq!(step.policy, [Ruling::new("agent".into(), Decision::Deny)]);
    assert_eq!(spent(&purse, Dimension::ModelCalls), (1, 0));
    // It is stopped now, whatever it asks.
    let (mut client, mut server) = bed.pair();
    send(&mut client, chat("something else", ""));
    let (_, body) = answer(&mut client);
    assert!(body["error"]["message"].as_str().is_some_and(|text| text.contains("is stopped")));
    assert_eq!(heard(&mut server), "");
}

#[test]
fn who_spends_too_much_has_all_calls_ended_if_it_is_to_be_so() {
    const STREAM: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let budget = Budget { on_exceed: OnExceed::Cancel, ..of(Dimension::InputTokens, 1000) };
    let (bed, _purse) = Bed::paying(Mode::Enforce, vec![budget]);
    let (mut streaming, mut stream) = bed.pair();
    send(&mut streaming, chat("one", r#","stream":true,"stream_options":{"include_usage":true}"#));
    let asked = chat("one", r#","stream":true,"stream_options":{"include_usage":true}"#);
    expect(&mut stream, &asked);
    let begun = format!("{STREAM}a\r\ndata: {{}}\n\n\r\n");
    send(&mut stream, &begun);
    expect(&mut streaming, &begun);
    // What a call's input is nobody knows before.
    let (mut client, mut server) = bed.pair();
    send(&mut client, chat("two", ""));
    expect(&mut server, &chat("two", ""));
    send(&mut server, answered(5000, 5));
    expect(&mut client, &answered(5000, 5));
    let events = rest(&mut streaming);
    assert!(events.contains("turnpike_budget_exceeded"), "{events}");
    assert_eq!(heard(&mut stream), "");
    assert_eq!(bed.counted("calls_cut"), 1);
    let usage = bed.steps.settled(2).remove(1).step.usage;
    assert!(usage.is_some_and(|Usage { estimated, .. }| estimated), "{usage:?}");
}

#[test]
fn what_is_dropped_without_an_answer_stays_spent_or_is_estimated() {
    let (bed, purse) = Bed::paying(Mode::Enforce, vec![of(Dimension::OutputTokens, 1000)]);
    let (mut client, mut server) = bed.pair();
    send(&mut client, chat("hi", r#","max_tokens":300"#));
    expect(&mut server, &chat("hi", r#","max_tokens":300"#));
    assert_eq!(spent(&purse, Dimension::OutputTokens), (0, 300));
    drop(server);
    drop(client);
    let step = bed.steps.settled(1).remove(0).step;
    eventually("nothing is held", || spent(&purse, Dimension::OutputTokens).1 == 0);
    let output = step.usage.map_or(0, |usage| usage.output);
    assert_eq!(spent(&purse, Dimension::OutputTokens).0, output);
}

#[test]
fn a_call_that_upstream_refuses_was_made_and_spent_nothing() {
    let (bed, purse) = Bed::paying(Mode::Enforce, vec![of(Dimension::ModelCalls, 2)]);
    let (mut client, mut server) = bed.pair();
    let busy = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}";
    send(&mut client, chat("hi", ""));
    expect(&mut server, &chat("hi", ""));
    send(&mut server, busy);
    expect(&mut client, busy);
    eventually("it is settled", || spent(&purse, Dimension::ModelCalls) == (1, 0));
    assert_eq!(spent(&purse, Dimension::TotalTokens), (0, 0));
}

/// What is made in the background is held until its answer is fetched, or has ended without saying what
/// it came to.
#[test]
fn what_is_made_in_the_background_is_held_until_it_is_fetched() {
    for (last, usage, output) in [
        ("completed", r#","usage":{"input_tokens":5,"output_tokens":70}"#, 70),
        ("cancelled", "", 300),
    ] {
        let (bed, purse) = Bed::paying(Mode::Enforce, vec![of(Dimension::OutputTokens, 1000)]);
        let (mut client, mut server) = bed.pair();
        let body = r#"{"model":"m","input":"hi","background":true,"max_output_tokens":300}"#;
        let length = body.len();
        let asked = format!(
            "POST /v1/responses HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let document = |status: &str, usage: &str| {
            let body =
                format!(r#"{{"id":"resp_1","status":"{status}","model":"m","output":[]{usage}}}"#);
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n\
                 {body}"
            )
        };
        send(&mut client, &asked);
        expect(&mut server, &asked);
        send(&mut server, document("queued", ""));
        expect(&mut client, &document("queued", ""));
        drop((client, server));
        eventually("the exchange ends", || bed.agent.connections() == 0);
        assert_eq!(spent(&purse, Dimension::OutputTokens), (0, 300));

        let (mut client, mut server) = bed.pair();
        let poll = "GET /v1/responses/resp_1 HTTP/1.1\r\nHost: a\r\n\r\n";
        send(&mut client, poll);
        expect(&mut server, poll);
        send(&mut server, document(last, usage));
        expect(&mut client, &document(last, usage));
        eventually("it is settled", || spent(&purse, Dimension::OutputTokens) == (output, 0));
    }
}
