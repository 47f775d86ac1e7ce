//! The same on a WebSocket.

use std::io::Read as _;

use serde_json::json;
use turnpike::{call::Decision, config::Mode, ledger::Dimension};

use super::{
    super::{
        bed::Bed,
        gate::websocket::{KEY, TEXT, frame, send, switched},
    },
    of,
};

fn delta() -> String {
    json!({ "type": "response.output_text.delta", "item_id": "i", "output_index": 0,
        "content_index": 0, "delta": "archive " })
    .to_string()
}

#[test]
fn a_dialogue_ends_where_an_answer_comes_to_more_than_is_held() {
    let (bed, _purse) = Bed::paying(Mode::Enforce, vec![of(Dimension::OutputTokens, 100)]);
    let (mut client, mut server) = switched(&bed);
    let create = json!({ "type": "response.create", "model": "m", "store": false, "input": "hi" });
    send(&mut client, frame(TEXT, create.to_string().as_bytes(), Some(KEY)));
    // With a limit of its own, in another frame.
    server.read_exact(&mut [0; 2]).expect("it comes");
    let created = json!({ "type": "response.created", "response": { "id": "resp_1" } });
    let begun = frame(TEXT, created.to_string().as_bytes(), None);
    let word = frame(TEXT, delta().as_bytes(), None);
    send(&mut server, [&*begun, &word.repeat(130)].concat());
    let mut received = Vec::new();
    client.read_to_end(&mut received).expect("an orderly end");
    let fits = [&*begun, &word.repeat(100)].concat();
    let last = received.strip_prefix(&*fits).expect("what fits, as it is");
    let last = String::from_utf8_lossy(last);
    assert!(!last.contains("archive") && last.contains("\"type\":\"error\""), "{last}");
    assert!(last.contains("budget agent holds 100 output_tokens for this call"), "{last}");
    let step = bed.steps.settled(1).remove(0).step;
    assert_eq!(step.policy.last().map(|it| it.decision), Some(Decision::Cut));
    assert!(step.withheld_tokens.is_some_and(|tokens| (1..=30).contains(&tokens)));
}
