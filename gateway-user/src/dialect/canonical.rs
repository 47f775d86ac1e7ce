//! Canonical hashes: equal for what means the same, whatever its spelling.
//!
//! JSON is hashed as it is parsed, leaf to root, without building a tree, so that its size costs
//! no memory. Each kind of value has its own seed and each composite is hashed from hashes of
//! fixed length: structures that differ can't collide by concatenation. The hash is XXH3, 128
//! bits: it tells apart, it does not keep secrets or withstand forgery.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use super::{json::Text, keys::Keys};

/// The hash of a JSON value. Equal whatever the order of keys, the spacing, the escapes and the
/// spelling of numbers (`1`, `1.0`, `1e0`). A field that is `null` counts as absent, as does
/// `cache_control`, which steers the provider's cache and says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Json(u128);

impl Json {
    pub(super) fn text(text: &str) -> Self {
        Self::leaf(Seed::Text, text.as_bytes())
    }

    /// Text that should hold JSON, such as a tool call's arguments: as the JSON that it holds,
    /// else as it is. Blank text is an empty object, as which clients write it back.
    pub(super) fn in_text(text: &str) -> Self {
        Self::noted_in_text(text, &mut ())
    }

    /// The same, and what is to be noted of it; of what is no JSON that is one text.
    pub(super) fn noted_in_text<N: Notes + Default>(text: &str, notes: &mut N) -> Self {
        if text.trim_ascii().is_empty() {
            return Fields::default().hash();
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let value = JsonVisitor(&mut *notes).deserialize(&mut json);
        value.and_then(|value| json.end().map(|()| value)).unwrap_or_else(|_| {
            *notes = N::default();
            notes.text(text);
            Self::leaf(Seed::Raw, text.as_bytes())
        })
    }

    pub(super) fn get(self) -> u128 {
        self.0
    }

    /// Half of it: enough to tell apart a few.
    #[allow(clippy::cast_possible_truncation, reason = "half of it is wanted")]
    pub(super) const fn short(self) -> u64 {
        self.0 as u64
    }

    /// Whether it is an array without items.
    pub(super) fn is_empty_array(self) -> bool {
        self == Items::default().hash()
    }

    fn null() -> Self {
        Self::leaf(Seed::Null, b"")
    }

    fn whole(number: i128) -> Self {
        Self::leaf(Seed::Whole, &number.to_le_bytes())
    }

    fn leaf(seed: Seed, bytes: &[u8]) -> Self {
        Self(xxh3_128_with_seed(bytes, seed as u64))
    }

    fn pair(seed: Seed, a: u128, b: u128) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&a.to_le_bytes());
        bytes[16..].copy_from_slice(&b.to_le_bytes());
        Self::leaf(seed, &bytes)
    }
}

/// Keeps the kinds of values apart.
#[derive(Clone, Copy)]
enum Seed {
    Null = 1,
    Bool,
    Whole,
    Fraction,
    Text,
    Raw,
    Item,
    Array,
    Field,
    Object,
}

/// The hash of an array in the making.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Items {
    chain: u128,
    count: u64,
}

impl Items {
    pub(super) fn push(&mut self, item: Json) {
        self.chain = Json::pair(Seed::Item, self.chain, item.0).0;
        self.count += 1;
    }

    pub(super) fn hash(self) -> Json {
        Json::pair(Seed::Array, self.chain, self.count.into())
    }

    /// The hash, unless there are no items.
    pub(super) fn if_any(self) -> Option<Json> {
        (self.count > 0).then(|| self.hash())
    }
}

/// The hash of an object in the making: a sum over its fields, so that their order is no matter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    sum: u128,
}

impl Fields {
    pub(super) fn add(&mut self, name: &str, value: Json) {
        if value != Json::null() && name != "cache_control" {
            let field = Json::pair(Seed::Field, Json::text(name).0, value.0);
            self.sum = self.sum.wrapping_add(field.0);
        }
    }

    pub(super) fn add_some(&mut self, name: &str, value: Option<Json>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Whether nothing was said.
    pub(super) fn is_empty(self) -> bool {
        self.sum == 0
    }

    /// A text, unless it is empty: servers write that for none.
    pub(super) fn add_text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.add(name, Json::text(text));
        }
    }

    pub(super) fn hash(self) -> Json {
        Json::leaf(Seed::Object, &self.sum.to_le_bytes())
    }
}

/// The hash of a message's content in the making. Text hashes the same in one piece or in many.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pieces: Items,
    /// The text since the last piece that was none. In a box: it is over half a kilobyte, and
    /// many streams may be open.
    text: Option<Box<Xxh3Text>>,
}

#[derive(Clone)]
struct Xxh3Text(Xxh3);

/// Nothing of it: text is private.
impl fmt::Debug for Xxh3Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Xxh3Text")
    }
}

impl Content {
    /// Content that is one text: hashed at once.
    pub(super) fn whole(text: &str) -> Self {
        let mut content = Self::default();
        if !text.is_empty() {
            content.pieces.push(Json::text(text));
        }
        content
    }

    pub(super) fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.text
                .get_or_insert_with(|| Box::new(Xxh3Text(Xxh3::with_seed(Seed::Text as u64))))
                .0
                .update(text.as_bytes());
        }
    }

    /// An image, a file or the like.
    pub(super) fn other(&mut self, piece: Json) {
        self.end_text();
        self.pieces.push(piece);
    }

    /// The hash, unless there is no content.
    pub(super) fn if_any(mut self) -> Option<Json> {
        self.end_text();
        self.pieces.if_any()
    }

    fn end_text(&mut self) {
        if let Some(text) = self.text.take() {
            self.pieces.push(Json(text.0.digest128()));
        }
    }
}

/// What was hashed before.
impl From<u128> for Json {
    fn from(hash: u128) -> Self {
        Self(hash)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor(&mut ()))
    }
}

/// What else is noted of a value while it is hashed.
pub(super) trait Notes {
    /// Of a field.
    fn name(&mut self, name: &str);
    fn text(&mut self, text: &str);
}

/// Nothing.
impl Notes for () {
    fn name(&mut self, _: &str) {}

    fn text(&mut self, _: &str) {}
}

/// Hashes the value that it visits. Deserializers bound how deep it is called.
pub(super) struct JsonVisitor<'n, N>(pub(super) &'n mut N);

impl<'de, N: Notes> DeserializeSeed<'de> for JsonVisitor<'_, N> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, N: Notes> Visitor<'de> for JsonVisitor<'_, N> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::null())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::leaf(Seed::Bool, &[value.into()]))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::whole(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::whole(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        // Where the parser gives integers up to, so that both spellings meet.
        const WHOLE: f64 = 18_446_744_073_709_551_616.0;
        Ok(if value.fract() == 0.0 && value.abs() < WHOLE {
            #[allow(clippy::cast_possible_truncation, reason = "whole and in range")]
            Json::whole(value as i128)
        } else {
            Json::leaf(Seed::Fraction, &value.to_le_bytes())
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        self.0.text(value);
        Ok(Json::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Items::default();
        while let Some(item) = seq.next_element_seed(JsonVisitor(self.0))? {
            items.push(item);
        }
        Ok(items.hash())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Fields::default();
        let mut keys = Keys::default();
        while let Some(Text(name)) = keys.next_of(&mut map)? {
            if name == "cache_control" {
                map.next_value::<IgnoredAny>()?;
            } else {
                self.0.name(&name);
                fields.add(&name, map.next_value_seed(JsonVisitor(self.0))?);
            }
        }
        Ok(fields.hash())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn hash(json: &str) -> Json {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn spelling_is_no_matter() {
        let groups = [
            &[r#"{"a":1,"b":[true,"é"]}"#, r#" { "b" : [true, "\u00e9"], "a": 1.0 } "#][..],
            &["1", "1.0", "1e0", "10e-1"],
            &["0", "-0", "0.0", "-0.0"],
            &["10000000000000000", "1e16"],
            &["{}", r#"{"a":null}"#, r#"{"cache_control":{"type":"ephemeral"}}"#],
        ];
        for group in groups {
            for json in group {
                assert_eq!(hash(json), hash(group[0]), "{json} and {}", group[0]);
            }
        }
    }

    #[test]
    fn what_differs_hashes_differently() {
        let values = [
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "1.5",
            "1e300",
            "18446744073709551615",
            "\"\"",
            "\"1\"",
            "\"null\"",
            "[]",
            "[[]]",
            "[[],[]]",
            "[null]",
            "[1,2]",
            "[2,1]",
            "[[1],2]",
            "[[1,2]]",
            "[12]",
            "{}",
            "[{}]",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":{},"b":1}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"["a",1]"#,
            r#"["ab","c"]"#,
            r#"["a","bc"]"#,
        ];
        for (i, a) in values.iter().enumerate() {
            for b in &values[..i] {
                assert_ne!(hash(a), hash(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn json_in_text_is_hashed_as_json_where_it_is_json() {
        assert_eq!(Json::in_text("{\"a\": 1}"), hash("{\"a\":1.0}"));
        assert_eq!(Json::in_text(" "), hash("{}"));
        assert_eq!(Json::in_text("{\"a"), Json::in_text("{\"a"));
        assert_ne!(Json::in_text("{\"a"), Json::in_text("{\"b"));
        assert_ne!(Json::in_text("plain"), Json::text("plain"));
        let deep = "[".repeat(100_000);
        assert_eq!(Json::in_text(&deep), Json::in_text(&deep));
    }

    #[test]
    fn text_hashes_the_same_in_any_number_of_pieces() {
        let long = "x".repeat(1000);
        let mut whole = Content::default();
        whole.text(&long);
        let mut pieces = Content::default();
        for piece in [&long[..1], "", &long[1..300], &long[300..]] {
            pieces.text(piece);
        }
        assert_eq!(pieces.if_any(), whole.if_any());
        let whole = Content::whole(&long).if_any();
        assert!(whole.is_some());
        let mut streamed = Content::default();
        streamed.text(&long);
        assert_eq!(streamed.if_any(), whole);
        assert_eq!(Content::whole("").if_any(), None);
        assert_eq!(Content::default().if_any(), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The value with the keys of all objects in reverse order, and spaces.
    fn reversed(value: &Value) -> String {
        match value {
            Value::Array(items) => {
                format!("[ {} ]", items.iter().map(reversed).collect::<Vec<_>>().join(" , "))
            }
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by(|(a, _), (b, _)| b.cmp(a));
                let fields: Vec<_> =
                    fields.iter().map(|(k, v)| format!("\"{k}\" : {}", reversed(v))).collect();
                format!("{{ {} }}", fields.join(" , "))
            }
            leaf => leaf.to_string(),
        }
    }

    proptest! {
        #[test]
        fn key_order_and_spacing_are_no_matter(value in value()) {
            prop_assert_eq!(hash(&reversed(&value)), hash(&value.to_string()));
        }

        #[test]
        fn any_text_has_a_hash(text in ".*") {
            prop_assert_eq!(Json::in_text(&text), Json::in_text(&text));
        }
    }
}
