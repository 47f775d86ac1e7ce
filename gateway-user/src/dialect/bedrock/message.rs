//! A block of content, as it is written: an object whose one field says what it is.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};

use super::super::{
    blocks::{self, Content, Pieces},
    canonical::{Fields, Json, Measured},
    content::Piece,
    json::{Text, given},
    keys::Keys,
};

/// A message of a request's history or of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) role: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) content: Content<Block<'a>>,
}

/// A block of a message, or the beginning of one in a stream.
#[derive(Debug)]
pub(super) struct Block<'a>(pub(super) blocks::Block<'a>);

impl<'de: 'a, 'a> From<Cow<'de, str>> for Block<'a> {
    fn from(text: Cow<'de, str>) -> Self {
        Self(blocks::Block::Text(text))
    }
}

/// The blocks, as all dialects that have some know them.
pub(super) fn plain(content: Content<Block<'_>>) -> Vec<blocks::Block<'_>> {
    content.0.into_iter().map(|Block(block)| block).collect()
}

#[derive(Deserialize)]
struct ToolUse<'a> {
    #[serde(borrow, rename = "toolUseId")]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    input: Option<Measured>,
    /// `server_tool_use`, if the server calls it itself.
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    #[serde(borrow, rename = "toolUseId")]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    content: Pieces<'a>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
}

/// Text with its sources.
#[derive(Deserialize)]
struct Cited<'a> {
    #[serde(borrow, default)]
    content: Pieces<'a>,
}

impl<'a> From<ToolUse<'a>> for blocks::Block<'a> {
    fn from(tool: ToolUse<'a>) -> Self {
        match given(tool.kind.as_ref()) {
            Some(kind) => Self::Other(blocks::served(kind, given(tool.id.as_ref()))),
            None => Self::Call(blocks::ToolUse { id: tool.id, name: tool.name, input: tool.input }),
        }
    }
}

impl<'a> From<ToolResult<'a>> for blocks::Block<'a> {
    fn from(result: ToolResult<'a>) -> Self {
        Self::Result(blocks::ToolResult {
            failed: given(result.status.as_ref()) == Some("error"),
            id: result.id,
            content: result.content,
        })
    }
}

impl<'a> From<Cited<'a>> for blocks::Block<'a> {
    fn from(cited: Cited<'a>) -> Self {
        let mut text = String::new();
        for piece in cited.content.get() {
            if let Piece::Text(piece) = piece {
                text.push_str(piece);
            }
        }
        Self::Text(text.into())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Block<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlockVisitor;

        impl<'de> Visitor<'de> for BlockVisitor {
            type Value = Block<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a content block")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Block<'de>, A::Error> {
                let mut block = None;
                let mut keys = Keys::default();
                while let Some(Text(name)) = keys.next_of(&mut map)? {
                    let Some(read) = member(&name, &mut map)? else { continue };
                    if block.replace(read).is_some() {
                        return Err(A::Error::custom("a block is one thing"));
                    }
                }
                Ok(Block(block.unwrap_or(blocks::Block::Unsaid)))
            }
        }

        deserializer.deserialize_any(BlockVisitor)
    }
}

/// What a field makes of its block; nothing, if it is `null`.
fn member<'de, A: MapAccess<'de>>(
    name: &str,
    map: &mut A,
) -> Result<Option<blocks::Block<'de>>, A::Error> {
    Ok(match name {
        "text" => {
            map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| blocks::Block::Text(text))
        }
        "toolUse" => map.next_value::<Option<ToolUse<'de>>>()?.map(Into::into),
        "toolResult" => map.next_value::<Option<ToolResult<'de>>>()?.map(Into::into),
        "citationsContent" => map.next_value::<Option<Cited<'de>>>()?.map(Into::into),
        "reasoningContent" | "cachePoint" => {
            map.next_value::<Option<IgnoredAny>>()?.map(|_| blocks::Block::Unsaid)
        }
        _ => map.next_value::<Option<Json>>()?.map(|value| {
            let mut fields = Fields::default();
            fields.add(name, value);
            blocks::Block::Other(fields.hash())
        }),
    })
}
