//! An assistant's turn: the items of it that follow one another are one message.

use super::super::{
    arguments::Arguments,
    canonical::{Items, Json},
    draft::Draft,
};
use crate::{
    call::{self, ToolCall},
    limits::TOOL_CALLS_PER_ANSWER,
};

/// What an item is to a conversation.
#[derive(Debug)]
pub(super) enum Part {
    /// Reasoning, which not every client sends back.
    Nothing,
    /// The assistant speaks.
    Says(Option<Json>),
    /// A tool is called that the client executes.
    Calls(Call),
    /// What the provider does by itself, such as a search, or keeps of the conversation.
    Hosts { said: Json, call_id: Option<String> },
    /// The result of a call.
    Result { said: Json, of: Option<String> },
    /// A message of its own.
    Apart,
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) arguments: Arguments,
}

/// A turn in the making. Content of several items is told apart from that of one.
#[derive(Debug, Default)]
pub(super) struct Turn {
    begun: bool,
    said: Items,
    /// What one item said, as long as it is the only one.
    only: Option<Json>,
    calls: Vec<Call>,
    /// The ids of calls that the provider answers itself.
    hosted: Vec<String>,
}

impl Turn {
    /// Adds to the turn what belongs to it; whether it did.
    pub(super) fn take(&mut self, part: Part) -> bool {
        match part {
            Part::Nothing => return true,
            Part::Says(said) => said.into_iter().for_each(|said| self.say(said)),
            Part::Calls(call) => {
                if self.calls.len() < TOOL_CALLS_PER_ANSWER {
                    self.calls.push(call);
                }
            }
            Part::Hosts { said, call_id } => {
                self.say(said);
                if self.hosted.len() < TOOL_CALLS_PER_ANSWER {
                    self.hosted.extend(call_id);
                }
            }
            Part::Result { said, of: Some(of) } if self.hosted.contains(&of) => self.say(said),
            Part::Result { .. } | Part::Apart => return false,
        }
        self.begun = true;
        true
    }

    /// Whether it has any part.
    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// The calls that it makes.
    pub(super) fn calls(&self) -> Vec<ToolCall> {
        let calls = self.calls.iter();
        calls.map(|call| call.arguments.of_call(call.id.as_deref(), &call.name)).collect()
    }

    /// The turn as one message.
    pub(super) fn finish(self) -> call::Message {
        let mut draft = Draft::new("assistant");
        draft.said(self.only.or_else(|| self.said.if_any()));
        for call in &self.calls {
            draft.call(call.id.as_deref(), &call.name, call.arguments.json);
        }
        draft.finish()
    }

    fn say(&mut self, said: Json) {
        let first = self.said.if_any().is_none();
        self.said.push(said);
        self.only = first.then_some(said);
    }
}
