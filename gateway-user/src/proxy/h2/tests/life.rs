//! Streams and connections from beginning to end: what is passed on, and how things end.

use std::time::Duration;

use ::h2::ext::Protocol;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::{io::duplex, sync::mpsc};

use super::{
    CHAT, QUESTION, Rig, Seen, connect, echo,
    frames::{
        DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS, block,
        frame, settings,
    },
    post, serve, whole, within,
};
use crate::limits;

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];

pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(GET))
}

fn head(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(GET))
}

pub(super) fn ok(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(&[(":status", "200")]))
}

/// A setting's value in a SETTINGS frame's payload.
fn setting(payload: &[u8], id: u16) -> Option<u32> {
    payload.as_chunks::<6>().0.iter().find_map(|&[i0, i1, v0, v1, v2, v3]| {
        (u16::from_be_bytes([i0, i1]) == id).then(|| u32::from_be_bytes([v0, v1, v2, v3]))
    })
}

#[tokio::test]
async fn a_call_is_carried_and_understood() {
    let (rig, client, server) = Rig::new();
    let (log, serving) = serve(server, ::h2::server::Builder::new(), |_, mut respond| {
        let response = Response::builder().header("content-type", "application/json");
        let answer = br#"{"id":"chatcmpl-1","model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
        let mut to = respond.send_response(response.body(()).expect("one"), false).expect("open");
        to.send_data(Bytes::from_static(answer), true).expect("open");
    });
    let (mut requests, connection) = connect(client).await;
    // Other streams first, so that the call's has a number that tells it apart. One has the path of an
    // API that its body does not speak.
    for (path, body) in [("/other", &b"x"[..]), ("/api/chat", b"{}"), (CHAT, QUESTION)] {
        let (response, mut to) = requests.send_request(post(path), false).expect("it is open");
        to.send_data(Bytes::copy_from_slice(body), true).expect("it is open");
        let mut response = within(response).await.expect("an answer");
        within(whole(response.body_mut())).await.expect("a body");
    }
    drop(requests);
    assert!(within(connection).await.expect("no panic").is_none());
    within(serving).await.expect("no panic").expect("nothing malformed");
    rig.agrees_with(&log);
    let [step] = rig.heard.placed().try_into().expect("one call");
    assert_eq!((step.stream_id, step.exchange_seq), (Some(5), Some(2)));
    assert_eq!(step.host.as_deref(), Some("api.example"));
    let json = serde_json::to_value(&step).expect("it is written");
    assert_eq!(json["stream_id"], 5);
    let [settlement] = rig.heard.finished().try_into().expect("one call");
    assert_eq!(settlement.status, Some(200));
    assert_eq!(settlement.response_id.as_deref(), Some("chatcmpl-1"));
    let coverage = rig.coverage();
    assert_eq!((coverage.connections_observed, coverage.calls), (1, 1));
    assert_eq!(rig.counted("exchanges_other"), 2);
    assert_eq!(coverage.calls_not_understood, 0);
    assert!(coverage.bytes_observed > 250 && coverage.bytes_opaque == 0, "{coverage:?}");
    rig.ended().await.expect("good order");
}

#[tokio::test]
async fn the_client_is_told_what_upstream_announced_within_our_bounds() {
    for (theirs, expected) in [
        (
            vec![(3, 7), (4, 1000), (5, 20_000), (6, 5000), (8, 1)],
            [(3, Some(7)), (4, Some(1000)), (5, Some(20_000)), (6, Some(5000)), (8, Some(1))],
        ),
        (
            vec![(3, u32::MAX), (4, 0x7fff_ffff), (5, 0xff_ffff), (6, u32::MAX)],
            [
                (3, Some(limits::H2_STREAMS)),
                (4, Some(limits::H2_STREAM_WINDOW)),
                (5, Some(limits::H2_FRAME_BYTES)),
                (6, Some(limits::H2_HEAD_BYTES)),
                (8, None),
            ],
        ),
        (
            vec![],
            [
                (3, Some(limits::H2_STREAMS)),
                (4, Some(65_535)),
                (5, Some(16_384)),
                (6, Some(limits::H2_HEAD_BYTES)),
                (8, None),
            ],
        ),
        (
            vec![(3, 0)],
            [
                (3, Some(0)),
                (4, Some(65_535)),
                (5, Some(16_384)),
                (6, Some(limits::H2_HEAD_BYTES)),
                (8, None),
            ],
        ),
    ] {
        let (_rig, client, server) = Rig::new();
        let mut client = Raw::client(client).await;
        let mut server = Raw::server(server, &theirs).await;
        let told = client.until(|frame| frame.kind == SETTINGS).await.expect("settings");
        for (id, value) in expected {
            assert_eq!(setting(&told.payload, id), value, "{id} of {theirs:?}");
        }
        let ours = server.until(|frame| frame.kind == SETTINGS).await.expect("settings");
        assert_eq!(setting(&ours.payload, 2), Some(0), "push is off");
    }
}

#[tokio::test]
async fn the_client_is_told_nothing_before_upstream_has_spoken() {
    let (_rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::new(server);
    server.hear_preface().await;
    let silence = tokio::time::timeout(Duration::from_millis(50), client.next()).await;
    assert!(silence.is_err());
    server.send(&settings(&[(3, 5)])).await;
    let told = client.until(|frame| frame.kind == SETTINGS).await.expect("settings");
    assert_eq!(setting(&told.payload, 3), Some(5));
}

#[tokio::test]
async fn a_reset_goes_up_with_its_code_also_while_nothing_is_sent() {
    for code in [0, 2, 7, 8, 11, 0xabcd_u32] {
        let (_rig, client, server) = Rig::new();
        let mut client = Raw::client(client).await;
        let mut server = Raw::server(server, &[]).await;
        client.send(&get(1)).await;
        server.until(|frame| frame.kind == HEADERS).await.expect("a request");
        client.send(&frame(RST_STREAM, 0, 1, &code.to_be_bytes())).await;
        let reset = server.until(|frame| frame.kind == RST_STREAM).await.expect("a reset");
        assert_eq!((reset.stream, reset.code()), (1, code));
    }
}

#[tokio::test]
async fn a_reset_goes_down_with_its_code_behind_what_was_answered() {
    for code in [2, 7, 8, 13, 0xabcd_u32] {
        let (_rig, client, server) = Rig::new();
        let mut client = Raw::client(client).await;
        let mut server = Raw::server(server, &[]).await;
        client.send(&head(1)).await;
        server.until(|frame| frame.kind == HEADERS).await.expect("a request");
        let answer =
            [ok(1, 0), frame(DATA, 0, 1, b"half"), frame(RST_STREAM, 0, 1, &code.to_be_bytes())];
        server.send(&answer.concat()).await;
        let data = client.until(|frame| frame.kind == DATA).await.expect("what was answered");
        assert_eq!(data.payload, b"half");
        let reset = client.until(|frame| frame.kind == RST_STREAM).await.expect("a reset");
        assert_eq!((reset.stream, reset.code()), (1, code));
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_has_ended() {
    let (_rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[]).await;
    client.send(&head(1)).await;
    server.until(|frame| frame.kind == HEADERS).await.expect("a request");
    // RFC 9113, section 8.1: a whole answer, then the rest is not wanted.
    let answer = [ok(1, 0), frame(DATA, END_STREAM, 1, b"no"), frame(RST_STREAM, 0, 1, &[0; 4])];
    server.send(&answer.concat()).await;
    let data = client.until(|frame| frame.kind == DATA).await.expect("an answer");
    assert!(data.is(DATA, END_STREAM) && data.payload == b"no");
    let reset = client.until(|frame| frame.kind == RST_STREAM).await.expect("a reset");
    assert_eq!((reset.stream, reset.code()), (1, 0));
    // The next stream goes on.
    client.send(&get(3)).await;
    let next = server.until(|frame| frame.kind == HEADERS).await.expect("a request");
    assert_eq!(next.stream, 3);
}

#[tokio::test]
async fn a_request_goes_on_after_an_early_answer() {
    let (_rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[]).await;
    client.send(&head(1)).await;
    server.until(|frame| frame.kind == HEADERS).await.expect("a request");
    server.send(&ok(1, END_STREAM)).await;
    client.until(|frame| frame.kind == HEADERS).await.expect("an answer");
    client.send(&frame(DATA, 0, 1, b"still")).await;
    assert_eq!(server.until(|frame| frame.kind == DATA).await.expect("data").payload, b"still");
    client.send(&frame(DATA, END_STREAM, 1, b"here")).await;
    let last = server.until(|frame| frame.kind == DATA).await.expect("data");
    assert!(last.is(DATA, END_STREAM) && last.payload == b"here");
}

#[tokio::test]
async fn upstreams_goaway_lets_streams_end_and_refuses_those_it_never_saw() {
    let (rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[]).await;
    client.send(&[get(1), get(3), get(5)].concat()).await;
    server.until(|frame| frame.kind == HEADERS && frame.stream == 5).await.expect("requests");
    server.send(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await;
    let (mut refused, mut told) = (Vec::new(), false);
    while refused.len() < 2 || !told {
        let frame = client.until(|_| true).await.expect("it is open");
        match frame.kind {
            RST_STREAM => refused.push((frame.stream, frame.code())),
            GOAWAY => told = true,
            _ => {}
        }
    }
    refused.sort_unstable();
    assert_eq!(refused, [(3, 7), (5, 7)]);
    // A client that did not hear it in time is refused, too.
    client.send(&get(7)).await;
    let late = client.until(|frame| frame.kind == RST_STREAM).await.expect("a refusal");
    assert_eq!((late.stream, late.code()), (7, 7));
    server.send(&ok(1, END_STREAM)).await;
    let answer = client.until(|frame| frame.kind == HEADERS).await.expect("an answer");
    assert_eq!(answer.stream, 1);
    assert_eq!(server.until(|frame| frame.kind == HEADERS).await, None, "nothing more was asked");
    client.until(|_| false).await;
    rig.ended().await.expect("good order");
}

#[tokio::test]
async fn a_client_that_goes_away_lets_upstream_end() {
    let (rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[]).await;
    client.send(&[get(1), frame(GOAWAY, 0, 0, &[0; 8])].concat()).await;
    server.until(|frame| frame.kind == HEADERS).await.expect("a request");
    server.send(&ok(1, END_STREAM)).await;
    let answer = client.until(|frame| frame.kind == HEADERS).await.expect("an answer");
    assert_eq!(answer.stream, 1);
    let away = server.until(|frame| frame.kind == GOAWAY).await.expect("a goaway");
    assert_eq!(away.code(), 0);
    assert_eq!(server.until(|_| true).await, None);
    client.until(|_| false).await;
    rig.ended().await.expect("good order");
}

#[tokio::test]
async fn a_client_that_vanishes_cancels_what_it_asked() {
    let (rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[]).await;
    let chat = [GET[0], GET[1], GET[2], (":path", CHAT)];
    let chat = [&[(":method", "POST")], &chat[1..]].concat();
    client.send(&frame(HEADERS, END_HEADERS, 1, &block(&chat))).await;
    client.send(&frame(DATA, END_STREAM, 1, QUESTION)).await;
    server.until(|frame| frame.is(DATA, END_STREAM)).await.expect("a request");
    drop(client);
    let reset = server.until(|frame| frame.kind == RST_STREAM).await.expect("a reset");
    assert_eq!((reset.stream, reset.code()), (1, 8));
    server.until(|_| false).await;
    let heard = rig.heard.clone();
    let _ = rig.ended().await;
    assert_eq!(heard.finished().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_vanishes_takes_the_client_with_it() {
    let (rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[]).await;
    client.send(&get(1)).await;
    server.until(|frame| frame.kind == HEADERS).await.expect("a request");
    server.send(&[ok(1, 0), frame(DATA, 0, 1, b"half")].concat()).await;
    client.until(|frame| frame.kind == DATA).await.expect("what was answered");
    drop(server);
    let last = client.until(|frame| matches!(frame.kind, RST_STREAM | GOAWAY)).await;
    assert_eq!(last, None, "upstream said nothing either");
    assert!(rig.ended().await.is_err());
}

#[tokio::test]
async fn an_idle_upstream_that_leaves_is_a_goaway_to_the_client() {
    let (rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let server = Raw::server(server, &[]).await;
    client.until(|frame| frame.kind == SETTINGS).await.expect("settings");
    drop(server);
    let away = client.until(|frame| frame.kind == GOAWAY).await.expect("it is told");
    assert_eq!(away.code(), 0);
    client.until(|_| false).await;
    rig.ended().await.expect("good order");
}

#[tokio::test]
async fn draining_lets_streams_end_and_then_ends() {
    let (mut rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[]).await;
    client.send(&get(1)).await;
    server.until(|frame| frame.kind == HEADERS).await.expect("a request");
    rig.drain();
    let away = client.until(|frame| frame.kind == GOAWAY).await.expect("it is told");
    assert_eq!((away.code(), &away.payload[..4]), (0, &[0x7f, 0xff, 0xff, 0xff][..]));
    let ping = client.until(|frame| frame.kind == PING).await.expect("it asks for a sign");
    client.send(&frame(PING, 1, 0, &ping.payload)).await;
    let away = client.until(|frame| frame.kind == GOAWAY).await.expect("the last stream");
    assert_eq!(&away.payload[..4], &[0, 0, 0, 1]);
    server.send(&[ok(1, 0), frame(DATA, END_STREAM, 1, b"late")].concat()).await;
    let data = client.until(|frame| frame.kind == DATA).await.expect("an answer");
    assert_eq!(data.payload, b"late");
    assert_eq!(client.until(|_| true).await, None);
    server.until(|frame| frame.kind == GOAWAY).await.expect("upstream is left in good order");
    rig.ended().await.expect("good order");
}

#[tokio::test]
async fn dropping_a_bridge_drops_everything_and_settles_what_was_under_way() {
    let (rig, client, server) = Rig::new();
    let (mut requests, _connection) = connect(client).await;
    let mut server = Raw::server(server, &[]).await;
    let (_response, mut to) = requests.send_request(post(CHAT), false).expect("it is open");
    to.send_data(Bytes::from_static(QUESTION), true).expect("it is open");
    server.until(|frame| frame.is(DATA, END_STREAM)).await.expect("a request");
    rig.task.abort();
    let _ = within(rig.task).await;
    assert_eq!(server.until(|_| false).await, None);
    assert_eq!(rig.heard.finished().len(), 1);
}

#[tokio::test]
async fn a_bidirectional_call_with_trailers_passes_message_by_message() {
    let (rig, client, server) = Rig::new();
    let serving = tokio::spawn(async move {
        let mut connection = ::h2::server::handshake(server).await.expect("open");
        let (request, mut respond) = connection.accept().await.expect("one").expect("one");
        tokio::spawn(async move { connection.accept().await.is_none() });
        assert_eq!(request.headers()["te"], "trailers");
        let mut from = request.into_body();
        let mut to = respond.send_response(Response::new(()), false).expect("open");
        while let Some(message) = from.data().await {
            let message = message.expect("open");
            from.flow_control().release_capacity(message.len()).expect("received");
            to.send_data(message, false).expect("open");
        }
        let sent = from.trailers().await.expect("open").expect("trailers");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        to.send_trailers(trailers).expect("open");
        sent
    });
    let (mut requests, _connection) = connect(client).await;
    let mut request = post("/service/Method");
    request.headers_mut().insert("te", "trailers".parse().expect("a value"));
    let (response, mut to) = requests.send_request(request, false).expect("open");
    let mut from = within(response).await.expect("an early head").into_body();
    for number in 0..200_u32 {
        // Each answer depends on the message before it.
        let message =
            Bytes::copy_from_slice(&[&[0, 0, 0, 0, 4][..], &number.to_be_bytes()].concat());
        to.send_data(message.clone(), false).expect("open");
        let answer = within(from.data()).await.expect("more").expect("open");
        from.flow_control().release_capacity(answer.len()).expect("received");
        assert_eq!(answer, message);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("client", "done".parse().expect("a value"));
    to.send_trailers(trailers.clone()).expect("open");
    let (rest, received) = within(whole(&mut from)).await.expect("open");
    assert_eq!((rest.len(), received.expect("trailers")["grpc-status"].as_bytes()), (0, &b"0"[..]));
    assert_eq!(within(serving).await.expect("no panic"), trailers);
    assert_eq!(rig.counted("exchanges_other"), 1);
}

#[tokio::test]
async fn an_event_stream_passes_chunk_by_chunk() {
    let (_rig, client, server) = Rig::new();
    let (send, mut chunks) = mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        let mut connection = ::h2::server::handshake(server).await.expect("open");
        let (_request, mut respond) = connection.accept().await.expect("one").expect("one");
        tokio::spawn(async move { connection.accept().await.is_none() });
        let mut to = respond.send_response(Response::new(()), false).expect("open");
        while let Some(chunk) = chunks.recv().await {
            to.send_data(chunk, false).expect("open");
        }
        to.send_data(Bytes::new(), true).expect("open");
    });
    let (mut requests, _connection) = connect(client).await;
    let (response, _) = requests.send_request(post("/events"), true).expect("open");
    let mut from = within(response).await.expect("a head").into_body();
    for number in 0..100 {
        // The next is written only when this one has been read.
        let chunk = Bytes::from(format!("data: {number}\n\n"));
        send.send(chunk.clone()).await.expect("open");
        let received = within(from.data()).await.expect("more").expect("open");
        from.flow_control().release_capacity(received.len()).expect("received");
        assert_eq!(received, chunk);
    }
    drop(send);
    assert!(within(from.data()).await.is_none_or(|last| last.expect("open").is_empty()));
}

#[tokio::test]
async fn heads_arrive_as_they_were_sent() {
    let (_rig, client, server) = Rig::new();
    let (log, _) = echo(server);
    let (mut requests, _connection) = connect(client).await;
    let request = Request::builder()
        .method("PATCH")
        .uri("http://user.example:8080/a/b%20c?q=1&r={x}")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-binary", http::HeaderValue::from_bytes(b"\xff\xfe\t!").expect("a value"))
        .header("x-empty", "")
        .body(())
        .expect("a request");
    let expected = request.headers().clone();
    let (response, _) = requests.send_request(request, true).expect("open");
    within(response).await.expect("an answer");
    let [seen] = <[Seen; 1]>::try_from(log.seen()).expect("one");
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("PATCH", "/a/b%20c"));
    assert_eq!(seen.authority.as_deref(), Some("user.example:8080"));
    assert_eq!(seen.headers, expected);
}

#[tokio::test]
async fn hosts_that_differ_are_counted_and_refused_where_that_is_asked() {
    for strict in [false, true] {
        let ((client, near), (server, far)) = (duplex(65_536), duplex(65_536));
        let rig = Rig::bridging(near, far, strict);
        let (log, _) = echo(server);
        let (mut requests, _connection) = connect(client).await;
        let mut request = post("/");
        request.headers_mut().insert("host", "other.example".parse().expect("a value"));
        let (response, _) = requests.send_request(request, true).expect("open");
        let outcome = within(response).await;
        assert_eq!(rig.counted("h2_hosts_differ"), 1);
        assert_eq!(outcome.is_err(), strict);
        assert_eq!(log.seen().len(), usize::from(!strict));
    }
}

#[tokio::test]
async fn connect_and_what_is_built_on_it_is_forwarded_unread_and_counted() {
    let (rig, client, server) = Rig::new();
    let mut builder = ::h2::server::Builder::new();
    builder.enable_connect_protocol();
    tokio::spawn(async move {
        let mut connection = builder.handshake::<_, Bytes>(server).await.expect("open");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let protocol = request.extensions().get::<Protocol>().map(|it| it.as_str().to_owned());
            let response = Response::builder().header("x-protocol", protocol.unwrap_or_default());
            let mut to =
                respond.send_response(response.body(()).expect("one"), false).expect("open");
            let mut from = request.into_body();
            tokio::spawn(async move {
                while let Some(Ok(bytes)) = from.data().await {
                    from.flow_control().release_capacity(bytes.len()).expect("received");
                    to.send_data(bytes, false).expect("open");
                }
                let _ = to.send_data(Bytes::new(), true);
            });
        }
    });
    let (mut requests, _connection) = connect(client).await;
    while !requests.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    for protocol in ["", "websocket"] {
        let uri = if protocol.is_empty() { "a.example:443" } else { "http://a.example/chat" };
        let mut request = Request::connect(uri).body(()).expect("a request");
        if !protocol.is_empty() {
            request.extensions_mut().insert(Protocol::from(protocol));
        }
        let (response, mut to) = requests.send_request(request, false).expect("open");
        let response = within(response).await.expect("an answer");
        assert_eq!(response.headers()["x-protocol"], protocol);
        let mut from = response.into_body();
        to.send_data(Bytes::from_static(b"opaque"), false).expect("open");
        assert_eq!(within(from.data()).await.expect("more").expect("open"), "opaque");
        to.send_data(Bytes::new(), true).expect("open");
        within(whole(&mut from)).await.expect("an end");
    }
    assert_eq!(rig.counted("h2_tunnels"), 2);
    assert_eq!(rig.counted("exchanges_other"), 0);
    assert!(rig.coverage().bytes_opaque >= 24);
}
