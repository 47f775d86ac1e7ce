//! The states of streams, and how a message is made of frames.

use super::{
    Case, GET, POST, PROTOCOL_ERROR, STREAM_CLOSED, Told, asks, case, cut_question, data, get,
    last, post, reset, with,
};
use crate::proxy::h2::tests::{
    QUESTION,
    frames::{CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, block, frame},
};

pub(super) fn cases() -> Vec<Case> {
    [part_1(), part_2(), part_3()].into_iter().flatten().collect()
}

fn part_1() -> Vec<Case> {
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
    ]
}

fn part_2() -> Vec<Case> {
    use Told::{Answer, GoAway, Reset};
    vec![
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
    ]
}

fn part_3() -> Vec<Case> {
    use Told::{Answer, Reset};
    vec![
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
