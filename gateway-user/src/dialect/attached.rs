//! What messages have in them that is no text: images, files and the like. They are hashed, counted,
//! and told apart by whether the request holds them or only says where they are.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::{
    canonical::{Fields, Items, Json, JsonVisitor},
    json::{Said, Text},
    keys::Keys,
};
use crate::call::Unmetered;

/// One of them, or what describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) hash: Json,
    /// It is somewhere else: how much there is of it can't be told.
    pub(super) elsewhere: bool,
}

/// Those of a conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attachments {
    pub(super) count: u64,
    elsewhere: bool,
}

/// Fields that describe what is attached, or hold it, whatever the API.
const DESCRIPTIONS: &[&str] =
    &["file", "source", "image", "document", "video", "audio", "fileData", "file_data"];

/// Fields that say where it is: ids of files that were handed over before, and addresses.
const REFERENCES: &[&str] = &["file_id", "file_url", "s3Location", "fileUri", "file_uri"];

/// Types of a source that is not in the request (Anthropic).
const SOURCES: &[&str] = &["file", "url"];

/// Types of parts of which a model reads no more than its provider's limit, wherever they are.
const BOUNDED: &[&str] = &["image", "image_url", "input_image"];

impl Attached {
    /// Of a part of that type, with the hash.
    pub(super) fn part(kind: Option<&str>, hash: Json, elsewhere: bool) -> Self {
        let bounded = kind.is_some_and(|kind| BOUNDED.contains(&kind));
        Self { hash, elsewhere: elsewhere && !bounded }
    }
}

impl Attachments {
    /// One.
    pub(super) const fn of(attached: Attached) -> Self {
        Self { count: 1, elsewhere: attached.elsewhere }
    }

    pub(super) fn append(&mut self, more: Self) {
        self.count += more.count;
        self.elsewhere |= more.elsewhere;
    }

    pub(super) fn unmetered(self) -> Option<Unmetered> {
        self.elsewhere.then_some(Unmetered::FileReferences)
    }
}

impl From<Json> for Attached {
    fn from(hash: Json) -> Self {
        Self { hash, elsewhere: false }
    }
}

/// Reads the value of an object's field, and adds it to the object's hash; whether it says that
/// something is elsewhere.
pub(super) fn field<'de, A: MapAccess<'de>>(
    name: &str,
    map: &mut A,
    fields: &mut Fields,
) -> Result<bool, A::Error> {
    let (hash, elsewhere) = if DESCRIPTIONS.contains(&name) {
        let attached: Option<Attached> = map.next_value()?;
        (attached.map(|it| it.hash), attached.is_some_and(|it| it.elsewhere))
    } else {
        let hash: Option<Json> = map.next_value()?;
        (hash, hash.is_some() && REFERENCES.contains(&name))
    };
    fields.add_some(name, hash);
    Ok(elsewhere)
}

impl<'de> Deserialize<'de> for Attached {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AttachedVisitor)
    }
}

struct AttachedVisitor;

impl<'de> Visitor<'de> for AttachedVisitor {
    type Value = Attached;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Attached, E> {
        JsonVisitor(&mut ()).visit_unit().map(Attached::from)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Attached, E> {
        JsonVisitor(&mut ()).visit_bool(value).map(Attached::from)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Attached, E> {
        JsonVisitor(&mut ()).visit_u64(value).map(Attached::from)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Attached, E> {
        JsonVisitor(&mut ()).visit_i64(value).map(Attached::from)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Attached, E> {
        JsonVisitor(&mut ()).visit_f64(value).map(Attached::from)
    }

    fn visit_str<E>(self, text: &str) -> Result<Attached, E> {
        Ok(Json::text(text).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Attached, A::Error> {
        let (mut items, mut elsewhere) = (Items::default(), false);
        while let Some(item) = seq.next_element::<Attached>()? {
            items.push(item.hash);
            elsewhere |= item.elsewhere;
        }
        Ok(Attached { hash: items.hash(), elsewhere })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attached, A::Error> {
        let (mut fields, mut elsewhere) = (Fields::default(), false);
        let mut keys = Keys::default();
        while let Some(Text(name)) = keys.next_of(&mut map)? {
            elsewhere |= if name == "type" {
                let Said(kind) = map.next_value()?;
                fields.add_text("type", &kind);
                SOURCES.contains(&&*kind)
            } else {
                field(&name, &mut map, &mut fields)?
            };
        }
        Ok(Attached { hash: fields.hash(), elsewhere })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attached_hashes_as_the_json_that_it_is() {
        for json in [
            "null",
            "true",
            "-1",
            "1.5",
            r#""a""#,
            r#"[{"x":null},{"type":"file","source":{"type":"url","url":"a"}}]"#,
            r#"{"format":"png","source":{"bytes":"aa"},"cache_control":{"type":"ephemeral"}}"#,
        ] {
            let attached: Attached = serde_json::from_str(json).expect(json);
            assert_eq!(attached.hash, serde_json::from_str(json).expect(json), "{json}");
        }
    }

    #[test]
    fn what_is_elsewhere_is_told_from_what_is_here() {
        for (json, elsewhere) in [
            (r#"{"type":"base64","data":"a"}"#, false),
            (r#"{"file_data":null,"file_id":null,"filename":"file_id"}"#, false),
            (r#"{"format":"png","source":{"bytes":"a"}}"#, false),
            // What a document says of itself is its own business.
            (r#"{"type":"content","content":[{"file_id":"a"}]}"#, false),
            (r#"{"type":"url","url":"a"}"#, true),
            (r#"{"file_id":"a"}"#, true),
            (r#"{"format":"png","source":{"s3Location":{"uri":"a"}}}"#, true),
            (r#"{"file_data":"aa"}"#, false),
            (r#"[{"inlineData":{}},{"fileData":{"fileUri":"a"}}]"#, true),
        ] {
            let attached: Attached = serde_json::from_str(json).expect(json);
            assert_eq!(attached.elsewhere, elsewhere, "{json}");
        }
    }
}
