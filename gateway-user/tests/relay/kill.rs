//! Who is killed is silent: what is under way ends, and nothing follows.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use turnpike::{
    call::{CancelCause, Decision, Holder, State, Timestamp},
    cancel::{Kill, Toll},
    config::Mode,
    proxy::{Aftermath, Agents, Latch},
};

use super::{
    bed::{Bed, Finished, eventually},
    gate::{answer, expect, heard_nothing, rest, send},
};

pub(super) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
pub(super) const EVENT: &str =
    "2f\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\r\n";

fn ask(wish: &str) -> String {
    posted(&format!(
        r#"{{"model":"m","stream":true,"stream_options":{{"include_usage":true}},"messages":[{{"role":"user","content":"{wish}"}}]}}"#
    ))
}

fn posted(body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// A call whose answer has begun.
fn asked(bed: &Bed, wish: &str) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = bed.pair();
    let placed = bed.steps.placed().len();
    send(&mut client, ask(wish));
    expect(&mut server, &ask(wish));
    eventually("it is placed", || bed.steps.placed().len() > placed);
    send(&mut server, format!("{STREAM}{EVENT}"));
    expect(&mut client, &format!("{STREAM}{EVENT}"));
    (client, server)
}

pub(super) fn kill(agents: &Agents, latch: &Latch, holder: Holder) -> Arc<Aftermath> {
    let reason = Some("it loops".into());
    let kill = Kill { holder, at: Timestamp(1), by_uid: 0, reason, cut: Toll::default() };
    latch.change(|latches| latches.latch(kill.clone())).expect("there is room");
    let aftermath = Arc::default();
    agents.silence(&kill, &aftermath);
    aftermath
}

#[test]
fn of_a_killed_agent_everything_ends_and_nothing_begins() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, agents, latch) = Bed::mortal(mode);
        let (mut client, mut server) = asked(&bed, "a");
        let (mut idle, mut behind) = bed.pair();
        let exchange = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        send(&mut idle, exchange);
        expect(&mut behind, exchange);
        let (mut opaque, mut beyond) = bed.pair();
        send(&mut opaque, "SSH-2.0-x\r\n");
        expect(&mut beyond, "SSH-2.0-x\r\n");

        let aftermath = kill(&agents, &latch, Holder::Agent("a".into()));
        let words = rest(&mut client);
        assert!(words.contains("agent a was killed (it loops)"), "{words}");
        assert!(words.contains("turnpike revive --agent a"), "{words}");
        heard_nothing(&mut server);
        for stream in [&mut idle, &mut behind, &mut opaque, &mut beyond] {
            heard_nothing(stream);
        }
        eventually("it is silent", || aftermath.is_over() && bed.agent.connections() == 0);
        assert_eq!(aftermath.told(), 1);
        assert!(aftermath.last_end().is_some());
        let Finished { step, completion, .. } = bed.steps.finished(1).remove(0);
        assert_eq!(completion.state, State::Cancelled);
        let cancel = step.cancel.expect("it was ended");
        assert_eq!((cancel.cause, cancel.bytes_after_cancel), (CancelCause::Kill, 0));
        assert_eq!(cancel.generation_may_continue, Some(false));
        let closed = cancel.upstream_closed_ms.expect("its connection was closed");
        assert!(cancel.cleanup_ms.expect("it is over") >= closed, "{cancel:?}");

        let listening = super::bed::Server::new();
        let mut refused = bed.connect(listening.address);
        assert!(refused.read(&mut [0]).is_err(), "a reset");

        latch.change(|latches| latches.lift(&Holder::Agent("a".into()))).expect("killed");
        agents.obey();
        drop(asked(&bed, "b"));
    }
}

#[test]
fn a_killed_workflow_ends_and_its_siblings_go_on() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, agents, latch) = Bed::mortal(mode);
        let (mut client, mut server) = asked(&bed, "killed");
        let (mut other, mut lives) = asked(&bed, "spared");
        let workflow = bed.steps.placed()[0].0;
        let aftermath = kill(&agents, &latch, Holder::Workflow(workflow));
        assert!(rest(&mut client).contains(&format!("workflow {workflow} was killed")));
        heard_nothing(&mut server);
        eventually("it is silent", || aftermath.is_over());
        assert_eq!(aftermath.told(), 1);
        send(&mut lives, EVENT);
        expect(&mut other, EVENT);

        // What goes on with it is refused, or ended as soon as it is known to be that.
        let (mut client, mut server) = bed.pair();
        send(&mut client, ask("killed"));
        let (head, body) = answer(&mut client);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert_eq!(body["error"]["code"], "turnpike_cancelled");
        let mut passed = Vec::new();
        let _ = server.read_to_end(&mut passed);
        assert_eq!(passed.is_empty(), mode == Mode::Enforce);
        let last = bed.steps.placed().pop().expect("it is placed");
        assert_eq!(last.0, workflow);
        assert_eq!(last.1.policy[0].decision, Decision::Deny);
        eventually("nothing is left of it", || bed.agent.connections() == 1);

        latch.change(|latches| latches.lift(&Holder::Workflow(workflow))).expect("killed");
        drop(asked(&bed, "killed"));
    }
}

#[test]
fn a_client_that_is_gone_ends_its_call_and_one_that_only_says_no_more_does_not() {
    let bed = Bed::start();
    let (mut client, mut server) = asked(&bed, "waits");
    client.shutdown(std::net::Shutdown::Write).expect("it is open");
    assert_eq!(server.read(&mut [0]).expect("the end"), 0);
    send(&mut server, EVENT);
    expect(&mut client, EVENT);
    assert_eq!(bed.steps.finished(0).len(), 0);
    bed.close_clients();
    let Finished { step, completion, .. } = bed.steps.finished(1).remove(0);
    eventually("upstream is reset", || (&server).write_all(EVENT.as_bytes()).is_err());
    assert_eq!(completion.state, State::Cancelled);
    assert_eq!(step.cancel.expect("it was ended").cause, CancelCause::ClientGone);
}

#[test]
fn a_client_that_does_not_read_keeps_nothing_going() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, agents, latch) = Bed::mortal(mode);
        let (client, mut server) = asked(&bed, "deaf");
        // Its back-pressure reaches the server: what is on the way in between is bounded.
        server.set_write_timeout(Some(Duration::from_millis(200))).expect("an option");
        let flood = EVENT.repeat(1000);
        let mut sent = 0;
        while server.write_all(flood.as_bytes()).is_ok() {
            sent += flood.len();
            assert!(sent < 64 << 20, "nobody reads, and all of it is taken");
        }
        let aftermath = kill(&agents, &latch, Holder::Agent("a".into()));
        eventually("its server is let go", || {
            (&server).write_all(EVENT.as_bytes()).is_err_and(|error| {
                !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
            })
        });
        eventually("it is silent", || aftermath.is_over() && bed.agent.connections() == 0);
        drop(client);
    }
}

#[test]
fn an_answer_in_one_piece_may_be_generated_although_it_is_killed() {
    let (bed, agents, latch) = Bed::mortal(Mode::Audit);
    let (mut client, mut server) = bed.pair();
    let request = posted(r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#);
    send(&mut client, &request);
    expect(&mut server, &request);
    eventually("it is placed", || bed.steps.placed().len() == 1);
    kill(&agents, &latch, Holder::Node);
    let (head, body) = answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(body["error"]["code"], "turnpike_cancelled");
    heard_nothing(&mut server);
    let cancel = bed.steps.finished(1).remove(0).step.cancel.expect("it was ended");
    assert_eq!(cancel.generation_may_continue, Some(true));
}

/// What was said, as far as it was answered, and what is said then.
fn ask_on(wish: &str) -> String {
    posted(&format!(
        r#"{{"model":"m","stream":true,"stream_options":{{"include_usage":true}},"messages":[{{"role":"user","content":"{wish}"}},{{"role":"assistant","content":"a"}},{{"role":"user","content":"go on"}}]}}"#
    ))
}

/// Another gateway has only what remains of who was killed: what goes on with it is as silent as it was,
/// and nothing else is.
#[test]
fn who_was_killed_is_recognised_by_another_gateway() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, agents, latch) = Bed::mortal(mode);
        let (mut client, _server) = asked(&bed, "killed");
        let (mut other, mut lives) = asked(&bed, "spared");
        send(&mut lives, LAST);
        expect(&mut other, LAST);
        let killed = Holder::Workflow(bed.steps.placed()[0].0);
        let aftermath = kill(&agents, &latch, killed.clone());
        rest(&mut client);
        eventually("it is silent", || aftermath.is_over());
        bed.steps.finished(2);
        let remains = bed.agent.remains(&killed);
        assert_eq!(remains.steps(), 1);
        drop(bed);

        let next = Bed::recalling(mode, &latch, &remains);
        let (mut client, mut server) = next.pair();
        send(&mut client, ask_on("killed"));
        let (head, body) = answer(&mut client);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        let message = body["error"]["message"].as_str().expect("a message");
        assert!(message.contains(&format!("{killed} was killed (it loops)")), "{message}");
        let mut passed = Vec::new();
        let _ = server.read_to_end(&mut passed);
        assert_eq!(passed.is_empty(), mode == Mode::Enforce);
        assert_eq!(latch.touched().take(), [killed].into(), "there is more to remember");
        let (mut client, mut server) = next.pair();
        send(&mut client, ask_on("spared"));
        expect(&mut server, &ask_on("spared"));
        send(&mut server, format!("{STREAM}{EVENT}"));
        expect(&mut client, &format!("{STREAM}{EVENT}"));
    }
}

/// An event, and the end of its stream.
const LAST: &str = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

/// A server that does not care that nobody listens any more, and goes on: no more of it is let through, and
/// what still comes is met with a reset.
#[test]
fn a_server_that_goes_on_after_it_was_let_go_is_not_heard() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, agents, latch) = Bed::mortal(mode);
        let (mut client, mut server) = asked(&bed, "stubborn");
        let stop = Arc::new(AtomicBool::new(false));
        let stubborn = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let (mut written, mut failed) = (0_u64, 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    match server.write(EVENT.as_bytes()) {
                        Ok(bytes) => written += bytes as u64,
                        // It tries all the same.
                        Err(_) => failed += 1,
                    }
                    thread::sleep(Duration::from_micros(50));
                }
                (written, failed)
            }
        });
        let mut heard = [0; EVENT.len()];
        client.read_exact(&mut heard).expect("it is under way");
        let aftermath = kill(&agents, &latch, Holder::Agent("a".into()));
        let words = rest(&mut client);
        drop(client);
        let told = words.find("agent a was killed").expect("the reason");
        assert!(!words[told..].contains(r#""content":"a""#), "nothing follows it: {words}");
        eventually("it is silent", || aftermath.is_over() && bed.agent.connections() == 0);
        let cancel = bed.steps.finished(1).remove(0).step.cancel.expect("it was ended");
        assert_eq!(cancel.cause, CancelCause::Kill);
        let bound = turnpike::limits::READ_BYTES as u64;
        assert!(cancel.bytes_after_cancel <= bound, "{}", cancel.bytes_after_cancel);
        thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        let (written, failed) = stubborn.join().expect("it does not panic");
        assert!(
            written > 0 && failed > 0,
            "its socket was reset: {written} bytes, {failed} failed"
        );
    }
}
