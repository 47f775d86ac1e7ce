//! HTTP/1 passes byte for byte, whatever it looks like, and is understood where it can be.

use super::{
    bed::Bed,
    script::{Turn, client, play, server},
};

/// Sizes of the pieces in which a conversation is written.
const PIECES: [usize; 3] = [usize::MAX, 1, 7];

/// Plays a conversation in every cut, each followed by an end from either side. Gives the reasons
/// for which connections became opaque, with how often each.
fn carried(turns: &[Turn]) -> Vec<(&'static str, u64)> {
    let bed = Bed::start();
    for piece in PIECES {
        for end in [[Turn::ClientEnds, Turn::ServerEnds], [Turn::ServerEnds, Turn::ClientEnds]] {
            play(&bed, &[turns, &end].concat(), piece);
        }
    }
    let coverage = bed.coverage();
    let sent: usize = turns
        .iter()
        .map(|turn| match turn {
            Turn::Client(bytes) | Turn::Server(bytes) => bytes.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(coverage.bytes_observed + coverage.bytes_opaque, 6 * sent as u64, "all is counted");
    coverage.reasons.into_iter().filter(|(name, _)| name.starts_with("opaque")).collect()
}

fn understood(turns: &[Turn]) {
    assert_eq!(carried(turns), [], "{turns:?}");
}

fn opaque(reason: &'static str, turns: &[Turn]) {
    assert_eq!(carried(turns), [(reason, 6)], "{turns:?}");
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn case_order_spacing_and_duplicates_of_fields_stay() {
    understood(&[
        client(
            "GET /a?b=c%20d#e HTTP/1.1\r\nhOsT: Example.COM\r\nX-b:  two   inner  \t\r\nx-A:1\r\n\
             X-b:\t\r\nCookie: a=1\r\ncookie: b=2\r\nX-Empty:\r\nX-Latin: caf\u{e9}\r\n\r\n",
        ),
        server(
            "HTTP/1.1 200 \r\nSet-Cookie: a\r\nset-cookie: b\r\ncOnTeNt-LeNgTh:\t2\t\r\nx:\r\n\r\nok",
        ),
        client("GET http://absolute.example/ HTTP/1.1\r\nHost: absolute.example\r\n\r\n"),
        server("HTTP/1.1 299 Odd but legal\r\nContent-Length: 0\r\n\r\n"),
        client("\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        server("HTTP/1.1 204\r\n\r\n"),
    ]);
}

#[test]
fn chunk_extensions_and_trailers_stay() {
    understood(&[
        client(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n\
             000005;name=value;q=\"a; b\"\r\nhello\r\nA \t;x\r\n0123456789\r\n0;last\r\nX-Sum: 1\r\n\
             x-sum:2\r\n\r\n",
        ),
        server(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;e\r\na\r\n00002\r\nbc\r\n0\r\n\r\n",
        ),
        client("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        server(OK),
    ]);
}

#[test]
fn eight_requests_at_once_are_answered_at_once() {
    let requests = (0..8).map(|n| {
        let body = "x".repeat(n);
        format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{body}")
    });
    let requests: Vec<String> = requests.collect();
    understood(&[
        client(requests.concat()),
        server(OK.repeat(8)),
        client("GET / HTTP/1.1\r\n\r\n"),
        server(OK),
    ]);
}

#[test]
fn answers_without_a_body_have_none() {
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let get = "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: x\r\n\r\n";
    understood(&[
        client(head),
        server("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
        client(get),
        server("HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"),
        client(head),
        server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        client("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
        server("HTTP/1.1 204 No Content\r\n\r\n"),
        client(get),
        server(OK),
    ]);
}

#[test]
fn interim_answers_pass_at_once() {
    understood(&[
        client("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
        server("HTTP/1.1 100 Continue\r\n\r\n"),
        client("hello"),
        server("HTTP/1.1 102 Processing\r\n\r\n"),
        server("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink: </b>\r\n\r\n"),
        server(OK),
        client("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        server(OK),
    ]);
}

#[test]
fn a_server_may_refuse_before_the_body() {
    understood(&[
        client("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
        server("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"),
        client("hello"),
        client("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        server(OK),
    ]);
}

#[test]
fn http_1_0_answers_end_with_the_connection() {
    understood(&[
        client("GET / HTTP/1.0\r\n\r\n"),
        server("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nas long"),
        server(" as it takes"),
    ]);
}

#[test]
fn an_upgrade_is_carried_as_it_comes() {
    opaque(
        "opaque_switched",
        &[
            client("GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"),
            server(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nUpgrade: other\r\n\r\n\x01\x02",
            ),
            client(b"\x81\x85\0\r\n\r\n GET nonsense"),
            server([0xff; 300]),
        ],
    );
}

#[test]
fn a_declined_upgrade_stays_http() {
    understood(&[
        client("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        server("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"),
        client("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        server(OK),
    ]);
}

#[test]
fn what_is_in_a_tunnel_is_read_anew() {
    let head = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
    let established = server("HTTP/1.1 200 Connection established\r\n\r\n");
    opaque(
        "opaque_unknown",
        &[client(head), established.clone(), client(b"\x16\x03\x01\0\x05hello"), server(b"ok")],
    );
    opaque(
        "opaque_server_first",
        &[client(head), established.clone(), server("220 hello\r\n"), client("EHLO a\r\n")],
    );
    understood(&[
        client(head),
        server("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
        client(head),
        established.clone(),
        client(head),
        established.clone(),
        client("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
        server(OK),
    ]);
    let deep = vec![vec![client(head), established]; turnpike::limits::TUNNELS + 1].concat();
    opaque("opaque_switched", &[&deep[..], &[client("GET"), server("more")]].concat());
}

#[test]
fn what_is_sent_before_a_tunnel_is_there_makes_it_opaque() {
    let early = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n";
    opaque("opaque_framing", &[client(early), server("HTTP/1.1 200 \r\n\r\n"), server(OK)]);
}

#[test]
fn what_could_be_read_in_two_ways_is_carried_and_counted() {
    let ambiguous = [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhello",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "GET / HTTP/3.7\r\nHost: a\r\n\r\n",
    ];
    for request in ambiguous {
        opaque(
            "opaque_framing",
            &[client(request), server(OK), client("anything"), server("at all")],
        );
    }
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "nothing like HTTP\r\n\r\n",
    ];
    for answer in answers {
        let request = client("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        opaque("opaque_framing", &[request.clone(), server(answer), request, server("more")]);
    }
}

#[test]
fn an_event_stream_is_never_held_back() {
    let events = (0..50).map(|n| server(format!("c\r\ndata: {n:04}\n\n\r\n")));
    let request =
        client("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
    let head = server(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let turns: Vec<Turn> =
        [request, head].into_iter().chain(events).chain([server("0\r\n\r\n")]).collect();
    understood(&turns);
}
