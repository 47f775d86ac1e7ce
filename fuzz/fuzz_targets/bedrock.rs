//! However the bodies of Bedrock's APIs are cut, its event streams among them, they must be read
//! alike, and fail on none.
#![no_main]

mod exchange;

use exchange::Exchange;
use flate2::Crc;
use libfuzzer_sys::fuzz_target;

// In half of the streams the response is a message's headers and payload, put into frames that hold,
// since no chance finds checksums; in the others it is the frames themselves.
fuzz_target!(|data: &[u8]| Exchange::check(data, asked, |kind, response| {
    if kind & 8 == 0 { frames(response) } else { response.to_vec() }
}));

fn asked(kind: u8) -> Exchange {
    let target = match kind & 4 {
        0 => "/model/m%3A0/converse-stream",
        _ => "/model/anthropic.claude-x/invoke-with-response-stream",
    };
    let stream = "application/vnd.amazon.eventstream";
    Exchange::posted(target).answered(kind & 1 != 0, stream, kind & 2 == 0)
}

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
