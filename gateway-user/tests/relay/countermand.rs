//! Upstream is asked to stop where it would not otherwise, and only there.

mod background;

use std::{
    io::Read as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;
use turnpike::{
    call::{CancelOutcome, CancelRequest, Holder, UpstreamTold, WorkflowId},
    config::Mode,
    limits::{self, Bound},
    proxy::{Agents, Latch},
};

use super::{
    bed::{Bed, Server, eventually},
    gate::{expect, heard_nothing, rest, send},
    kill::kill,
};

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

/// A `tools/call` with that id, as it is written, and a revision of the protocol.
fn tool_call(target: &str, id: &str, revision: Option<&str>) -> String {
    tool_call_in("Mcp-Session-Id: s-1\r\n", target, id, revision)
}

/// The same, with a field that says in which session, or without.
fn tool_call_in(session: &str, target: &str, id: &str, revision: Option<&str>) -> String {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"slow","arguments":{{}}}}}}"#
    );
    let revision = revision.map(|it| format!("MCP-Protocol-Version: {it}\r\n")).unwrap_or_default();
    format!(
        "POST {target} HTTP/1.1\r\nHost: mcp.test\r\nAuthorization: Bearer secret\r\n\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         Idempotency-Key: k\r\n{session}{revision}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What upstream is asked then.
fn notified(target: &str, id: &str, revision: &str, why: &str) -> String {
    let body = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"{why}"}}}}"#
    );
    format!(
        "POST {target} HTTP/1.1\r\nauthorization: Bearer secret\r\n\
         accept: application/json, text/event-stream\r\nmcp-session-id: s-1\r\n\
         mcp-protocol-version: {revision}\r\nhost: mcp.test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The client's and the server's end of a connection on which that is asked.
fn asked(bed: &Bed, server: &Server, request: &str) -> (TcpStream, TcpStream) {
    let mut client = bed.connect(server.address);
    let mut upstream = server.await_call();
    let placed = bed.steps.placed().len();
    send(&mut client, request);
    expect(&mut upstream, request);
    eventually("it is placed", || bed.steps.placed().len() > placed);
    (client, upstream)
}

fn killed(agents: &Agents, latch: &Latch, workflow: WorkflowId) -> String {
    kill(agents, latch, Holder::Workflow(workflow));
    format!(
        "turnpike: workflow {workflow} was killed (it loops); an operator can have it go on with \
         `turnpike revive {workflow}`"
    )
}

/// Nobody comes to ask, for a moment; nor does anything that was to be told wait for it.
fn nobody_is_asked(bed: &Bed, server: &Server) {
    std::thread::sleep(Duration::from_millis(50));
    server.never_called();
    assert_eq!((bed.counted("countermands"), bed.agent.countermands_under_way()), (0, 0));
}

#[test]
fn a_tool_server_up_to_2025_11_25_is_notified_with_the_calls_own_head_and_id() {
    for mode in [Mode::Audit, Mode::Enforce] {
        for (id, revision) in [
            ("7", "2025-11-25"),
            ("\"a\\\"7\"", "2025-06-18"),
            ("9007199254740993123456789", "2025-03-26"),
        ] {
            let (bed, agents, latch) = Bed::mortal(mode);
            let server = Server::new();
            let request = tool_call("/mcp?key=1", id, Some(revision));
            let (mut client, mut upstream) = asked(&bed, &server, &request);
            let why = killed(&agents, &latch, bed.steps.placed()[0].0);
            heard_nothing(&mut upstream);
            assert!(rest(&mut client).contains("was killed"));
            let mut told = server.await_call();
            expect(&mut told, &notified("/mcp?key=1", id, revision, &why));
            send(&mut told, ACCEPTED);
            assert_eq!(rest(&mut told), "", "that was all");
            let cancel = bed.steps.ended();
            assert_eq!(cancel.upstream_told, Some(UpstreamTold::CancelRequest));
            let request = cancel.cancel_request.expect("it was asked");
            assert_eq!((request.outcome, request.status), (CancelOutcome::Acknowledged, Some(202)));
            assert!(request.after_ms.is_some() && cancel.generation_may_continue.is_none());
            assert_eq!((bed.counted("countermands"), bed.counted("countermands_failed")), (1, 0));
            eventually("nothing is left", || bed.agent.countermands_under_way() == 0);
        }
    }
}

#[test]
fn a_stream_that_could_be_taken_up_again_is_cancelled_too() {
    let (bed, agents, latch) = Bed::mortal(Mode::Enforce);
    let server = Server::new();
    let request = tool_call("/mcp", "7", Some("2025-11-25"));
    let (mut client, mut upstream) = asked(&bed, &server, &request);
    let begun = format!("{EVENTS}e\r\nid: 1\ndata: \n\n\r\n");
    send(&mut upstream, &begun);
    expect(&mut client, &begun);
    let why = killed(&agents, &latch, bed.steps.placed()[0].0);
    heard_nothing(&mut upstream);
    assert!(rest(&mut client).contains("was killed"));
    let mut told = server.await_call();
    expect(&mut told, &notified("/mcp", "7", "2025-11-25", &why));
    send(&mut told, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let request = bed.steps.ended().cancel_request.expect("it was asked");
    assert_eq!((request.outcome, request.status), (CancelOutcome::Unknown, Some(404)));
}

#[test]
fn from_2026_07_28_on_closing_is_all_and_so_it_is_where_a_client_leaves() {
    let (bed, agents, latch) = Bed::mortal(Mode::Audit);
    let server = Server::new();
    let request = tool_call("/mcp", "7", Some("2026-07-28"));
    let (_client, mut upstream) = asked(&bed, &server, &request);
    killed(&agents, &latch, bed.steps.placed()[0].0);
    heard_nothing(&mut upstream);
    let cancel = bed.steps.ended();
    assert_eq!((cancel.upstream_told, cancel.cancel_request), (Some(UpstreamTold::Closed), None));
    nobody_is_asked(&bed, &server);

    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, ..) = Bed::mortal(mode);
        let request = tool_call("/mcp", "7", Some("2025-11-25"));
        let (client, mut upstream) = asked(&bed, &server, &request);
        super::bed::reset(client);
        heard_nothing(&mut upstream);
        assert_eq!(bed.steps.ended().upstream_told, Some(UpstreamTold::Closed));
        nobody_is_asked(&bed, &server);
    }
}

#[test]
fn a_call_that_is_answered_in_another_stream_is_cancelled_at_its_endpoint() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let (bed, agents, latch) = Bed::mortal(mode);
        let (server, messages) = (Server::new(), "/messages?session_id=1");
        let (mut client, mut stream) = (bed.connect(server.address), server.await_call());
        let listen = "GET /sse HTTP/1.1\r\nHost: mcp.test\r\nAccept: text/event-stream\r\n\r\n";
        send(&mut client, listen);
        expect(&mut stream, listen);
        let event = format!("event: endpoint\ndata: {messages}\n\n");
        let named = format!("{EVENTS}{:x}\r\n{event}\r\n", event.len());
        send(&mut stream, &named);
        expect(&mut client, &named);

        let mut posted = Vec::new();
        for id in ["1", "2"] {
            let request = tool_call_in("", messages, id, Some("2024-11-05"));
            let (mut client, mut upstream) = asked(&bed, &server, &request);
            send(&mut upstream, ACCEPTED);
            expect(&mut client, ACCEPTED);
            posted.push((client, upstream));
        }
        let workflows: Vec<_> = bed.steps.placed().iter().map(|(workflow, _)| *workflow).collect();
        assert_ne!(workflows[0], workflows[1]);
        let why = killed(&agents, &latch, workflows[0]);
        let mut told = server.await_call();
        let expected = notified(messages, "1", "2024-11-05", &why);
        expect(&mut told, &expected.replace("mcp-session-id: s-1\r\n", ""));
        send(&mut told, ACCEPTED);
        let cancel = bed.steps.ended();
        let request = cancel.cancel_request.expect("it was asked");
        assert_eq!(request.outcome, CancelOutcome::Acknowledged);
        assert_eq!(bed.agent.calls_waiting(&Holder::Workflow(workflows[0])), 0);

        if mode == Mode::Enforce {
            let told = r#"{"id":1,"jsonrpc":"2.0","result":{"#;
            let mut heard = String::new();
            while !heard.ends_with("\n\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).expect("it comes");
                heard.push(byte[0].into());
            }
            assert!(heard.contains(told) && heard.contains("was killed"), "{heard}");
        }

        // What is not killed goes on, in the same stream.
        let result = r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]}}"#;
        let event = format!("data: {result}\n\n");
        let event = format!("{:x}\r\n{event}\r\n", event.len());
        send(&mut stream, &event);
        expect(&mut client, &event);
        assert_eq!(bed.steps.finished(2)[1].step.cancel, None);
        assert_eq!(bed.counted("countermands"), 1);
    }
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for() {
    let (bed, agents, latch) = Bed::mortal(Mode::Audit);
    let server = Server::new();
    let request = tool_call("/mcp", "7", None);
    let (mut client, mut upstream) = asked(&bed, &server, &request);
    let begun = Instant::now();
    let aftermath = kill(&agents, &latch, Holder::Agent("a".into()));
    heard_nothing(&mut upstream);
    assert!(rest(&mut client).contains("was killed"));
    drop(client);
    eventually("it is silent", || aftermath.is_over() && bed.agent.connections() == 0);
    assert!(begun.elapsed() < limits::COUNTERMAND_TIME / 2, "nobody waits for what is asked");
    let mut told = server.await_call();
    assert_eq!(bed.agent.countermands_under_way(), 1);
    let mut heard = String::new();
    told.read_to_string(&mut heard).expect("an orderly end");
    assert!(heard.contains("notifications/cancelled"), "{heard}");
    let cancel = bed.steps.ended();
    let after_ms = cancel.cancel_request.and_then(|request| request.after_ms);
    let outcome = CancelOutcome::Failed;
    assert_eq!(cancel.cancel_request, Some(CancelRequest { outcome, status: None, after_ms }));
    assert!(begun.elapsed() < limits::COUNTERMAND_TIME * 2);
    assert_eq!((bed.counted("countermands"), bed.counted("countermands_failed")), (1, 1));
    eventually("nothing is left", || bed.agent.countermands_under_way() == 0);
}

/// Calls that are answered elsewhere, so many in one request.
fn batch(ids: std::ops::Range<usize>) -> String {
    let calls: Vec<_> = ids
        .map(|id| {
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
                "params": { "name": "slow", "arguments": { "id": id } } })
        })
        .collect();
    let body = json!(calls).to_string();
    format!(
        "POST /messages HTTP/1.1\r\nHost: mcp.test\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn only_a_few_are_asked_at_once_and_the_others_in_their_turn() {
    const MOST: usize = limits::COUNTERMANDS_AT_ONCE_PER_AGENT;
    let (bed, agents, latch) = Bed::mortal(Mode::Audit);
    let server = Server::new();
    let (mut client, mut upstream) = asked(&bed, &server, &batch(0..MOST + 1));
    send(&mut upstream, ACCEPTED);
    expect(&mut client, ACCEPTED);
    kill(&agents, &latch, Holder::Node);
    let mut told: Vec<_> = (0..MOST).map(|_| server.await_call()).collect();
    std::thread::sleep(Duration::from_millis(50));
    server.never_called();
    assert_eq!(bed.agent.countermands_under_way(), MOST + 1);
    send(&mut told[0], ACCEPTED);
    told.push(server.await_call());
    for told in &mut told[1..] {
        send(told, ACCEPTED);
    }
    eventually("all are told", || bed.agent.countermands_under_way() == 0);
    assert_eq!(bed.counted("countermands"), MOST as u64 + 1);
    assert_eq!(bed.counted("countermands_failed"), 0);
}

#[test]
fn heads_are_kept_of_so_many_calls_and_no_more() {
    const MOST: usize = limits::COUNTERMANDS_KEPT_PER_AGENT;
    let (bed, agents, latch) = Bed::mortal(Mode::Audit);
    let server = Server::new();
    for ids in [0..MOST, MOST..MOST + 1] {
        let (mut client, mut upstream) = asked(&bed, &server, &batch(ids));
        send(&mut upstream, ACCEPTED);
        expect(&mut client, ACCEPTED);
    }
    assert_eq!(bed.agent.bounds.hits(Bound::CountermandsKept), 1);
    killed(&agents, &latch, bed.steps.placed()[MOST].0);
    nobody_is_asked(&bed, &server);
    assert_eq!(bed.agent.calls_waiting(&Holder::Node), MOST + 1);
}
