//! What is accepted, what is refused and why, and how the pieces follow each other.

mod ends;
mod faults;
mod properties;

use super::*;
use crate::limits;

/// What was seen on one side of a connection, adjoining body pieces joined.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Request(RequestHead),
    Interim(u16),
    Response(ResponseHead),
    Body(Vec<u8>),
    End,
    Tunnel,
}

type Outcome = (Vec<Seen>, Result<Eof, FramingError>);

fn requests<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut framer = RequestFramer::new();
    let mut seen = Vec::new();
    for mut input in slices {
        loop {
            let (taken, piece) = match framer.next(input) {
                Ok(next) => next,
                Err(error) => return (seen, Err(error)),
            };
            input = &input[taken..];
            match piece {
                Some(RequestPiece::Head(head)) => seen.push(Seen::Request(head)),
                Some(RequestPiece::Body(data)) => see_body(&mut seen, data),
                Some(RequestPiece::End) => seen.push(Seen::End),
                None => break,
            }
        }
        assert!(input.is_empty(), "without a piece, all is taken");
    }
    (seen, Ok(framer.eof()))
}

fn responses<'a>(awaited: &[Awaited], slices: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut framer = ResponseFramer::new();
    for &request in awaited {
        framer.push(request).expect("not too many");
    }
    let mut seen = Vec::new();
    for mut input in slices {
        loop {
            let (taken, piece) = match framer.next(input) {
                Ok(next) => next,
                Err(error) => return (seen, Err(error)),
            };
            input = &input[taken..];
            match piece {
                Some(ResponsePiece::Interim(head)) => seen.push(Seen::Interim(head.status)),
                Some(ResponsePiece::Head(head)) => seen.push(Seen::Response(head)),
                Some(ResponsePiece::Body(data)) => see_body(&mut seen, data),
                Some(ResponsePiece::End) => seen.push(Seen::End),
                Some(ResponsePiece::Tunnel) => seen.push(Seen::Tunnel),
                None => break,
            }
        }
        assert!(input.is_empty(), "without a piece, all is taken");
    }
    (seen, Ok(framer.eof()))
}

fn see_body(seen: &mut Vec<Seen>, data: &[u8]) {
    assert!(!data.is_empty(), "a body piece is never empty");
    if let Some(Seen::Body(body)) = seen.last_mut() {
        body.extend_from_slice(data);
    } else {
        seen.push(Seen::Body(data.to_vec()));
    }
}

fn get() -> Awaited {
    Awaited::new(&Method::Get, false)
}

/// The head of the one request in `text`, fed whole and byte by byte.
pub(super) fn request_head(text: &str) -> RequestHead {
    let whole = requests([text.as_bytes()]);
    assert_eq!(whole, requests(text.as_bytes().chunks(1)), "{text:?}");
    match whole.0.into_iter().next() {
        Some(Seen::Request(head)) => head,
        other => panic!("no head in {text:?}: {other:?}, {:?}", whole.1),
    }
}

fn request_fault(text: &[u8]) -> Option<Fault> {
    let whole = requests([text]);
    assert_eq!(whole, requests(text.chunks(1)), "{:?}", String::from_utf8_lossy(text));
    match whole.1 {
        Err(FramingError::Client(fault)) => Some(fault),
        _ => None,
    }
}

fn response_fault(text: &[u8]) -> Option<Fault> {
    let whole = responses(&[get()], [text]);
    assert_eq!(whole, responses(&[get()], text.chunks(1)), "{:?}", String::from_utf8_lossy(text));
    match whole.1 {
        Err(FramingError::Server(fault)) => Some(fault),
        _ => None,
    }
}

/// Status, framing, body and how it stands when the stream ends there.
fn response(awaited: Awaited, text: &str) -> (u16, Framing, Vec<u8>, Eof) {
    let whole = responses(&[awaited], [text.as_bytes()]);
    assert_eq!(whole, responses(&[awaited], text.as_bytes().chunks(1)), "{text:?}");
    let (seen, eof) = whole;
    let mut seen = seen.into_iter().filter(|seen| !matches!(seen, Seen::Interim(_)));
    let Some(Seen::Response(head)) = seen.next() else { panic!("no head in {text:?}: {eof:?}") };
    let body = match seen.next() {
        Some(Seen::Body(body)) => body,
        _ => Vec::new(),
    };
    (head.status, head.framing, body, eof.expect("it can be framed"))
}

#[test]
fn a_head_tells_what_the_proxy_needs() {
    let head = request_head(
        "POST /v1/chat/completions HTTP/1.1\r\nhOsT: \t api.example.com:8080 \r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Encoding: gzip\r\n\
         content-encoding:br\r\nX-Stainless-Retry-Count: 2\r\nExpect: 100-Continue\r\n\
         Connection: Keep-Alive , CLOSE\r\nX-Empty:\r\nContent-Length: 7\r\n\r\n",
    );
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.target, "/v1/chat/completions");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.host.as_deref(), Some("api.example.com:8080"));
    assert_eq!(head.content_type.as_deref(), Some("application/json; charset=utf-8"));
    assert_eq!(head.content_encoding.as_deref(), Some("gzip, br"));
    assert_eq!(head.retry_count, Some(2));
    assert_eq!(head.framing, Framing::Length(7));
    assert!(head.expect_continue && head.close && !head.upgrade);
}

#[test]
fn what_a_head_does_not_say_is_absent() {
    let head = request_head("get * HTTP/1.1\r\n\r\n");
    assert_eq!(head.method, Method::Other("get".into()), "a method's case matters");
    assert_eq!((head.host, head.content_type, head.retry_count), (None, None, None));
    assert_eq!(head.framing, Framing::None);
    assert!(!head.close && !head.expect_continue && !head.upgrade);
}

#[test]
fn http_1_0_closes_unless_kept_alive() {
    assert!(request_head("GET / HTTP/1.0\r\n\r\n").close);
    assert!(!request_head("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").close);
}

#[test]
fn an_upgrade_takes_both_its_fields_and_http_1_1() {
    let both = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert!(request_head(&format!("GET / HTTP/1.1\r\n{both}")).upgrade);
    assert!(!request_head(&format!("GET / HTTP/1.0\r\n{both}")).upgrade);
    assert!(!request_head("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n").upgrade);
}

#[test]
fn heads_up_to_the_bounds_pass_and_larger_ones_are_refused() {
    let head = |padding: usize| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(padding));
    let fixed = head(0).len();
    assert_eq!(request_fault(head(limits::HEAD_BYTES - fixed).as_bytes()), None);
    let larger = head(limits::HEAD_BYTES - fixed + 1);
    assert_eq!(request_fault(larger.as_bytes()), Some(Fault::HeadTooLarge));

    let head = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(fields));
    assert_eq!(request_fault(head(limits::HEAD_FIELDS).as_bytes()), None);
    let more = head(limits::HEAD_FIELDS + 1);
    assert_eq!(request_fault(more.as_bytes()), Some(Fault::TooManyFields));

    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = |fields: usize| format!("{chunked}0\r\n{}\r\n", "X: a\r\n".repeat(fields));
    assert_eq!(request_fault(chunk(limits::HEAD_FIELDS).as_bytes()), None);
    let more = chunk(limits::HEAD_FIELDS + 1);
    assert_eq!(request_fault(more.as_bytes()), Some(Fault::TooManyFields));

    let chunk = |line: usize| format!("{chunked}0;{}\r\n\r\n", "a".repeat(line - "0;\r\n".len()));
    assert_eq!(request_fault(chunk(limits::CHUNK_LINE_BYTES).as_bytes()), None);
    let longer = chunk(limits::CHUNK_LINE_BYTES + 1);
    assert_eq!(request_fault(longer.as_bytes()), Some(Fault::ChunkLineTooLong));
}

#[test]
fn empty_lines_before_a_request_are_skipped_up_to_the_bound() {
    let request = |lines: usize| format!("{}GET / HTTP/1.1\r\n\r\n", "\r\n".repeat(lines));
    let twice = request(limits::EMPTY_LINES).repeat(2);
    let (seen, eof) = requests([twice.as_bytes()]);
    assert_eq!((seen.len(), eof), (4, Ok(Eof::Clean)), "counted anew for each request");
    let more = request(limits::EMPTY_LINES + 1);
    assert_eq!(request_fault(more.as_bytes()), Some(Fault::EmptyLines));
}

#[test]
fn a_response_needs_a_request() {
    let text = b"HTTP/1.1 204 \r\n\r\nHTTP/1.1 204 \r\n\r\n";
    assert_eq!(response_fault(text), Some(Fault::Unsolicited));
}

#[test]
fn too_many_pipelined_requests_are_the_clients_fault() {
    let mut framer = ResponseFramer::new();
    for _ in 0..limits::PIPELINED_REQUESTS {
        framer.push(get()).expect("within the bound");
    }
    let error = FramingError::Client(Fault::TooManyRequests);
    assert_eq!(framer.push(get()), Err(error));
    assert_eq!(framer.next(b"HTTP/1.1 204 \r\n\r\n"), Err(error), "it stays failed");
}

#[test]
fn a_failed_framer_stays_failed() {
    let mut framer = RequestFramer::new();
    let error = FramingError::Client(Fault::BareLf);
    assert_eq!(framer.next(b"\n"), Err(error));
    assert_eq!(framer.next(b"GET / HTTP/1.1\r\n\r\n"), Err(error));
    assert_eq!(framer.eof(), Eof::Truncated);
}

#[test]
fn a_head_gets_another_length_and_stays_as_it_was() {
    let head = b"POST /7 HTTP/1.1\r\nHost: a:1\r\nCONTENT-length: \t12 \r\nX: 12\r\n\r\n";
    let after = b"POST /7 HTTP/1.1\r\nHost: a:1\r\nCONTENT-length: \t3456 \r\nX: 12\r\n\r\n";
    assert_eq!(with_length(head, 3456), after);
    let without = b"POST / HTTP/1.1\r\nX-Content-Length: 1\r\n\r\n";
    assert_eq!(with_length(without, 9), without);
}
