//! However the bodies of an exchange are cut, the Responses API, and those of the vendor's that are
//! older, must be read alike, and fail on none.
#![no_main]

mod exchange;

use exchange::Exchange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| Exchange::check(data, asked, |_, response| response.to_vec()));

fn asked(kind: u8) -> Exchange {
    let asked = match kind >> 2 & 3 {
        0 => Exchange::posted("/v1/responses"),
        1 => Exchange { method: "GET", ..Exchange::posted("/v1/responses/resp_1") },
        2 => Exchange::posted("/v1/completions"),
        _ => Exchange::posted("/v1/embeddings"),
    };
    asked.answered(kind & 1 != 0, "text/event-stream", kind & 2 == 0)
}
