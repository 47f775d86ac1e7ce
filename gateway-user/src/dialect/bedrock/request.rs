//! The request: a conversation, and tools. The model stands in the path.

use serde::{Deserialize, de::IgnoredAny};

use super::super::{
    NotUnderstood,
    blocks::{Content, History},
    canonical::{Items, Json},
    cursor::{Cursor, Once},
    json::{Count, Maybe, Text, UpTo, given},
};
use super::message::{Block, Message, plain};
use crate::{
    call::{Dialect, Name, Operation, Prompt, Terms},
    limits,
};

/// What the body asks, of a stream or of a document.
pub(in crate::dialect) fn parse(body: &[u8], stream: bool) -> Result<Prompt, NotUnderstood> {
    let (mut fields, mut history) = (Fields::default(), History::default());
    let mut cursor = Cursor::new(body, 0);
    cursor.object(|name, cursor| fields.read(name, cursor, &mut history))?;
    if !cursor.is_at_end() {
        return Err(NotUnderstood::NotJson);
    }
    history.instruct(&plain(std::mem::take(&mut fields.system.value)));
    let mut prompt = fields.prompt(stream);
    history.tell(&mut prompt)?;
    Ok(prompt)
}

/// What the fields say, the messages apart. All may be absent: a prompt that is kept at the server
/// has messages of its own.
#[derive(Default)]
struct Fields<'a> {
    has_messages: bool,
    system: Once<Content<Block<'a>>>,
    tools: Once<Option<Maybe<ToolConfig>>>,
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

impl<'a> Fields<'a> {
    fn read(
        &mut self,
        name: &str,
        cursor: &mut Cursor<'a>,
        history: &mut History,
    ) -> Result<(), NotUnderstood> {
        match name {
            "system" => cursor.once(&mut self.system),
            "inferenceConfig" => cursor.once(&mut self.inference),
            "serviceTier" => cursor.once(&mut self.tier),
            "toolConfig" => {
                let start = cursor.at();
                cursor.once(&mut self.tools)?;
                history.offer((cursor.at() - start) as u64);
                Ok(())
            }
            "messages" => {
                if std::mem::replace(&mut self.has_messages, true) {
                    return Err(NotUnderstood::NotThisShape);
                }
                cursor.array(|cursor| {
                    let Message { role, content } = cursor.value()?;
                    let role = given(role.as_ref()).unwrap_or_default();
                    history.push(role, &plain(content));
                    Ok(())
                })
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
                ..Terms::default()
            }),
        }
    }
}
