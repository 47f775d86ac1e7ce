//! Calls on a WebSocket: each is held, changed, refused or ended by itself.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use turnpike::{
    call::{Digest, State},
    config::Mode,
    dialect::{Asked, What, edit::Edit},
    drain::Phase,
    limits,
    policy::metering::OnUnmetered,
    proxy::{Decision, Gate},
};

use super::{
    super::bed::{Bed, Finished, eventually, everywhere, reset},
    enforced, heard_nothing, no,
};

const UPGRADE: &str = "GET /v1/responses HTTP/1.1\r\nHost: a\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
     Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const ACCEPT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
pub(in super::super) const TEXT: u8 = 0x81;
pub(in super::super) const KEY: [u8; 4] = [7, 1, 200, 9];

/// Decides by the model that is asked for.
#[derive(Debug)]
struct ByModel;

impl Gate for ByModel {
    fn admit(&self, call: &Asked) -> Decision {
        let What::Model(prompt) = &call.what else { return Decision::Pass };
        match prompt.model.as_deref() {
            Some("refused") => Decision::Refuse(no()),
            Some("clamped") => Decision::Edit(vec![Edit::MaxOutput(5)]),
            _ => Decision::Pass,
        }
    }
}

fn bed() -> Bed {
    Bed::with(|agent| enforced(agent).gated(Arc::new(ByModel)))
}

/// Both ends of a connection that has switched to WebSocket.
pub(in super::super) fn switched(bed: &Bed) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = bed.pair();
    pass(&mut client, &mut server, UPGRADE);
    pass(&mut server, &mut client, ACCEPT);
    (client, server)
}

pub(in super::super) fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).expect("it is open");
}

pub(in super::super) fn expect(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    let mut received = vec![0; bytes.as_ref().len()];
    stream.read_exact(&mut received).expect("it comes");
    assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(bytes.as_ref()));
}

pub(in super::super) fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    send(from, bytes.as_ref());
    expect(to, bytes);
}

/// A frame with that first byte, masked or not.
pub(in super::super) fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    if let Ok(short @ ..=125) = u8::try_from(payload.len()) {
        frame.push(masked | short);
    } else {
        frame.push(masked | 0x7e);
        frame.extend(u16::try_from(payload.len()).expect("a short message").to_be_bytes());
    }
    frame.extend(key.into_iter().flatten());
    let key = key.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn create(model: &str) -> Value {
    json!({ "type": "response.create", "model": model, "store": false, "input": "hello" })
}

fn on(lane: &str, mut message: Value) -> Value {
    message["stream_id"] = lane.into();
    message
}

fn ask(message: &Value) -> Vec<u8> {
    frame(TEXT, message.to_string().as_bytes(), Some(KEY))
}

/// The payload of the next frame, whose first byte is that.
fn payload(stream: &mut TcpStream, first: u8) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    assert_eq!(head[0], first);
    let length = match head[1] & 0x7f {
        0x7e => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("its length");
            usize::from(u16::from_be_bytes(length))
        }
        short => usize::from(short),
    };
    let mut key = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut key).expect("its key");
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).expect("all of it");
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    payload
}

fn text(stream: &mut TcpStream) -> Value {
    serde_json::from_slice(&payload(stream, TEXT)).expect("JSON")
}

/// An event that says no.
fn refusal(stream: &mut TcpStream, lane: Option<&str>) {
    let event = text(stream);
    assert_eq!((&event["type"], &event["status"]), (&json!("error"), &json!(400)));
    assert_eq!(event["error"]["message"], "turnpike: not today; ask tomorrow");
    assert_eq!(event["error"]["code"], "turnpike_denied");
    assert_eq!(event["message"], event["error"]["message"]);
    assert_eq!(event.get("stream_id").and_then(Value::as_str), lane);
}

#[test]
fn a_message_is_refused_and_the_connection_goes_on() {
    let bed = bed();
    let (mut client, mut server) = switched(&bed);
    send(&mut client, ask(&on("x", create("refused"))));
    refusal(&mut client, Some("x"));
    pass(&mut client, &mut server, ask(&create("allowed")));
    let failed = &bed.steps.finished(1)[0];
    assert_eq!((failed.step.status, failed.completion.state), (Some(400), State::Failed));
    // The answer is that of the second.
    let response = json!({ "id": "r1", "object": "response", "status": "completed", "model": "m",
        "output": [], "usage": { "input_tokens": 3, "output_tokens": 2 } });
    let done = json!({ "type": "response.completed", "response": response }).to_string();
    pass(&mut server, &mut client, frame(TEXT, done.as_bytes(), None));
    let step = &bed.steps.finished(2)[1].step;
    assert_eq!(
        (step.request_model.as_deref(), step.response_id.as_deref()),
        (Some("allowed"), Some("r1"))
    );
    reset(client);
    assert_eq!((bed.counted("calls_refused"), bed.coverage().calls), (1, 2));
}

#[test]
fn a_message_is_changed_and_masked_as_its_client_masks() {
    let bed = bed();
    let (mut client, mut server) = switched(&bed);
    let message = create("clamped").to_string();
    let (first, last) = message.as_bytes().split_at(30);
    send(&mut client, frame(0x01, first, Some(KEY)));
    send(&mut client, frame(0x80, last, Some([1, 2, 3, 4])));
    let mut expected = create("clamped");
    expected["max_output_tokens"] = 5.into();
    assert_eq!(text(&mut server), expected);
    let sent = Digest(Sha256::digest(&message).into());
    assert_eq!(bed.steps.placed()[0].1.request_sha256, Some(sent), "what the client said");
}

#[test]
fn a_message_is_held_until_it_is_whole_and_control_frames_are_not() {
    let bed = bed();
    let (mut client, mut server) = switched(&bed);
    let message = create("allowed").to_string();
    let (first, last) = message.as_bytes().split_at(30);
    let frames = [frame(0x01, first, Some(KEY)), frame(0x80, last, Some(KEY))];
    let ping = frame(0x89, b"still there?", Some(KEY));
    send(&mut client, [&frames[0][..], &ping].concat());
    expect(&mut server, &ping);
    send(&mut client, &frames[1]);
    expect(&mut server, frames.concat());
}

#[test]
fn what_is_no_call_goes_on() {
    let bed = bed();
    let (mut client, mut server) = switched(&bed);
    pass(&mut client, &mut server, ask(&json!({ "type": "session.update", "x": 1 })));
    reset(client);
    assert_eq!(bed.coverage().calls_not_understood, 0);
}

#[test]
fn what_cannot_be_metered_is_refused_unless_that_is_allowed() {
    let messages = [
        (TEXT, b"no JSON".to_vec()),
        (TEXT, br#"{"type":"response.create","type":"x"}"#.to_vec()),
        // A server may take it for a text.
        (0x82, br#"{"type":"response.create"}"#.to_vec()),
        (TEXT, {
            let mut hosted = create("allowed");
            hosted["tools"] = json!([{ "type": "web_search" }]);
            hosted.to_string().into_bytes()
        }),
    ];
    let lax = Bed::with(|agent| enforced(agent).metered(OnUnmetered::Allow));
    for (first, message) in messages {
        let bed = bed();
        let (mut client, mut server) = switched(&bed);
        let message = frame(first, &message, Some(KEY));
        send(&mut client, &message);
        let event = text(&mut client);
        assert_eq!(event["error"]["code"], "turnpike_unmetered", "{event}");
        pass(&mut client, &mut server, ask(&create("allowed")));
        let (mut client, mut server) = switched(&lax);
        pass(&mut client, &mut server, &message);
    }
}

#[test]
fn what_is_too_large_to_be_held_is_not_read() {
    let message = vec![b'x'; limits::WS_MESSAGE_BYTES + 1];
    let mut frames = vec![TEXT, 0xff];
    frames.extend((message.len() as u64).to_be_bytes());
    frames.extend([0; 4]);
    frames.extend(&message);
    let bed = bed();
    let (mut client, mut server) = switched(&bed);
    send(&mut client, &frames);
    assert_eq!(text(&mut client)["error"]["code"], "turnpike_unmetered");
    pass(&mut client, &mut server, ask(&create("allowed")));

    let lax = Bed::with(|agent| enforced(agent).metered(OnUnmetered::Allow));
    let (mut client, mut server) = switched(&lax);
    let sending = std::thread::spawn(move || send(&mut client, &frames));
    let mut received = vec![0; message.len() + 14];
    server.read_exact(&mut received).expect("it comes");
    assert!(received.ends_with(&message));
    sending.join().expect("it is sent");
}

#[test]
fn a_refusal_waits_for_the_end_of_what_the_server_says() {
    let bed = bed();
    let (mut client, mut server) = switched(&bed);
    let [begin, end] = [frame(0x01, b"{\"type\":", None), frame(0x80, b"1}", None)];
    pass(&mut server, &mut client, &begin);
    send(&mut client, ask(&create("refused")));
    eventually("it is refused", || bed.counted("calls_refused") == 1);
    let (half, rest) = end.split_at(1);
    send(&mut server, half);
    // A control frame may come between.
    send(&mut server, rest);
    expect(&mut client, &end);
    refusal(&mut client, None);
    // Half a head does not go on, so that there is room before it.
    pass(&mut server, &mut client, frame(TEXT, b"{}", None));
    send(&mut server, half);
    send(&mut client, ask(&create("refused")));
    refusal(&mut client, None);
}

#[test]
fn a_dialogue_that_is_cut_ends_in_words() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let bed = Bed::with(|agent| agent.in_mode(mode).under(everywhere()));
        let (mut client, mut server) = switched(&bed);
        pass(&mut client, &mut server, ask(&create("m")));
        pass(&mut client, &mut server, ask(&on("y", create("m"))));
        eventually("they are placed", || bed.steps.placed().len() == 2);
        assert_eq!(bed.agent.cut(&no(), |_, seq| seq == 0), 1);
        refusal(&mut client, None);
        refusal(&mut client, Some("y"));
        let close = payload(&mut client, 0x88);
        assert_eq!(close, [&1008_u16.to_be_bytes()[..], no().to_string().as_bytes()].concat());
        heard_nothing(&mut server);
        drop(client);
        for Finished { step, completion, .. } in bed.steps.finished(2) {
            assert_eq!(completion.state, State::Cancelled);
            let cancel = step.cancel.expect("it was ended");
            assert_eq!(cancel.reason, Some(no().to_string()));
            assert_eq!(cancel.generation_may_continue, Some(false));
        }
        assert_eq!(bed.counted("calls_cut"), 1);
    }
}

#[test]
fn in_the_middle_of_a_message_only_a_reset_tells() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let bed = Bed::with(|agent| agent.in_mode(mode).under(everywhere()));
        let (mut client, mut server) = switched(&bed);
        pass(&mut client, &mut server, ask(&create("m")));
        eventually("it is placed", || bed.steps.placed().len() == 1);
        pass(&mut server, &mut client, &frame(TEXT, b"{\"type\":1}", None)[..5]);
        assert_eq!(bed.agent.cut(&no(), |_, _| true), 1);
        heard_nothing(&mut client);
        heard_nothing(&mut server);
    }
}

#[test]
fn at_the_deadline_of_a_drain_the_client_may_come_back() {
    let bed = bed();
    let (mut client, mut server) = switched(&bed);
    pass(&mut client, &mut server, ask(&create("m")));
    eventually("it is placed", || bed.steps.placed().len() == 1);
    bed.advance(Phase::Draining);
    bed.advance(Phase::Cut);
    let event = text(&mut client);
    assert_eq!(
        (&event["status"], &event["error"]["code"]),
        (&json!(503), &json!("turnpike_ending"))
    );
    assert_eq!(payload(&mut client, 0x88)[..2], 1012_u16.to_be_bytes());
}
