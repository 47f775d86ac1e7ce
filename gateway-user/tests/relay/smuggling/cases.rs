//! The corpus: messages that someone reads differently from someone else, and odd ones that all
//! read alike.

/// What becomes of a case in enforce. In audit all of it passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// All read it alike.
    Passes,
    /// Answered with 400, or 502 in the place of a response.
    Refused,
    /// Its head was good, so some of it has gone on: a request is answered with 400 and upstream is
    /// reset in the middle of it; a response is cut.
    Cut,
}
use Verdict::{Cut, Passes, Refused};

pub(crate) const REQUESTS: &[(&str, Verdict)] = &[
    // Lines (RFC 9112, section 2.2).
    ("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", Passes),
    ("\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n", Passes),
    ("GET /1 HTTP/1.1\nHost: a\n\n", Refused),
    ("GET /1 HTTP/1.1\r\nHost: a\n\r\n", Refused),
    ("GET /1 HTTP/1.1\r\nHost: a\r\n\n", Refused),
    ("GET /1 HTTP/1.1\r\nHost: a\n\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("GET /1 HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", Refused),
    ("GET /1 HTTP/1.1\rHost: a\r\r", Refused),
    ("GET /1 HTTP/1.1\r\nHost: a\r\r\n\r\n", Refused),
    ("GET /1 HTTP/1.1\r\nHost: a\r\n\rGET /2 HTTP/1.1\r\n\r\n", Refused),
    ("\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("\rGET /1 HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    // The request line (section 3).
    ("GET /1 HTTP/1.1 \r\nHost: a\r\n\r\n", Refused),
    ("GET  /1 HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("GET /1\tHTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("GET /1 /2 HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("GET /1\r\nHost: a\r\n\r\n", Refused),
    ("GET /1 HTTP/1.2\r\nHost: a\r\n\r\n", Refused),
    ("GET /1 HTTP/11\r\nHost: a\r\n\r\n", Refused),
    ("GET /1 http/1.1\r\nHost: a\r\n\r\n", Refused),
    ("GET 1 HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    // Hosts (section 3.2).
    ("GET /1 HTTP/1.1\r\n\r\n", Refused),
    ("GET /1 HTTP/1.0\r\n\r\n", Passes),
    ("GET /1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused),
    ("GET /1 HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Refused),
    ("GET /1 HTTP/1.1\r\nHost: a, b\r\n\r\n", Refused),
    ("GET /1 HTTP/1.1\r\nHost: a b\r\n\r\n", Refused),
    ("GET http://a/1 HTTP/1.1\r\nHost: a\r\n\r\n", Passes),
    ("GET http://a/1 HTTP/1.1\r\nHost: b\r\n\r\n", Refused),
    ("GET http://x@a/1 HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("GET /1 HTTP/1.1\r\nConnection: Host\r\nHost: a\r\n\r\n", Refused),
    // Fields (section 5).
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\n Content-Length: 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nX: \0\r\nContent-Length: 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    // Lengths (section 6.3).
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /", Passes),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Passes),
    ("GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length:  5\t\r\n\r\nGET /", Passes),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 0\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 010\r\n\r\nGET / HTTP", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5 0\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5;\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nGET /", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775813\r\n\r\nGET /", Refused),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nGET /",
        Refused,
    ),
    // Codings (section 6.1).
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Passes,
    ),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tCHUNKED \r\n\r\n0\r\n\r\n", Passes),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
        Refused,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nGET /",
        Refused,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", Refused),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", Refused),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\u{b}: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("POST /1 HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    // Chunks (section 7.1): the head is good, and has gone on.
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00003;x=\"a;b\"\r\nabc\r\n0;y\r\nT: 1\r\n\r\n",
        Passes,
    ),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", Cut),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\rabc\r\n0\r\n\r\n", Cut),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 1\r\nabc\r\n0\r\n\r\n",
        Cut,
    ),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n", Cut),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\n0\r\n\r\n", Cut),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100000003\r\nabc\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
        Cut,
    ),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\nabc\r\n0\r\n\r\n", Cut),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"\r\nabc\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;\0\r\nabc\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        Cut,
    ),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n", Cut),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", Cut),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n", Cut),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n", Cut),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n", Cut),
    ("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\rGET", Cut),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\rGET /2 HTTP/1.1\r\n\r\n",
        Cut,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
        Cut,
    ),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET /2 HTTP/1.1\r\n\r\n",
        Cut,
    ),
    // What comes after a good one.
    ("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", Passes),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        Passes,
    ),
    ("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\n\n", Refused),
    (
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcdGET /2 HTTP/1.1\r\nHost : a\r\n\r\n",
        Refused,
    ),
    // A CONNECT and its content (RFC 9110, section 9.3.6).
    ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\nabc", Refused),
    ("CONNECT a:1 HTTP/1.1\r\nHost: b:1\r\n\r\n", Refused),
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
];

/// Responses to `GET /1`, each after which the server closes.
pub(crate) const RESPONSES: &[(&str, Verdict)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Passes),
    ("HTTP/1.1 200 OK\r\n\r\nuntil the close", Passes),
    ("HTTP/1.0 200 OK\r\n\r\nuntil the close", Passes),
    ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Passes),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nT: 1\r\n\r\n", Passes),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Passes),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Passes),
    ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", Refused),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\nX: y\rContent-Length: 2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\rContent-Length: 2\r\rok", Refused),
    ("\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Refused),
    ("HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", Refused),
    ("HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\nX: y\r\n Content-Length: 2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 0\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", Refused),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok", Refused),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", Refused),
    ("HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", Refused),
    (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nanything",
        Refused,
    ),
    ("nothing like HTTP\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", Cut),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", Cut),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok0\r\n\r\n", Cut),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n", Cut),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        Cut,
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n", Cut),
];
