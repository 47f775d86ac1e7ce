//! Protocols that are not HTTP/1, and ends in every order.

use super::{
    bed::Bed,
    script::{Turn, client, play, server},
};

fn opaque(reason: &'static str, turns: &[Turn]) {
    let bed = Bed::start();
    for piece in [usize::MAX, 1] {
        play(&bed, turns, piece);
    }
    let coverage = bed.coverage();
    assert_eq!(coverage.reasons.get(reason), Some(&2), "{:?}", coverage.reasons);
    assert_eq!((coverage.connections_opaque, coverage.connections_observed), (2, 0));
}

#[test]
fn a_server_may_speak_first() {
    opaque(
        "opaque_server_first",
        &[
            server("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
            client("SSH-2.0-client\r\n"),
            server([0, 0, 1, 0xff]),
            client([0xff; 5000]),
            Turn::ClientEnds,
            server("goodbye"),
            Turn::ServerEnds,
        ],
    );
}

#[test]
fn one_side_may_end_and_the_other_go_on() {
    opaque(
        "opaque_unknown",
        &[
            client([0; 1]),
            server([1; 10_000]),
            Turn::ClientEnds,
            server([2; 10_000]),
            server([3; 1]),
            Turn::ServerEnds,
        ],
    );
    opaque(
        "opaque_unknown",
        &[client([0; 1]), Turn::ServerEnds, client([1; 10_000]), client([2; 1]), Turn::ClientEnds],
    );
}

#[test]
fn a_connection_that_carries_nothing_is_no_blind_spot() {
    let bed = Bed::start();
    play(&bed, &[Turn::ClientEnds, Turn::ServerEnds], 1);
    play(&bed, &[Turn::ServerEnds, Turn::ClientEnds], 1);
    assert_eq!(bed.coverage().connections_opaque, 0);
}
