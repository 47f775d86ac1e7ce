//! Which heads are requests.

use super::{COMPRESSION_ERROR, Case, GET, PROTOCOL_ERROR, Told, asks, case, data, post, with};
use crate::proxy::h2::tests::frames::{END_HEADERS, END_STREAM, HEADERS, block, frame, string};

pub(super) fn cases() -> Vec<Case> {
    [part_1(), part_2()].into_iter().flatten().collect()
}

fn part_1() -> Vec<Case> {
    use Told::Answer;
    vec![
        added("8.2 an upper-case name", ("X-Upper", "v")),
        added("8.2.1 a name with a space", ("a b", "v")),
        added("8.2.1 an empty name", ("", "v")),
        added("8.2.1 a name with a colon inside", ("a:b", "v")),
        added("8.2.1 a value with a line feed", ("x", "a\nb: c")),
        added("8.2.1 a value with a carriage return", ("x", "a\rb")),
        case("8.2.1 a value with a zero", &[asks(&nul())], MALFORMED, 0),
        added("8.2.2 connection", ("connection", "close")),
        added("8.2.2 keep-alive", ("keep-alive", "1")),
        added("8.2.2 proxy-connection", ("proxy-connection", "close")),
        added("8.2.2 transfer-encoding", ("transfer-encoding", "chunked")),
        added("8.2.2 upgrade", ("upgrade", "websocket")),
        added("8.2.2 te that is not trailers", ("te", "gzip")),
        case("8.2.2 te: trailers", &[asks(&with(GET, &[("te", "trailers")]))], &[Answer(1)], 1),
        added("8.3 a pseudo-header after a field", (":path", "/b")),
        asked(
            "8.3 a path after a field",
            &[(":method", "GET"), (":scheme", "http"), ("x", "v"), (":path", "/")],
        ),
        added("8.3 an unknown pseudo-header", (":unknown", "v")),
        added("8.3 a response's pseudo-header", (":status", "200")),
        asked("8.3.1 no method", &GET[1..]),
        asked("8.3.1 no scheme", &[GET[0], GET[2], GET[3]]),
        asked("8.3.1 no path", &GET[..3]),
        asked("8.3.1 an empty path", &[GET[0], GET[1], GET[2], (":path", "")]),
        asked("8.3.1 two methods", &[GET[0], GET[0], GET[1], GET[2], GET[3]]),
        asked("8.3.1 two paths", &[GET[0], GET[1], GET[2], GET[3], (":path", "/b")]),
        asked("8.3.1 two authorities", &[GET[0], GET[1], GET[2], (":authority", "b"), GET[3]]),
        asked("8.3.1 two schemes", &[GET[0], GET[1], (":scheme", "https"), GET[2], GET[3]]),
        asked(
            "8.3.1 an authority with a path in it",
            &[GET[0], GET[1], (":authority", "a/b"), GET[3]],
        ),
        asked("8.3.1 an authority with a space", &[GET[0], GET[1], (":authority", "a b"), GET[3]]),
        asked("8.3.1 no host at all", &[GET[0], GET[1], GET[3]]),
        case(
            "8.3.1 Host for a missing authority",
            &[asks(&block(&[GET[0], GET[1], GET[3], ("host", "a.example")]))],
            &[Answer(1)],
            1,
        ),
        case(
            "8.3.1 OPTIONS *",
            &[asks(&block(&[(":method", "OPTIONS"), GET[1], GET[2], (":path", "*")]))],
            &[Answer(1)],
            1,
        ),
        asked(
            "8.5 CONNECT with a path",
            &[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")],
        ),
        asked("8.5 CONNECT without an authority", &[(":method", "CONNECT")]),
        asked(
            "RFC 8441 a protocol that was not offered",
            &[(":method", "CONNECT"), (":protocol", "websocket"), GET[1], GET[2], GET[3]],
        ),
    ]
}

fn part_2() -> Vec<Case> {
    use Told::Answer;
    vec![
        case(
            // Malformed by the RFC; `h2` takes it out, so that it does not get through either.
            "8.1 a pseudo-header in trailers",
            &[
                post(1),
                data(1, b"x"),
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[(":path", "/")])),
            ],
            &[Answer(1)],
            1,
        ),
        case(
            "8.2.2 a connection field in trailers",
            &[
                post(1),
                data(1, b"x"),
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("connection", "close")])),
            ],
            MALFORMED,
            0,
        ),
    ]
}

const MALFORMED: &[Told] = &[
    Told::Reset(1, PROTOCOL_ERROR),
    Told::GoAway(PROTOCOL_ERROR),
    Told::GoAway(COMPRESSION_ERROR),
];

/// A malformed request with these fields.
fn asked(name: &'static str, fields: &[(&'static str, &'static str)]) -> Case {
    case(name, &[asks(&block(fields))], MALFORMED, 0)
}

/// A request that one more field makes malformed.
fn added(name: &'static str, field: (&'static str, &'static str)) -> Case {
    case(name, &[asks(&with(GET, &[field]))], MALFORMED, 0)
}

/// A request with a zero in a value.
fn nul() -> Vec<u8> {
    let mut nul = block(GET);
    nul.push(0);
    string(&mut nul, b"x");
    string(&mut nul, b"a\0b");
    nul
}
