//! However the bodies of a chat completion are cut, they must be read alike, and fail on none.
#![no_main]

mod exchange;

use exchange::Exchange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| Exchange::check(data, asked, |_, response| response.to_vec()));

fn asked(kind: u8) -> Exchange {
    let chat = Exchange::posted("/v1/chat/completions");
    chat.answered(kind & 1 != 0, "text/event-stream", kind & 2 == 0)
}
