//! What is refused, and why.

use super::*;

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
