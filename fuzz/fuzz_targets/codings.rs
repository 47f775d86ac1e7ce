//! However an encoded body is cut, the same must come out of it, and no more than its bound allows:
//! what keeps more runs into the fuzzer's own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::{
    call::Digest,
    dialect::{Answered, Known, NotUnderstood, RequestInfo, ResponseInfo, What, detect},
};

const CODINGS: [&str; 8] =
    ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd,deflate", "br,br,br", "x-gzip, identity"];

// The first byte says where to cut, the second how the body is encoded and whether it streams.
fuzz_target!(|data: &[u8]| {
    let [cut, coding, body @ ..] = data else { return };
    let slice = usize::from(*cut) + 1;
    let coding = (CODINGS[usize::from(*coding & 7)], *coding & 8 != 0);
    let whole = read(coding, [body]);
    assert_eq!(whole, read(coding, body.chunks(slice)));
    assert_eq!(whole, read(coding, body.chunks(1)));
});

fn read<'a>(
    (coding, streams): (&str, bool),
    body: impl IntoIterator<Item = &'a [u8]> + Clone,
) -> (Result<Vec<(Digest, What)>, NotUnderstood>, Vec<Answered>) {
    let info = RequestInfo {
        method: "POST",
        target: "/v1/chat/completions",
        host: None,
        content_type: Some("application/json"),
        content_encoding: Some(coding),
        content_length: None,
        client_retry: None,
        signals: &[],
    };
    let mut known = Known::default();
    let mut observer = detect(&info).expect("a chat completion");
    for bytes in body.clone() {
        observer.request_body(bytes);
    }
    let asked = observer.request_end(&mut known);
    let asked = asked.map(|asked| asked.into_iter().map(|it| (it.sha256, it.what)).collect());

    let mut observer =
        detect(&RequestInfo { content_encoding: None, ..info }).expect("a chat completion");
    observer.request_body(b"{\"messages\":[]}");
    observer.request_end(&mut known).expect("a request");
    observer.response_head(&ResponseInfo {
        status: 200,
        content_type: Some(if streams { "text/event-stream" } else { "application/json" }),
        content_encoding: Some(coding),
        signals: &[],
    });
    for bytes in body {
        observer.response_body(bytes);
    }
    (asked, observer.response_end(true, &mut known))
}
