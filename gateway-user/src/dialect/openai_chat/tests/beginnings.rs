use proptest::prelude::*;

use super::*;

#[test]
fn what_is_not_bounded_in_a_beginning_is_not_bounded_later() {
    let file = json!({"type": "file", "file": {"file_id": "a"}});
    let said = json!({"role": "user", "content": [file]});
    let mut known = Known::default();
    let mut unmetered = |body: &Value| {
        let (prompt, _) = ask_knowing(&mut known, &body.to_string()).expect("a prompt");
        prompt.terms.unmetered
    };
    let search = json!({"messages": [said], "web_search_options": {}});
    assert_eq!(unmetered(&search), Some(Unmetered::HostedTools));
    let more = json!({"messages": [said, {"role": "user", "content": "x"}]});
    assert_eq!(unmetered(&more), Some(Unmetered::FileReferences));
}

/// What is asked, and the body's digest.
fn ask_knowing(known: &mut Known, body: &str) -> Result<(Prompt, Digest), NotUnderstood> {
    let mut observer = observer();
    observer.request_body(body.as_bytes());
    let asked = observer.request_end(known)?.remove(0);
    let What::Model(prompt) = asked.what.clone() else { panic!("no model: {asked:?}") };
    let read = (prompt, asked.sha256);
    known.keep(asked);
    Ok(read)
}

/// Three conversations, each with a way of its own to write them.
fn conversation(number: usize, messages: &[usize]) -> String {
    let said = |at: &usize| match at % 5 {
        0 => json!({"role": "system", "content": format!("rules {number}")}),
        1 => json!({"role": "user", "content": [{"type": "text", "text": format!("wish {at}")}]}),
        2 => tool_message(),
        3 => json!({"role": "tool", "tool_call_id": "call_a", "content": format!("{at} \"é\"")}),
        _ => json!({"role": "assistant", "content": format!("said {at}")}),
    };
    let messages: Vec<_> = messages.iter().map(|at| said(at).to_string()).collect();
    match number {
        0 => format!("{{\"messages\":[{}],\"model\":\"m\"}}", messages.join(",")),
        1 => format!(
            " {{ \"stream\": true, \"tools\": [{{\"a\": 1}}], \"messages\" : [ {} ] , \"x\": [] }} ",
            messages.join(" ,\n")
        ),
        _ => format!("{{\"model\":null,\"messages\":[{}]}}", messages.join(", ")),
    }
}

/// A turn: whose, how many messages are taken back, what is said then, and where what is damaged.
type Turn = (usize, usize, Vec<usize>, Option<(prop::sample::Index, u8)>);

fn turn() -> impl Strategy<Value = Turn> {
    let damage = prop::option::weighted(0.2, (any::<prop::sample::Index>(), b' '..=b'~'));
    (0_usize..3, 0_usize..3, prop::collection::vec(0_usize..20, 0..4), damage)
}

proptest! {
    #[test]
    fn what_is_known_changes_nothing_of_what_is_read(
        turns in prop::collection::vec(turn(), 1..30),
        count in 1_usize..6,
    ) {
        let mut known = Known::bounded(Bounds { block: 16, count, weight: 100 });
        let mut said: [Vec<usize>; 3] = Default::default();
        for (number, taken_back, more, damage) in turns {
            let messages = &mut said[number];
            messages.truncate(messages.len().saturating_sub(taken_back));
            messages.extend(more);
            let mut body = conversation(number, messages);
            if let Some((at, byte)) = damage {
                let at = at.index(body.len());
                if body.is_char_boundary(at) && body.is_char_boundary(at + 1) {
                    body.replace_range(at..=at, &char::from(byte).to_string());
                }
            }
            let alone = ask_knowing(&mut Known::default(), &body);
            prop_assert_eq!(ask_knowing(&mut known, &body), alone, "{}", body);
        }
    }
}

#[test]
fn what_goes_on_is_read_from_there() {
    let mut known = Known::bounded(Bounds { block: 16, count: 4, weight: 100 });
    let first = conversation(0, &[0, 1, 2, 3]);
    let next = conversation(0, &[0, 1, 2, 3, 4, 6]);
    let (prompt, _) = ask_knowing(&mut known, &first).expect("a prompt");
    assert_eq!(prompt.messages.len(), 4);
    let mut hashed = known.openai_chat.hash(next.as_bytes());
    let (length, _) = known.openai_chat.take(&mut hashed).expect("it is known");
    assert_eq!(first[..length], next[..length]);
    assert_eq!(&next[length..=length], ",");
    // Who takes it keeps what follows it, or nothing.
    assert!(known.openai_chat.take(&mut hashed).is_none());
}
