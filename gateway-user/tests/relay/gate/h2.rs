//! The same over HTTP/2.

mod gathered;

use std::sync::Arc;

use ::h2::{Reason as Code, RecvStream, client, server};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use turnpike::{
    call::Usage, config::Mode, dialect::edit::Edit, drain::Phase, limits,
    policy::metering::OnUnmetered, proxy::Decision,
};

use super::{
    super::bed::{Bed, PATIENCE, everywhere},
    Says, chat, enforced, no, saying,
};

pub(in super::super) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build();
    let test = async { timeout(PATIENCE, test).await };
    runtime.expect("a runtime").block_on(test).expect("it comes to an end");
}

pub(in super::super) type Asked = (Request<RecvStream>, server::SendResponse<Bytes>);

/// A client's and a server's end of a connection through the proxy.
pub(in super::super) struct Ends {
    requests: client::SendRequest<Bytes>,
    server: server::Connection<TcpStream, Bytes>,
}

fn asynchronous(stream: std::net::TcpStream) -> TcpStream {
    stream.set_nonblocking(true).expect("an option");
    TcpStream::from_std(stream).expect("a runtime")
}

impl Ends {
    pub(in super::super) async fn new(bed: &Bed) -> Self {
        let (client, server) = bed.pair();
        let (client, server) = (asynchronous(client), asynchronous(server));
        let (opened, accepted) = tokio::join!(client::handshake(client), server::handshake(server));
        let (requests, connection) = opened.expect("a server");
        tokio::spawn(connection);
        Self { requests, server: accepted.expect("a client") }
    }

    /// A request whose body is to come.
    async fn ask(&self, path: &str) -> (client::ResponseFuture, ::h2::SendStream<Bytes>) {
        let mut ready = self.requests.clone().ready().await.expect("it takes one");
        let request = Request::post(format!("http://a{path}")).body(()).expect("a request");
        ready.send_request(request, false).expect("it is open")
    }

    pub(in super::super) async fn ask_chat(&self, body: &str) -> client::ResponseFuture {
        let (answer, mut send) = self.ask("/v1/chat/completions").await;
        send.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("it is open");
        answer
    }

    /// The next request that upstream sees.
    pub(in super::super) async fn accept(&mut self) -> Asked {
        self.server.accept().await.expect("open").expect("a request")
    }

    /// Drives upstream's connection meanwhile.
    pub(in super::super) async fn serving<T>(&mut self, until: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            out = until => out,
            request = self.server.accept() => panic!("another request: {request:?}"),
        }
    }
}

/// A body to its end.
pub(in super::super) async fn whole(body: &mut RecvStream) -> Result<String, ::h2::Error> {
    let mut received = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        received.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(received).expect("text"))
}

/// The status and the JSON body of an answer.
async fn read(answer: client::ResponseFuture) -> (StatusCode, HeaderMap, Value) {
    let (head, mut body) = answer.await.expect("an answer").into_parts();
    let body = whole(&mut body).await.expect("whole");
    (head.status, head.headers, serde_json::from_str(&body).expect("JSON"))
}

fn events() -> Response<()> {
    Response::builder().header(CONTENT_TYPE, "text/event-stream").body(()).expect("a response")
}

#[test]
fn a_call_goes_on_once_it_has_ended_and_other_streams_before() {
    run(async {
        let bed = saying(Decision::Pass);
        let mut ends = Ends::new(&bed).await;
        let (_held, mut rest) = ends.ask("/v1/chat/completions").await;
        let body = chat("");
        let (first, last) = body.split_at(9);
        let (first, last) = (Bytes::from(first.to_owned()), Bytes::from(last.to_owned()));
        rest.send_data(first, false).expect("it is open");
        let (_other, _body) = ends.ask("/other").await;
        let (other, _respond) = ends.accept().await;
        assert_eq!(other.uri().path(), "/other");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().expect("a value"));
        rest.send_data(last, false).expect("it is open");
        rest.send_trailers(trailers.clone()).expect("it is open");
        let (mut call, _respond) = ends.accept().await;
        assert_eq!(call.uri().path(), "/v1/chat/completions");
        let read = async {
            let body = whole(call.body_mut()).await.expect("whole");
            (body, call.body_mut().trailers().await.expect("whole"))
        };
        assert_eq!(ends.serving(read).await, (chat(""), Some(trailers)));
        assert_eq!(bed.steps.placed().len(), 1);
        assert_eq!(bed.agent.bounds.held(), 0);
    });
}

#[test]
fn a_call_goes_on_with_its_changes() {
    run(async {
        let bed = saying(Decision::Edit(vec![Edit::MaxOutput(7)]));
        let mut ends = Ends::new(&bed).await;
        let mut ready = ends.requests.clone().ready().await.expect("it takes one");
        let body = chat(r#","max_tokens":100"#);
        let request = Request::post("http://a/v1/chat/completions")
            .header("content-length", body.len())
            .body(())
            .expect("a request");
        let (_answer, mut send) = ready.send_request(request, false).expect("it is open");
        send.send_data(body.into(), true).expect("it is open");
        let (mut call, _respond) = ends.accept().await;
        let after = chat(r#","max_tokens":7"#);
        let length = call.headers()["content-length"].to_str().expect("text").to_owned();
        assert_eq!(length, after.len().to_string());
        assert_eq!(ends.serving(whole(call.body_mut())).await.expect("whole"), after);
    });
}

#[test]
fn a_refusal_is_an_answer_on_its_stream_and_others_go_on() {
    run(async {
        let bed = saying(Decision::Refuse(no()));
        let mut ends = Ends::new(&bed).await;
        let (other, mut body) = ends.ask("/other").await;
        let (mut received, mut respond) = ends.accept().await;
        let refused = ends.ask_chat(&chat("")).await;
        let (status, headers, error) = ends.serving(read(refused)).await;
        assert_eq!(
            (status, &headers["x-should-retry"]),
            (StatusCode::BAD_REQUEST, &"false".parse().expect("a value"))
        );
        assert_eq!(error["error"]["message"], "turnpike: not today; ask tomorrow");
        body.send_data(Bytes::from_static(b"all"), true).expect("it is open");
        assert_eq!(ends.serving(whole(received.body_mut())).await.expect("whole"), "all");
        respond.send_response(Response::new(()), true).expect("it is open");
        assert_eq!(ends.serving(other).await.expect("an answer").status(), StatusCode::OK);
        assert_eq!(bed.counted("calls_refused"), 1);
    });
}

#[test]
fn what_is_too_large_is_refused_at_once_or_goes_on_from_there() {
    run(async {
        for on_unmetered in [OnUnmetered::Deny, OnUnmetered::Allow] {
            let bed = Bed::with(|agent| enforced(agent).metered(on_unmetered));
            let mut ends = Ends::new(&bed).await;
            let (answer, mut send) = ends.ask("/v1/chat/completions").await;
            let length = limits::OBSERVED_REQUEST_BYTES + 100_000;
            let sending = tokio::spawn(async move {
                let mut left = length;
                while left > 0 {
                    send.reserve_capacity(left);
                    let Some(Ok(_)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await
                    else {
                        return;
                    };
                    let piece = send.capacity().min(left);
                    left -= piece;
                    if send.send_data(vec![b'x'; piece].into(), left == 0).is_err() {
                        return;
                    }
                }
            });
            if on_unmetered == OnUnmetered::Deny {
                let (status, _, error) = ends.serving(read(answer)).await;
                assert_eq!(status, StatusCode::BAD_REQUEST);
                assert_eq!(error["error"]["code"], "turnpike_unmetered");
            } else {
                let (mut call, _respond) = ends.accept().await;
                let body = ends.serving(whole(call.body_mut())).await.expect("whole");
                assert_eq!(body.len(), length);
            }
            sending.await.expect("no panic");
        }
    });
}

#[test]
fn a_client_that_waits_to_go_on_is_told_by_the_gateway() {
    run(async {
        let bed = saying(Decision::Pass);
        let mut ends = Ends::new(&bed).await;
        let mut ready = ends.requests.clone().ready().await.expect("it takes one");
        let request = Request::post("http://a/v1/chat/completions")
            .header("expect", "100-continue")
            .body(())
            .expect("a request");
        let (mut answer, mut send) = ready.send_request(request, false).expect("it is open");
        let interim = std::future::poll_fn(|cx| answer.poll_informational(cx));
        let interim = ends.serving(interim).await.expect("one").expect("it is open");
        assert_eq!(interim.status(), StatusCode::CONTINUE);
        send.send_data(chat("").into(), true).expect("it is open");
        ends.accept().await;
    });
}

#[test]
fn a_stream_is_ended_in_words_and_upstream_with_cancel() {
    run(async {
        for mode in [Mode::Audit, Mode::Enforce] {
            let bed = Bed::with(|agent| agent.in_mode(mode).under(everywhere()));
            let mut ends = Ends::new(&bed).await;
            let answer = ends.ask_chat(&chat("")).await;
            let waiting = ends.ask_chat(&chat("")).await;
            let (_call, mut respond) = ends.accept().await;
            let (_other, mut none) = ends.accept().await;
            let mut to = respond.send_response(events(), false).expect("it is open");
            to.send_data(Bytes::from_static(b"data: {}"), false).expect("it is open");
            let mut body = ends.serving(answer).await.expect("an answer").into_body();
            let first = ends.serving(body.data()).await.expect("data").expect("open");
            assert_eq!(first, "data: {}");
            assert_eq!(bed.agent.cut(&no(), |_, seq| seq == 0), 1);
            let last = ends.serving(whole(&mut body)).await.expect("it ends whole");
            assert!(last.starts_with("\n\ndata: {\"error\":"), "{last}");
            assert!(last.contains("turnpike: not today"), "{last}");
            let code = ends.serving(std::future::poll_fn(|cx| to.poll_reset(cx))).await;
            assert_eq!(code.expect("a reset"), Code::CANCEL);
            assert_eq!(bed.agent.cut(&no(), |_, seq| seq == 1), 1);
            let (status, _, _) = ends.serving(read(waiting)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            let code = ends.serving(std::future::poll_fn(|cx| none.poll_reset(cx))).await;
            assert_eq!(code.expect("a reset"), Code::CANCEL);
        }
    });
}

#[test]
fn what_has_no_words_is_reset() {
    run(async {
        let bed = Bed::with(|agent| agent.gated(Arc::new(Says(Decision::Pass))));
        let mut ends = Ends::new(&bed).await;
        let answer = ends.ask_chat(&chat("")).await;
        let (_call, mut respond) = ends.accept().await;
        let mut to = respond.send_response(Response::new(()), false).expect("it is open");
        to.send_data(Bytes::from_static(b"{"), false).expect("it is open");
        let mut body = ends.serving(answer).await.expect("an answer").into_body();
        ends.serving(body.data()).await.expect("data").expect("open");
        bed.agent.cut(&no(), |_, _| true);
        let error = ends.serving(whole(&mut body)).await.expect_err("a reset");
        assert_eq!(error.reason(), Some(Code::CANCEL));
    });
}

#[test]
fn usage_that_was_not_asked_for_is_known_and_hidden() {
    run(async {
        let bed = Bed::enforcing();
        let mut ends = Ends::new(&bed).await;
        let answer = ends.ask_chat(&chat(r#","stream":true"#)).await;
        let (mut call, mut respond) = ends.accept().await;
        let body = ends.serving(whole(call.body_mut())).await.expect("whole");
        assert!(body.starts_with(r#"{"stream_options":{"include_usage":true},"model""#), "{body}");
        let mut to = respond.send_response(events(), false).expect("it is open");
        for piece in [
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}],\"usage\":null}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,",
            "\"completion_tokens\":1}}\n\ndata: [DONE]\n\n",
            "data: x",
        ] {
            to.send_data(Bytes::from_static(piece.as_bytes()), false).expect("it is open");
        }
        to.send_data(Bytes::new(), true).expect("it is open");
        let mut body = ends.serving(answer).await.expect("an answer").into_body();
        let shown = ends.serving(whole(&mut body)).await.expect("whole");
        assert_eq!(
            shown,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\ndata: x"
        );
        let step = bed.steps.finished(1).remove(0).step;
        assert_eq!(step.usage, Some(Usage { input: 3, output: 1, ..Usage::default() }));
    });
}

#[test]
fn at_the_deadline_of_a_drain_streams_end_in_words() {
    run(async {
        let bed = Bed::with(|agent| agent.under(everywhere()));
        let mut ends = Ends::new(&bed).await;
        let answer = ends.ask_chat(&chat("")).await;
        let (_call, mut respond) = ends.accept().await;
        let mut to = respond.send_response(events(), false).expect("it is open");
        to.send_data(Bytes::from_static(b"data: {}\n\n"), false).expect("it is open");
        let mut body = ends.serving(answer).await.expect("an answer").into_body();
        ends.serving(body.data()).await.expect("data").expect("open");
        bed.advance(Phase::Draining);
        bed.advance(Phase::Cut);
        // Upstream's side ends when the streams have.
        let upstream = async {
            while let Some(request) = ends.server.accept().await {
                drop(request);
            }
        };
        let (last, ()) = tokio::join!(whole(&mut body), upstream);
        assert!(last.expect("it ends whole").contains("turnpike: the gateway is ending"));
    });
}

#[test]
fn a_server_that_does_not_take_it_is_asked_again_without_and_left_alone_afterwards() {
    run(async {
        let bed = Bed::enforcing();
        let mut ends = Ends::new(&bed).await;
        let body = chat(r#","stream":true"#);
        let answer = ends.ask_chat(&body).await;
        let (mut call, mut respond) = ends.accept().await;
        let first = ends.serving(whole(call.body_mut())).await.expect("whole");
        assert!(first.contains("include_usage"), "{first}");
        let mut refusal = Response::new(());
        *refusal.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        let mut to = respond.send_response(refusal, false).expect("it is open");
        to.send_data(Bytes::from_static(b"extra field"), true).expect("it is open");
        let (mut call, mut respond) = ends.accept().await;
        assert_eq!(ends.serving(whole(call.body_mut())).await.expect("whole"), body);
        respond.send_response(Response::new(()), true).expect("it is open");
        assert_eq!(ends.serving(answer).await.expect("an answer").status(), StatusCode::OK);
        let _answer = ends.ask_chat(&body).await;
        let (mut call, _respond) = ends.accept().await;
        assert_eq!(ends.serving(whole(call.body_mut())).await.expect("whole"), body);
    });
}

#[test]
fn a_call_that_is_held_when_upstream_leaves_may_be_tried_again() {
    run(async {
        let bed = saying(Decision::Pass);
        let Ends { requests, server } = Ends::new(&bed).await;
        let mut ready = requests.ready().await.expect("it takes one");
        let request = Request::post("http://a/v1/chat/completions").body(()).expect("a request");
        let (answer, mut send) = ready.send_request(request, false).expect("it is open");
        send.send_data(Bytes::from_static(b"{"), false).expect("it is open");
        while bed.agent.bounds.held() == 0 {
            tokio::task::yield_now().await;
        }
        drop(server);
        let error = answer.await.expect_err("no answer");
        assert!(matches!(error.reason(), Some(Code::REFUSED_STREAM)) || error.is_io(), "{error:?}");
    });
}

/// A stream in which answers to `POST /messages?sessionId=1` are waited for: as its server has it, and
/// its client.
async fn listening(ends: &mut Ends) -> (::h2::SendStream<Bytes>, RecvStream) {
    let mut ready = ends.requests.clone().ready().await.expect("it takes one");
    let get = Request::get("http://a/sse").body(()).expect("a request");
    let (stream, _) = ready.send_request(get, true).expect("it is open");
    let (_get, mut respond) = ends.accept().await;
    let mut to = respond.send_response(events(), false).expect("it is open");
    let endpoint = "event: endpoint\ndata: /messages?sessionId=1\n\n";
    to.send_data(Bytes::from_static(endpoint.as_bytes()), false).expect("it is open");
    let mut body = ends.serving(stream).await.expect("an answer").into_body();
    assert_eq!(ends.serving(body.data()).await.expect("data").expect("open"), endpoint);
    (to, body)
}

const TOOL_CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x"}}"#;

/// The call is refused in the next event of the stream.
async fn refused(ends: &mut Ends, body: &mut RecvStream) {
    let event = ends.serving(body.data()).await.expect("data").expect("open");
    let event = String::from_utf8(event.to_vec()).expect("text");
    let data = event.strip_prefix("event: message\ndata: ").expect("an event");
    let data: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!((&data["id"], &data["result"]["isError"]), (&7.into(), &true.into()));
}

#[test]
fn a_tool_call_is_refused_in_the_stream_in_which_its_answer_is_waited_for() {
    run(async {
        let bed = saying(Decision::Refuse(no()));
        let mut ends = Ends::new(&bed).await;
        let (mut to, mut body) = listening(&mut ends).await;
        for (first, rest) in [("", ""), (": half of", " an event\n\n")] {
            if !first.is_empty() {
                to.send_data(Bytes::from_static(first.as_bytes()), false).expect("it is open");
                assert_eq!(ends.serving(body.data()).await.expect("data").expect("open"), first);
            }
            let mut ready = ends.requests.clone().ready().await.expect("it takes one");
            let post = Request::post("http://a/messages?sessionId=1")
                .header(CONTENT_TYPE, "application/json")
                .body(())
                .expect("a request");
            let (answer, mut send) = ready.send_request(post, false).expect("it is open");
            send.send_data(Bytes::from_static(TOOL_CALL.as_bytes()), true).expect("it is open");
            let (head, mut said) = ends.serving(answer).await.expect("an answer").into_parts();
            assert_eq!(head.status, StatusCode::ACCEPTED);
            assert_eq!(whole(&mut said).await.expect("whole"), "Accepted");
            if !rest.is_empty() {
                to.send_data(Bytes::from_static(rest.as_bytes()), false).expect("it is open");
                assert_eq!(ends.serving(body.data()).await.expect("data").expect("open"), rest);
            }
            refused(&mut ends, &mut body).await;
        }
        to.send_data(Bytes::from_static(b": end\n\n"), true).expect("it is open");
        assert_eq!(ends.serving(whole(&mut body)).await.expect("whole"), ": end\n\n");
    });
}

#[test]
fn so_is_one_that_was_posted_on_another_connection() {
    run(async {
        let bed = saying(Decision::Refuse(no()));
        let mut ends = Ends::new(&bed).await;
        let (_to, mut body) = listening(&mut ends).await;
        let (mut client, _server) = bed.pair();
        let request = format!(
            "POST /messages?sessionId=1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{TOOL_CALL}",
            TOOL_CALL.len()
        );
        let post = tokio::task::spawn_blocking(move || {
            super::send(&mut client, request);
            super::rest(&mut client)
        });
        let said = ends.serving(post).await.expect("an answer");
        assert!(said.starts_with("HTTP/1.1 202 Accepted\r\n"), "{said}");
        refused(&mut ends, &mut body).await;
    });
}
