use proptest::prelude::*;

use super::*;

/// Bodies that are real, real but damaged, or nothing at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let whole = json!({"choices": [{"message": tool_message()}]}).to_string();
    let asked = json!({"messages": [tool_message(), {"role": "user", "content": "x"}]}).to_string();
    let real =
        prop_oneof![Just(tool_stream()), Just(whole), Just(asked)].prop_map(String::into_bytes);
    let damaged = (real.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut body, at, byte)| {
            let at = at.index(body.len());
            body[at] = byte;
            body
        },
    );
    prop_oneof![real, damaged, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn where_bodies_are_cut_does_not_matter(body in body(), stride in 1_usize..100, whole: bool) {
        let pieces: Vec<_> = body.chunks(stride).collect();
        for content_type in [JSON, EVENTS, None] {
            let one = read(content_type, whole, &[&body]);
            prop_assert_eq!(read(content_type, whole, &pieces), one);
        }
        let mut one = observer();
        one.request_body(&body);
        let mut many = observer();
        for piece in pieces {
            many.request_body(piece);
        }
        prop_assert_eq!(end(many), end(one));
    }

    #[test]
    fn text_hashes_the_same_in_any_parts(text in ".{0,60}", stride in 1_usize..10) {
        let chars: Vec<_> = text.chars().collect();
        let parts: Vec<_> = chars
            .chunks(stride)
            .map(|part| json!({"type": "text", "text": part.iter().collect::<String>()}))
            .collect();
        let chunks: Vec<_> = parts.iter().map(|part| delta(&json!({"content": part["text"]}))).collect();
        let said = message(&json!({"role": "assistant", "content": text}));
        prop_assert_eq!(&message(&json!({"role": "assistant", "content": parts})), &said);
        let streamed = answer(EVENTS, &(events(&chunks) + &events(&[finish("stop")])));
        prop_assert_eq!(&streamed.choices[0], &said);
    }
}
