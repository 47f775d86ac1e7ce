//! However a client's first bytes are cut, they must say the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::proxy::tls::{ClientHello, HelloReader, NotAHello};

// The first byte says where to cut.
fuzz_target!(|data: &[u8]| {
    let [cut, stream @ ..] = data else { return };
    let whole = read(stream, stream.len().max(1));
    assert_eq!(whole, read(stream, usize::from(*cut) + 1));
});

fn read(stream: &[u8], piece: usize) -> Result<Option<ClientHello>, NotAHello> {
    let mut reader = HelloReader::default();
    let ends = (piece..stream.len()).step_by(piece).chain([stream.len()]);
    ends.map(|end| reader.look(&stream[..end])).find(|read| *read != Ok(None)).unwrap_or(Ok(None))
}
