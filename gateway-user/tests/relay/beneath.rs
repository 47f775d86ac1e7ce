//! What is made for a tool call that is cancelled ends with it, and nothing beside it does.

use std::{io::Read as _, net::TcpStream};

use serde_json::json;
use turnpike::{
    call::{Cancel, CancelCause, State, StepId, UpstreamTold},
    config::Mode,
};

use super::{
    bed::{Bed, Server, eventually, everywhere, reset},
    gate::{expect, heard_nothing, rest, send},
    kill::{EVENT, STREAM},
    mcp::{accepted, call, document, post},
};

const WISH: &str = "Write a report on the harbour of the old town";
const TASK: &str = "Find out who built the harbour, and when";
const OTHER: &str = "Count the ships that lie in it in winter";
const DEEPER: &str = "Look the year up in the archive of the town";

fn in_mode(mode: Mode) -> Bed {
    Bed::with(|agent| agent.in_mode(mode).under(everywhere()))
}

/// A question of an agent with these instructions.
fn question(instructions: &str, text: &str, stream: &str) -> String {
    let messages =
        json!([{ "role": "system", "content": instructions }, { "role": "user", "content": text }]);
    let body = format!(r#"{{"model":"m"{stream},"messages":{messages}}}"#);
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// A request that is placed, and both ends of its connection.
fn asked(bed: &Bed, request: &str) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = bed.pair();
    let placed = bed.steps.placed().len();
    send(&mut client, request);
    expect(&mut server, request);
    eventually("it is placed", || bed.steps.placed().len() > placed);
    (client, server)
}

/// An agent asks, and is answered with a tool call for each of these tasks; that is the step which
/// finishes as the `nth`. The tool calls' steps.
fn planned(bed: &Bed, nth: usize, (who, text): (&str, &str), tasks: &[&str]) -> Vec<StepId> {
    let (mut client, mut server) = asked(bed, &question(who, text, ""));
    let calls = tasks.iter().zip(0..).map(|(task, at)| {
        let arguments = json!({ "task": task }).to_string();
        let function = json!({ "name": "delegate", "arguments": arguments });
        json!({ "id": format!("{who}_{at}"), "type": "function", "function": function })
    });
    let calls: Vec<_> = calls.collect();
    let plan = json!({ "role": "assistant", "content": null, "tool_calls": calls });
    let choice = json!({ "index": 0, "message": plan, "finish_reason": "tool_calls" });
    let answer = document(&json!({ "id": "chatcmpl-1", "model": "m", "choices": [choice] }));
    send(&mut server, &answer);
    expect(&mut client, &answer);
    let finished = bed.steps.finished(nth).pop().expect("it has finished");
    finished.completion.tools.iter().map(|tool| tool.step).collect()
}

/// The tool call of a task is made.
fn made(bed: &Bed, id: u64, task: &str) -> (TcpStream, TcpStream) {
    asked(bed, &post("/mcp", Some("s"), &call(id, "delegate", &json!({ "task": task }))))
}

/// A sub-agent is asked to do a task, and its answer has begun.
fn begun(bed: &Bed, who: &str, task: &str) -> (TcpStream, TcpStream) {
    let stream = r#","stream":true,"stream_options":{"include_usage":true}"#;
    let (mut client, mut server) = asked(bed, &question(who, task, stream));
    let answer = format!("{STREAM}{EVENT}");
    send(&mut server, &answer);
    expect(&mut client, &answer);
    (client, server)
}

/// It goes on.
fn goes_on((client, server): &mut (TcpStream, TcpStream)) {
    send(server, EVENT);
    expect(client, EVENT);
}

/// It has ended, and its client is told why: because that step was cancelled.
fn has_ended((client, server): &mut (TcpStream, TcpStream), parent: StepId) {
    let words = rest(client);
    let why = format!("turnpike: step {parent}, the tool call that this call is made for, was");
    assert!(words.contains(&why) && words.contains("turnpike_cancelled"), "{words}");
    heard_nothing(server);
}

/// How the last of so many steps that have finished was ended.
fn ended(bed: &Bed, count: usize) -> Cancel {
    let last = bed.steps.finished(count).pop().expect("it has finished");
    *last.step.cancel.expect("it was ended")
}

#[test]
fn what_is_made_for_a_tool_call_ends_when_its_client_leaves_and_its_siblings_go_on() {
    let bed = in_mode(Mode::Enforce);
    let tools = planned(&bed, 1, ("lead", WISH), &[TASK, OTHER]);
    let (client, mut server) = made(&bed, 1, TASK);
    let _beside = made(&bed, 2, OTHER);
    let mut nested = begun(&bed, "worker", TASK);
    let mut sibling = begun(&bed, "worker", OTHER);
    let mut stranger = begun(&bed, "poet", "Write a poem on the tides, of four lines");
    let placed: Vec<_> = bed.steps.placed().into_iter().map(|(_, step)| step).collect();
    assert_eq!((placed[1].step_id, placed[2].step_id), (tools[0], tools[1]));
    assert_eq!(placed[3].parent_step_ids, [tools[0]]);
    assert_eq!(placed[4].parent_step_ids, [tools[1]]);

    reset(client);
    heard_nothing(&mut server);
    has_ended(&mut nested, tools[0]);
    let finished = bed.steps.finished(3);
    let [_, parent, child] = &finished[..] else { panic!("{finished:?}") };
    let cancel = parent.step.cancel.as_ref().expect("it was ended");
    assert_eq!((parent.step.step_id, cancel.cause), (tools[0], CancelCause::ClientGone));
    let cancel = child.step.cancel.as_ref().expect("it was ended");
    assert_eq!(cancel.cause, CancelCause::ParentCancelled);
    assert!(cancel.reason.as_ref().is_some_and(|it| it.contains(&tools[0].to_string())));
    assert_eq!(cancel.generation_may_continue, Some(false));
    assert_eq!(child.completion.state, State::Active, "its workflow goes on");
    goes_on(&mut sibling);
    goes_on(&mut stranger);
    // What comes later is a call like any other.
    goes_on(&mut begun(&bed, "worker", TASK));
}

#[test]
fn what_is_made_for_a_tool_call_ends_when_its_client_says_so() {
    let bed = in_mode(Mode::Enforce);
    let tools = planned(&bed, 1, ("lead", WISH), &[TASK]);
    let (asking, _server) = made(&bed, 1, TASK);
    let mut nested = begun(&bed, "worker", TASK);
    let params = json!({ "requestId": 1, "reason": "no more" });
    let notice = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    let notice = post("/mcp", Some("s"), &notice);
    let (mut client, mut server) = bed.pair();
    send(&mut client, &notice);
    expect(&mut server, &notice);
    send(&mut server, accepted());
    expect(&mut client, &accepted());
    has_ended(&mut nested, tools[0]);
    assert_eq!(ended(&bed, 2).cause, CancelCause::ParentCancelled);
    // What becomes of the tool call itself, its own exchange says.
    reset(asking);
    assert_eq!(ended(&bed, 3).cause, CancelCause::ClientGone);
}

#[test]
fn in_audit_what_is_made_for_a_tool_call_outlasts_it() {
    let bed = in_mode(Mode::Audit);
    let tools = planned(&bed, 1, ("lead", WISH), &[TASK]);
    let (client, _server) = made(&bed, 1, TASK);
    let mut nested = begun(&bed, "worker", TASK);
    assert_eq!(bed.steps.placed()[2].1.parent_step_ids, tools);
    reset(client);
    assert_eq!(ended(&bed, 2).cause, CancelCause::ClientGone);
    goes_on(&mut nested);
}

/// The tool call in between is made where nobody sees it.
#[test]
fn what_is_made_for_a_tool_call_ends_however_deep_it_is() {
    let bed = in_mode(Mode::Enforce);
    let tools = planned(&bed, 1, ("lead", WISH), &[TASK]);
    let (client, _server) = made(&bed, 1, TASK);
    let inner = planned(&bed, 2, ("worker", TASK), &[DEEPER]);
    let mut deepest = begun(&bed, "archivist", DEEPER);
    let placed = bed.steps.placed();
    assert_eq!((&placed[2].1.parent_step_ids, &placed[3].1.parent_step_ids), (&tools, &inner));
    reset(client);
    has_ended(&mut deepest, tools[0]);
    assert_eq!(ended(&bed, 4).cause, CancelCause::ParentCancelled);
}

/// One that is answered in another stream: its server is asked to stop, and then what is made for it ends.
#[test]
fn a_tool_call_that_is_made_for_another_one_is_cancelled_with_it() {
    let bed = in_mode(Mode::Enforce);
    let tools = planned(&bed, 1, ("lead", WISH), &[TASK]);
    let (client, _server) = made(&bed, 1, TASK);
    let inner = planned(&bed, 2, ("worker", TASK), &[DEEPER]);
    let elsewhere = Server::new();
    let (mut asking, mut answering) = (bed.connect(elsewhere.address), elsewhere.accept());
    let request = call(1, "delegate", &json!({ "task": DEEPER }));
    let request = post("/messages?session_id=1", None, &request);
    send(&mut asking, &request);
    expect(&mut answering, &request);
    send(&mut answering, accepted());
    expect(&mut asking, &accepted());
    assert_eq!(bed.steps.placed()[3].1.step_id, inner[0]);
    reset(client);
    let mut told = elsewhere.await_call();
    send(&mut told, accepted());
    let mut notice = String::new();
    told.read_to_string(&mut notice).expect("an orderly end");
    assert!(notice.contains("notifications/cancelled"), "{notice}");
    assert!(notice.contains(&tools[0].to_string()), "{notice}");
    let cancel = ended(&bed, 4);
    assert_eq!(cancel.cause, CancelCause::ParentCancelled);
    assert_eq!(cancel.upstream_told, Some(UpstreamTold::CancelRequest));
}
