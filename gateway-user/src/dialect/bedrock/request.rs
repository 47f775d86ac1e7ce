//! The request: a conversation, and tools. The model stands in the path.

use serde::{Deserialize, de::IgnoredAny};

use super::super::{
    Asking, NotUnderstood,
    blocks::{Content, History, Messages, Turn},
    canonical::{Items, Json},
    cursor::{Cursor, Once},
    json::{Count, Maybe, Text, UpTo, given},
};
use super::message::{Block, Message, plain};
use crate::{
    call::{Dialect, Name, Operation, Prompt, Segments, Terms},
    limits,
};

/// What the body asks, of a stream or of a document.
pub(in crate::dialect) fn parse(
    body: &[u8],
    stream: bool,
    sample: &mut Asking,
) -> Result<Prompt, NotUnderstood> {
    let mut fields = Fields::default();
    let mut cursor = Cursor::new(body, 0);
    cursor.object(|name, cursor| fields.read(name, cursor))?;
    if !cursor.is_at_end() {
        return Err(NotUnderstood::NotJson);
    }
    let mut history = std::mem::take(&mut fields.messages.value.history);
    history.instruct(&plain(std::mem::take(&mut fields.system.value)));
    let mut prompt = fields.prompt(stream);
    history.tell(&mut prompt, sample)?;
    Ok(prompt)
}

/// What the fields say. All may be absent: a prompt that is kept at the server has messages of its
/// own.
#[derive(Default)]
struct Fields<'a> {
    messages: Once<Messages<Message<'a>>>,
    system: Once<Content<Block<'a>>>,
    tools: Once<Option<Maybe<ToolConfig>>>,
    tool_bytes: u64,
    inference: Once<Option<Maybe<InferenceConfig>>>,
    tier: Once<Option<Maybe<ServiceTier<'a>>>>,
}

#[derive(Deserialize)]
struct ToolConfig {
    #[serde(default)]
    tools: UpTo<{ limits::PARTS_PER_MESSAGE }, Tool>,
}

/// A tool, or a mark for the cache in a tool's place.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tool {
    Mark {
        #[serde(rename = "cachePoint")]
        _cache_point: IgnoredAny,
    },
    Tool(Json),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InferenceConfig {
    max_tokens: Option<Count>,
}

#[derive(Deserialize)]
pub(super) struct ServiceTier<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
}

impl ServiceTier<'_> {
    pub(super) fn name(&self) -> Option<Name> {
        given(self.kind.as_ref()).map(Name::shared)
    }
}

impl Turn for Message<'_> {
    fn tell(self, history: &mut History) {
        history.push(given(self.role.as_ref()).unwrap_or_default(), &plain(self.content));
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self, name: &str, cursor: &mut Cursor<'a>) -> Result<(), NotUnderstood> {
        match name {
            "system" => cursor.once(&mut self.system),
            "inferenceConfig" => cursor.once(&mut self.inference),
            "serviceTier" => cursor.once(&mut self.tier),
            "messages" => cursor.once(&mut self.messages),
            "toolConfig" => {
                let start = cursor.at();
                cursor.once(&mut self.tools)?;
                self.tool_bytes = (cursor.at() - start) as u64;
                Ok(())
            }
            _ => cursor.skip(),
        }
    }

    fn prompt(self, stream: bool) -> Prompt {
        let mut tools = Items::default();
        for tool in self.tools.value.and_then(Maybe::known).into_iter().flat_map(|it| it.tools.0) {
            if let Tool::Tool(tool) = tool {
                tools.push(tool);
            }
        }
        let inference = self.inference.value.and_then(Maybe::known);
        let tier = self.tier.value.and_then(Maybe::known);
        Prompt {
            dialect: Dialect::Bedrock,
            operation: Operation::Chat,
            model: None,
            stream,
            messages: Vec::new(),
            tools_hash: tools.if_any().map(Json::get),
            wish: None,
            client_retry: None,
            terms: Box::new(Terms {
                max_output: inference.and_then(|it| it.max_tokens).and_then(Count::get),
                service_tier: tier.and_then(|tier| tier.name()),
                reports_usage: true,
                segments: Segments { tools: self.tool_bytes, ..Segments::default() },
                ..Terms::default()
            }),
        }
    }
}
