//! Messages made of content blocks, as Anthropic and Bedrock write them: what an assistant calls
//! stands beside its text, and one message of a user may bring the results of many calls.
//!
//! In canonical form they are what Chat Completions make of them: each result is a message of its
//! own, and what else was said is one after them. So a conversation hashes alike in all of these.

mod history;
mod told;

use std::{borrow::Cow, fmt, marker::PhantomData, slice};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::{
    canonical::{self, Fields, Json, JsonVisitor, Measured},
    content::Piece,
    draft::Draft,
    json::{Text, UpTo, given},
    sample::Sample,
};
use crate::{call, limits};

pub(super) use history::{History, Messages, Turn};
pub(super) use told::Told;

/// What one block says.
#[derive(Debug)]
pub(super) enum Block<'a> {
    Text(Cow<'a, str>),
    /// A tool that the client is to call.
    Call(ToolUse<'a>),
    Result(ToolResult<'a>),
    /// What the conversation was cut down to.
    Summary(Pieces<'a>),
    /// What is no part of the message's meaning: reasoning, which not every client sends back, and
    /// marks for caches.
    Unsaid,
    /// An image, a document, a tool that the server called itself: hashed.
    Other(Json),
}

/// A call, whole, or as a stream begins it.
#[derive(Debug)]
pub(super) struct ToolUse<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    pub(super) input: Option<Measured>,
}

#[derive(Debug)]
pub(super) struct ToolResult<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) content: Pieces<'a>,
    pub(super) failed: bool,
}

impl Block<'_> {
    /// Whether it is a part of what is said, which a call is not.
    fn is_content(&self) -> bool {
        !matches!(self, Self::Call(_) | Self::Unsaid)
    }

    /// Adds what it says and calls for.
    pub(super) fn sample_into<const N: usize>(&self, sample: &mut Sample<N>) {
        match self {
            Self::Text(text) => sample.push(text),
            Self::Call(call) => {
                sample.push(given(call.name.as_ref()).unwrap_or_default());
                sample.pass(call.input.map_or(0, |input| input.bytes));
            }
            Self::Result(ToolResult { content, .. }) | Self::Summary(content) => {
                content.sample_into(sample);
            }
            Self::Unsaid | Self::Other(_) => {}
        }
    }

    /// Parts of it that are no text.
    fn other_parts(&self) -> u64 {
        match self {
            Self::Result(ToolResult { content, .. }) | Self::Summary(content) => {
                let pieces = content.get().iter();
                pieces.filter(|piece| matches!(piece, Piece::Other(_))).count() as u64
            }
            Self::Other(_) => 1,
            Self::Text(_) | Self::Call(_) | Self::Unsaid => 0,
        }
    }
}

impl ToolResult<'_> {
    /// As a message of its own.
    fn message(&self) -> call::Message {
        let mut draft = Draft::new("tool");
        draft.content(self.content.hash(self.failed));
        draft.answers(given(self.id.as_ref()));
        draft.finish()
    }

    /// As a part of the answer whose call it belongs to: the server called the tool itself. The id
    /// tells it apart; not every client sends all of the rest back.
    fn part(&self) -> Json {
        served("tool_result", given(self.id.as_ref()))
    }
}

/// A block of a tool that the server calls itself: told by its id.
pub(super) fn served(kind: &str, id: Option<&str>) -> Json {
    let mut fields = Fields::default();
    fields.add("type", Json::text(kind));
    fields.add_some("id", id.map(Json::text));
    fields.hash()
}

/// The blocks of a message, from an array of them, from a string, which is a block of text, or from
/// `null`, which is none.
#[derive(Debug)]
pub(super) struct Content<B>(pub(super) Vec<B>);

impl<B> Default for Content<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, B: Deserialize<'de> + From<Cow<'de, str>>> Deserialize<'de> for Content<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor<B>(PhantomData<B>);

        impl<'de, B: Deserialize<'de> + From<Cow<'de, str>>> Visitor<'de> for ContentVisitor<B> {
            type Value = Content<B>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of blocks or null")
            }

            fn visit_unit<E>(self) -> Result<Content<B>, E> {
                Ok(Content::default())
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Content<B>, E> {
                Ok(Content(vec![Cow::Borrowed(text).into()]))
            }

            fn visit_str<E>(self, text: &str) -> Result<Content<B>, E> {
                Ok(Content(vec![Cow::<str>::Owned(text.to_owned()).into()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Content<B>, A::Error> {
                let blocks = SeqAccessDeserializer::new(seq);
                let UpTo(blocks) = UpTo::<{ limits::PARTS_PER_MESSAGE }, _>::deserialize(blocks)?;
                Ok(Content(blocks))
            }
        }

        deserializer.deserialize_any(ContentVisitor(PhantomData))
    }
}

/// What a block holds: a string, an array of parts, one object, or nothing.
#[derive(Debug, Default)]
pub(super) enum Pieces<'a> {
    #[default]
    Nothing,
    One(Piece<'a>),
    Many(Vec<Piece<'a>>),
}

impl Pieces<'_> {
    pub(super) fn get(&self) -> &[Piece<'_>] {
        match self {
            Self::Nothing => &[],
            Self::One(piece) => slice::from_ref(piece),
            Self::Many(pieces) => pieces,
        }
    }

    pub(super) fn sample_into<const N: usize>(&self, sample: &mut Sample<N>) {
        for piece in self.get() {
            if let Piece::Text(text) = piece {
                sample.push(text);
            }
        }
    }

    /// All of it, if there is any.
    pub(super) fn whole(&self) -> Option<Json> {
        self.hash(false).if_any()
    }

    /// The content of a result, which has `failed` or not.
    fn hash(&self, failed: bool) -> canonical::Content {
        if let ([Piece::Text(text)], false) = (self.get(), failed) {
            return canonical::Content::whole(text);
        }
        let mut content = canonical::Content::default();
        if failed {
            content.other(Json::text("is_error"));
        }
        self.add_to(&mut content);
        content
    }

    fn add_to(&self, content: &mut canonical::Content) {
        for piece in self.get() {
            match piece {
                Piece::Text(text) => content.text(text),
                Piece::Other(piece) => content.other(*piece),
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pieces<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PiecesVisitor;

        impl<'de> Visitor<'de> for PiecesVisitor {
            type Value = Pieces<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of parts, an object or null")
            }

            fn visit_unit<E>(self) -> Result<Pieces<'de>, E> {
                Ok(Pieces::Nothing)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Pieces<'de>, E> {
                Ok(Pieces::One(Piece::Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Pieces<'de>, E> {
                Ok(Pieces::One(Piece::Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Pieces<'de>, A::Error> {
                let parts = SeqAccessDeserializer::new(seq);
                let UpTo(pieces) = UpTo::<{ limits::PARTS_PER_MESSAGE }, _>::deserialize(parts)?;
                Ok(Pieces::Many(pieces))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Pieces<'de>, A::Error> {
                JsonVisitor(&mut 0).visit_map(map).map(|json| Pieces::One(Piece::Other(json)))
            }
        }

        deserializer.deserialize_any(PiecesVisitor)
    }
}
