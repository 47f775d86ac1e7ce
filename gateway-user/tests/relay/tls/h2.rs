//! HTTP/2, with and without TLS, between real ends.

use std::{
    net::TcpStream as StdStream,
    process::{Command, Stdio},
    sync::Arc,
};

use ::h2::{client, server};
use bytes::Bytes;
use http::{Request, Response};
use rustls::{ServerConfig, pki_types::ServerName};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use turnpike::{config::Mode, drain::Phase};

use super::{NAME, Rig, pki::BOTH};
use crate::relay::{
    bed::{Bed, PATIENCE, Server, eventually},
    fetch::{Model, is_fetch},
};

trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build();
    runtime
        .expect("a runtime")
        .block_on(async { timeout(PATIENCE, test).await })
        .expect("it comes to an end");
}

pub(super) fn asynchronous(stream: StdStream) -> TcpStream {
    stream.set_nonblocking(true).expect("an option");
    TcpStream::from_std(stream).expect("a runtime")
}

/// Answers every request with its own body.
async fn echo(io: impl Io) {
    let mut connection = server::handshake(io).await.expect("a client");
    while let Some(request) = connection.accept().await {
        let Ok((request, mut respond)) = request else { return };
        tokio::spawn(async move {
            let (mut body, mut whole) = (request.into_body(), Vec::new());
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
                whole.extend_from_slice(&piece);
            }
            let mut send = respond.send_response(Response::new(()), false).expect("it is open");
            send.send_data(whole.into(), true).expect("it is open");
        });
    }
}

/// Asks so many times at once on one connection.
async fn ask(io: impl Io, scheme: &str, times: u8) {
    let (requests, connection) = client::handshake(io).await.expect("a server");
    let driving = tokio::spawn(connection);
    let mut answers = tokio::task::JoinSet::new();
    for body in 0..times {
        let mut ready = requests.clone().ready().await.expect("it takes one");
        let request = Request::post(format!("{scheme}://{NAME}/")).body(()).expect("a request");
        let (answer, mut send) = ready.send_request(request, false).expect("it is open");
        send.send_data(Bytes::from(vec![body; 10_000]), true).expect("it is open");
        answers.spawn(async move {
            let mut answer = answer.await.expect("an answer").into_body();
            let mut whole = Vec::new();
            while let Some(piece) = answer.data().await {
                let piece = piece.expect("it is whole");
                answer.flow_control().release_capacity(piece.len()).expect("it was received");
                whole.extend_from_slice(&piece);
            }
            assert_eq!(whole, vec![body; 10_000]);
        });
    }
    answers.join_all().await;
    drop(requests);
    driving.await.expect("no panic").expect("an orderly end");
}

fn serve_tls(listener: &Server, config: Arc<ServerConfig>) -> tokio::task::JoinHandle<()> {
    let stream = listener.accept();
    tokio::spawn(async move {
        let stream = asynchronous(stream);
        let tls = TlsAcceptor::from(config).accept(stream).await.expect("a handshake");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        echo(tls).await;
    })
}

#[test]
fn http2_over_tls_is_carried_and_understood() {
    run(async {
        for mode in [Mode::Audit, Mode::Enforce] {
            let rig = Rig::new(mode);
            let stream = asynchronous(rig.bed.connect(rig.listener.address));
            let own = rig.pki.server_of(&[NAME], BOTH, &["h2", "http/1.1"]);
            let serving = serve_tls(&rig.listener, own);
            let name = ServerName::try_from(NAME).expect("a name");
            let connector = TlsConnector::from(rig.pki.client(BOTH, &["h2", "http/1.1"]));
            let tls = connector.connect(name, stream).await.expect("a handshake");
            assert!(rig.pki.is_the_nodes(tls.get_ref().1.peer_certificates()));
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
            ask(tls, "https", 20).await;
            serving.await.expect("it ended well");
            let coverage = rig.bed.coverage();
            assert_eq!(coverage.reasons.get("exchanges_other"), Some(&20));
            assert_eq!((coverage.connections_observed, coverage.connections_opaque), (1, 0));
            assert!(!coverage.reasons.contains_key("tls_host_differs"));
        }
    });
}

#[test]
fn http2_with_prior_knowledge_is_carried_for_every_agent() {
    run(async {
        let bed = Bed::start();
        let (client, server) = bed.pair();
        let serving = tokio::spawn(echo(asynchronous(server)));
        ask(asynchronous(client), "http", 5).await;
        serving.await.expect("it ended well");
        let coverage = bed.coverage();
        assert_eq!(coverage.reasons.get("exchanges_other"), Some(&5));
        assert_eq!((coverage.connections_observed, coverage.connections_opaque), (1, 0));
    });
}

#[test]
fn a_url_that_a_tool_call_names_may_be_fetched_over_http2() {
    run(async {
        let bed = Bed::start();
        Model::new(&bed).plans("fetch", &json!({ "url": format!("http://{NAME}/") }));
        let planned = bed.steps.finished(1).remove(0);
        let (client, server) = bed.pair();
        let serving = tokio::spawn(echo(asynchronous(server)));
        ask(asynchronous(client), "http", 5).await;
        serving.await.expect("it ended well");
        let fetch = bed.steps.finished(2).remove(1);
        is_fetch(&fetch, &planned);
        assert!(fetch.step.stream_id.is_some() && fetch.step.host.as_deref() == Some(NAME));
        eventually("the rest is listed", || bed.counted("exchanges_other") == 4);
    });
}

#[test]
fn a_draining_gateway_lets_streams_end() {
    run(async {
        let rig = Rig::new(Mode::Audit);
        let stream = asynchronous(rig.bed.connect(rig.listener.address));
        let serving = serve_tls(&rig.listener, rig.pki.server_of(&[NAME], BOTH, &["h2"]));
        let name = ServerName::try_from(NAME).expect("a name");
        let connector = TlsConnector::from(rig.pki.client(BOTH, &["h2"]));
        let tls = connector.connect(name, stream).await.expect("a handshake");
        let (requests, connection) = client::handshake(tls).await.expect("a server");
        let driving = tokio::spawn(connection);
        let mut ready = requests.ready().await.expect("it takes one");
        let request = Request::post(format!("https://{NAME}/")).body(()).expect("a request");
        let (answer, mut send) = ready.send_request(request, false).expect("it is open");
        send.send_data(Bytes::from_static(b"half"), false).expect("it is open");
        rig.bed.advance(Phase::Draining);
        while ready.clone().ready().await.is_ok() {
            // Until it says that it takes no more.
            tokio::task::yield_now().await;
        }
        send.send_data(Bytes::from_static(b" and half"), true).expect("it is open");
        let mut answer = answer.await.expect("an answer").into_body();
        assert_eq!(answer.data().await.expect("a body").expect("whole"), "half and half");
        drop((ready, answer, send));
        driving.await.expect("no panic").expect("an orderly end");
        serving.await.expect("it ended well");
    });
}

/// Whether curl is here and speaks HTTP/2.
fn has_curl() -> bool {
    let version = Command::new("curl").arg("-V").output();
    version.is_ok_and(|version| String::from_utf8_lossy(&version.stdout).contains("HTTP2"))
}

#[test]
fn curl_trusts_what_it_is_shown() {
    if !has_curl() {
        return eprintln!("SKIPPED: no curl with HTTP/2 here");
    }
    run(async {
        for (protocol, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
            let rig = Rig::new(Mode::Enforce);
            let ca = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(ca.path(), rig.pki.node_pem()).expect("room");
            // A port that is free now, and almost surely a moment later.
            let from = Server::new().address.port();
            rig.bed.expect(from, rig.listener.address);
            let curl = Command::new("curl")
                .args(["-sS", "--noproxy", "*", "-w", " %{http_version}", "-d", "a body", protocol])
                .arg("--cacert")
                .arg(ca.path())
                .args(["--local-port", &from.to_string()])
                .args(["--resolve", &format!("{NAME}:{}:127.0.0.1", rig.bed.port)])
                .arg(format!("https://{NAME}:{}/", rig.bed.port))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it runs");
            let own = rig.pki.server_of(&[NAME], BOTH, &["h2", "http/1.1"]);
            let stream = rig.listener.accept();
            let serving = tokio::spawn(async move {
                let accepted = TlsAcceptor::from(own).accept(asynchronous(stream)).await;
                let tls = accepted.expect("a handshake");
                if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                    return echo(tls).await;
                }
                answer_once(tls).await;
            });
            let output = tokio::task::spawn_blocking(|| curl.wait_with_output()).await;
            let output = output.expect("no panic").expect("it ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(said, format!("a body {version}"));
            serving.await.expect("it ended well");
            let coverage = rig.bed.coverage();
            assert_eq!(coverage.reasons.get("exchanges_other"), Some(&1), "{coverage:?}");
        }
    });
}

/// An HTTP/1 server for curl's one request.
async fn answer_once(mut io: impl Io) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let mut asked = Vec::new();
    while !asked.ends_with(b"a body") {
        io.read_buf(&mut asked).await.expect("it is open");
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\na body";
    io.write_all(answer).await.expect("it is open");
    io.shutdown().await.expect("it is open");
}
