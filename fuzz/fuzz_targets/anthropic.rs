//! However the bodies of Anthropic Messages are cut, they must be read alike, and fail none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::dialect::{Answered, Known, NotUnderstood, RequestInfo, ResponseInfo, What, detect};

// The first byte says where to cut, the second what is asked and how the response is framed; then
// come the request's body and the response's, with a NUL between them, which neither holds by rights.
fuzz_target!(|data: &[u8]| {
    let [cut, framing, bodies @ ..] = data else { return };
    let middle = bodies.iter().position(|byte| *byte == 0).unwrap_or(bodies.len());
    let (request, response) = bodies.split_at(middle);
    let response = response.get(1..).unwrap_or_default();

    let slice = usize::from(*cut) + 1;
    let whole = read(*framing, [request], [response]);
    assert_eq!(whole, read(*framing, request.chunks(slice), response.chunks(slice)));
    assert_eq!(whole, read(*framing, request.chunks(1), response.chunks(1)));
});

fn read<'a>(
    framing: u8,
    request: impl IntoIterator<Item = &'a [u8]>,
    response: impl IntoIterator<Item = &'a [u8]>,
) -> (Result<Vec<What>, NotUnderstood>, Vec<Answered>) {
    let mut known = Known::default();
    let counts = framing & 4 != 0;
    let mut observer = detect(&RequestInfo {
        method: "POST",
        target: if counts { "/v1/messages/count_tokens" } else { "/v1/messages?beta=true" },
        host: None,
        content_type: Some("application/json"),
        content_encoding: None,
        content_length: None,
        client_retry: None,
        signals: &[],
    })
    .expect("Anthropic Messages");
    for bytes in request {
        observer.request_body(bytes);
    }
    let asked = observer.request_end(&mut known);
    let asked = asked.map(|asked| asked.into_iter().map(|asked| asked.what).collect());
    let stream = framing & 1 == 1;
    observer.response_head(&ResponseInfo {
        status: 200,
        content_type: Some(if stream { "text/event-stream" } else { "application/json" }),
        content_encoding: None,
        signals: &[],
    });
    for bytes in response {
        observer.response_body(bytes);
    }
    (asked, observer.response_end(framing & 2 == 0, &mut known))
}
