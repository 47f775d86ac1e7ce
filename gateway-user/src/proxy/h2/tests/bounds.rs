//! Every bound, hit on purpose.

use std::time::Duration;

use ::h2::Reason;
use http::Response;

use super::super::BridgeError;
use super::{
    Rig, connect, echo,
    frames::{END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS, frame, settings},
    life::{get, ok},
    post, serve, within,
};
use crate::limits::{self, Limits};

#[tokio::test]
async fn rapid_resets_end_the_connection_and_are_counted() {
    let (rig, client, server) = Rig::sized(1024 * 1024);
    let (log, _) = echo(server);
    let mut client = Raw::client(client).await;
    let mut burst = Vec::new();
    for number in 0..1000 {
        let stream = number * 2 + 1;
        burst.extend([get(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat());
    }
    client.send(&burst).await;
    let away = client.until(|frame| frame.kind == GOAWAY).await.expect("it is told");
    assert_eq!(Reason::from(away.code()), Reason::ENHANCE_YOUR_CALM);
    client.until(|_| false).await;
    let agent = std::sync::Arc::clone(&rig.agent);
    let _ = rig.ended().await;
    assert_eq!(agent.coverage.snapshot().reasons.get("h2_floods"), Some(&1));
    assert_eq!(agent.bounds.hits(limits::Bound::H2Floods), 1);
    assert!(log.seen().len() <= limits::H2_EARLY_RESETS, "upstream was spared");
}

#[tokio::test]
async fn streams_over_the_bound_are_refused_and_counted_and_room_comes_back() {
    let (rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[(3, 2)]).await;
    client.until(|frame| frame.kind == SETTINGS).await.expect("settings");
    client.send(&[get(1), get(3), get(5)].concat()).await;
    let refused = client.until(|frame| frame.kind == RST_STREAM).await.expect("a refusal");
    assert_eq!((refused.stream, refused.code()), (5, 7));
    server.until(|frame| frame.kind == HEADERS && frame.stream == 3).await.expect("requests");
    server.send(&ok(1, END_STREAM)).await;
    client.until(|frame| frame.kind == HEADERS).await.expect("an answer");
    client.send(&get(7)).await;
    let next = server.until(|frame| frame.kind == HEADERS).await.expect("a request");
    assert_eq!(next.stream, 5, "upstream's own numbers have no gap");
    assert_eq!(rig.counted("h2_streams_refused"), 1);
}

#[tokio::test]
async fn a_head_over_the_bound_is_answered_431_and_the_connection_goes_on() {
    let (rig, client, server) = Rig::sized(1024 * 1024);
    let (log, _) = serve(server, ::h2::server::Builder::new(), |_, mut respond| {
        respond.send_response(Response::new(()), true).expect("open");
    });
    let (mut requests, _connection) = connect(client).await;
    let mut request = post("/large");
    let large = "x".repeat(limits::H2_HEAD_BYTES as usize);
    request.headers_mut().insert("x-large", large.parse().expect("a value"));
    let (response, _) = requests.send_request(request, true).expect("open");
    assert_eq!(within(response).await.expect("an answer").status(), 431);
    let (response, _) = requests.send_request(post("/small"), true).expect("open");
    assert_eq!(within(response).await.expect("an answer").status(), 200);
    assert_eq!(log.seen().len(), 1);
    assert_eq!(rig.counted("h2_streams_refused"), 1);
}

#[tokio::test]
async fn a_flood_of_pings_and_settings_waits_for_its_reader() {
    for kind in [PING, SETTINGS] {
        let (_rig, client, server) = Rig::sized(4096);
        let _ = echo(server);
        let mut client = Raw::client(client).await;
        client.until(|frame| frame.kind == SETTINGS).await.expect("settings");
        let one = if kind == PING { frame(PING, 0, 0, &[1; 8]) } else { settings(&[(4, 70_000)]) };
        // Far more than the pipes and our buffers hold, from a client that does not read.
        let flood = one.repeat(200_000);
        let stuck = tokio::time::timeout(Duration::from_millis(300), client.send(&flood)).await;
        assert!(stuck.is_err(), "a flood is not taken without end");
    }
}

#[tokio::test]
async fn an_upstream_that_takes_fewer_streams_later_is_asked_for_no_more() {
    let (_rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[(3, 10)]).await;
    client.until(|frame| frame.kind == SETTINGS).await.expect("settings");
    server.until(|frame| frame.is(SETTINGS, 1)).await.expect("an acknowledgement");
    server.send(&settings(&[(3, 1)])).await;
    server.until(|frame| frame.is(SETTINGS, 1)).await.expect("an acknowledgement");
    client.send(&(0..5).flat_map(|number| get(number * 2 + 1)).collect::<Vec<u8>>()).await;
    for stream in [1, 3, 5, 7, 9] {
        let asked = server.until(|frame| frame.kind == HEADERS).await.expect("a request");
        assert_eq!(asked.stream, stream);
        // One that follows too early would come before this ping is answered.
        server.send(&frame(PING, 0, 0, &[9; 8])).await;
        let next = server.until(|frame| matches!(frame.kind, HEADERS | PING)).await.expect("one");
        assert_eq!(next.kind, PING);
        server.send(&ok(stream, END_STREAM)).await;
        let answer = client.until(|frame| frame.kind == HEADERS).await.expect("an answer");
        assert_eq!(answer.stream, stream);
    }
}

#[tokio::test]
async fn a_client_that_resets_while_upstream_is_full_leaves_nothing_behind() {
    let (_rig, client, server) = Rig::sized(1024 * 1024);
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[(3, 100)]).await;
    client.until(|frame| frame.kind == SETTINGS).await.expect("settings");
    server.send(&settings(&[(3, 1)])).await;
    client.send(&get(1)).await;
    server.until(|frame| frame.kind == HEADERS).await.expect("a request");
    // Each of these waits, and is taken back.
    for number in 1..20 {
        let stream = number * 2 + 1;
        client.send(&get(stream)).await;
        client.send(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).await;
        client.send(&frame(PING, 0, 0, &[1; 8])).await;
        client.until(|frame| frame.is(PING, 1)).await.expect("it lives");
    }
    server.send(&ok(1, END_STREAM)).await;
    client.until(|frame| frame.kind == HEADERS).await.expect("an answer");
    client.send(&get(101)).await;
    // Those that had gone on before upstream was known to be full are opened and reset.
    let mut asked = 0;
    loop {
        let next = server.until(|frame| matches!(frame.kind, HEADERS | RST_STREAM)).await;
        let next = next.expect("a request");
        if next.kind == HEADERS {
            asked += 1;
            server.send(&ok(next.stream, END_STREAM)).await;
            let answered = tokio::time::timeout(
                Duration::from_millis(100),
                client.until(|frame| frame.kind == HEADERS && frame.stream == 101),
            );
            if answered.await.is_ok() {
                break;
            }
        }
    }
    assert!(asked <= 3, "{asked} requests");
}

const IDLE: Duration = Duration::from_secs(20);

/// A bridge that ends what is silent, with both its peers begun.
async fn quiet() -> (Rig, Raw, Raw) {
    let limits = Limits { idle_time: Some(IDLE), ..Limits::default() };
    let (rig, client, server) = Rig::within(limits);
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[(3, 10)]).await;
    client.until(|frame| frame.kind == SETTINGS).await.expect("settings");
    server.until(|frame| frame.is(SETTINGS, 1)).await.expect("an acknowledgement");
    (rig, client, server)
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_in_good_order_between_exchanges() {
    let (rig, mut client, _server) = quiet().await;
    let begun = tokio::time::Instant::now();
    let agent = std::sync::Arc::clone(&rig.agent);
    assert!(rig.task.await.expect("it did not panic").is_ok());
    assert!(begun.elapsed() >= IDLE && begun.elapsed() <= 2 * IDLE, "{:?}", begun.elapsed());
    let away = client.until(|frame| frame.kind == GOAWAY).await.expect("it is told");
    assert_eq!(Reason::from(away.code()), Reason::NO_ERROR);
    assert_eq!(agent.bounds.hits(limits::Bound::IdleTime), 1);
    assert_eq!(agent.coverage.snapshot().reasons.get("ended_idle"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_lost_in_the_middle_of_an_exchange() {
    let (rig, mut client, mut server) = quiet().await;
    client.send(&get(1)).await;
    server.until(|frame| frame.kind == HEADERS).await.expect("a request");
    let over = rig.task.await.expect("it did not panic");
    assert!(matches!(over, Err(BridgeError::Silent)), "{over:?}");
}
