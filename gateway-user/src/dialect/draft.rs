//! A message in canonical form, whatever API it was written in, so that what means the same hashes
//! the same: the answer of a model and its echo, a conversation in one API and in another.

use super::canonical::{self, Fields, Items, Json};
use crate::call::{self, Role};

/// A message in canonical form, in the making. The order of the calls counts, that of all else
/// doesn't.
#[derive(Debug)]
pub(super) struct Draft {
    role: Role,
    fields: Fields,
    content: Option<Json>,
    calls: Items,
    tool_calls: Vec<String>,
    tool_result: Option<String>,
}

impl Draft {
    pub(super) fn new(name: &str) -> Self {
        let (role, canonical) = match name {
            "system" | "developer" => (Role::System, "system"),
            "user" => (Role::User, "user"),
            "assistant" => (Role::Assistant, "assistant"),
            "tool" | "function" => (Role::Tool, "tool"),
            other => (Role::Other, other),
        };
        let mut fields = Fields::default();
        fields.add("role", Json::text(canonical));
        Self {
            role,
            fields,
            content: None,
            calls: Items::default(),
            tool_calls: Vec::new(),
            tool_result: None,
        }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// The speaker's name. An assistant's is left out: clients add it to answers, which have none.
    pub(super) fn name(&mut self, name: Option<&str>) {
        if self.role != Role::Assistant {
            self.fields.add_some("name", name.map(Json::text));
        }
    }

    pub(super) fn content(&mut self, content: canonical::Content) {
        self.said(content.if_any());
    }

    /// The same, from its hash.
    pub(super) fn said(&mut self, content: Option<Json>) {
        self.content = content;
        self.fields.add_some("content", content);
    }

    pub(super) fn audio(&mut self, id: Option<&str>) {
        self.fields.add_some("audio", id.map(Json::text));
    }

    pub(super) fn call(&mut self, id: Option<&str>, name: &str, arguments: Json) {
        self.add_call(id, id, name, arguments);
    }

    /// The same, in an API whose ids are optional: clients leave them out of an answer that they send
    /// back, or make them up, so they are no part of what the call means.
    pub(super) fn call_by_name(&mut self, id: Option<&str>, name: &str, arguments: Json) {
        self.add_call(None, id, name, arguments);
    }

    fn add_call(&mut self, key: Option<&str>, id: Option<&str>, name: &str, arguments: Json) {
        let mut call = Fields::default();
        call.add_some("id", key.map(Json::text));
        call.add("name", Json::text(name));
        call.add("arguments", arguments);
        self.calls.push(call.hash());
        self.tool_calls.extend(id.map(str::to_owned));
    }

    /// The id of the tool call that the message answers.
    pub(super) fn answers(&mut self, id: Option<&str>) {
        self.fields.add_some("tool_call_id", id.map(Json::text));
        self.tool_result = id.map(str::to_owned);
    }

    pub(super) fn finish(mut self) -> call::Message {
        self.fields.add_some("tool_calls", self.calls.if_any());
        call::Message {
            role: self.role,
            hash: self.fields.hash().get(),
            content: self.content.map(Json::short),
            tool_calls: self.tool_calls,
            tool_result: self.tool_result,
        }
    }
}
