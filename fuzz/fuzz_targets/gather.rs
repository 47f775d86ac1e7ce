//! However a stream is cut, it comes to the same answer, and fails on none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::{
    call::Dialect,
    dialect::{
        ResponseInfo,
        gather::{Gathering, Incomplete},
    },
};

// The first byte says where to cut, the second in which API the stream is.
fuzz_target!(|data: &[u8]| {
    let [cut, api, stream @ ..] = data else { return };
    let dialects = [
        Dialect::OpenaiChat,
        Dialect::OpenaiCompletions,
        Dialect::OpenaiResponses,
        Dialect::AnthropicMessages,
        Dialect::Ollama,
    ];
    let dialect = dialects[usize::from(*api) % dialects.len()];
    let whole = gathered(dialect, [stream]);
    assert_eq!(whole, gathered(dialect, stream.chunks(usize::from(*cut) + 1)));
    assert_eq!(whole, gathered(dialect, stream.chunks(1)));
});

fn gathered<'a>(
    dialect: Dialect,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, Incomplete> {
    let content_type = match dialect {
        Dialect::Ollama => "application/x-ndjson",
        _ => "text/event-stream",
    };
    let response = ResponseInfo {
        status: 200,
        content_type: Some(content_type),
        content_encoding: None,
        signals: &[],
    };
    let mut gathering = Gathering::of(dialect, &response).expect("a stream");
    pieces.into_iter().for_each(|piece| gathering.feed(piece));
    gathering.end()
}
