//! However a server's first bytes are cut, they must announce the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::proxy::h2::{Announced, FirstFrame, NotHttp2};

// The first byte says where to cut.
fuzz_target!(|data: &[u8]| {
    let [cut, stream @ ..] = data else { return };
    let whole = first([stream]);
    assert_eq!(whole, first(stream.chunks(usize::from(*cut) + 1)));
    assert_eq!(whole, first(stream.chunks(1)));
});

fn first<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Result<Announced, NotHttp2>> {
    let mut frame = FirstFrame::default();
    pieces.into_iter().find_map(|piece| frame.look(piece))
}
