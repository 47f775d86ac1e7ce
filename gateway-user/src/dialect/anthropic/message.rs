//! A block of content, as it is written.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::super::{
    arguments::Arguments,
    attached::{self, Attached},
    blocks::{self, ToolResult, ToolUse},
    canonical::{Fields, Json},
    content::Content,
    json::{Text, given},
    keys::Keys,
};

/// A block of a request's history, of an answer, or the beginning of one in a stream.
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

/// The fields of a block, whatever its type, which may come last.
#[derive(Default)]
struct Read<'a> {
    kind: Option<Text<'a>>,
    text: Option<Text<'a>>,
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    input: Option<Arguments>,
    tool_use_id: Option<Text<'a>>,
    content: Content<'a>,
    is_error: Option<bool>,
    others: Fields,
    elsewhere: bool,
}

impl<'a> Read<'a> {
    fn block(self) -> blocks::Block<'a> {
        let kind = given(self.kind.as_ref());
        match (kind, self.text) {
            (Some("text"), text) => {
                blocks::Block::Text(text.map(|Text(text)| text).unwrap_or_default())
            }
            (None, Some(Text(text))) => blocks::Block::Text(text),
            (Some("tool_use"), _) => {
                blocks::Block::Call(ToolUse { id: self.id, name: self.name, input: self.input })
            }
            (Some("tool_result"), _) => blocks::Block::Result(ToolResult {
                id: self.tool_use_id,
                content: self.content,
                failed: self.is_error.unwrap_or(false),
            }),
            (Some("thinking" | "redacted_thinking"), _) => blocks::Block::Unsaid,
            (Some("compaction"), _) => blocks::Block::Summary(self.content),
            (kind, text) => {
                // A tool that the server calls, and what comes of it: not every client sends all of
                // it back, and the id tells it apart.
                if let Some(id) = given(self.id.as_ref()).or(given(self.tool_use_id.as_ref())) {
                    let served = blocks::served(kind.unwrap_or_default(), Some(id));
                    return blocks::Block::Other(served.into());
                }
                let mut fields = self.others;
                fields.add_some("type", kind.map(Json::text));
                fields.add_some("text", text.map(|Text(text)| Json::text(&text)));
                fields.add_some("name", given(self.name.as_ref()).map(Json::text));
                fields.add_some("input", self.input.as_ref().map(|input| input.json));
                fields.add_some("content", self.content.canonical().if_any());
                blocks::Block::Other(Attached::part(kind, fields.hash(), self.elsewhere))
            }
        }
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
                let mut read = Read::default();
                let mut keys = Keys::default();
                while let Some(Text(name)) = keys.next_of(&mut map)? {
                    match &*name {
                        "type" => read.kind = map.next_value()?,
                        "text" => read.text = map.next_value()?,
                        "id" => read.id = map.next_value()?,
                        "name" => read.name = map.next_value()?,
                        "input" => read.input = map.next_value()?,
                        "tool_use_id" => read.tool_use_id = map.next_value()?,
                        "content" => read.content = map.next_value()?,
                        "is_error" => read.is_error = map.next_value()?,
                        _ => read.elsewhere |= attached::field(&name, &mut map, &mut read.others)?,
                    }
                }
                Ok(Block(read.block()))
            }
        }

        deserializer.deserialize_any(BlockVisitor)
    }
}
