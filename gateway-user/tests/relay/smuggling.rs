//! Nobody reads what we let through differently from us: each case of the corpus, in audit and in
//! enforce, against every way in which servers and clients read HTTP/1.

mod cases;
mod parser;

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use turnpike::proxy::h1::{
    Awaited, Eof, Method, RequestFramer, RequestPiece, ResponseFramer, ResponsePiece,
};

use super::bed::{Bed, reset};
use cases::{REQUESTS, RESPONSES, Verdict};
use parser::{ALL, Asked, Read};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn the_corpus_is_large() {
    assert!(REQUESTS.len() + RESPONSES.len() >= 150);
    let ambiguous = |cases: &[(&str, Verdict)]| {
        cases.iter().filter(|(_, verdict)| *verdict != Verdict::Passes).count()
    };
    assert!(ambiguous(REQUESTS) >= 80 && ambiguous(RESPONSES) >= 20);
}

#[test]
fn most_of_what_is_refused_is_read_in_two_ways_by_someone() {
    let differ = |bytes: &str, asked: &[Asked]| {
        let first = parser::read(bytes.as_bytes(), &ALL[0], asked);
        ALL.iter().any(|by| parser::read(bytes.as_bytes(), by, asked) != first)
    };
    let refused = REQUESTS.iter().filter(|(_, verdict)| *verdict != Verdict::Passes);
    let (total, ambiguous) = refused.fold((0, 0), |(total, ambiguous), (bytes, _)| {
        (total + 1, ambiguous + usize::from(differ(bytes, &[Asked::Request])))
    });
    assert!(ambiguous * 4 > total * 3, "{ambiguous} of {total}");
}

#[test]
fn requests_in_enforce_reach_upstream_only_if_all_read_them_alike() {
    for (case, verdict) in REQUESTS {
        let bed = Bed::strict();
        let (received, answers) = ask(&bed, case);
        agree_on_requests(case, &received);
        let refused = answers.ends_with("}\n") && answers.contains("HTTP/1.1 400 Bad Request\r\n");
        assert_eq!(refused, *verdict != Verdict::Passes, "{case:?}: {answers}");
        let begun = whole(&requests(&received).0).len();
        match verdict {
            Verdict::Passes => assert_eq!(received, case.as_bytes(), "{case:?}"),
            Verdict::Refused => {
                let complete = requests(&received).1;
                assert_eq!(complete, Ok(Eof::Clean), "{case:?}: nothing of it went on");
            }
            Verdict::Cut => assert!(case.as_bytes().starts_with(&received), "{case:?}"),
        }
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), begun, "{case:?}: {answers}");
        let counted = bed.coverage().reasons.get("h1_requests_refused").copied();
        assert_eq!(counted, refused.then_some(1), "{case:?}");
    }
}

#[test]
fn requests_in_audit_pass_and_are_opaque_if_anyone_reads_them_differently() {
    for (case, verdict) in REQUESTS {
        let bed = Bed::start();
        let (received, _) = ask(&bed, case);
        assert_eq!(received, case.as_bytes(), "{case:?}");
        let coverage = bed.coverage();
        assert_eq!(coverage.reasons.get("h1_requests_refused"), None, "{case:?}");
        if coverage.reasons.contains_key("h1_hosts_differ") {
            // All find the same messages, for different hosts: that is what is counted.
            assert_eq!(*verdict, Verdict::Refused, "{case:?}");
        } else if coverage.connections_opaque == 0 {
            agree_on_requests(case, &received);
        } else {
            assert_ne!(*verdict, Verdict::Passes, "{case:?}");
        }
    }
}

#[test]
fn responses_in_enforce_reach_clients_only_if_all_read_them_alike() {
    for (case, verdict) in RESPONSES {
        let bed = Bed::strict();
        let (received, end) = answer(&bed, case);
        agree_on_responses(case, &received);
        match verdict {
            Verdict::Passes => {
                assert_eq!(received, case.as_bytes(), "{case:?}");
                assert!(end.is_ok(), "{case:?}");
            }
            Verdict::Refused => {
                assert!(received.starts_with(b"HTTP/1.1 502 Bad Gateway\r\n"), "{case:?}");
                assert!(received.ends_with(b"}\n") && end.is_ok(), "{case:?}");
            }
            Verdict::Cut => {
                assert!(case.as_bytes().starts_with(&received), "{case:?}");
                let end = end.map_err(|error| error.kind());
                assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "{case:?}");
            }
        }
        let counted = bed.coverage().reasons.get("h1_responses_refused").copied();
        assert_eq!(counted, (*verdict != Verdict::Passes).then_some(1), "{case:?}");
    }
}

#[test]
fn responses_in_audit_pass_and_are_opaque_if_anyone_reads_them_differently() {
    for (case, verdict) in RESPONSES {
        let bed = Bed::start();
        let (received, end) = answer(&bed, case);
        assert_eq!(received, case.as_bytes(), "{case:?}");
        assert!(end.is_ok(), "{case:?}");
        if bed.coverage().connections_opaque == 0 {
            agree_on_responses(case, &received);
        } else {
            assert_ne!(*verdict, Verdict::Passes, "{case:?}");
        }
    }
}

/// Sends a case, and gives what upstream received of it and what the client did. Upstream answers
/// each request as soon as it is whole.
fn ask(bed: &Bed, case: &str) -> (Vec<u8>, String) {
    let (mut client, server) = bed.pair();
    let upstream = std::thread::spawn(move || serve(server));
    client.write_all(case.as_bytes()).expect("it is open");
    client.shutdown(Shutdown::Write).expect("it is open");
    let (answers, end) = read_all(&mut client);
    assert!(end.is_ok(), "{case:?}: an orderly end");
    let received = upstream.join().expect("it did not panic");
    (received, String::from_utf8(answers).expect("it is text"))
}

fn serve(mut server: TcpStream) -> Vec<u8> {
    let (mut received, mut answered) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        received.extend_from_slice(&buffer[..read]);
        let whole = whole(&requests(&received).0).len();
        for _ in answered..whole {
            // The client may be gone.
            let _ = server.write_all(OK);
        }
        answered = whole;
    }
    received
}

/// Has upstream answer with a case, and gives what the client received.
fn answer(bed: &Bed, case: &str) -> (Vec<u8>, io::Result<()>) {
    const GET: &[u8] = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";

    let (mut client, mut server) = bed.pair();
    client.write_all(GET).expect("it is open");
    server.read_exact(&mut [0; GET.len()]).expect("it arrives");
    server.write_all(case.as_bytes()).expect("it is open");
    server.shutdown(Shutdown::Write).expect("it is open");
    let (received, end) = read_all(&mut client);
    if end.is_ok() {
        let _ = client.shutdown(Shutdown::Write);
        // Ours, or that of a refusal.
        let _ = read_all(&mut server);
    }
    reset(client);
    (received, end)
}

fn read_all(stream: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut received = Vec::new();
    let end = stream.read_to_end(&mut received).map(drop);
    (received, end)
}

/// No implementation has found another message in what upstream received than we have.
fn agree_on_requests(case: &str, received: &[u8]) {
    let ours = whole(&requests(received).0);
    for by in &ALL {
        let theirs = parser::read(received, by, &[Asked::Request]);
        let refuses = theirs.len() < ours.len();
        let compared = if refuses { &ours[..theirs.len()] } else { &ours[..] };
        assert_eq!(
            theirs.iter().map(bare).collect::<Vec<_>>(),
            compared.iter().map(bare).collect::<Vec<_>>(),
            "{case:?}, as read by {:?}",
            by.name
        );
    }
}

fn agree_on_responses(case: &str, received: &[u8]) {
    let ours = whole(&responses(received));
    for by in &ALL {
        let theirs = parser::read(received, by, &[Asked::Get]);
        let refuses = theirs.len() < ours.len();
        let compared = if refuses { &ours[..theirs.len()] } else { &ours[..] };
        let text = String::from_utf8_lossy(received);
        assert_eq!(theirs, compared, "{case:?}, as {text:?} is read by {:?}", by.name);
    }
}

/// Without the port of its host, which some clients leave out.
fn bare(read: &Read) -> (&str, Option<&str>, &[u8]) {
    let host = read.host.as_deref().map(|host| host.split(':').next().unwrap_or(host));
    (&read.what, host, &read.body)
}

/// A message, and whether it is whole.
type Messages = Vec<(Read, bool)>;

fn whole(messages: &Messages) -> Vec<Read> {
    let whole = messages.iter().filter(|(_, whole)| *whole);
    whole.map(|(read, _)| read.clone()).collect()
}

/// The requests as we read them, and how the stream stands.
fn requests(bytes: &[u8]) -> (Messages, Result<Eof, String>) {
    let (mut framer, mut rest, mut seen) = (RequestFramer::new(), bytes, Messages::new());
    loop {
        let (taken, piece) = match framer.next(rest) {
            Ok(read) => read,
            Err(error) => return (seen, Err(error.to_string())),
        };
        rest = &rest[taken..];
        match piece {
            None => return (seen, Ok(framer.eof())),
            Some(RequestPiece::Head(head)) => {
                let host = head.authority().map(str::to_ascii_lowercase);
                seen.push((Read { what: head.target, host, body: Vec::new() }, false));
            }
            Some(RequestPiece::Body(data)) => last(&mut seen).0.body.extend_from_slice(data),
            Some(RequestPiece::End) => last(&mut seen).1 = true,
        }
    }
}

/// The responses as we read them, up to the server's end.
fn responses(bytes: &[u8]) -> Messages {
    let (mut framer, mut rest, mut seen) = (ResponseFramer::new(), bytes, Messages::new());
    framer.push(Awaited::new(&Method::Get, false)).expect("it is the first");
    while let Ok((taken, piece)) = framer.next(rest) {
        rest = &rest[taken..];
        match piece {
            None => break,
            Some(ResponsePiece::Interim(head)) => seen.push((status(head.status), true)),
            Some(ResponsePiece::Head(head)) => seen.push((status(head.status), false)),
            Some(ResponsePiece::Body(data)) => last(&mut seen).0.body.extend_from_slice(data),
            Some(ResponsePiece::End | ResponsePiece::Tunnel) => last(&mut seen).1 = true,
        }
    }
    if framer.eof() == Eof::Complete {
        last(&mut seen).1 = true;
    }
    seen
}

fn status(status: u16) -> Read {
    Read { what: status.to_string(), host: None, body: Vec::new() }
}

fn last(messages: &mut Messages) -> &mut (Read, bool) {
    messages.last_mut().expect("a head comes first")
}
