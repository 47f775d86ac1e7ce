//! However the bodies of Bedrock's APIs are cut, its event streams among them, they must be read
//! alike, and fail none.
#![no_main]

use std::iter;

use flate2::Crc;
use libfuzzer_sys::fuzz_target;
use turnpike::dialect::{Answered, Known, NotUnderstood, RequestInfo, ResponseInfo, What, detect};

// The first byte says where to cut, the second what is asked and how the response is framed; then
// come the request's body and the response's, with a NUL between them. In half of the streams the
// response is a message's headers and payload, put into frames that hold, since no chance finds
// checksums; in the others it is the frames themselves.
fuzz_target!(|data: &[u8]| {
    let [cut, framing, bodies @ ..] = data else { return };
    let middle = bodies.iter().position(|byte| *byte == 0).unwrap_or(bodies.len());
    let (request, response) = bodies.split_at(middle);
    let response = response.get(1..).unwrap_or_default();
    let framed = if framing & 8 == 0 { frames(response) } else { response.to_vec() };

    let slice = usize::from(*cut) + 1;
    let whole = read(*framing, iter::once(request), iter::once(&*framed));
    assert_eq!(whole, read(*framing, request.chunks(slice), framed.chunks(slice)));
    assert_eq!(whole, read(*framing, request.chunks(1), framed.chunks(1)));
});

/// Messages of the lines, each the name of an event, a space, and its payload.
fn frames(lines: &[u8]) -> Vec<u8> {
    lines.split(|byte| *byte == b'\n').flat_map(frame).collect()
}

fn frame(line: &[u8]) -> Vec<u8> {
    let name = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (name, payload) = line.split_at(name.min(usize::from(u8::MAX)));
    let mut headers = b"\x0b:event-type\x07\x00".to_vec();
    headers.push(name.len() as u8);
    headers.extend(name);
    let mut frame = ((16 + headers.len() + payload.len()) as u32).to_be_bytes().to_vec();
    frame.extend((headers.len() as u32).to_be_bytes());
    frame.extend(crc32(&frame).to_be_bytes());
    frame.extend([&headers, payload].concat());
    frame.extend(crc32(&frame).to_be_bytes());
    frame
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn read<'a>(
    framing: u8,
    request: impl Iterator<Item = &'a [u8]>,
    response: impl Iterator<Item = &'a [u8]>,
) -> (Result<Vec<What>, NotUnderstood>, Vec<Answered>) {
    let mut known = Known::default();
    let target = match framing & 4 {
        0 => "/model/m%3A0/converse-stream",
        _ => "/model/anthropic.claude-x/invoke-with-response-stream",
    };
    let mut observer = detect(&RequestInfo {
        method: "POST",
        target,
        host: None,
        content_type: Some("application/json"),
        content_encoding: None,
        content_length: None,
        client_retry: None,
        signals: &[],
    })
    .expect("an API of Bedrock's");
    request.for_each(|bytes| observer.request_body(bytes));
    let asked = observer.request_end(&mut known);
    let asked = asked.map(|asked| asked.into_iter().map(|asked| asked.what).collect());
    let stream = framing & 1 == 1;
    let content_type =
        if stream { "application/vnd.amazon.eventstream" } else { "application/json" };
    observer.response_head(&ResponseInfo {
        status: 200,
        content_type: Some(content_type),
        content_encoding: None,
        signals: &[],
    });
    response.for_each(|bytes| observer.response_body(bytes));
    (asked, observer.response_end(framing & 2 == 0, &mut known))
}
