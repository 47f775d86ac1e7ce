//! A message: as it is written, and in canonical form.

use std::{borrow::Cow, fmt, slice};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::super::{
    canonical::{self, Fields, Json, JsonVisitor},
    draft::Draft,
    json::{Text, UpTo, given},
};
use crate::limits::{self, TOOL_CALLS_PER_ANSWER};

/// A message of a request's history or of an answer. What is not read does not count: what
/// servers add to an answer (`annotations`, `reasoning_content`, …), some clients send back and
/// some don't.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) role: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    content: Content<'a>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    audio: Option<Audio<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: UpTo<TOOL_CALLS_PER_ANSWER, ToolCall<'a>>,
    /// The form before there were `tool_calls`.
    #[serde(borrow)]
    pub(super) function_call: Option<Function<'a>>,
    #[serde(borrow)]
    tool_call_id: Option<Text<'a>>,
}

impl Message<'_> {
    /// Who speaks; `default` if that is not said.
    pub(super) fn draft<'m>(&'m self, default: &'m str) -> Draft {
        let mut draft = Draft::new(given(self.role.as_ref()).unwrap_or(default));
        draft.name(given(self.name.as_ref()));

        draft.content(self.content());
        draft.audio(self.audio.as_ref().and_then(|audio| given(audio.id.as_ref())));

        for call in &self.tool_calls.0 {
            draft.call(given(call.id.as_ref()), call.name(), call.arguments());
        }
        if let Some(call) = &self.function_call {
            draft.call(None, given(call.name.as_ref()).unwrap_or_default(), call.arguments.get());
        }
        draft.answers(given(self.tool_call_id.as_ref()));
        draft
    }

    fn content(&self) -> canonical::Content {
        let refusal = given(self.refusal.as_ref()).unwrap_or_default();
        if let ([Piece::Text(text)], "") = (self.content.pieces(), refusal) {
            return canonical::Content::whole(text);
        }
        let mut content = canonical::Content::default();
        for piece in self.content.pieces() {
            match piece {
                Piece::Text(text) => content.text(text),
                Piece::Other(piece) => content.other(*piece),
            }
        }
        content.text(refusal);
        content
    }

    /// Bytes of what the message says and calls for.
    pub(super) fn size(&self) -> u64 {
        let called = self.tool_calls.0.iter().map(|call| call.name().len() + call.size());
        let function = self.function_call.as_ref().map(|call| call.arguments.size());
        let texts = self.texts().map(str::len);
        texts.chain(called).chain(function).sum::<usize>() as u64
    }

    /// What it says, in pieces.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let pieces = self.content.pieces().iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            Piece::Other(_) => None,
        });
        pieces.chain(given(self.refusal.as_ref()))
    }

    /// Pieces of it that are no text.
    pub(super) fn other_parts(&self) -> u64 {
        let pieces = self.content.pieces().iter();
        pieces.filter(|piece| matches!(piece, Piece::Other(_))).count() as u64
    }

    /// The text of the content, up to `limit` bytes.
    pub(super) fn text(&self, limit: usize) -> String {
        let mut text = String::new();
        for piece in self.content.pieces() {
            if let Piece::Text(piece) = piece {
                text.push_str(&piece[..piece.floor_char_boundary(limit - text.len())]);
            }
        }
        text
    }
}

/// The reference to audio that an answer spoke. The sound itself is sent once and never echoed.
#[derive(Debug, Deserialize)]
pub(super) struct Audio<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
}

/// A call of a function, with JSON arguments, or of a custom tool, with text as input.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    #[serde(borrow)]
    custom: Option<Custom<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(default)]
    pub(super) arguments: Arguments,
}

#[derive(Debug, Deserialize)]
struct Custom<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<Text<'a>>,
}

impl ToolCall<'_> {
    pub(super) fn name(&self) -> &str {
        let function = self.function.as_ref().and_then(|function| function.name.as_ref());
        let custom = self.custom.as_ref().and_then(|custom| custom.name.as_ref());
        given(function.or(custom)).unwrap_or_default()
    }

    /// Bytes of its arguments, where they are text.
    fn size(&self) -> usize {
        match (&self.function, &self.custom) {
            (None, Some(custom)) => given(custom.input.as_ref()).map_or(0, str::len),
            (Some(function), _) => function.arguments.size(),
            (None, None) => 0,
        }
    }

    pub(super) fn arguments(&self) -> Json {
        match (&self.function, &self.custom) {
            (None, Some(custom)) => Json::in_text(given(custom.input.as_ref()).unwrap_or_default()),
            (Some(function), _) => function.arguments.get(),
            (None, None) => Json::in_text(""),
        }
    }
}

/// The arguments of a call, hashed: JSON in a string or, from some, the JSON itself.
#[derive(Debug, Default)]
pub(super) struct Arguments(Option<(Json, usize)>);

impl Arguments {
    pub(super) fn get(&self) -> Json {
        self.0.map_or_else(|| Json::in_text(""), |(json, _)| json)
    }

    /// Bytes of the string.
    fn size(&self) -> usize {
        self.0.map_or(0, |(_, size)| size)
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArgumentsVisitor;

        impl<'de> Visitor<'de> for ArgumentsVisitor {
            type Value = Arguments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_unit<E>(self) -> Result<Arguments, E> {
                Ok(Arguments::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<Arguments, E> {
                Ok(Arguments(Some((Json::in_text(text), text.len()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Arguments, A::Error> {
                JsonVisitor.visit_map(map).map(|json| Arguments(Some((json, 0))))
            }
        }

        deserializer.deserialize_any(ArgumentsVisitor)
    }
}

/// What a message says: a string, `null`, or an array of parts.
#[derive(Debug, Default)]
pub(super) enum Content<'a> {
    #[default]
    Nothing,
    One(Piece<'a>),
    Parts(Vec<Piece<'a>>),
}

impl<'a> Content<'a> {
    pub(super) fn pieces(&self) -> &[Piece<'a>] {
        match self {
            Self::Nothing => &[],
            Self::One(piece) => slice::from_ref(piece),
            Self::Parts(pieces) => pieces,
        }
    }
}

#[derive(Debug)]
pub(super) enum Piece<'a> {
    Text(Cow<'a, str>),
    /// An image, a file or the like, hashed.
    Other(Json),
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;

        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of parts or null")
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
                let parts = SeqAccessDeserializer::new(seq);
                let UpTo(pieces) = UpTo::<{ limits::PARTS_PER_MESSAGE }, _>::deserialize(parts)?;
                Ok(Content::Parts(pieces))
            }
        }

        deserializer.deserialize_any(ContentVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Piece<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
                let mut text = None;
                let mut fields = Fields::default();
                while let Some(Text(name)) = map.next_key()? {
                    match &*name {
                        "type" => kind = map.next_value::<Option<Text<'de>>>()?,
                        "text" | "refusal" => text = map.next_value::<Option<Text<'de>>>()?,
                        _ => fields.add(&name, map.next_value()?),
                    }
                }
                match (given(kind.as_ref()), text) {
                    (Some("text" | "refusal"), text) => {
                        Ok(Piece::Text(text.map(|Text(text)| text).unwrap_or_default()))
                    }
                    (None, Some(Text(text))) => Ok(Piece::Text(text)),
                    (kind, text) => {
                        fields.add_some("type", kind.map(Json::text));
                        fields.add_some("text", text.map(|Text(text)| Json::text(&text)));
                        Ok(Piece::Other(fields.hash()))
                    }
                }
            }
        }

        deserializer.deserialize_any(PartVisitor)
    }
}
