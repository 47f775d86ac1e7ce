//! A block of content, as it is written: an object whose one field says what it is.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};

use super::super::{
    arguments::Arguments,
    attached::{self, Attached},
    blocks,
    canonical::Fields,
    content::Content,
    json::{Text, given},
    keys::Keys,
};

/// A block of a message, or the beginning of one in a stream.
#[derive(Debug)]
pub(super) struct Block<'a>(pub(super) blocks::Block<'a>);

impl<'de: 'a, 'a> From<Cow<'de, str>> for Block<'a> {
    fn from(text: Cow<'de, str>) -> Self {
        Self(blocks::Block::Text(text))
    }
}

impl<'a> From<Block<'a>> for blocks::Block<'a> {
    fn from(Block(block): Block<'a>) -> Self {
        block
    }
}

#[derive(Deserialize)]
struct ToolUse<'a> {
    #[serde(borrow, rename = "toolUseId")]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    input: Option<Arguments>,
    /// `server_tool_use`, if the server calls it itself.
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    #[serde(borrow, rename = "toolUseId")]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
}

/// Text with its sources.
#[derive(Deserialize)]
struct Cited<'a> {
    #[serde(borrow, default)]
    content: Content<'a>,
}

impl<'a> From<ToolUse<'a>> for blocks::Block<'a> {
    fn from(tool: ToolUse<'a>) -> Self {
        match given(tool.kind.as_ref()) {
            Some(kind) => Self::Other(blocks::served(kind, given(tool.id.as_ref())).into()),
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
        Self::Text(cited.content.texts().collect::<String>().into())
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
        _ => {
            let mut fields = Fields::default();
            let elsewhere = attached::field(name, map, &mut fields)?;
            let says = !fields.is_empty();
            says.then(|| blocks::Block::Other(Attached { hash: fields.hash(), elsewhere }))
        }
    })
}
