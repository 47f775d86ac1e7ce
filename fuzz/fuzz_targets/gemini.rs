//! However the bodies of an exchange with Gemini are cut, they must be read alike, and fail on none.
#![no_main]

mod exchange;

use exchange::Exchange;
use libfuzzer_sys::fuzz_target;

const TARGETS: [&str; 4] = [
    "/v1beta/models/m:generateContent",
    "/v1beta/models/m:streamGenerateContent",
    "/v1internal:countTokens",
    "/v1beta/models/m:batchEmbedContents",
];

fuzz_target!(|data: &[u8]| Exchange::check(data, asked, |_, response| response.to_vec()));

fn asked(kind: u8) -> Exchange {
    let status = if kind & 4 == 0 { 200 } else { 400 };
    let asked = Exchange { status, ..Exchange::posted(TARGETS[usize::from(kind & 3)]) };
    asked.answered(kind & 8 != 0, "text/event-stream", kind & 16 == 0)
}
