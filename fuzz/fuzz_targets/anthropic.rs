//! However the bodies of Anthropic Messages are cut, they must be read alike, and fail on none.
#![no_main]

mod exchange;

use exchange::Exchange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| Exchange::check(data, asked, |_, response| response.to_vec()));

fn asked(kind: u8) -> Exchange {
    let counts = kind & 4 != 0;
    let messages = if counts { "/v1/messages/count_tokens" } else { "/v1/messages?beta=true" };
    Exchange::posted(messages).answered(kind & 1 != 0, "text/event-stream", kind & 2 == 0)
}
