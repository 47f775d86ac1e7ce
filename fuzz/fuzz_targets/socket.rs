//! Whatever the two sides say over WebSocket, each call that is asked is answered once, and none else.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use turnpike::dialect::{Heard, Known, RequestInfo, socket};

// Messages with a NUL between them, which none holds by rights. The first byte of each says who sends
// it, and whether it is too large to be kept.
fuzz_target!(|data: &[u8]| {
    let mut known = Known::default();
    let mut socket = socket(&RequestInfo {
        method: "GET",
        target: "/v1/responses",
        host: None,
        content_type: None,
        content_encoding: None,
        content_length: None,
        client_retry: None,
        signals: &[],
    })
    .expect("an API that is known");
    let mut waiting = HashSet::new();
    for message in data.split(|byte| *byte == 0) {
        let Some((how, text)) = message.split_first() else { continue };
        let text = (how & 2 == 0).then_some(text);
        let heard: Vec<_> = if how & 1 == 0 {
            socket.client_message(text, &mut known).into_iter().collect()
        } else {
            socket.server_message(text, &mut known)
        };
        for heard in heard {
            match heard {
                Heard::Asked(asked) => assert!(waiting.insert(asked.key)),
                Heard::Begun(key) => assert!(waiting.contains(&key)),
                Heard::Answered(answered, _) => assert!(waiting.remove(&answered.key)),
                Heard::NotUnderstood(_) => {}
            }
        }
    }
    for answered in socket.end() {
        assert!(waiting.remove(&answered.key));
    }
    assert!(waiting.is_empty());
});
