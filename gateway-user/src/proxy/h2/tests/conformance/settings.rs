//! The connection preface, SETTINGS and PING.

use super::{
    Case, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, Told, case, first, get, last, post,
};
use crate::proxy::h2::tests::{
    QUESTION,
    frames::{ACK, PING, PREFACE, SETTINGS, frame, settings},
};

pub(super) fn cases() -> Vec<Case> {
    [part_1(), part_2()].into_iter().flatten().collect()
}

fn part_1() -> Vec<Case> {
    use Told::{Answer, End, GoAway};
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
            &[PREFACE.to_vec(), settings(&[]), get(1)],
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
    ]
}

fn part_2() -> Vec<Case> {
    use Told::{Answer, GoAway, Nothing};
    vec![
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
