//! Messages made of content blocks, as Anthropic and Bedrock write them: what an assistant calls
//! stands beside its text, and one message of a user may bring the results of many calls.
//!
//! In canonical form they are what Chat Completions make of them: each result is a message of its
//! own, and what else was said is one after them. So a conversation hashes alike in all of these.

mod history;
mod told;

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use super::{
    arguments::Arguments,
    attached::{Attached, Attachments},
    canonical::{self, Fields, Json},
    content::{self, Content},
    draft::Draft,
    json::{Text, given},
    sample::Sample,
};
use crate::call;

pub(super) use history::Messages;
pub(super) use told::Told;

/// What one block says.
#[derive(Debug)]
pub(super) enum Block<'a> {
    Text(Cow<'a, str>),
    /// A tool that the client is to call.
    Call(ToolUse<'a>),
    Result(ToolResult<'a>),
    /// What the conversation was cut down to.
    Summary(Content<'a>),
    /// What is no part of the message's meaning: reasoning, which not every client sends back, and
    /// marks for caches.
    Unsaid,
    /// An image, a document, a tool that the server called itself.
    Other(Attached),
}

/// A call, whole, or as a stream begins it.
#[derive(Debug)]
pub(super) struct ToolUse<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    pub(super) input: Option<Arguments>,
}

#[derive(Debug)]
pub(super) struct ToolResult<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) content: Content<'a>,
    pub(super) failed: bool,
}

impl Block<'_> {
    /// Whether it is a part of what is said, which a call is not.
    fn is_content(&self) -> bool {
        !matches!(self, Self::Call(_) | Self::Unsaid)
    }

    /// Adds what it says and calls for.
    pub(super) fn sample_into<const N: usize, const COUNTED: bool>(
        &self,
        sample: &mut Sample<N, COUNTED>,
    ) {
        match self {
            Self::Text(text) => sample.push(text),
            Self::Call(call) => {
                sample.push(given(call.name.as_ref()).unwrap_or_default());
                sample.pass(call.input.as_ref().map_or(0, |input| input.bytes));
            }
            Self::Result(ToolResult { content, .. }) | Self::Summary(content) => {
                content.texts().for_each(|text| sample.push(text));
            }
            Self::Unsaid | Self::Other(_) => {}
        }
    }

    /// What of it is no text.
    fn attached(&self) -> Attachments {
        match self {
            Self::Result(ToolResult { content, .. }) | Self::Summary(content) => content.attached(),
            Self::Other(piece) => Attachments::of(*piece),
            Self::Text(_) | Self::Call(_) | Self::Unsaid => Attachments::default(),
        }
    }
}

impl ToolResult<'_> {
    /// As a message of its own.
    fn message(&self) -> call::Message {
        let mut draft = Draft::new("tool");
        draft.content(self.said());
        draft.answers(given(self.id.as_ref()));
        draft.finish()
    }

    fn said(&self) -> canonical::Content {
        if !self.failed {
            return self.content.canonical();
        }
        let mut said = canonical::Content::default();
        said.other(Json::text("is_error"));
        self.content.add_to(&mut said);
        said
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

/// A message of a request's history or of an answer, whose blocks are written as `B`.
#[derive(Debug, Deserialize)]
#[serde(default, bound(deserialize = "B: Deserialize<'de> + From<Cow<'de, str>>"))]
pub(super) struct Message<'a, B> {
    #[serde(borrow)]
    pub(super) role: Option<Text<'a>>,
    pub(super) content: Blocks<B>,
}

impl<B> Default for Message<'_, B> {
    fn default() -> Self {
        Self { role: None, content: Blocks::default() }
    }
}

/// The blocks of a message, from an array of them, from a string, which is a block of text, or from
/// `null`, which is none.
#[derive(Debug)]
pub(super) struct Blocks<B>(Vec<B>);

impl<B> Default for Blocks<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B> Blocks<B> {
    /// The blocks, as all dialects that have some know them.
    pub(super) fn known<'a>(self) -> Vec<Block<'a>>
    where
        B: Into<Block<'a>>,
    {
        self.0.into_iter().map(Into::into).collect()
    }
}

impl<'de, B: Deserialize<'de> + From<Cow<'de, str>>> Deserialize<'de> for Blocks<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlocksVisitor<B>(PhantomData<B>);

        impl<'de, B: Deserialize<'de> + From<Cow<'de, str>>> Visitor<'de> for BlocksVisitor<B> {
            type Value = Blocks<B>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of blocks or null")
            }

            fn visit_unit<E>(self) -> Result<Blocks<B>, E> {
                Ok(Blocks::default())
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Blocks<B>, E> {
                Ok(Blocks(vec![Cow::Borrowed(text).into()]))
            }

            fn visit_str<E>(self, text: &str) -> Result<Blocks<B>, E> {
                Ok(Blocks(vec![Cow::<str>::Owned(text.to_owned()).into()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Blocks<B>, A::Error> {
                content::parts(seq).map(Blocks)
            }
        }

        deserializer.deserialize_any(BlocksVisitor(PhantomData))
    }
}
