//! What a server may and may not send, by section: what the client sees of it.

use std::future::poll_fn;

use ::h2::Reason;
use http::{Request, Response};

use super::{
    Rig, connect,
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PUSH_PROMISE,
        RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, frame, settings,
    },
    serve, whole, within,
};

/// What the client sees of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Saw {
    Answer(u16, Vec<u8>),
    /// The stream is reset, or the connection ended, with this code.
    Error(Reason),
    /// The connection is gone without a word.
    Lost,
}

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    saw: Saw,
}

fn case(name: &'static str, pieces: &[Vec<u8>], saw: Saw) -> Case {
    Case { name, bytes: pieces.concat(), saw }
}

fn head(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 1, &block(fields))
}

fn data(flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, 1, bytes)
}

const OK: &[(&str, &str)] = &[(":status", "200")];

/// To a GET on stream 1.
fn cases() -> Vec<Case> {
    [part_1(), part_2(), part_3(), part_4()].into_iter().flatten().collect()
}

fn part_1() -> Vec<Case> {
    let whole = |status, body: &[u8]| Saw::Answer(status, body.to_vec());
    let broken = Saw::Error(Reason::PROTOCOL_ERROR);
    let x = data(END_STREAM, b"x");
    vec![
        case(
            "8.1 head and data",
            &[head(0, OK), data(0, b"a"), data(END_STREAM, b"b")],
            whole(200, b"ab"),
        ),
        case("8.1 a head alone", &[head(END_STREAM, &[(":status", "204")])], whole(204, b"")),
        case(
            "8.1 an empty frame ends it",
            &[head(0, OK), data(0, b"a"), data(END_STREAM, b"")],
            whole(200, b"a"),
        ),
        case(
            "8.1 trailers end it",
            &[head(0, OK), data(0, b"a"), head(END_STREAM, &[("t", "v")])],
            whole(200, b"a"),
        ),
        case(
            "8.1 interim heads",
            &[
                head(0, &[(":status", "103")]),
                head(0, &[(":status", "100")]),
                head(0, OK),
                x.clone(),
            ],
            whole(200, b"x"),
        ),
        case(
            "8.1 padded data",
            &[head(0, OK), frame(DATA, END_STREAM | PADDED, 1, &[2, b'x', 0, 0])],
            whole(200, b"x"),
        ),
        case(
            "8.1.1 304 with a content-length",
            &[head(END_STREAM, &[(":status", "304"), ("content-length", "9")])],
            whole(304, b""),
        ),
        case(
            "8.1.1 less data than content-length",
            &[head(0, &[OK[0], ("content-length", "9")]), x.clone()],
            broken.clone(),
        ),
        case(
            "8.1.1 more data than content-length",
            &[head(0, &[OK[0], ("content-length", "0")]), x.clone()],
            broken.clone(),
        ),
        case("8.1 data before a head", std::slice::from_ref(&x), broken.clone()),
        case(
            "8.1 trailers that do not end it",
            &[head(0, OK), head(0, &[("t", "v")])],
            broken.clone(),
        ),
        case("8.3.2 no status", &[head(END_STREAM, &[("a", "b")])], broken.clone()),
    ]
}

fn part_2() -> Vec<Case> {
    let whole = |status, body: &[u8]| Saw::Answer(status, body.to_vec());
    let broken = Saw::Error(Reason::PROTOCOL_ERROR);
    vec![
        case(
            "8.3.2 a status that is no number",
            &[head(END_STREAM, &[(":status", "2x0")])],
            broken.clone(),
        ),
        case(
            "8.3.2 a status and a path",
            &[head(END_STREAM, &[OK[0], (":path", "/")])],
            whole(200, b""),
        ),
        case(
            "8.2 an upper-case name",
            &[head(END_STREAM, &[OK[0], ("X-Up", "v")])],
            broken.clone(),
        ),
        case(
            "8.2.2 connection",
            &[head(END_STREAM, &[OK[0], ("connection", "close")])],
            broken.clone(),
        ),
        case(
            "8.2.2 transfer-encoding",
            &[head(END_STREAM, &[OK[0], ("transfer-encoding", "chunked")])],
            broken.clone(),
        ),
        case(
            "8.4 a push that we have switched off",
            &[frame(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                &[
                    &[0, 0, 0, 2][..],
                    &block(&[
                        (":method", "GET"),
                        (":scheme", "http"),
                        (":authority", "a"),
                        (":path", "/"),
                    ]),
                ]
                .concat(),
            )],
            broken.clone(),
        ),
        case(
            "6.4 a code",
            &[frame(RST_STREAM, 0, 1, &[0, 0, 0, 7])],
            Saw::Error(Reason::REFUSED_STREAM),
        ),
        case(
            "6.4 a code that nobody knows",
            &[frame(RST_STREAM, 0, 1, &[0, 0, 0xab, 0xcd])],
            Saw::Error(Reason::from(0xabcd)),
        ),
    ]
}

fn part_3() -> Vec<Case> {
    let whole = |status, body: &[u8]| Saw::Answer(status, body.to_vec());
    let broken = Saw::Error(Reason::PROTOCOL_ERROR);
    let x = data(END_STREAM, b"x");
    vec![
        case(
            "6.4 a code in the middle of the answer",
            &[head(0, OK), data(0, b"a"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])],
            Saw::Error(Reason::INTERNAL_ERROR),
        ),
        case(
            "8.1 a whole answer, then NO_ERROR",
            &[head(0, OK), x.clone(), frame(RST_STREAM, 0, 1, &[0; 4])],
            whole(200, b"x"),
        ),
        case(
            "6.8 not processed",
            &[frame(GOAWAY, 0, 0, &[0; 8])],
            Saw::Error(Reason::REFUSED_STREAM),
        ),
        case(
            "6.8 not processed, with an error",
            &[frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])],
            Saw::Error(Reason::REFUSED_STREAM),
        ),
        case(
            "6.8 processed, then answered",
            &[frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), head(0, OK), x.clone()],
            whole(200, b"x"),
        ),
        case("6.5 settings with a wrong length", &[frame(SETTINGS, 0, 0, &[0; 7])], broken.clone()),
        case("6.5.2 a window over the maximum", &[settings(&[(4, u32::MAX)])], broken.clone()),
        case(
            "6.9.1 a window that overflows",
            &[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
            Saw::Error(Reason::FLOW_CONTROL_ERROR),
        ),
        case(
            "6.7 a ping in between",
            &[frame(PING, 0, 0, &[1; 8]), head(0, OK), x.clone()],
            whole(200, b"x"),
        ),
        case(
            "4.1 an unknown frame in between",
            &[head(0, OK), frame(0xbe, 0xff, 1, b"?"), x.clone()],
            whole(200, b"x"),
        ),
        case(
            "4.2 a frame over the size that we take",
            &[head(0, OK), data(0, &[0; 16_385])],
            Saw::Error(Reason::FRAME_SIZE_ERROR),
        ),
        case(
            "5.1 an answer to an idle stream",
            &[frame(HEADERS, END_HEADERS, 7, &block(OK))],
            broken.clone(),
        ),
        case("5.1.1 data on a stream of the server's own", &[frame(DATA, 0, 2, b"x")], broken),
    ]
}

fn part_4() -> Vec<Case> {
    vec![
        case(
            "RFC 7541 an index beyond the table",
            &[frame(HEADERS, END_HEADERS, 1, &[0xff, 0x80, 1])],
            Saw::Error(Reason::PROTOCOL_ERROR),
        ),
        case("the connection ends instead of an answer", &[], Saw::Lost),
        case(
            "the connection ends in the middle of the answer",
            &[head(0, OK), data(0, b"a")],
            Saw::Lost,
        ),
    ]
}

#[tokio::test]
async fn a_client_sees_what_its_server_does_and_no_breach_of_it() {
    let cases = cases();
    assert!(cases.len() >= 30);
    let mut wrong = Vec::new();
    for case in cases {
        let saw = run(&case).await;
        if saw != case.saw {
            wrong.push(format!("{}: {saw:?}, not {:?}", case.name, case.saw));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn run(case: &Case) -> Saw {
    let (rig, client, server) = Rig::new();
    let bytes = case.bytes.clone();
    let serving = tokio::spawn(async move {
        let mut raw = Raw::server(server, &[]).await;
        raw.until(|frame| frame.kind == HEADERS).await.expect("a request");
        raw.send(&bytes).await;
        if bytes.is_empty() || bytes.ends_with(b"a") {
            return;
        }
        while raw.next().await.is_some() {}
    });
    let (mut requests, connection) = connect(client).await;
    let request = Request::get("http://a.example/").body(()).expect("a request");
    let (response, _) = requests.send_request(request, true).expect("it is open");
    let outcome = within(async {
        let mut response = response.await?;
        let (body, _) = whole(response.body_mut()).await?;
        Ok::<_, ::h2::Error>(Saw::Answer(response.status().as_u16(), body))
    })
    .await;
    drop(requests);
    let saw = match outcome {
        Ok(saw) => saw,
        Err(error) => error.reason().map_or(Saw::Lost, Saw::Error),
    };
    let _ = within(connection).await;
    let _ = within(rig.task).await;
    serving.abort();
    saw
}

#[tokio::test]
async fn a_server_that_does_not_begin_with_settings_is_no_http2_server() {
    for bytes in [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), frame(PING, 0, 0, &[0; 8])] {
        let (rig, client, mut server) = Rig::new();
        let mut raw = Raw::client(client).await;
        tokio::io::AsyncWriteExt::write_all(&mut server, &bytes).await.expect("it is open");
        let away = raw.until(|frame| frame.kind == GOAWAY).await.expect("it is told");
        assert_eq!(away.code(), u32::from(Reason::PROTOCOL_ERROR));
        drop((raw, server));
        assert!(matches!(rig.ended().await, Err(super::BridgeError::NotHttp2(_))));
    }
}

#[tokio::test]
async fn a_broken_upstream_ends_the_client_with_the_same_code() {
    let (rig, client, server) = Rig::new();
    let mut client = Raw::client(client).await;
    let mut server = Raw::server(server, &[]).await;
    client.until(|frame| frame.is(SETTINGS, ACK)).await.expect("it is open");
    server.send(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])).await;
    let theirs = server.until(|frame| frame.kind == GOAWAY).await.expect("it is told");
    let ours = client.until(|frame| frame.kind == GOAWAY).await.expect("it is told");
    assert_eq!(theirs.code(), u32::from(Reason::FLOW_CONTROL_ERROR));
    assert_eq!(ours.code(), theirs.code());
    assert_eq!(client.until(|_| false).await, None);
    rig.ended().await.expect("both were told");
}

#[tokio::test]
async fn interim_answers_pass_one_by_one() {
    let (_rig, client, server) = Rig::new();
    let serving = tokio::spawn(async move {
        let mut raw = Raw::server(server, &[]).await;
        raw.until(|frame| frame.kind == HEADERS).await.expect("a request");
        raw.send(&head(0, &[(":status", "103"), ("link", "</a>")])).await;
        raw.send(&head(0, &[(":status", "102")])).await;
        raw.send(&head(END_STREAM, OK)).await;
        raw
    });
    let (mut requests, _) = connect(client).await;
    let request = Request::get("http://a.example/").body(()).expect("a request");
    let (mut response, _) = requests.send_request(request, true).expect("it is open");
    let mut interim = Vec::new();
    while let Some(head) = within(poll_fn(|cx| response.poll_informational(cx))).await {
        let head = head.expect("it is whole");
        interim.push((head.status().as_u16(), head.headers().len()));
    }
    assert_eq!(interim, [(103, 1), (102, 0)]);
    assert_eq!(within(response).await.expect("an answer").status(), 200);
    drop(serving);
}

#[tokio::test]
async fn an_answer_to_head_has_a_length_and_no_body() {
    let (_rig, client, server) = Rig::new();
    let (_, _) = serve(server, ::h2::server::Builder::new(), |_, mut respond| {
        let response = Response::builder().header("content-length", "5").body(()).expect("one");
        respond.send_response(response, true).expect("open");
    });
    let (mut requests, _connection) = connect(client).await;
    let request = Request::head("http://a.example/").body(()).expect("a request");
    let (response, _) = requests.send_request(request, true).expect("open");
    let mut response = within(response).await.expect("an answer");
    assert_eq!(response.headers()["content-length"], "5");
    assert!(within(whole(response.body_mut())).await.expect("an end").0.is_empty());
}
