//! An item of a conversation, in a request or in an answer: as it is written, and what it is.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::super::{
    arguments::{Arguments, Written},
    attached::Attachments,
    canonical::{self, Fields, Json},
    content::Content,
    draft::Draft,
    json::{Maybe, Text, given},
    keys::{self, Keys},
    sample::Sample,
    tools::{Nature, Toolbox, Tools},
};
use super::turn::{Call, Part};
use crate::call::Unmetered;

/// An item. What is not read by name counts as it is; an item's own id, and how far it has come, do
/// not: some clients send them back and some don't.
#[derive(Debug, Default)]
pub(super) struct Item<'a> {
    kind: Option<Text<'a>>,
    role: Option<Text<'a>>,
    id: Option<Text<'a>>,
    call_id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    content: Content<'a>,
    output: Content<'a>,
    /// A custom tool's are called its input.
    arguments: Option<Written>,
    /// Who executes a search for tools.
    execution: Option<Text<'a>>,
    /// Where a shell runs.
    environment: Option<Maybe<Environment<'a>>>,
    /// Those that are offered from there on, or that a server was found to have.
    tools: Tools<Ours>,
    rest: Fields,
}

/// The provider's own tools, and those of clients.
#[derive(Debug)]
pub(super) struct Ours;

impl Toolbox for Ours {
    fn is_clients(tool: &Nature<'_>) -> bool {
        match &*tool.kind {
            "" | "function" | "custom" | "namespace" | "local_shell" | "apply_patch" => true,
            "shell" => matches!(&*tool.environment, "" | "local"),
            "tool_search" => tool.execution == "client",
            kind => kind.starts_with("computer"),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Environment<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
}

impl<'a> Item<'a> {
    /// A message.
    pub(super) fn message(role: &'static str, content: Content<'a>) -> Self {
        Self { role: Some(Text(role.into())), content, ..Self::default() }
    }

    pub(super) fn part(&self) -> Part {
        match self.kind() {
            "reasoning" => Part::Nothing,
            "message" if self.role() == "assistant" => {
                Part::Says(self.content.canonical().if_any())
            }
            "message" => Part::Apart,
            "function_call" | "custom_tool_call" => Part::Calls(Call {
                id: self.call_id(),
                name: given(self.name.as_ref()).unwrap_or_default().to_owned(),
                arguments: self.arguments(),
            }),
            kind if self.is_for_client() => Part::Calls(Call {
                id: self.call_id(),
                name: kind.strip_suffix("_call").unwrap_or(kind).to_owned(),
                arguments: Arguments::hashed(self.action()),
            }),
            "mcp_approval_response" | "compaction_trigger" => Part::Apart,
            // Programs and searches of the provider's own are answered by itself.
            "program_output" => Part::Hosts { said: self.whole(), call_id: None },
            kind if kind.ends_with("_output") && self.execution() != "server" => {
                Part::Result { said: self.whole(), of: self.call_id() }
            }
            _ if !matches!(self.role(), "" | "assistant") => Part::Apart,
            _ => Part::Hosts { said: self.whole(), call_id: self.call_id() },
        }
    }

    /// Whether it is a call whose arguments come in pieces, if it comes in a stream.
    pub(super) fn streams_arguments(&self) -> bool {
        matches!(self.kind(), "function_call" | "custom_tool_call")
    }

    /// The item as a message of its own, which it is if it is no part of an assistant's turn.
    pub(super) fn draft(&self) -> Draft {
        let kind = self.kind();
        let of_role = || Draft::new(given(self.role.as_ref()).unwrap_or(kind));
        if kind == "message" {
            let mut draft = of_role();
            draft.content(self.content.canonical());
            return draft;
        }
        if !kind.ends_with("_output") {
            let mut draft = of_role();
            draft.content(one(self.whole()));
            return draft;
        }
        let mut draft = Draft::new("tool");
        let of_client = matches!(kind, "function_call_output" | "custom_tool_call_output");
        // What one of the provider's own tools comes to is not in its output alone.
        draft.content(if of_client { self.output.canonical() } else { one(self.whole()) });
        draft.answers(self.call_id().as_deref());
        draft
    }

    /// Adds what it says and calls for.
    pub(super) fn sample_into<const N: usize, const COUNTED: bool>(
        &self,
        sample: &mut Sample<N, COUNTED>,
    ) {
        self.content.texts().chain(self.output.texts()).for_each(|text| sample.push(text));
        sample.push(given(self.name.as_ref()).unwrap_or_default());
        sample.pass(self.arguments.as_ref().map_or(0, |it| it.0.bytes));
    }

    /// What of it is no text.
    /// Why what the item offers is not metered, if it offers anything that isn't.
    pub(super) fn unmetered(&self) -> Option<Unmetered> {
        self.tools.unmetered().filter(|_| self.kind() == "additional_tools")
    }

    pub(super) fn attached(&self) -> Attachments {
        let mut attached = self.content.attached();
        attached.append(self.output.attached());
        attached
    }

    /// What it says, in pieces.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.content.texts()
    }

    /// Its type, which may be left out of messages and of references to other items.
    fn kind(&self) -> &str {
        match given(self.kind.as_ref()) {
            Some(kind) => kind,
            None if self.role.is_some() => "message",
            None => "item_reference",
        }
    }

    fn role(&self) -> &str {
        given(self.role.as_ref()).unwrap_or_default()
    }

    fn execution(&self) -> &str {
        given(self.execution.as_ref()).unwrap_or_default()
    }

    /// The id of the call that it makes or answers. Results of the first local shell have only one
    /// id, which is the call's.
    fn call_id(&self) -> Option<String> {
        let only = || self.id.as_ref().filter(|_| self.kind() == "local_shell_call_output");
        given(self.call_id.as_ref().or_else(only)).map(str::to_owned)
    }

    /// Whether it calls one of the provider's own tools that the client has to execute.
    fn is_for_client(&self) -> bool {
        match self.kind() {
            "local_shell_call" | "apply_patch_call" | "computer_call" => true,
            "tool_search_call" => self.execution() == "client",
            "shell_call" => match &self.environment {
                Some(Maybe::Is(environment)) => given(environment.kind.as_ref()) == Some("local"),
                Some(Maybe::IsNot) | None => true,
            },
            _ => false,
        }
    }

    fn arguments(&self) -> Arguments {
        self.arguments.as_ref().map(|it| it.0.clone()).unwrap_or_default()
    }

    /// What one of the provider's own tools is to do.
    fn action(&self) -> Json {
        let mut fields = self.rest;
        fields.add_some("arguments", self.arguments.as_ref().map(|it| it.0.json));
        fields.hash()
    }

    /// All that counts of it.
    fn whole(&self) -> Json {
        let kind = self.kind();
        let mut fields = self.rest;
        fields.add("type", Json::text(kind));
        if kind == "item_reference" {
            fields.add_some("id", given(self.id.as_ref()).map(Json::text));
        }
        fields.add_some("call_id", given(self.call_id.as_ref()).map(Json::text));
        fields.add_some("name", given(self.name.as_ref()).map(Json::text));
        fields.add_some("content", self.content.canonical().if_any());
        fields.add_some("output", self.output.canonical().if_any());
        fields.add_some("arguments", self.arguments.as_ref().map(|it| it.0.json));
        fields.hash()
    }
}

fn one(piece: Json) -> canonical::Content {
    let mut content = canonical::Content::default();
    content.other(piece);
    content
}

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;

        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<'de>, A::Error> {
                let mut item = Item::default();
                let mut keys = Keys::default();
                while let Some(Text(name)) = keys.next_of(&mut map)? {
                    match &*name {
                        "type" => item.kind = map.next_value()?,
                        "role" => item.role = map.next_value()?,
                        "id" => item.id = map.next_value()?,
                        "call_id" => item.call_id = map.next_value()?,
                        "name" => item.name = map.next_value()?,
                        "content" => item.content = map.next_value()?,
                        "output" => item.output = map.next_value()?,
                        "arguments" | "input" if item.arguments.is_some() => {
                            return Err(keys::twice());
                        }
                        "arguments" | "input" => item.arguments = map.next_value()?,
                        "execution" => item.execution = map.next_value()?,
                        "environment" => item.environment = map.next_value()?,
                        "tools" => {
                            item.tools = map.next_value()?;
                            item.rest.add_some("tools", item.tools.hash());
                        }
                        "status" | "created_by" | "caller" | "phase" => {
                            map.next_value::<IgnoredAny>()?;
                        }
                        _ => item.rest.add(&name, map.next_value()?),
                    }
                }
                Ok(item)
            }
        }

        deserializer.deserialize_map(ItemVisitor)
    }
}
