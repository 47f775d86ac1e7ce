//! What a client may and may not send, by section of RFC 9113 and RFC 7541: what the client is told,
//! and that upstream receives nothing that is malformed, and nothing that was not understood.

use super::{
    CHAT, QUESTION, Rig, echo,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HAS_PRIORITY, HEADERS, PADDED,
        PING, PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block,
        frame, settings, string,
    },
    within,
};

/// What the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The stream is answered to its end, and the connection lives.
    Answer(u32),
    /// The stream is reset with this code, and the connection lives.
    Reset(u32, u32),
    /// The connection ends with this code.
    GoAway(u32),
    /// The connection lives, and nothing is said about it.
    Nothing,
    /// The connection ends.
    End,
}

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// Any of these is right: the RFC, or `h2`, leaves a choice.
    told: Vec<Told>,
    /// How many requests upstream gets to see whole; at most, where none has to be answered.
    whole: usize,
}

/// A case in which the bytes follow the client's first words.
fn case(name: &'static str, pieces: &[Vec<u8>], told: &[Told], whole: usize) -> Case {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(settings(&[]));
    bytes.extend(pieces.concat());
    Case { name, bytes, told: told.to_vec(), whole }
}

/// A case with bytes of its own from the first on.
fn first(name: &'static str, pieces: &[Vec<u8>], told: &[Told], whole: usize) -> Case {
    Case { name, bytes: pieces.concat(), told: told.to_vec(), whole }
}

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", CHAT)];

fn with(base: &[(&'static str, &'static str)], more: &[(&'static str, &'static str)]) -> Vec<u8> {
    block(&[base, more].concat())
}

/// A whole request without a body.
fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(GET))
}

/// A request's head, its body to follow.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(POST))
}

/// A request with these fields and no body.
fn asks(fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, fields)
}

fn data(stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, bytes)
}

fn last(stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, bytes)
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// A body of a whole question, cut.
fn cut_question() -> Vec<Vec<u8>> {
    let (start, end) = QUESTION.split_at(10);
    vec![post(1), data(1, start), last(1, end)]
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn preface_and_settings() -> Vec<Case> {
    use Told::{Answer, End, GoAway, Nothing};
    let good = settings(&[]);
    let preface = PREFACE.to_vec();
    vec![
        first(
            "3.4 a preface that is not one",
            &[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec()],
            &[End],
            0,
        ),
        first("3.4 half a preface, then the end", &[PREFACE[..10].to_vec()], &[End], 0),
        first(
            "3.4 preface, settings, request in one",
            &[preface.clone(), good, get(1)],
            &[Answer(1)],
            1,
        ),
        case(
            "6.5 settings on a stream",
            &[frame(SETTINGS, 0, 1, &[])],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.5 an acknowledgement with a payload",
            &[frame(SETTINGS, ACK, 0, &[0; 6])],
            &[GoAway(FRAME_SIZE_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.5 a length that is no multiple of six",
            &[frame(SETTINGS, 0, 0, &[0; 5])],
            &[GoAway(FRAME_SIZE_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case("6.5.2 ENABLE_PUSH of two", &[settings(&[(2, 2)])], &[GoAway(PROTOCOL_ERROR)], 0),
        case(
            "6.5.2 INITIAL_WINDOW_SIZE over the maximum",
            &[settings(&[(4, 1 << 31)])],
            &[GoAway(FLOW_CONTROL_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.5.2 MAX_FRAME_SIZE under the minimum",
            &[settings(&[(5, 16_383)])],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.5.2 MAX_FRAME_SIZE over the maximum",
            &[settings(&[(5, 1 << 24)])],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case("6.5.2 an unknown setting", &[settings(&[(0xff, 1)]), get(1)], &[Answer(1)], 1),
        case(
            "6.5.3 a second acknowledgement",
            &[frame(SETTINGS, ACK, 0, &[]), frame(SETTINGS, ACK, 0, &[])],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.5.3 settings in the middle",
            &[post(1), settings(&[(4, 100_000)]), last(1, QUESTION)],
            &[Answer(1)],
            1,
        ),
        case(
            "6.9.2 a window of nothing, then more",
            &[settings(&[(4, 0)]), post(1), last(1, QUESTION), settings(&[(4, 65_535)])],
            &[Answer(1)],
            1,
        ),
        case("6.7 a ping is answered by us", &[frame(PING, 0, 0, &[7; 8])], &[Nothing], 0),
        case("6.7 a ping on a stream", &[frame(PING, 0, 1, &[0; 8])], &[GoAway(PROTOCOL_ERROR)], 0),
        case(
            "6.7 a ping of seven bytes",
            &[frame(PING, 0, 0, &[0; 7])],
            &[GoAway(FRAME_SIZE_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.7 an acknowledgement of no ping",
            &[frame(PING, ACK, 0, &[3; 8]), get(1)],
            &[Answer(1)],
            1,
        ),
    ]
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn frames() -> Vec<Case> {
    use Told::{Answer, GoAway, Reset};
    let large = vec![0; 70_000];
    let padded = |pad: u8, bytes: &[u8]| [&[pad][..], bytes, &vec![0; pad.into()]].concat();
    vec![
        case("4.1 an unknown frame", &[frame(0xfe, 0xff, 0, b"x"), get(1)], &[Answer(1)], 1),
        case(
            "4.1 an unknown frame on an open stream",
            &[post(1), frame(0xfe, 0, 1, b"x"), last(1, QUESTION)],
            &[Answer(1)],
            1,
        ),
        case(
            "4.1 flags that mean nothing",
            &[frame(HEADERS, 0xd2 | END_STREAM | END_HEADERS, 1, &block(GET))],
            &[Answer(1)],
            1,
        ),
        case(
            "4.1 the reserved bit of a stream's number",
            &[frame(HEADERS, END_STREAM | END_HEADERS, 0x8000_0001, &block(GET))],
            &[Answer(1)],
            1,
        ),
        case(
            "4.2 a frame over the size that we take",
            &[post(1), data(1, &large)],
            &[GoAway(FRAME_SIZE_ERROR)],
            0,
        ),
        case("6.1 data on stream 0", &[data(0, b"x")], &[GoAway(PROTOCOL_ERROR)], 0),
        case("6.1 data on an idle stream", &[data(1, b"x")], &[GoAway(PROTOCOL_ERROR)], 0),
        case(
            "6.1 padded data",
            &[post(1), frame(DATA, END_STREAM | PADDED, 1, &padded(200, QUESTION))],
            &[Answer(1)],
            1,
        ),
        case(
            "6.1 padding of the whole frame",
            &[post(1), frame(DATA, PADDED, 1, &[5, 0, 0, 0, 0, 0]), last(1, QUESTION)],
            &[Answer(1)],
            1,
        ),
        case(
            "6.1 more padding than frame",
            &[post(1), frame(DATA, PADDED | END_STREAM, 1, &[9, 1, 2])],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.2 headers on stream 0",
            &[frame(HEADERS, END_STREAM | END_HEADERS, 0, &block(GET))],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.2 padded headers",
            &[frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &padded(10, &block(GET)))],
            &[Answer(1)],
            1,
        ),
        case(
            "6.2 more padding than headers",
            &[frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[200, 1])],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.2 headers with a priority",
            &[frame(
                HEADERS,
                END_STREAM | END_HEADERS | HAS_PRIORITY,
                1,
                &[&[0, 0, 0, 0, 9][..], &block(GET)].concat(),
            )],
            &[Answer(1)],
            1,
        ),
        case(
            "5.3.1 headers that depend on their own stream",
            &[frame(
                HEADERS,
                END_STREAM | END_HEADERS | HAS_PRIORITY,
                1,
                &[&[0, 0, 0, 1, 9][..], &block(GET)].concat(),
            )],
            &[Reset(1, PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "5.3.1 a priority that depends on its own stream",
            &[post(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9])],
            &[Reset(1, PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.3 a priority is ignored",
            &[frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]), get(1)],
            &[Answer(1)],
            1,
        ),
        case(
            "6.3 a priority on stream 0",
            &[frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 9])],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.3 a priority of four bytes",
            &[post(1), frame(PRIORITY, 0, 1, &[0; 4])],
            &[Reset(1, FRAME_SIZE_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case("6.4 a reset of stream 0", &[reset(0)], &[GoAway(PROTOCOL_ERROR)], 0),
        case("6.4 a reset of an idle stream", &[reset(1)], &[GoAway(PROTOCOL_ERROR)], 0),
        case(
            "6.4 a reset of three bytes",
            &[post(1), frame(RST_STREAM, 0, 1, &[0; 3])],
            &[GoAway(FRAME_SIZE_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.4 a reset, and the next stream goes on",
            &[post(1), reset(1), get(3)],
            &[Answer(3)],
            1,
        ),
        case(
            "8.4 a client may not push",
            &[
                post(1),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(GET)].concat()),
            ],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.8 a goaway on a stream",
            &[frame(GOAWAY, 0, 1, &[0; 8])],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.8 a goaway of seven bytes",
            &[frame(GOAWAY, 0, 0, &[0; 7])],
            &[GoAway(FRAME_SIZE_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.9 an increment of nothing for the connection",
            &[window(0, 0)],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.9 an increment of nothing for a stream",
            &[post(1), window(1, 0)],
            &[Reset(1, PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case("6.9 an increment for an idle stream", &[window(1, 5)], &[GoAway(PROTOCOL_ERROR)], 0),
        case(
            "6.9 an increment of three bytes",
            &[frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            &[GoAway(FRAME_SIZE_ERROR), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.9.1 a connection's window that overflows",
            &[window(0, 0x7fff_ffff)],
            &[GoAway(FLOW_CONTROL_ERROR)],
            0,
        ),
        case(
            "6.9.1 a stream's window that overflows",
            &[post(1), window(1, 0x7fff_ffff)],
            &[Reset(1, FLOW_CONTROL_ERROR)],
            0,
        ),
        case(
            "6.9 an increment for a closed stream",
            &[get(1), window(1, 5), get(3)],
            &[Answer(3)],
            2,
        ),
    ]
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn streams() -> Vec<Case> {
    use Told::{Answer, End, GoAway, Reset};
    vec![
        case("5.1 a body in pieces", &cut_question(), &[Answer(1)], 1),
        case(
            "5.1 data after the end",
            &[get(1), data(1, b"x")],
            &[Reset(1, STREAM_CLOSED), GoAway(STREAM_CLOSED), GoAway(PROTOCOL_ERROR)],
            1,
        ),
        case(
            "5.1 headers after the end",
            &[get(1), get(1)],
            &[Reset(1, STREAM_CLOSED), GoAway(STREAM_CLOSED), GoAway(PROTOCOL_ERROR)],
            1,
        ),
        case(
            "5.1 data after a reset",
            &[post(1), reset(1), data(1, b"x")],
            &[Reset(1, STREAM_CLOSED), GoAway(STREAM_CLOSED), GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case("5.1.1 an even number", &[get(2)], &[GoAway(PROTOCOL_ERROR)], 0),
        case(
            "5.1.1 a number that goes back",
            &[get(5), get(3)],
            &[GoAway(PROTOCOL_ERROR), Reset(3, STREAM_CLOSED)],
            1,
        ),
        case("5.1.1 numbers may be left out", &[get(1), get(101)], &[Answer(101)], 2),
        case(
            "5.4.1 after a goaway of the client's its streams go on",
            &[post(1), frame(GOAWAY, 0, 0, &[0; 8]), last(1, QUESTION)],
            &[Answer(1), End],
            1,
        ),
        case(
            "6.10 a continuation of nothing",
            &[frame(CONTINUATION, END_HEADERS, 1, &block(GET))],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.10 another frame between headers and continuation",
            &[frame(HEADERS, END_STREAM, 1, &block(&GET[..2])), frame(PING, 0, 0, &[0; 8])],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.10 a continuation on another stream",
            &[
                frame(HEADERS, END_STREAM, 1, &block(&GET[..2])),
                frame(CONTINUATION, END_HEADERS, 3, &block(&GET[2..])),
            ],
            &[GoAway(PROTOCOL_ERROR)],
            0,
        ),
        case(
            "6.10 a head in three frames",
            &[
                frame(HEADERS, END_STREAM, 1, &block(&GET[..1])),
                frame(CONTINUATION, 0, 1, &block(&GET[1..2])),
                frame(CONTINUATION, END_HEADERS, 1, &block(&GET[2..])),
            ],
            &[Answer(1)],
            1,
        ),
        case(
            "6.10 a field cut by a continuation",
            &[
                frame(HEADERS, END_STREAM, 1, &block(GET)[..5]),
                frame(CONTINUATION, END_HEADERS, 1, &block(GET)[5..]),
            ],
            &[Answer(1)],
            1,
        ),
        case(
            "8.1 trailers",
            &[
                post(1),
                data(1, QUESTION),
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("t", "v")])),
            ],
            &[Answer(1)],
            1,
        ),
        case(
            "8.1 trailers that do not end the stream",
            &[post(1), data(1, b"x"), frame(HEADERS, END_HEADERS, 1, &block(&[("t", "v")]))],
            &[Reset(1, PROTOCOL_ERROR)],
            0,
        ),
        case(
            "8.1 data after trailers",
            &[
                post(1),
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("t", "v")])),
                data(1, b"x"),
            ],
            &[Reset(1, STREAM_CLOSED), GoAway(STREAM_CLOSED), GoAway(PROTOCOL_ERROR)],
            1,
        ),
        case(
            "8.1.1 less data than content-length",
            &[
                frame(HEADERS, END_HEADERS, 1, &with(POST, &[("content-length", "100")])),
                last(1, QUESTION),
            ],
            &[Reset(1, PROTOCOL_ERROR)],
            0,
        ),
        case(
            "8.1.1 more data than content-length",
            &[
                frame(HEADERS, END_HEADERS, 1, &with(POST, &[("content-length", "3")])),
                last(1, QUESTION),
            ],
            &[Reset(1, PROTOCOL_ERROR)],
            0,
        ),
        case(
            "8.1.1 a content-length and no data",
            &[asks(&with(POST, &[("content-length", "3")]))],
            &[Reset(1, PROTOCOL_ERROR)],
            0,
        ),
        case(
            "8.1.1 trailers before all of content-length",
            &[
                frame(HEADERS, END_HEADERS, 1, &with(POST, &[("content-length", "100")])),
                data(1, QUESTION),
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("t", "v")])),
            ],
            &[Reset(1, PROTOCOL_ERROR)],
            0,
        ),
        case(
            "8.1.1 two content-lengths that differ",
            &[
                frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &with(POST, &[("content-length", "57"), ("content-length", "58")]),
                ),
                last(1, QUESTION),
            ],
            &[Reset(1, PROTOCOL_ERROR)],
            0,
        ),
        case(
            "8.1.1 a content-length that is no number",
            &[
                frame(HEADERS, END_HEADERS, 1, &with(POST, &[("content-length", "+57")])),
                last(1, QUESTION),
            ],
            &[Reset(1, PROTOCOL_ERROR)],
            0,
        ),
        case(
            "8.1.1 the right content-length",
            &[
                frame(HEADERS, END_HEADERS, 1, &with(POST, &[("content-length", "57")])),
                last(1, QUESTION),
            ],
            &[Answer(1)],
            1,
        ),
    ]
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn heads() -> Vec<Case> {
    use Told::{Answer, GoAway, Reset};
    let malformed = &[Reset(1, PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR), GoAway(COMPRESSION_ERROR)];
    let asked = |name, fields: &[(&'static str, &'static str)]| {
        case(name, &[asks(&block(fields))], malformed, 0)
    };
    let added = |name, field| case(name, &[asks(&with(GET, &[field]))], malformed, 0);
    let mut nul = block(GET);
    nul.push(0);
    string(&mut nul, b"x");
    string(&mut nul, b"a\0b");
    vec![
        added("8.2 an upper-case name", ("X-Upper", "v")),
        added("8.2.1 a name with a space", ("a b", "v")),
        added("8.2.1 an empty name", ("", "v")),
        added("8.2.1 a name with a colon inside", ("a:b", "v")),
        added("8.2.1 a value with a line feed", ("x", "a\nb: c")),
        added("8.2.1 a value with a carriage return", ("x", "a\rb")),
        case("8.2.1 a value with a zero", &[asks(&nul)], malformed, 0),
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
            malformed,
            0,
        ),
    ]
}

fn compression() -> Vec<Case> {
    use Told::{Answer, GoAway};
    let broken = &[GoAway(COMPRESSION_ERROR), GoAway(PROTOCOL_ERROR)];
    // One entry of 4000 bytes, then 5000 references to it: 20 MB of head.
    let mut bomb = block(GET);
    bomb.push(0x40);
    string(&mut bomb, b"x");
    string(&mut bomb, &vec![b'a'; 4000]);
    bomb.extend(vec![0xbe; 5000]);
    // A flood of frames that never end the head.
    let mut flood = frame(HEADERS, END_STREAM, 1, &block(GET));
    for _ in 0..2000 {
        flood.extend(frame(CONTINUATION, 0, 1, &block(&[("x", "y")])));
    }
    let cut = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(GET)[..7]);
    vec![
        case("RFC 7541 2.3.3 an index beyond the table", &[asks(&[0xff, 0x80, 1])], broken, 0),
        case("RFC 7541 6.1 the index of nothing", &[asks(&[0x80])], broken, 0),
        case(
            "RFC 7541 5.1 a number that overflows",
            &[asks(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
            broken,
            0,
        ),
        case(
            "RFC 7541 5.2 Huffman padding that is too long",
            &[asks(&[&block(GET)[..], &[0, 0x81, 0x1f, 0x82, 0xff, 0xff]].concat())],
            broken,
            0,
        ),
        case(
            "RFC 7541 6.3 a table larger than agreed",
            &[asks(&[&[0x3f, 0xe1, 0xff, 3][..], &block(GET)].concat())],
            broken,
            0,
        ),
        case(
            "RFC 7541 6.3 a table made smaller",
            &[asks(&[&[0x20][..], &block(GET)].concat())],
            &[Answer(1)],
            1,
        ),
        case("4.3 a head that ends inside a field", &[cut], broken, 0),
        case("10.5.1 a decompression bomb", &[asks(&bomb)], &[GoAway(ENHANCE_YOUR_CALM)], 0),
        case("10.5.1 continuations without end", &[flood], &[GoAway(ENHANCE_YOUR_CALM)], 0),
    ]
}

#[tokio::test]
async fn a_client_is_held_to_the_protocol_and_upstream_sees_no_breach() {
    let groups = [preface_and_settings(), frames(), streams(), heads(), compression()];
    let cases: Vec<Case> = groups.into_iter().flatten().collect();
    assert!(cases.len() >= 100, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let outcome = tokio::time::timeout(STUCK, run(&case)).await;
        if let Err(what) = outcome.unwrap_or_else(|_| Err("stuck".to_owned())) {
            wrong.push(format!("{}: {what}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// No case takes this long.
const STUCK: std::time::Duration = std::time::Duration::from_secs(5);

/// Plays a case.
async fn run(case: &Case) -> Result<(), String> {
    let (rig, client, server) = Rig::sized(1024 * 1024);
    let (log, serving) = echo(server);
    let mut client = Raw::new(client);
    client.send(&case.bytes).await;
    let half_said = case.bytes.len() < PREFACE.len();
    if !half_said {
        client.send(&frame(PING, 0, 0, b"alive?!!")).await;
    }
    let told = if half_said { Told::End } else { listen(&mut client, case).await };
    drop(client);
    within(rig.task).await.map_err(|panic| format!("{panic}"))?.ok();
    if let Err(error) = within(serving).await.map_err(|panic| format!("{panic}"))?
        && !error.is_io()
    {
        return Err(format!("upstream received something malformed: {error}"));
    }
    let seen = log.seen();
    let whole = seen.iter().filter(|seen| seen.whole).count();
    let answered = case.told.iter().any(|told| matches!(told, Told::Answer(_)));
    // What comes before a breach may be given up with it.
    if whole > case.whole || (answered && whole != case.whole) {
        return Err(format!("upstream saw {whole} whole requests: {seen:?}"));
    }
    let calls = seen.iter().filter(|seen| seen.whole && seen.path == CHAT && seen.body == QUESTION);
    let placed = rig.heard.placed.lock().expect("not poisoned").len();
    if calls.count() != placed {
        return Err(format!("{placed} calls were understood, of {seen:?}"));
    }
    if case.told.contains(&told) { Ok(()) } else { Err(format!("{told:?}, not {:?}", case.told)) }
}

/// What the client is told, up to the answer to its ping and the end of the stream in question.
async fn listen(client: &mut Raw, case: &Case) -> Told {
    let answered = case.told.iter().find_map(|told| match told {
        Told::Answer(stream) => Some(*stream),
        _ => None,
    });
    let resets = case.told.iter().any(|told| matches!(told, Told::Reset(..)));
    let (mut alive, mut told) = (false, None);
    loop {
        let frame = client.until(|_| true).await;
        let Some(frame) = frame else { return Told::End };
        match frame.kind {
            GOAWAY if frame.code() != 0 => return Told::GoAway(frame.code()),
            RST_STREAM => told = Some(Told::Reset(frame.stream, frame.code())),
            DATA | HEADERS
                if frame.is(frame.kind, END_STREAM) && Some(frame.stream) == answered =>
            {
                told = Some(Told::Answer(frame.stream));
            }
            PING if frame.is(PING, ACK) && frame.payload == b"alive?!!" => alive = true,
            _ => {}
        }
        match told {
            Some(told) if alive => return told,
            None if alive && answered.is_none() && !resets => return Told::Nothing,
            _ => {}
        }
    }
}
