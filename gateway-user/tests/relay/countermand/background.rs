//! What is made in the background goes on until it is told not to.

use std::net::TcpStream;

use serde_json::json;
use turnpike::{
    call::{CancelCause, CancelOutcome, Holder, State, Timestamp, UpstreamTold, WorkflowId},
    config::Mode,
    ledger::{Budget, Dimension, OnExceed},
};

use super::{asked, killed, nobody_is_asked};
use crate::relay::{
    bed::{Bed, Server, eventually},
    budget::{answered, chat, of},
    gate::{expect, heard_nothing, rest, send},
};

fn question(wish: &str, stream: bool) -> String {
    let body =
        json!({ "model": "m-1", "input": wish, "background": true, "stream": stream }).to_string();
    format!(
        "POST /openai/v1/responses?v=1 HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer secret\r\n\
         OpenAI-Project: p\r\nIdempotency-Key: k\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn document(id: &str, status: &str) -> String {
    let body = json!({ "id": id, "object": "response", "status": status, "model": "m-1-2026",
        "output": [], "usage": null })
    .to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn cancelled(id: &str) -> String {
    format!(
        "POST /openai/v1/responses/{id}/cancel?v=1 HTTP/1.1\r\nauthorization: Bearer secret\r\n\
         openai-project: p\r\nhost: api.test\r\nconnection: close\r\naccept: application/json\r\n\
         content-length: 0\r\n\r\n"
    )
}

/// One that nobody waits for any more, as far as can be seen, and its workflow.
fn left(bed: &Bed, server: &Server, wish: &str, id: &str) -> WorkflowId {
    let (mut client, mut upstream) = asked(bed, server, &question(wish, false));
    let queued = document(id, "queued");
    send(&mut upstream, &queued);
    expect(&mut client, &queued);
    let workflow = bed.steps.placed().last().expect("it is placed").0;
    eventually("it waits", || bed.agent.calls_waiting(&Holder::Workflow(workflow)) == 1);
    workflow
}

/// Another connection of the agent, on which that response is asked for.
fn fetched(bed: &Bed, server: &Server, id: &str, status: &str) -> (TcpStream, TcpStream) {
    let (mut client, mut upstream) = (bed.connect(server.address), server.await_call());
    let poll = format!("GET /openai/v1/responses/{id}?v=1 HTTP/1.1\r\nHost: api.test\r\n\r\n");
    send(&mut client, &poll);
    expect(&mut upstream, &poll);
    send(&mut upstream, document(id, status));
    expect(&mut client, &document(id, status));
    (client, upstream)
}

#[test]
fn what_nobody_waits_for_is_cancelled_and_what_is_another_workflows_is_not() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, agents, latch) = Bed::mortal(mode);
        let server = Server::new();
        let spared = left(&bed, &server, "spared", "resp_1");
        let victim = left(&bed, &server, "killed", "resp_2");
        assert_ne!(spared, victim);
        killed(&agents, &latch, victim);
        let mut told = server.await_call();
        expect(&mut told, &cancelled("resp_2"));
        send(&mut told, document("resp_2", "cancelled"));
        let cancel = bed.steps.ended();
        assert_eq!(cancel.cause, CancelCause::Kill);
        assert_eq!(cancel.upstream_told, Some(UpstreamTold::CancelRequest));
        let request = cancel.cancel_request.expect("it was asked");
        assert_eq!((request.outcome, request.status), (CancelOutcome::Acknowledged, Some(200)));
        assert_eq!(cancel.generation_may_continue, Some(false));
        let finished = bed.steps.finished(1).remove(0);
        assert_eq!((finished.workflow, finished.completion.state), (victim, State::Cancelled));
        assert_eq!(finished.step.response_id.as_deref(), Some("resp_2"));
        assert_eq!(bed.agent.calls_waiting(&Holder::Node), 1);
        drop(fetched(&bed, &server, "resp_1", "completed"));
        assert_eq!(bed.steps.finished(2)[1].step.cancel, None);
        assert_eq!((bed.counted("countermands"), bed.counted("countermands_failed")), (1, 0));
    }
}

#[test]
fn what_has_been_fetched_is_not_cancelled_any_more() {
    let (bed, agents, latch) = Bed::mortal(Mode::Audit);
    let server = Server::new();
    let workflow = left(&bed, &server, "a", "resp_1");
    drop(fetched(&bed, &server, "resp_1", "in_progress"));
    drop(fetched(&bed, &server, "resp_1", "completed"));
    bed.steps.finished(1);
    killed(&agents, &latch, workflow);
    nobody_is_asked(&bed, &server);
}

#[test]
fn a_stream_that_is_cut_is_cancelled_by_the_id_that_it_has_said() {
    let (bed, agents, latch) = Bed::mortal(Mode::Enforce);
    let server = Server::new();
    let (mut client, mut upstream) = asked(&bed, &server, &question("a", true));
    let created = json!({ "type": "response.created",
        "response": { "id": "resp_7", "object": "response", "status": "queued", "output": [] } });
    let event = format!("event: response.created\ndata: {created}\n\n");
    let begun = format!("{}{:x}\r\n{event}\r\n", super::EVENTS, event.len());
    send(&mut upstream, &begun);
    expect(&mut client, &begun);
    killed(&agents, &latch, bed.steps.placed()[0].0);
    heard_nothing(&mut upstream);
    assert!(rest(&mut client).contains("was killed"));
    let mut told = server.await_call();
    expect(&mut told, &cancelled("resp_7"));
    send(&mut told, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let cancel = bed.steps.ended();
    let request = cancel.cancel_request.expect("it was asked");
    assert_eq!((request.outcome, request.status), (CancelOutcome::Refused, Some(503)));
    assert_eq!(cancel.generation_may_continue, Some(true));
    assert_eq!((bed.counted("countermands"), bed.counted("countermands_failed")), (1, 1));
}

#[test]
fn a_client_that_leaves_what_is_made_in_the_background_does_not_cancel_it() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, ..) = Bed::mortal(mode);
        let server = Server::new();
        left(&bed, &server, "a", "resp_1");
        bed.close_clients();
        nobody_is_asked(&bed, &server);
        assert_eq!(bed.agent.calls_waiting(&Holder::Node), 1);
    }
}

#[test]
fn what_an_agent_leaves_that_has_exited_is_cancelled_where_it_is_enforced() {
    for mode in [Mode::Enforce, Mode::Audit] {
        let (bed, ..) = Bed::mortal(mode);
        let server = Server::new();
        left(&bed, &server, "a", "resp_1");
        bed.agent.has_exited();
        if mode == Mode::Audit {
            nobody_is_asked(&bed, &server);
            assert_eq!(bed.agent.calls_waiting(&Holder::Node), 1);
            continue;
        }
        let mut told = server.await_call();
        expect(&mut told, &cancelled("resp_1"));
        send(&mut told, document("resp_1", "cancelled"));
        let cancel = bed.steps.ended();
        assert_eq!(cancel.cause, CancelCause::AgentExited);
        assert!(cancel.reason.is_some_and(|reason| reason.contains("the agent has exited")));
        assert_eq!(cancel.upstream_told, Some(UpstreamTold::CancelRequest));
        assert_eq!(cancel.generation_may_continue, Some(false));
    }
}

#[test]
fn what_is_still_under_way_of_an_agent_that_has_exited_ends() {
    let (bed, ..) = Bed::mortal(Mode::Enforce);
    let server = Server::new();
    // Somebody else holds its client's socket.
    let (mut client, mut upstream) = asked(&bed, &server, &chat("a", ""));
    bed.agent.has_exited();
    heard_nothing(&mut upstream);
    assert!(rest(&mut client).contains("the agent has exited"));
    assert_eq!(bed.steps.ended().cause, CancelCause::AgentExited);
}

#[test]
fn a_budget_that_ends_calls_cancels_it_where_it_is_enforced() {
    for mode in [Mode::Enforce, Mode::Audit] {
        let budget = Budget { on_exceed: OnExceed::Cancel, ..of(Dimension::InputTokens, 1000) };
        let (bed, _purse) = Bed::paying(mode, vec![budget]);
        let server = Server::new();
        left(&bed, &server, "a", "resp_1");
        let (mut client, mut upstream) = bed.pair();
        send(&mut client, chat("two", ""));
        expect(&mut upstream, &chat("two", ""));
        send(&mut upstream, answered(5000, 5));
        expect(&mut client, &answered(5000, 5));
        if mode == Mode::Audit {
            bed.steps.finished(1);
            nobody_is_asked(&bed, &server);
            continue;
        }
        let mut told = server.await_call();
        expect(&mut told, &cancelled("resp_1"));
        send(&mut told, document("resp_1", "cancelled"));
        eventually("it is known", || bed.agent.countermands_under_way() == 0);
        let cancel = bed.steps.finished(2).remove(1).step.cancel.expect("it was ended");
        assert_eq!(
            (cancel.cause, cancel.generation_may_continue),
            (CancelCause::Budget, Some(false))
        );
    }
}

#[test]
fn credentials_are_not_kept_for_ever() {
    let (bed, agents, latch) = Bed::mortal(Mode::Audit);
    let server = Server::new();
    let workflow = left(&bed, &server, "a", "resp_1");
    agents.forget_credentials(Timestamp(u64::MAX));
    killed(&agents, &latch, workflow);
    nobody_is_asked(&bed, &server);
    assert_eq!(bed.agent.calls_waiting(&Holder::Node), 1, "as the kill says");
}
