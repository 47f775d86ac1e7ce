//! Frames of every kind: sizes, streams, padding, windows.

use super::{
    Case, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GET, PROTOCOL_ERROR, Told, case, data, get, last,
    post, reset, window,
};
use crate::proxy::h2::tests::{
    QUESTION,
    frames::{
        DATA, END_HEADERS, END_STREAM, GOAWAY, HAS_PRIORITY, HEADERS, PADDED, PRIORITY,
        PUSH_PROMISE, RST_STREAM, WINDOW_UPDATE, block, frame,
    },
};

pub(super) fn cases() -> Vec<Case> {
    [part_1(), part_2(), part_3(), part_4()].into_iter().flatten().collect()
}

fn part_1() -> Vec<Case> {
    use Told::{Answer, GoAway};
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
            &[post(1), data(1, &[0; 70_000])],
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
    ]
}

fn part_2() -> Vec<Case> {
    use Told::{Answer, GoAway, Reset};
    vec![
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
    ]
}

fn part_3() -> Vec<Case> {
    use Told::{Answer, GoAway, Reset};
    vec![
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
    ]
}

fn part_4() -> Vec<Case> {
    use Told::{Answer, Reset};
    vec![
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

fn padded(pad: u8, bytes: &[u8]) -> Vec<u8> {
    [&[pad][..], bytes, &vec![0; pad.into()]].concat()
}
