//! However the bodies of an exchange with Ollama are cut, they must be read alike, and fail on none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::dialect::{Answered, Known, NotUnderstood, RequestInfo, ResponseInfo, What, detect};

const TARGETS: [&str; 4] = ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings"];
const STREAM: &str = "application/x-ndjson";

// The first byte says where to cut, the second what is asked and how the response is framed; then
// come the request's body and the response's, with a NUL between them, which neither holds by rights.
fuzz_target!(|data: &[u8]| {
    let [cut, kind, bodies @ ..] = data else { return };
    let middle = bodies.iter().position(|byte| *byte == 0).unwrap_or(bodies.len());
    let (request, response) = bodies.split_at(middle);
    let response = response.get(1..).unwrap_or_default();

    let slice = usize::from(*cut) + 1;
    let whole = read(*kind, [request], [response]);
    assert_eq!(whole, read(*kind, request.chunks(slice), response.chunks(slice)));
    assert_eq!(whole, read(*kind, request.chunks(1), response.chunks(1)));
});

fn read<'a>(
    kind: u8,
    request: impl IntoIterator<Item = &'a [u8]>,
    response: impl IntoIterator<Item = &'a [u8]>,
) -> (Result<Vec<What>, NotUnderstood>, Vec<Answered>) {
    let mut known = Known::default();
    let mut observer = detect(&RequestInfo {
        method: "POST",
        target: TARGETS[usize::from(kind & 3)],
        host: None,
        content_type: Some("application/json"),
        content_encoding: None,
        content_length: None,
        client_retry: None,
        signals: &[],
    })
    .expect("Ollama's");
    for bytes in request {
        observer.request_body(bytes);
    }
    let asked = observer.request_end(&mut known);
    let asked = asked.map(|asked| asked.into_iter().map(|asked| asked.what).collect());
    observer.response_head(&ResponseInfo {
        status: if kind & 4 == 0 { 200 } else { 400 },
        content_type: Some(if kind & 8 == 0 { "application/json" } else { STREAM }),
        content_encoding: None,
        signals: &[],
    });
    for bytes in response {
        observer.response_body(bytes);
    }
    (asked, observer.response_end(kind & 16 == 0, &mut known))
}
