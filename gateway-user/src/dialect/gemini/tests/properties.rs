use proptest::prelude::*;

use super::*;

/// Bodies that are real, real but damaged, or nothing at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let asked = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}, content()]});
    let real = prop_oneof![
        Just(events(&chunks())),
        Just(array(&chunks())),
        Just(finished(&content()["parts"]).to_string()),
        Just(asked.to_string()),
    ]
    .prop_map(String::into_bytes);
    let damaged = (real.clone(), any::<prop::sample::Index>(), any::<u8>());
    let damaged = damaged.prop_map(|(mut body, at, byte)| {
        let at = at.index(body.len());
        body[at] = byte;
        body
    });
    prop_oneof![real, damaged, prop::collection::vec(any::<u8>(), 0..200)]
}

#[test]
fn spelling_is_no_matter() {
    let request = json!({
        "contents": [{"role": "user", "parts": [{"text": "né\n"}]}, content()],
        "tools": [{"functionDeclarations": [{"name": "get", "description": "d"}]}],
        "generationConfig": {"maxOutputTokens": 5},
    });
    let mut plain = GENERATE.ask(&request);
    let mut other = GENERATE.ask_in([respelled(&request).as_bytes()]).expect("a prompt");
    for prompt in [&mut plain, &mut other] {
        prompt.terms.segments = Segments::default();
    }
    assert_eq!(other, plain);
    let stream: Vec<_> = chunks().iter().map(|it| format!("data: {}\n\n", respelled(it))).collect();
    assert_eq!(STREAM.answer(EVENTS, stream.concat()), STREAM.answer(EVENTS, events(&chunks())));
}

proptest! {
    #[test]
    fn where_bodies_are_cut_does_not_matter(body in body(), stride in 1_usize..100, whole: bool) {
        for (trial, content_type) in [(STREAM, EVENTS), (STREAM, JSON), (GENERATE, JSON)] {
            let read = |pieces: std::slice::Chunks<'_, u8>| {
                trial.read(content_type, whole, pieces)
            };
            prop_assert_eq!(read(body.chunks(stride)), read(body.chunks(body.len().max(1))));
            prop_assert_eq!(trial.ask_in(body.chunks(stride)), trial.ask_in([&body[..]]));
        }
    }

    #[test]
    fn text_hashes_the_same_in_any_parts(text in ".{0,60}", stride in 1_usize..10) {
        let chars: Vec<_> = text.chars().collect();
        let parts: Vec<_> = chars
            .chunks(stride)
            .map(|part| json!({"text": part.iter().collect::<String>()}))
            .collect();
        let mut chunks: Vec<_> = parts.iter().map(|part| chunk(&json!([part]))).collect();
        chunks.push(finished(&json!([])));
        let said = messages(&json!([{"role": "model", "parts": [{"text": text}]}]));
        prop_assert_eq!(&messages(&json!([{"role": "model", "parts": parts}])), &said);
        prop_assert_eq!(&STREAM.answer(EVENTS, events(&chunks)).choices, &said);
        prop_assert_eq!(&STREAM.answer(JSON, array(&chunks)).choices, &said);
    }
}
