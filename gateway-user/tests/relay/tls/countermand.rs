//! What upstream is asked in the end goes where it is vouched for no worse.

use turnpike::{
    call::{CancelOutcome, Cause, Reason},
    config::Mode,
};

use super::{NAME, Rig, accept, pass, pki::BOTH};
use crate::relay::bed::eventually;

fn request() -> String {
    let body = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"slow"}}"#;
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer secret\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_server_is_told_in_tls_as_it_was_asked_and_an_impostor_is_not() {
    for (honest, outcome) in [(true, CancelOutcome::Acknowledged), (false, CancelOutcome::Failed)] {
        let rig = Rig::new(Mode::Audit);
        let own = rig.pki.server(&[NAME]);
        let (mut client, mut upstream) = rig.met(&rig.pki.client(BOTH, &[]), &own);
        pass(&mut client, &mut upstream, request().as_bytes());
        eventually("it is placed", || rig.bed.steps.placed().len() == 1);
        let reason = Reason::new(Cause::Cancelled, "no");
        assert_eq!(rig.bed.agent.cut(&reason, |_, _| true), 1);
        let config = if honest { own } else { rig.pki.impostor() };
        let mut told = accept(rig.listener.await_call(), &config).expect("a handshake");
        let mut heard = Vec::new();
        if honest {
            let body = r#"{"requestId":"x","reason":"turnpike: no"}}"#;
            while !heard.ends_with(body.as_bytes()) {
                let mut byte = [0];
                std::io::Read::read_exact(&mut told, &mut byte).expect("it comes");
                heard.extend(byte);
            }
            let heard = String::from_utf8(heard).expect("text");
            assert!(heard.contains("authorization: Bearer secret\r\n"), "{heard}");
            std::io::Write::write_all(&mut told, b"HTTP/1.1 202 Accepted\r\n\r\n").expect("open");
            std::io::Write::flush(&mut told).expect("open");
        } else {
            let _ = std::io::Read::read_to_end(&mut told, &mut heard);
            assert_eq!(String::from_utf8_lossy(&heard), "");
        }
        let request = rig.bed.steps.ended().cancel_request.expect("it was asked");
        assert_eq!(request.outcome, outcome);
    }
}
