//! What is accepted, what is refused and why, and how the pieces follow each other.

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
fn ambiguous_request_heads_are_refused_with_the_reason() {
    let cases: &[(&str, Fault)] = &[
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Fault::BareCr),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", Fault::BareCr),
        ("GET / HTTP/1.1\r\n\rHost: a\r\n\r\n", Fault::BareCr),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Fault::SpaceBeforeColon),
        ("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", Fault::SpaceBeforeColon),
        ("GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", Fault::ObsoleteFold),
        ("GET / HTTP/1.1\r\nX:\r\n\tb\r\n\r\n", Fault::ObsoleteFold),
        ("GET / HTTP/1.1\r\n X: a\r\n\r\n", Fault::ObsoleteFold),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", Fault::FieldName),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", Fault::FieldName),
        ("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", Fault::FieldValue),
        ("GET / HTTP/1.1\r\nX: a\x0bb\r\n\r\n", Fault::FieldValue),
        ("GET / HTTP/1.1\r\nX: a\x7fb\r\n\r\n", Fault::FieldValue),
        ("GET /a b HTTP/1.1\r\n\r\n", Fault::TargetWhitespace),
        ("GET /a\tb HTTP/1.1\r\n\r\n", Fault::TargetWhitespace),
        ("GET  / HTTP/1.1\r\n\r\n", Fault::TargetWhitespace),
        ("GET / HTTP/1.1 \r\n\r\n", Fault::TargetWhitespace),
        ("GET /\r\n\r\n", Fault::RequestLine),
        ("G@T / HTTP/1.1\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/2.0\r\n\r\n", Fault::Version),
        ("GET / HTTP/1.2\r\n\r\n", Fault::Version),
        ("GET / http/1.1\r\n\r\n", Fault::Version),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Fault::Host),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Fault::Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Fault::Host),
        ("\nGET / HTTP/1.1\r\n\r\n", Fault::BareLf),
        ("\rGET / HTTP/1.1\r\n\r\n", Fault::BareCr),
    ];
    for (text, fault) in cases {
        assert_eq!(request_fault(text.as_bytes()), Some(*fault), "{text:?}");
    }
}

#[test]
fn ambiguous_body_framing_is_refused_in_both_directions() {
    let cases: &[(&str, Fault)] = &[
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", Fault::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1", Fault::LengthAndCoding),
        ("Content-Length: 1\r\nContent-Length: 2", Fault::RepeatedContentLength),
        ("Content-Length: 1\r\ncontent-length: 1", Fault::RepeatedContentLength),
        ("Content-Length: 5, 5", Fault::ContentLength),
        ("Content-Length: +5", Fault::ContentLength),
        ("Content-Length: -5", Fault::ContentLength),
        ("Content-Length: 0x5", Fault::ContentLength),
        ("Content-Length: 5 5", Fault::ContentLength),
        ("Content-Length:", Fault::ContentLength),
        ("Content-Length: 18446744073709551616", Fault::ContentLength),
        ("Content-Length: 9223372036854775808", Fault::ContentLength),
        ("Content-Length: 010", Fault::ContentLength),
        ("Content_Length: 5", Fault::Lookalike),
        ("Transfer_Encoding: chunked", Fault::Lookalike),
        ("Content-Length: 5\r\nConnection: close, Content-Length", Fault::ConnectionOption),
        ("Connection: transfer-encoding\r\nTransfer-Encoding: chunked", Fault::ConnectionOption),
        ("Content-Length: \u{665}", Fault::ContentLength),
        ("Transfer-Encoding: gzip", Fault::TransferCoding),
        ("Transfer-Encoding: gzip, chunked", Fault::TransferCoding),
        ("Transfer-Encoding: chunked, chunked", Fault::TransferCoding),
        ("Transfer-Encoding: chunked, identity", Fault::TransferCoding),
        ("Transfer-Encoding: chunked,", Fault::TransferCoding),
        ("Transfer-Encoding: \"chunked\"", Fault::TransferCoding),
        ("Transfer-Encoding: chunked;q=1", Fault::TransferCoding),
        ("Transfer-Encoding: xchunked", Fault::TransferCoding),
        ("Transfer-Encoding:", Fault::TransferCoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Fault::TransferCoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Fault::TransferCoding),
    ];
    for (fields, fault) in cases {
        let request = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
        assert_eq!(request_fault(request.as_bytes()), Some(*fault), "{fields:?}");
        let response = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        assert_eq!(response_fault(response.as_bytes()), Some(*fault), "{fields:?}");
    }
    let old = "1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = format!("POST / HTTP/{old}");
    assert_eq!(request_fault(request.as_bytes()), Some(Fault::CodingInHttp10));
    let response = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(response_fault(response.as_bytes()), Some(Fault::CodingInHttp10));
}

#[test]
fn what_can_have_no_content_must_not_say_that_it_has() {
    for fields in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let connect = format!("CONNECT a:1 HTTP/1.1\r\n{fields}\r\n\r\n");
        assert_eq!(request_fault(connect.as_bytes()), Some(Fault::Content), "{fields}");
        for status in ["103", "204"] {
            let response = format!("HTTP/1.1 {status} \r\n{fields}\r\n\r\n");
            assert_eq!(response_fault(response.as_bytes()), Some(Fault::Content), "{fields}");
        }
        let established = format!("HTTP/1.1 200 \r\n{fields}\r\n\r\n");
        let connect = Awaited::new(&Method::Connect, false);
        let (_, end) = responses(&[connect], [established.as_bytes()]);
        assert_eq!(end, Err(FramingError::Server(Fault::Content)), "{fields}");
    }
    assert_eq!(request_fault(b"CONNECT a:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), None);
}

#[test]
fn what_is_undecided_is_what_the_next_byte_may_still_make_a_fault_of() {
    let request = "\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2;a=\"b\"\r\nhi\r\n0\r\nX: y\r\n\r\n";
    let head = request.find("2;a").expect("it is there");
    let (data, trailers) = (head + "2;a=\"b\"\r\n".len(), request.len() - "X: y\r\n\r\n".len());
    for end in 0..=request.len() {
        let mut framer = RequestFramer::new();
        let mut rest = &request.as_bytes()[..end];
        while let Ok((taken, piece)) = framer.next(rest)
            && (taken, &piece) != (0, &None)
        {
            rest = &rest[taken..];
        }
        let begun = match end {
            0..2 => 0,
            _ if end < head => 2,
            _ if end < data => head,
            _ if end < data + 3 => end,
            _ if end == data + 3 => data + 2,
            _ if end < trailers => data + 4,
            _ if end < request.len() => trailers,
            _ => end,
        };
        assert_eq!(framer.undecided(), end - begun, "after {end} bytes");
    }
}

#[test]
fn malformed_status_lines_are_refused() {
    let cases: &[(&str, Fault)] = &[
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Fault::StatusLine),
        ("HTTP/1.1 200 O\rK\r\n\r\n", Fault::BareCr),
        ("HTTP/1.1 200 OK\n\r\n", Fault::BareLf),
        ("HTTP/2 200 OK\r\n\r\n", Fault::Version),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", Fault::Version),
        ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", Fault::SpaceBeforeColon),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", Fault::ObsoleteFold),
    ];
    for (text, fault) in cases {
        assert_eq!(response_fault(text.as_bytes()), Some(*fault), "{text:?}");
    }
}

#[test]
fn malformed_chunks_are_refused_in_both_directions() {
    let cases: &[(&str, Fault)] = &[
        ("\r\n", Fault::ChunkSize),
        (";a\r\n", Fault::ChunkSize),
        (" 1\r\n", Fault::ChunkSize),
        ("0x1\r\n", Fault::ChunkSize),
        ("-1\r\n", Fault::ChunkSize),
        ("g\r\n", Fault::ChunkSize),
        ("1 \r\na", Fault::ChunkSize),
        ("1 1\r\n", Fault::ChunkSize),
        ("00000000000000001\r\n", Fault::ChunkSizeTooLong),
        ("1\na\r\n", Fault::BareLf),
        ("1 \na\r\n", Fault::BareLf),
        ("1;a\nb\r\n", Fault::BareLf),
        ("1;a\rb\r\n", Fault::BareCr),
        ("2;a=\"\r\n\"\r\n", Fault::ChunkExtension),
        ("2;a=\"\\\r\n", Fault::ChunkExtension),
        ("2;a=\"\n", Fault::BareLf),
        ("100000000\r\n", Fault::ChunkTooLarge),
        ("ffffffffffffffff\r\n", Fault::ChunkTooLarge),
        ("1;a\0\r\n", Fault::ChunkExtension),
        ("1\r\nab\r\n", Fault::ChunkEnd),
        ("1\r\na\n", Fault::ChunkEnd),
        ("1\r\na\r1\r\n", Fault::ChunkEnd),
        ("1\r\na0\r\n\r\n", Fault::ChunkEnd),
        ("0\r\nX: a\n\r\n", Fault::BareLf),
        ("0\r\n\n", Fault::BareLf),
        ("0\r\nX : a\r\n\r\n", Fault::SpaceBeforeColon),
        ("0\r\n X: a\r\n\r\n", Fault::ObsoleteFold),
        ("0\r\nX: a\0\r\n\r\n", Fault::FieldValue),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", Fault::FieldName),
        ("0\r\nX: a\r\ncontent-length: 1\r\n\r\n", Fault::Trailer),
        ("0\r\nHost: a\r\n\r\n", Fault::Trailer),
    ];
    for (chunks, fault) in cases {
        let request = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(request_fault(request.as_bytes()), Some(*fault), "{chunks:?}");
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(response_fault(response.as_bytes()), Some(*fault), "{chunks:?}");
    }
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
fn a_response_is_delimited_by_status_method_and_fields() {
    let head = Awaited::new(&Method::Head, false);
    let cases = &[
        (
            get(),
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            (200, Framing::Length(2), "hi", Eof::Clean),
        ),
        (get(), "HTTP/1.1 200\r\n\r\nhi", (200, Framing::UntilClose, "hi", Eof::Complete)),
        (get(), "HTTP/1.0 200 \r\n\r\nhi", (200, Framing::UntilClose, "hi", Eof::Complete)),
        (
            get(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2 ; a=\"b\"\r\nhi\r\n00\r\nX: y\r\n\r\n",
            (200, Framing::Chunked, "hi", Eof::Clean),
        ),
        (
            head,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            (200, Framing::None, "", Eof::Clean),
        ),
        (
            head,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            (200, Framing::None, "", Eof::Clean),
        ),
        (get(), "HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n", (204, Framing::None, "", Eof::Clean)),
        (get(), "HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n", (304, Framing::None, "", Eof::Clean)),
        (
            get(),
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 404 \r\nContent-Length: 1\r\n\r\nx",
            (404, Framing::Length(1), "x", Eof::Clean),
        ),
        (
            Awaited::new(&Method::Connect, false),
            "HTTP/1.1 403 \r\nContent-Length: 1\r\n\r\nx",
            (403, Framing::Length(1), "x", Eof::Clean),
        ),
    ];
    for (awaited, text, (status, framing, body, eof)) in cases {
        let expected = (*status, *framing, body.as_bytes().to_vec(), *eof);
        assert_eq!(response(*awaited, text), expected, "{text:?}");
    }
}

#[test]
fn a_stream_cut_inside_a_message_is_truncated() {
    let request = "\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    for end in 0..=request.len() {
        let clean = [0, 2, request.len()].contains(&end);
        let expected = if clean { Eof::Clean } else { Eof::Truncated };
        assert_eq!(requests([&request.as_bytes()[..end]]).1, Ok(expected), "{end}");
    }
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    for end in 0..=response.len() {
        let clean = [0, response.len()].contains(&end);
        let expected = if clean { Eof::Clean } else { Eof::Truncated };
        let seen = responses(&[get()], [&response.as_bytes()[..end]]);
        assert_eq!(seen.1, Ok(expected), "{end}");
    }
}

#[test]
fn a_switch_of_protocols_ends_http_both_ways() {
    let upgrade = Awaited::new(&Method::Get, true);
    let connect = Awaited::new(&Method::Connect, false);
    for (awaited, text) in [
        (upgrade, "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\n\0raw"),
        (connect, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\n\0raw"),
    ] {
        let whole = responses(&[awaited, get()], [text.as_bytes()]);
        assert_eq!(whole, responses(&[awaited, get()], text.as_bytes().chunks(1)));
        assert!(matches!(&whole.0[..], [Seen::Response(_), Seen::Tunnel]), "{whole:?}");
        assert_eq!(whole.1, Ok(Eof::Clean));
    }
    let mut framer = RequestFramer::new();
    framer.tunnel();
    assert_eq!(framer.next(b"\n\0raw"), Ok((5, None)));
    assert_eq!(framer.eof(), Eof::Clean);
}

#[test]
fn an_upgrade_that_the_server_declines_leaves_http_on() {
    let awaited = [Awaited::new(&Method::Get, true), get()];
    let text = b"HTTP/1.1 426 \r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 \r\n\r\n";
    let (seen, eof) = responses(&awaited, [&text[..]]);
    assert_eq!((seen.len(), eof), (4, Ok(Eof::Clean)));
}

#[test]
fn an_unasked_switch_is_refused() {
    let text = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n";
    assert_eq!(response_fault(text), Some(Fault::UnaskedUpgrade));
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

/// Wherever a body in chunks is ended in our words, what went on of it and they are one whole body.
#[test]
fn a_body_in_chunks_is_ended_anywhere() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const BODY: &[u8] = b"4;x=y\r\nabcd\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    const WORDS: &[u8] = b"last words";
    for (sent, end) in (HEAD.len()..HEAD.len() + BODY.len() - 5)
        .flat_map(|end| [Sent::All, Sent::Decided].map(|sent| (sent, end)))
    {
        let whole = [HEAD, BODY].concat();
        let (mut framer, mut rest) = (answering(), &whole[..end]);
        while let (taken, Some(_)) = framer.next(rest).expect("legal") {
            rest = &rest[taken..];
        }
        let undecided = if sent == Sent::All { 0 } else { framer.undecided() };
        let passed = &whole[..end - undecided];
        let Some(ended) = framer.end_with(WORDS, Some(b'\n'), sent) else {
            let in_line = framer.undecided() > 0 && sent == Sent::All;
            assert!(in_line, "no end after {:?}", String::from_utf8_lossy(passed));
            continue;
        };
        let whole = [passed, &ended].concat();
        let (mut framer, mut rest, mut content) = (answering(), &whole[..], Vec::new());
        loop {
            let (taken, piece) = framer.next(rest).expect("legal");
            rest = &rest[taken..];
            match piece {
                Some(ResponsePiece::Body(bytes)) => content.extend_from_slice(bytes),
                Some(ResponsePiece::End) => break,
                Some(_) => {}
                None => panic!("not whole: {:?}", String::from_utf8_lossy(&whole)),
            }
        }
        assert!(rest.is_empty());
        let content = String::from_utf8(content).expect("text");
        assert!(content.trim_end_matches('\n').ends_with("last words"), "{content}");
    }
}

/// Of one answer.
fn answering() -> ResponseFramer {
    let mut framer = ResponseFramer::new();
    framer.push(Awaited::new(&Method::Get, false)).expect("there is room");
    framer
}
