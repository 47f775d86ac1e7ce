//! Clients that leave before they have their answers, and get them when they ask the same again.

use std::{
    io::{ErrorKind, Read as _},
    net::{Shutdown, TcpStream},
};

use turnpike::{
    call::{CancelCause, Cause, Reason, RetryReason, State},
    config::Mode,
    drain::Phase,
    ledger::Dimension,
    limits,
    policy::retries::OnRetry,
    proxy::{Agent, Purse},
};

use super::{
    bed::{Bed, eventually, everywhere, reset},
    budget::{answered, chat, of, spent},
    gate::{expect, rest, send},
};

/// One whose agent gets answers that it did not wait for, and may spend so much.
fn bed() -> (Bed, Purse) {
    bed_as(|agent| agent.replaying(true))
}

fn bed_as(like: impl FnOnce(Agent) -> Agent) -> (Bed, Purse) {
    let budgets = vec![of(Dimension::OutputTokens, 1000)];
    Bed::paying_as(budgets, |agent| like(agent.in_mode(Mode::Enforce).under(everywhere())))
}

fn ask() -> String {
    chat("a", r#","max_tokens":100"#)
}

/// The answer of that step, as another try gets it.
fn replayed(bed: &Bed, answer: &str) -> String {
    let step = bed.steps.placed()[0].1.step_id;
    let note = format!("\r\nx-turnpike-replay: {step}\r\n\r\n");
    answer.replacen("\r\n\r\n", &note, 1)
}

/// A call that upstream has, and whose client has left then.
fn abandoned(bed: &Bed) -> TcpStream {
    let (mut client, mut server) = bed.pair();
    send(&mut client, ask());
    expect(&mut server, &ask());
    reset(client);
    bed.steps.finished(1);
    server
}

/// Nothing of it has come upstream, whose connection ends.
fn never_asked(mut server: TcpStream) {
    let mut heard = Vec::new();
    match server.read_to_end(&mut heard) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(String::from_utf8_lossy(&heard), "");
}

#[test]
fn a_client_that_has_left_gets_its_answer_when_it_asks_the_same_again() {
    let (bed, purse) = bed();
    let mut server = abandoned(&bed);
    assert_eq!(spent(&purse, Dimension::OutputTokens), (0, 100), "held until it is known");
    send(&mut server, answered(10, 50));
    eventually("it is settled", || spent(&purse, Dimension::OutputTokens) == (50, 0));

    let (mut client, mut other) = bed.pair();
    send(&mut client, ask());
    expect(&mut client, &replayed(&bed, &answered(10, 50)));
    // The connection goes on as if upstream had answered.
    send(&mut client, chat("b", r#","max_tokens":100"#));
    expect(&mut other, &chat("b", r#","max_tokens":100"#));
    send(&mut other, answered(10, 20));
    expect(&mut client, &answered(10, 20));
    eventually("that is settled", || spent(&purse, Dimension::OutputTokens) == (70, 0));

    let steps = bed.steps.settled(3);
    let cancel = steps[0].step.cancel.as_deref().expect("its client left");
    assert_eq!((cancel.cause, cancel.upstream_closed_ms), (CancelCause::ClientGone, None));
    assert_eq!(steps[0].step.usage.expect("reported").output, 50);
    let again = &steps[1];
    let retry = again.step.retry.expect("a retry");
    assert_eq!((retry.of_step_id, retry.reason), (steps[0].step.step_id, RetryReason::Timeout));
    assert!(retry.replayed && again.step.usage.is_none() && again.step.usd.is_none());
    assert_eq!((again.step.status, again.completion.state), (Some(200), State::Done));
    assert_eq!(again.step.response_id.as_deref(), Some("chatcmpl-1"));
}

#[test]
fn a_try_that_comes_before_the_answer_waits_for_it_and_may_be_given_up_as_well() {
    let (bed, purse) = bed_as(|agent| agent.replaying(true).retrying(OnRetry::Refuse));
    let mut server = abandoned(&bed);
    let (mut client, second) = bed.pair();
    send(&mut client, ask());
    eventually("it is placed", || bed.steps.placed().len() == 2);
    reset(client);
    bed.steps.finished(2);
    never_asked(second);
    let (mut client, third) = bed.pair();
    send(&mut client, ask());
    eventually("it is placed", || bed.steps.placed().len() == 3);
    send(&mut server, answered(10, 50));
    expect(&mut client, &replayed(&bed, &answered(10, 50)));
    client.shutdown(Shutdown::Write).expect("it is open");
    never_asked(third);
    assert_eq!(rest(&mut client), "");
    eventually("it is settled", || spent(&purse, Dimension::OutputTokens) == (50, 0));
    let first = bed.steps.placed()[0].1.step_id;
    for placed in &bed.steps.placed()[1..] {
        let retry = placed.1.retry.expect("a retry");
        assert!(retry.replayed && retry.of_step_id == first);
    }
}

#[test]
fn whoever_waits_gets_an_error_and_whoever_asks_later_asks_upstream() {
    let busy = "HTTP/1.1 529 Overloaded\r\nContent-Length: 2\r\n\r\n{}";
    let (bed, purse) = bed();
    let mut server = abandoned(&bed);
    let (mut client, second) = bed.pair();
    send(&mut client, ask());
    eventually("it is placed", || bed.steps.placed().len() == 2);
    send(&mut server, busy);
    expect(&mut client, &replayed(&bed, busy));
    drop((client, second));
    bed.steps.finished(2);
    eventually("it has cost nothing", || spent(&purse, Dimension::OutputTokens) == (0, 0));
    let (mut client, mut server) = bed.pair();
    send(&mut client, ask());
    expect(&mut server, &ask());
    send(&mut server, answered(10, 50));
    expect(&mut client, &answered(10, 50));
}

#[test]
fn where_no_answer_comes_whoever_waits_is_told_to_ask_again() {
    let (bed, purse) = bed();
    let server = abandoned(&bed);
    let (mut client, second) = bed.pair();
    send(&mut client, ask());
    eventually("it is placed", || bed.steps.placed().len() == 2);
    reset(server);
    client.shutdown(Shutdown::Write).expect("it is open");
    never_asked(second);
    let told = rest(&mut client);
    assert!(told.starts_with("HTTP/1.1 502 "), "{told}");
    assert!(told.contains("turnpike_upstream_failed") && told.contains("ask again"), "{told}");
    eventually("it is settled", || spent(&purse, Dimension::OutputTokens).1 == 0);
    let estimated = spent(&purse, Dimension::OutputTokens).0;
    assert!(estimated <= 100, "{estimated}");
}

#[test]
fn what_is_not_the_same_goes_upstream() {
    let of_another = ask().replace("Host: a", "Host: a\r\nAuthorization: Bearer b");
    for other in [chat("a", r#","max_tokens":99"#), of_another] {
        let (bed, _) = bed();
        let mut server = abandoned(&bed);
        send(&mut server, answered(10, 50));
        bed.steps.settled(1);
        let (mut client, mut server) = bed.pair();
        send(&mut client, &other);
        expect(&mut server, &other);
        drop(client);
    }
}

#[test]
fn without_the_rule_upstream_is_let_go_with_its_client() {
    let (bed, _) = bed_as(|agent| agent);
    let mut server = abandoned(&bed);
    assert!(server.read(&mut [0; 1]).is_err(), "a reset");
    let (mut client, mut server) = bed.pair();
    send(&mut client, ask());
    expect(&mut server, &ask());
    drop(client);
}

#[test]
fn a_stream_stops_with_its_client() {
    let (bed, _) = bed();
    let (mut client, mut server) = bed.pair();
    let request =
        chat("a", r#","max_tokens":9,"stream":true,"stream_options":{"include_usage":true}"#);
    send(&mut client, &request);
    expect(&mut server, &request);
    reset(client);
    assert!(server.read(&mut [0; 1]).is_err(), "a reset");
}

#[test]
fn a_call_that_is_read_on_can_still_be_ended() {
    let (bed, purse) = bed();
    let mut server = abandoned(&bed);
    let (mut client, second) = bed.pair();
    send(&mut client, ask());
    eventually("it is placed", || bed.steps.placed().len() == 2);
    assert_eq!(bed.agent.cut(&Reason::new(Cause::Cancelled, "enough"), |_, _| true), 2);
    assert!(server.read(&mut [0; 1]).is_err(), "a reset");
    let told = rest(&mut client);
    assert!(told.contains("enough"), "{told}");
    never_asked(second);
    bed.steps.settled(2);
    eventually("it is settled", || spent(&purse, Dimension::OutputTokens).1 == 0);
}

#[test]
fn what_is_read_on_when_the_gateway_ends_is_settled() {
    let (bed, purse) = bed();
    let mut server = abandoned(&bed);
    bed.advance(Phase::Cut);
    assert!(server.read(&mut [0; 1]).is_err(), "a reset");
    bed.steps.settled(1);
    eventually("nothing is held", || spent(&purse, Dimension::OutputTokens).1 == 0);
}

#[test]
fn a_client_that_only_says_no_more_is_answered() {
    let (bed, _) = bed();
    let (mut client, mut server) = bed.pair();
    send(&mut client, ask());
    client.shutdown(Shutdown::Write).expect("it is open");
    expect(&mut server, &ask());
    assert_eq!(server.read(&mut [0; 1]).expect("an end"), 0);
    send(&mut server, answered(10, 50));
    drop(server);
    assert_eq!(rest(&mut client), answered(10, 50));
}

#[test]
fn a_client_that_has_closed_is_gone_and_upstream_does_not_notice() {
    let (bed, purse) = bed();
    let (mut client, mut server) = bed.pair();
    send(&mut client, ask());
    expect(&mut server, &ask());
    bed.close_clients();
    drop(client);
    bed.steps.finished(1);
    server.set_nonblocking(true).expect("an option");
    let end = server.read(&mut [0; 1]).expect_err("it is open");
    assert_eq!(end.kind(), ErrorKind::WouldBlock);
    server.set_nonblocking(false).expect("an option");
    send(&mut server, answered(10, 50));
    eventually("it is settled", || spent(&purse, Dimension::OutputTokens) == (50, 0));
}

#[test]
fn an_answer_that_is_too_large_to_be_kept_is_counted_all_the_same() {
    let (bed, purse) = bed();
    let mut server = abandoned(&bed);
    let large = "x".repeat(limits::REPLAY_BYTES);
    let answer = answered(10, 50);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let body = body.replacen("yes", &large, 1);
    let head = head.replace(
        &format!("Content-Length: {}", answer.len() - head.len() - 4),
        &format!("Content-Length: {}", body.len()),
    );
    send(&mut server, format!("{head}\r\n\r\n{body}"));
    eventually("it is settled", || spent(&purse, Dimension::OutputTokens) == (50, 0));
    let (mut client, mut server) = bed.pair();
    send(&mut client, ask());
    expect(&mut server, &ask());
    drop(client);
}
