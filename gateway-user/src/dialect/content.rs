//! What a message says and calls for, as `OpenAI`'s APIs write it, and those that took theirs over;
//! and what stands in a block of Anthropic's and Bedrock's.

use std::{borrow::Cow, fmt, slice};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};

use super::{
    attached::{self, Attached, Attachments},
    canonical::{self, Fields, Json, JsonVisitor},
    json::{Text, given},
    keys::Keys,
};
use crate::limits;

/// A string, `null`, an array of parts or one part.
#[derive(Debug, Default)]
pub(super) enum Content<'a> {
    #[default]
    Nothing,
    One(Piece<'a>),
    Parts(Vec<Piece<'a>>),
}

#[derive(Debug)]
pub(super) enum Piece<'a> {
    Text(Cow<'a, str>),
    /// An image, a file or the like.
    Other(Attached),
}

impl<'a> Content<'a> {
    pub(super) fn pieces(&self) -> &[Piece<'a>] {
        match self {
            Self::Nothing => &[],
            Self::One(piece) => slice::from_ref(piece),
            Self::Parts(pieces) => pieces,
        }
    }

    /// The same for what means the same.
    pub(super) fn canonical(&self) -> canonical::Content {
        if let [Piece::Text(text)] = self.pieces() {
            return canonical::Content::whole(text);
        }
        let mut content = canonical::Content::default();
        self.add_to(&mut content);
        content
    }

    pub(super) fn add_to(&self, content: &mut canonical::Content) {
        for piece in self.pieces() {
            match piece {
                Piece::Text(text) => content.text(text),
                Piece::Other(piece) => content.other(piece.hash),
            }
        }
    }

    /// Its texts, in order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.pieces().iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            Piece::Other(_) => None,
        })
    }

    /// Its pieces that are no text.
    pub(super) fn attached(&self) -> Attachments {
        let mut attachments = Attachments::default();
        for piece in self.pieces() {
            if let Piece::Other(piece) = piece {
                attachments.append(Attachments::of(*piece));
            }
        }
        attachments
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;

        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a part, an array of parts or null")
            }

            fn visit_unit<E>(self) -> Result<Content<'de>, E> {
                Ok(Content::default())
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Content<'de>, E> {
                Ok(Content::One(Piece::Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Content<'de>, E> {
                Ok(Content::One(Piece::Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Content<'de>, A::Error> {
                parts(seq).map(Content::Parts)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content<'de>, A::Error> {
                PartVisitor.visit_map(map).map(Content::One)
            }
        }

        deserializer.deserialize_any(ContentVisitor)
    }
}

/// The parts of a message, all of them: what is not read could say anything.
pub(super) fn parts<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    mut seq: A,
) -> Result<Vec<T>, A::Error> {
    let mut parts = Vec::new();
    while let Some(part) = seq.next_element()? {
        parts.push(part);
        if parts.len() > limits::PARTS_PER_MESSAGE {
            return Err(A::Error::invalid_length(parts.len(), &"no more parts"));
        }
    }
    Ok(parts)
}

impl<'de: 'a, 'a> Deserialize<'de> for Piece<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Piece<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content part")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Piece<'de>, E> {
        Ok(Piece::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Piece<'de>, E> {
        Ok(Piece::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Piece<'de>, A::Error> {
        let mut kind = None;
        let (mut text, mut refusal) = (None, None);
        let mut image = None;
        let mut elsewhere = false;
        let mut fields = Fields::default();
        let mut keys = Keys::default();
        while let Some(Text(name)) = keys.next_of(&mut map)? {
            match &*name {
                "type" => kind = map.next_value::<Option<Text<'de>>>()?,
                "text" => text = map.next_value::<Option<Text<'de>>>()?,
                "refusal" => refusal = map.next_value::<Option<Text<'de>>>()?,
                "image_url" => image = map.next_value::<Option<Image>>()?,
                // Steers the provider's cache, and says nothing.
                "prompt_cache_breakpoint" => drop(map.next_value::<Json>()?),
                _ => elsewhere |= attached::field(&name, &mut map, &mut fields)?,
            }
        }
        let kind = given(kind.as_ref());
        match (kind, text.or(refusal)) {
            (Some("text" | "refusal" | "input_text" | "output_text"), text) => {
                Ok(Piece::Text(text.map(|Text(text)| text).unwrap_or_default()))
            }
            (None, Some(Text(text))) => Ok(Piece::Text(text)),
            (kind, text) => {
                fields.add_some("text", text.map(|Text(text)| Json::text(&text)));
                Ok(Piece::Other(Attached::part(kind, other(kind, image, fields), elsewhere)))
            }
        }
    }
}

/// A part that is no text. The Responses API writes the image and its detail, and the fields of a
/// file, one level up from where Chat Completions has them.
fn other(kind: Option<&str>, image: Option<Image>, mut fields: Fields) -> Json {
    match (kind, image) {
        (Some("input_image"), Some(Image::Flat(url))) => {
            fields.add("url", url);
            let mut part = Fields::default();
            part.add("type", Json::text("image_url"));
            part.add("image_url", fields.hash());
            part.hash()
        }
        (Some("input_file"), None) => {
            let mut part = Fields::default();
            part.add("type", Json::text("file"));
            part.add("file", fields.hash());
            part.hash()
        }
        (kind, image) => {
            fields.add_some("type", kind.map(Json::text));
            fields.add_some("image_url", image.map(|(Image::Flat(url) | Image::Object(url))| url));
            fields.hash()
        }
    }
}

/// Where an image is: its address, or an object that has it.
enum Image {
    Flat(Json),
    Object(Json),
}

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ImageVisitor;

        impl<'de> Visitor<'de> for ImageVisitor {
            type Value = Image;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or an object")
            }

            fn visit_str<E>(self, url: &str) -> Result<Image, E> {
                Ok(Image::Flat(Json::text(url)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Image, A::Error> {
                JsonVisitor(&mut ()).visit_map(map).map(Image::Object)
            }
        }

        deserializer.deserialize_any(ImageVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(json: &str) -> Option<Json> {
        serde_json::from_str::<Content<'_>>(json).expect(json).canonical().if_any()
    }

    #[test]
    fn parts_of_both_apis_hash_the_same() {
        let groups = [
            &[
                r#""ab""#,
                r#"["a", "b"]"#,
                r#"{"type":"output_text","text":"ab","annotations":[]}"#,
                r#"[{"type":"input_text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}},
                    {"text":"b","type":"text"}]"#,
            ][..],
            &[
                r#"[{"type":"input_image","image_url":"data:x","detail":"low"}]"#,
                r#"[{"type":"image_url","image_url":{"detail":"low","url":"data:x"}}]"#,
            ],
            &[
                r#"[{"filename":"a","file_data":"x","type":"input_file"}]"#,
                r#"[{"type":"file","file":{"file_data":"x","filename":"a"}}]"#,
            ],
        ];
        for group in groups {
            for same in group {
                assert_eq!(hash(same), hash(group[0]), "{same}");
            }
        }
        assert_ne!(hash(groups[1][0]), hash(r#"[{"type":"input_image","image_url":"data:y"}]"#));
        assert_ne!(hash(r#"[{"type":"audio","data":"x"}]"#), hash(r#"[{"type":"audio"}]"#));
    }
}
