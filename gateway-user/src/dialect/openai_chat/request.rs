//! The request: a conversation, the model that is to go on with it, and tools.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use super::super::{
    NotUnderstood,
    canonical::{Items, Json},
    json::{Text, given},
};
use super::message::Message;
use crate::{
    call::{self, Dialect, Operation, Prompt, Role},
    limits,
};

/// What the body asks.
pub(super) fn parse(body: &[u8]) -> Result<Prompt, NotUnderstood> {
    let request: Request<'_> = serde_json::from_slice(body)?;
    if request.messages.too_many {
        return Err(NotUnderstood::TooLarge);
    }
    let mut tools = Items::default();
    for list in [request.tools, request.functions].into_iter().flatten() {
        if !list.is_empty_array() {
            tools.push(list);
        }
    }
    Ok(Prompt {
        dialect: Dialect::OpenaiChat,
        operation: Operation::Chat,
        model: given(request.model.as_ref()).map(str::to_owned),
        stream: request.stream.unwrap_or(false),
        messages: request.messages.messages,
        tools_hash: tools.if_any().map(Json::get),
        wish: request.messages.wish,
        client_retry: None,
    })
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    stream: Option<bool>,
    messages: History,
    tools: Option<Json>,
    /// The form before there were `tools`.
    functions: Option<Json>,
}

/// The messages, each reduced as soon as it is parsed, so that only one is in memory.
#[derive(Default)]
struct History {
    messages: Vec<call::Message>,
    wish: Option<String>,
    too_many: bool,
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HistoryVisitor;

        impl<'de> Visitor<'de> for HistoryVisitor {
            type Value = History;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<History, A::Error> {
                let mut history = History::default();
                let mut user_spoke = false;
                while history.messages.len() < limits::MESSAGES_PER_PROMPT {
                    let Some(message) = seq.next_element::<Message<'de>>()? else {
                        return Ok(history);
                    };
                    let draft = message.draft("");
                    if draft.role() == Role::User && !user_spoke {
                        user_spoke = true;
                        history.wish =
                            Some(message.text(limits::WISH_BYTES)).filter(|it| !it.is_empty());
                    }
                    history.messages.push(draft.finish());
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    history.too_many = true;
                }
                Ok(history)
            }
        }

        deserializer.deserialize_seq(HistoryVisitor)
    }
}
