//! The request: a conversation, and tools. The model stands in the path.

use serde::Deserialize;

use super::super::{
    Asking, NotUnderstood,
    blocks::{Blocks, Messages},
    canonical::Json,
    cursor::{self, Cursor, Once},
    json::{Count, Maybe, Text, given},
    tools::{Toolbox, Tools},
};
use super::message::Block;
use crate::call::{Dialect, Name, Operation, Prompt, Segments, Terms, Unmetered};

/// What the body asks, of a stream or of a document.
pub(in crate::dialect) fn parse(
    body: &[u8],
    stream: bool,
    sample: &mut Asking,
) -> Result<Prompt, NotUnderstood> {
    let mut fields = Fields::default();
    cursor::read(body, |name, cursor| fields.read(name, cursor))?;
    let mut history = std::mem::take(&mut fields.messages.value.history);
    history.instruct(&std::mem::take(&mut fields.system.value).known());
    let mut prompt = fields.prompt(stream);
    history.tell(&mut prompt, sample)?;
    Ok(prompt)
}

/// What the fields say. All may be absent: a prompt that is kept at the server has messages of its
/// own.
#[derive(Default)]
struct Fields<'a> {
    messages: Once<Messages<Block<'a>>>,
    system: Once<Blocks<Block<'a>>>,
    tools: Once<Option<Maybe<ToolConfig>>>,
    tool_bytes: u64,
    inference: Once<Option<Maybe<InferenceConfig>>>,
    tier: Once<Option<Maybe<ServiceTier<'a>>>>,
    /// Of a prompt that is kept at the server.
    variables: Once<Option<Json>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToolConfig {
    tools: Tools<Ours>,
}

struct Ours;

impl Toolbox for Ours {
    fn is_clients_with(field: &str) -> bool {
        field == "toolSpec"
    }
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
    fn read(&mut self, name: &str, cursor: &mut Cursor<'a>) -> Result<(), NotUnderstood> {
        match name {
            "system" => cursor.once(&mut self.system),
            "inferenceConfig" => cursor.once(&mut self.inference),
            "serviceTier" => cursor.once(&mut self.tier),
            "messages" => cursor.once(&mut self.messages),
            "toolConfig" => {
                ((), self.tool_bytes) = cursor.sized(|cursor| cursor.once(&mut self.tools))?;
                Ok(())
            }
            "promptVariables" => cursor.once(&mut self.variables),
            _ => cursor.skip(),
        }
    }

    fn prompt(self, stream: bool) -> Prompt {
        let config = self.tools.value.and_then(Maybe::known).unwrap_or_default();
        let is_stored = !self.messages.seen || self.variables.value.is_some();
        let stored = is_stored.then_some(Unmetered::StoredContext);
        let inference = self.inference.value.and_then(Maybe::known);
        let tier = self.tier.value.and_then(Maybe::known);
        Prompt {
            dialect: Dialect::Bedrock,
            operation: Operation::Chat,
            model: None,
            stream,
            messages: Vec::new(),
            tools_hash: config.tools.hash().map(Json::get),
            wish: None,
            client_retry: None,
            terms: Box::new(Terms {
                max_output: inference.and_then(|it| it.max_tokens).and_then(Count::get),
                service_tier: tier.and_then(|tier| tier.name()),
                reports_usage: true,
                segments: Segments { tools: self.tool_bytes, ..Segments::default() },
                unmetered: config.tools.unmetered().or(stored),
                ..Terms::default()
            }),
        }
    }
}
