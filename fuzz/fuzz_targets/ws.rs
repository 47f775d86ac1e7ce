//! However a stream of WebSocket frames is cut, the same messages must come out of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::proxy::ws::{Breach, Content, Deflate, Message, Messages, Peer, WebSocket};

// The first byte says where to cut, the second who sends, and what was agreed on.
fuzz_target!(|data: &[u8]| {
    let [cut, agreed, stream @ ..] = data else { return };
    let by = if agreed & 1 == 0 { Peer::Client } else { Peer::Server };
    let deflate = (agreed & 2 != 0)
        .then_some(Deflate { client_takeover: agreed & 4 != 0, server_takeover: agreed & 8 != 0 });
    let whole = read(by, deflate, [stream]);
    assert_eq!(whole, read(by, deflate, stream.chunks(usize::from(*cut) + 1)));
    assert_eq!(whole, read(by, deflate, stream.chunks(1)));
    let held = held(by, stream.chunks(usize::from(*cut) + 1));
    assert_eq!(read(by, None, [&*held]).0, read(by, None, [stream]).0);
});

/// Holds each message until it is whole, and lets it go on.
struct Held;

impl Messages for Held {
    fn message(&mut self, _: Message<'_>) {}

    fn holds(&mut self, _: Peer, _: usize) -> bool {
        true
    }
}

/// What goes on of a stream, up to what breaks it.
fn held<'a>(by: Peer, slices: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut socket, mut out) = (WebSocket::new(None), Vec::new());
    for slice in slices {
        if socket.pass(by, slice, &mut Held, &mut out).is_err() {
            break;
        }
    }
    out
}

/// Each message, written out.
#[derive(Debug, Default, PartialEq)]
struct Seen(Vec<String>);

impl Messages for Seen {
    fn message(&mut self, message: Message<'_>) {
        if let Content::Whole(bytes) = message.content {
            assert_eq!(bytes.len() as u64, message.content.size());
        }
        self.0.push(format!("{message:?}"));
    }
}

fn read<'a>(
    by: Peer,
    deflate: Option<Deflate>,
    slices: impl IntoIterator<Item = &'a [u8]>,
) -> (Seen, Result<(), Breach>) {
    let (mut socket, mut seen) = (WebSocket::new(deflate), Seen::default());
    let end = slices.into_iter().try_for_each(|slice| socket.sent(by, slice, &mut seen));
    (seen, end)
}
