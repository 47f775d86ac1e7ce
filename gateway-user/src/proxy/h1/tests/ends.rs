//! Where messages end, and what comes after them.

use super::*;

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
        let content = content(&[passed, &ended].concat());
        assert!(content.trim_end_matches('\n').ends_with("last words"), "{content}");
    }
}

/// Of one answer.
fn answering() -> ResponseFramer {
    let mut framer = ResponseFramer::new();
    framer.push(Awaited::new(&Method::Get, false)).expect("there is room");
    framer
}

/// The same where the last of what was read has not gone on, however much that is.
#[test]
fn a_body_in_chunks_is_ended_before_what_was_kept_back() {
    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        4;x=y\r\nabcd\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    for end in 60..WHOLE.len() - 5 {
        let (mut framer, mut at) = (answering(), 0);
        while let (taken, Some(piece)) = framer.next(&WHOLE[at..end]).expect("legal") {
            at += taken;
            let ResponsePiece::Body(bytes) = piece else { continue };
            for rest in 0..=bytes.len() {
                let sent = framer.gone_but(rest);
                let ended =
                    framer.end_with(b"last words", Some(b'\n'), sent).expect("it has words");
                let content = content(&[&WHOLE[..at - rest], &ended].concat());
                let content = content.trim_end_matches('\n');
                let gone = content.strip_suffix("last words").expect("they are the last");
                assert!("abcd0123456789abcdef".starts_with(gone), "{gone}");
            }
        }
    }
}

/// The content of a whole answer.
fn content(whole: &[u8]) -> String {
    let (mut framer, mut rest, mut content) = (answering(), whole, Vec::new());
    loop {
        let (taken, piece) = framer.next(rest).expect("legal");
        rest = &rest[taken..];
        match piece {
            Some(ResponsePiece::Body(bytes)) => content.extend_from_slice(bytes),
            Some(ResponsePiece::End) => break,
            Some(_) => {}
            None => panic!("not whole: {:?}", String::from_utf8_lossy(whole)),
        }
    }
    assert!(rest.is_empty());
    String::from_utf8(content).expect("text")
}
