//! The items of a request as messages.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use super::super::{
    Asking,
    attached::Attachments,
    content::{Content, Piece},
    wished::Wished,
};
use super::{item::Item, turn::Turn};
use crate::{
    call::{Message, Role, Unmetered},
    limits,
};

/// A conversation, each item of it reduced as soon as it is parsed, so that only one is in memory.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) messages: Vec<Message>,
    pub(super) wished: Wished,
    pub(super) system_bytes: u64,
    pub(super) message_bytes: u64,
    pub(super) attached: Attachments,
    unmetered: Option<Unmetered>,
    pub(super) sample: Asking,
    too_many: bool,
}

impl History {
    /// One message.
    pub(super) fn of(role: &'static str, content: Content<'_>) -> Self {
        let mut history = Self::default();
        history.push(&Item::message(role, content));
        history
    }

    /// All items of an array.
    pub(super) fn of_items<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut history = Self::default();
        let mut turn = Turn::default();
        while !history.is_full() {
            let Some(item) = items.next_element::<Item<'_>>()? else {
                history.end(turn);
                return Ok(history);
            };
            if turn.take(item.part()) {
                history.message_bytes += history.count(&item);
            } else {
                history.end(std::mem::take(&mut turn));
                history.push(&item);
            }
        }
        history.end(turn);
        while items.next_element::<IgnoredAny>()?.is_some() {
            history.too_many = true;
        }
        Ok(history)
    }

    /// The other one after this one.
    pub(super) fn append(&mut self, other: Self) {
        self.messages.extend(other.messages);
        self.wished.append(other.wished);
        self.system_bytes += other.system_bytes;
        self.message_bytes += other.message_bytes;
        self.attached.append(other.attached);
        self.unmetered = self.unmetered.or(other.unmetered);
        self.sample.append(&other.sample);
        self.too_many |= other.too_many;
    }

    /// Why what it costs can't be told, if it can't.
    pub(super) fn unmetered(&self) -> Option<Unmetered> {
        self.unmetered.or_else(|| self.attached.unmetered())
    }

    /// Whether there were more items than are read.
    pub(super) const fn is_over(&self) -> bool {
        self.too_many
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= limits::MESSAGES_PER_PROMPT
    }

    fn end(&mut self, turn: Turn) {
        if turn.has_begun() {
            self.messages.push(turn.finish());
        }
    }

    /// Bytes of what it says and calls for, of which some are kept.
    fn count(&mut self, item: &Item<'_>) -> u64 {
        let before = self.sample.bytes();
        item.sample_into(&mut self.sample);
        self.attached.append(item.attached());
        self.unmetered = self.unmetered.or_else(|| item.unmetered());
        self.sample.bytes() - before
    }

    fn push(&mut self, item: &Item<'_>) {
        let draft = item.draft();
        let is_system = draft.role() == Role::System;
        let bytes = self.count(item);
        *(if is_system { &mut self.system_bytes } else { &mut self.message_bytes }) += bytes;
        if draft.role() == Role::User {
            self.wished.hear(item.texts());
        }
        self.messages.push(draft.finish());
    }
}

/// What is new in a conversation: items, or a text that the user says.
impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;

        impl<'de> Visitor<'de> for InputVisitor {
            type Value = History;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of items")
            }

            fn visit_str<E>(self, text: &str) -> Result<History, E> {
                Ok(History::of("user", Content::One(Piece::Text(text.into()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<History, A::Error> {
                History::of_items(items)
            }
        }

        deserializer.deserialize_any(InputVisitor)
    }
}
