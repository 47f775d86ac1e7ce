use proptest::prelude::*;

use super::*;

/// Bodies that are real, real but damaged, or nothing at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let stream = events(&turn_events()) + &events(&[completed(&turn_items())]);
    let whole = finished(&turn_items()).to_string();
    let asked = json!({"model": "m", "instructions": "s", "input": turn_items()}).to_string();
    let real = prop_oneof![Just(stream), Just(whole), Just(asked)].prop_map(String::into_bytes);
    let damaged = (real.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut body, at, byte)| {
            let at = at.index(body.len());
            body[at] = byte;
            body
        },
    );
    prop_oneof![real, damaged, prop::collection::vec(any::<u8>(), 0..200)]
}

/// An item of an assistant's.
fn item() -> impl Strategy<Value = Value> {
    let text = "[a-z\"\\\\é ]{0,6}";
    prop_oneof![
        Just(reasoning_item()),
        text.prop_map(|text| message_item(&text)),
        text.prop_map(|text| json!({"type": "message", "role": "assistant",
            "content": [{"type": "refusal", "refusal": text}]})),
        (text, text).prop_map(|(id, text)| call_item(&id, "f", &json!({"a": text}).to_string())),
        (text, text).prop_map(|(id, text)| call_item(&id, "f", &text)),
        text.prop_map(
            |text| json!({"type": "custom_tool_call", "call_id": "c", "name": "p", "input": text})
        ),
        text.prop_map(
            |text| json!({"type": "web_search_call", "id": "ws", "action": {"query": text}})
        ),
        Just(json!({"type": "program", "call_id": "p", "code": "x", "fingerprint": "y"})),
        Just(json!({"type": "program_output", "call_id": "p", "result": "x"})),
    ]
}

/// The JSON with the keys of all objects in reverse order, spaces, and characters escaped.
fn respelled(value: &Value) -> String {
    let text = |text: &str| {
        let escape = |unit: u16| format!("\\u{unit:04x}");
        format!("\"{}\"", text.encode_utf16().map(escape).collect::<String>())
    };
    match value {
        Value::Array(items) => {
            format!("[ {} ]", items.iter().map(respelled).collect::<Vec<_>>().join(" , "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|(a, _), (b, _)| b.cmp(a));
            let fields: Vec<_> =
                fields.iter().map(|(k, v)| format!("{} : {}", text(k), respelled(v))).collect();
            format!("{{ {} }}", fields.join(" , "))
        }
        Value::String(string) => text(string),
        leaf => leaf.to_string(),
    }
}

proptest! {
    #[test]
    fn where_bodies_are_cut_does_not_matter(body in body(), stride in 1_usize..100, whole: bool) {
        let pieces: Vec<_> = body.chunks(stride).collect();
        for content_type in [JSON, EVENTS, None] {
            let one = read(content_type, whole, &[&body]);
            prop_assert_eq!(read(content_type, whole, &pieces), one);
        }
        let ask = |pieces: &[&[u8]]| {
            let mut observer = observer();
            for piece in pieces {
                observer.request_body(piece);
            }
            observer.request_end(&mut Known::default()).map(|asked| prompt(&asked))
        };
        prop_assert_eq!(ask(&pieces), ask(&[&body]));
    }

    #[test]
    fn an_answer_hashes_as_its_echo(items in prop::collection::vec(item(), 0..6)) {
        let items = Value::from(items);
        let echo = messages(&items);
        let document = answer(JSON, &finished(&items).to_string());
        prop_assert_eq!(&document.choices, &echo);
        let done: Vec<_> = items.as_array().expect("items").iter().enumerate().map(|(index, item)| {
            json!({"type": "response.output_item.done", "output_index": index, "item": item})
        }).collect();
        let streamed = answer(EVENTS, &(events(&done) + &events(&[completed(&json!([]))])));
        // What is said in words is heard as it streams.
        prop_assert_eq!(Answer { values: document.values.clone(), ..streamed }, document);
    }

    #[test]
    fn spelling_is_no_matter(items in prop::collection::vec(item(), 0..6), said in ".{0,8}") {
        let body = json!({"instructions": said, "tools": [{"a": said}], "input": [
            {"role": "user", "content": [{"type": "input_text", "text": said}]}]});
        let mut body = body;
        body["input"].as_array_mut().expect("items").extend(items);
        let plain = ask(&body);
        let mut other = ask_as(observer(), &respelled(&body)).expect("a prompt");
        other.terms.segments.tools = plain.terms.segments.tools;
        prop_assert_eq!(other, plain);
    }

    #[test]
    fn text_hashes_the_same_in_any_deltas(text in ".{1,60}", stride in 1_usize..10) {
        let chars: Vec<_> = text.chars().collect();
        let deltas: Vec<_> = chars.chunks(stride).map(|part| {
            json!({"type": "response.output_text.delta", "output_index": 0,
                "delta": part.iter().collect::<String>()})
        }).collect();
        let reading = read(EVENTS, false, &[events(&deltas).as_bytes()]);
        prop_assert_eq!(reading.answer.choices, messages(&json!([message_item(&text)])));
    }
}
