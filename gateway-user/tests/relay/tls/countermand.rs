//! What upstream is asked in the end goes where it is vouched for no worse.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use ::h2::{client, server};
use bytes::Bytes;
use http::Request;
use rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use turnpike::{
    call::{CancelOutcome, Cause, Reason},
    config::Mode,
};

use super::{
    NAME, Rig, Upstream, accept,
    h2::{asynchronous, run},
    pass,
    pki::BOTH,
};
use crate::relay::bed::eventually;

const BODY: &str = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"slow"}}"#;

fn request() -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer secret\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}

/// The one call is ended.
fn cut(rig: &Rig) {
    eventually("it is placed", || rig.bed.steps.placed().len() == 1);
    assert_eq!(rig.bed.agent.cut(&Reason::new(Cause::Cancelled, "no"), |_, _| true), 1);
}

/// The server is asked what it should be, and takes that.
fn is_told(mut told: Upstream) {
    let (mut heard, body) = (Vec::new(), r#""requestId":"x","reason":"turnpike: no"}}"#);
    while !heard.ends_with(body.as_bytes()) {
        let mut byte = [0];
        told.read_exact(&mut byte).expect("it comes");
        heard.extend(byte);
    }
    let heard = String::from_utf8(heard).expect("text");
    assert!(heard.starts_with("POST /mcp HTTP/1.1\r\n"), "{heard}");
    for field in ["authorization: Bearer secret", &format!("host: {NAME}")] {
        assert!(heard.contains(&format!("{field}\r\n")), "{heard}");
    }
    told.write_all(b"HTTP/1.1 202 Accepted\r\n\r\n").expect("it is open");
    told.flush().expect("it is open");
}

#[test]
fn a_server_is_told_in_tls_as_it_was_asked_and_an_impostor_is_not() {
    for (honest, outcome) in [(true, CancelOutcome::Acknowledged), (false, CancelOutcome::Failed)] {
        let rig = Rig::new(Mode::Audit);
        let own = rig.pki.server(&[NAME]);
        let (mut client, mut upstream) = rig.met(&rig.pki.client(BOTH, &[]), &own);
        pass(&mut client, &mut upstream, request().as_bytes());
        cut(&rig);
        let config = if honest { own } else { rig.pki.impostor() };
        let mut told = accept(rig.listener.await_call(), &config).expect("a handshake");
        if honest {
            is_told(told);
        } else {
            let mut heard = Vec::new();
            let _ = told.read_to_end(&mut heard);
            assert_eq!(String::from_utf8_lossy(&heard), "");
        }
        let request = rig.bed.steps.ended().cancel_request.expect("it was asked");
        assert_eq!(request.outcome, outcome);
    }
}

#[test]
fn a_server_that_was_asked_over_http2_is_told_over_http1() {
    run(async {
        let rig = Rig::new(Mode::Enforce);
        let own = rig.pki.server_of(&[NAME], BOTH, &["h2", "http/1.1"]);
        let stream = asynchronous(rig.bed.connect(rig.listener.address));
        let upstream = asynchronous(rig.listener.accept());
        let accepting = TlsAcceptor::from(Arc::clone(&own)).accept(upstream);
        let serving = tokio::spawn(async move {
            let tls = accepting.await.expect("a handshake");
            let mut connection = server::handshake(tls).await.expect("a client");
            let request = connection.accept().await.expect("one").expect("a request");
            assert_eq!(request.0.uri().path(), "/mcp");
            // Until it is let go.
            assert!(connection.accept().await.is_none_or(|other| other.is_err()));
        });
        let connector = TlsConnector::from(rig.pki.client(BOTH, &["h2", "http/1.1"]));
        let name = ServerName::try_from(NAME).expect("a name");
        let tls = connector.connect(name, stream).await.expect("a handshake");
        let (mut requests, connection) = client::handshake(tls).await.expect("a server");
        let driving = tokio::spawn(connection);
        let request = Request::post(format!("https://{NAME}/mcp"))
            .header("authorization", "Bearer secret")
            .header("content-type", "application/json")
            .body(())
            .expect("a request");
        let (_answer, mut send) = requests.send_request(request, false).expect("it is open");
        send.send_data(Bytes::from_static(BODY.as_bytes()), true).expect("it is open");
        let (rig, told) = tokio::task::spawn_blocking(move || {
            cut(&rig);
            let told = accept(rig.listener.await_call(), &own).expect("a handshake");
            (rig, told)
        })
        .await
        .expect("no panic");
        assert_eq!(told.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
        is_told(told);
        let request = rig.bed.steps.ended().cancel_request.expect("it was asked");
        assert_eq!(request.outcome, CancelOutcome::Acknowledged);
        driving.abort();
        serving.abort();
    });
}
