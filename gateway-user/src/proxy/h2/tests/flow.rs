//! Flow control: honest back-pressure, no stream in the way of another, and nothing that gets stuck.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use proptest::prelude::*;

use super::{Rig, connect, echo, post, send_all, whole, within};
use crate::limits;

/// More than any window.
const MUCH: usize = 8 * 1024 * 1024;

/// Waits until a figure has not changed for a while.
async fn settled(figure: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = figure.load(Ordering::Relaxed);
        if now == before && now > 0 {
            return now;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes a body as it is taken, and says how much was.
async fn pour(mut to: ::h2::SendStream<Bytes>, taken: Arc<AtomicUsize>) {
    for _ in 0..MUCH / 8192 {
        send_all(&mut to, Bytes::from(vec![b'x'; 8192]), false).await;
        taken.fetch_add(8192, Ordering::Relaxed);
    }
    to.send_data(Bytes::new(), true).expect("open");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_server() {
    let (_rig, client, server) = Rig::sized(16 * 1024);
    let taken = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut connection = ::h2::server::handshake(server).await.expect("open");
        let (_, mut respond) = connection.accept().await.expect("one").expect("one");
        tokio::spawn(async move { connection.accept().await.is_none() });
        let to = respond.send_response(Response::new(()), false).expect("open");
        pour(to, ours).await;
    });
    let (mut requests, _connection) = connect(client).await;
    let (response, _) = requests.send_request(post("/"), true).expect("open");
    let mut from = within(response).await.expect("a head").into_body();
    let stopped = settled(&taken).await;
    // The client's window, ours, what we hold to be written, the pipes, and the server's own buffer.
    let bound = 65_535
        + limits::H2_STREAM_WINDOW as usize
        + limits::H2_SEND_BUFFER
        + 32 * 1024
        + 400 * 1024;
    assert!(stopped <= bound, "{stopped}");
    let (body, _) = within(whole(&mut from)).await.expect("an end");
    assert_eq!(body.len(), MUCH);
}

#[tokio::test]
async fn a_server_that_does_not_read_stops_its_client() {
    let (_rig, client, server) = Rig::sized(16 * 1024);
    let (release, held) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut connection = ::h2::server::handshake(server).await.expect("open");
        let (request, mut respond) = connection.accept().await.expect("one").expect("one");
        tokio::spawn(async move { connection.accept().await.is_none() });
        let _ = held.await;
        let (body, _) = whole(&mut request.into_body()).await.expect("an end");
        assert_eq!(body.len(), MUCH);
        respond.send_response(Response::new(()), true).expect("open");
    });
    let (mut requests, _connection) = connect(client).await;
    let (response, to) = requests.send_request(post("/"), false).expect("open");
    let taken = Arc::new(AtomicUsize::new(0));
    tokio::spawn(pour(to, Arc::clone(&taken)));
    let stopped = settled(&taken).await;
    // The server announced 65 535, and so did we.
    let bound = 2 * 65_535 + limits::H2_SEND_BUFFER + 32 * 1024 + 400 * 1024;
    assert!(stopped <= bound, "{stopped}");
    drop(release);
    assert_eq!(within(response).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn streams_that_stall_do_not_hold_up_the_others() {
    const STALLED: usize = 10;
    let (_rig, client, server) = Rig::sized(64 * 1024);
    tokio::spawn(async move {
        let mut connection = ::h2::server::handshake(server).await.expect("open");
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let to = respond.send_response(Response::new(()), false).expect("open");
            tokio::spawn(pour(to, Arc::default()));
        }
    });
    let mut builder = ::h2::client::Builder::new();
    // The client itself would not be held up.
    builder.initial_window_size(1024 * 1024).initial_connection_window_size(64 * 1024 * 1024);
    let (mut requests, connection) =
        within(builder.handshake::<_, Bytes>(client)).await.expect("open");
    tokio::spawn(connection);
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let (response, _) = requests.send_request(post("/"), true).expect("open");
        stalled.push(within(response).await.expect("a head").into_body());
    }
    let (response, _) = requests.send_request(post("/"), true).expect("open");
    let mut from = within(response).await.expect("a head").into_body();
    assert_eq!(within(whole(&mut from)).await.expect("an end").0.len(), MUCH);
    for from in &mut stalled {
        assert_eq!(within(whole(from)).await.expect("an end").0.len(), MUCH);
    }
}

/// One exchange of a random mix.
#[derive(Clone, Debug)]
struct Talk {
    /// Sizes of the pieces that the client writes.
    pieces: Vec<usize>,
    trailers: bool,
    /// Waits for so many turns of the others before each piece.
    lazy: u8,
}

fn talk() -> impl Strategy<Value = Talk> {
    let piece = prop_oneof![Just(0_usize), 1_usize..100, 1_usize..20_000, Just(16_384_usize)];
    (prop::collection::vec(piece, 0..12), any::<bool>(), 0_u8..4)
        .prop_map(|(pieces, trailers, lazy)| Talk { pieces, trailers, lazy })
}

/// Bytes that tell where they belong.
fn fill(stream: usize, at: usize, length: usize) -> Bytes {
    (0..length).map(|byte| u8::try_from((stream * 31 + at * 7 + byte) % 251).unwrap_or(0)).collect()
}

async fn play(
    number: usize,
    talk: Talk,
    mut requests: ::h2::client::SendRequest<Bytes>,
) -> (Vec<u8>, Vec<u8>, bool) {
    let pause = async |turns: u8| {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    let (response, mut to) = requests.send_request(post("/talk"), false).expect("open");
    let writing = async {
        let mut sent = Vec::new();
        for (at, length) in talk.pieces.iter().enumerate() {
            pause(talk.lazy).await;
            let piece = fill(number, at, *length);
            sent.extend_from_slice(&piece);
            send_all(&mut to, piece, false).await;
        }
        if talk.trailers {
            let mut trailers = HeaderMap::new();
            trailers.insert("number", number.to_string().parse().expect("a value"));
            to.send_trailers(trailers).expect("open");
        } else {
            to.send_data(Bytes::new(), true).expect("open");
        }
        sent
    };
    let reading = async {
        let mut from = response.await.expect("a head").into_body();
        let mut received = Vec::new();
        while let Some(bytes) = from.data().await {
            let bytes = bytes.expect("open");
            pause(talk.lazy).await;
            from.flow_control().release_capacity(bytes.len()).expect("received");
            received.extend_from_slice(&bytes);
        }
        (received, from.trailers().await.expect("open"))
    };
    let (sent, (received, trailers)) = tokio::join!(writing, reading);
    let expected = talk.trailers.then(|| number.to_string());
    let told = trailers.map(|trailers| trailers["number"].to_str().expect("text").to_owned());
    (sent, received, told == expected)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_mix_of_streams_arrives_whole_both_ways(
        talks in prop::collection::vec(talk(), 1..16),
        pipe in prop_oneof![Just(64_usize), Just(1024), Just(65_536)],
        echoes: bool,
        window in prop_oneof![Just(1024_u32), Just(65_535), Just(1024 * 1024)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
        runtime.block_on(async {
            let (rig, client, server) = Rig::sized(pipe);
            // A server that answers after the request, or while it comes.
            if echoes {
                let _ = echo(server);
            } else {
                tokio::spawn(mirror(server, window));
            }
            let (requests, _connection) = connect(client).await;
            let playing: Vec<_> = talks
                .into_iter()
                .enumerate()
                .map(|(number, talk)| tokio::spawn(play(number, talk, requests.clone())))
                .collect();
            for played in playing {
                let (sent, received, trailers) = within(played).await.expect("no panic");
                assert!(sent == received, "{} bytes, not {}", received.len(), sent.len());
                assert!(trailers);
            }
            assert!(!rig.task.is_finished());
        });
    }
}

/// A server that gives everything back at once, through a window of its own.
async fn mirror(io: tokio::io::DuplexStream, window: u32) {
    let mut builder = ::h2::server::Builder::new();
    builder.initial_window_size(window).max_concurrent_streams(5);
    let mut connection = builder.handshake::<_, Bytes>(io).await.expect("open");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let mut to = respond.send_response(Response::new(()), false).expect("open");
            let mut from = request.into_body();
            while let Some(bytes) = from.data().await {
                let bytes = bytes.expect("open");
                let length = bytes.len();
                send_all(&mut to, bytes, false).await;
                from.flow_control().release_capacity(length).expect("received");
            }
            match from.trailers().await.expect("open") {
                Some(trailers) => to.send_trailers(trailers).expect("open"),
                None => to.send_data(Bytes::new(), true).expect("open"),
            }
        });
    }
}
