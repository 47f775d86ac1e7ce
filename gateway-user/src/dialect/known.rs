//! What is known of an agent's calls.

use std::collections::VecDeque;

use super::{
    Asked, What,
    beginnings::{Beginnings, Bounds},
    canonical::Json,
    openai_chat, rpc,
};
use crate::limits;

/// A call of an agent, until it is answered. Unique in the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(u64);

/// What is known of an agent's calls: the beginnings of its conversations, so that a request that
/// goes on with one is read from there, which makes reading quicker and changes nothing of what is
/// read; and which calls wait for their answers.
#[derive(Debug)]
pub struct Known {
    pub(super) openai_chat: Beginnings<openai_chat::Beginning>,
    /// Those whose answers are made while nobody waits for them.
    pub(super) background: Background,
    /// Those whose answers may come in another exchange.
    pub(super) rpc: rpc::Pending,
    next: u64,
}

/// Calls whose answers are made while nobody waits for them, oldest first, with the ids under which
/// they are found: hashed, and as they are.
#[derive(Debug, Default)]
pub(super) struct Background(VecDeque<(Json, CallKey, Box<str>)>);

impl Default for Known {
    fn default() -> Self {
        Self::bounded(Bounds {
            block: limits::BEGINNING_BLOCK_BYTES,
            count: limits::BEGINNINGS_PER_AGENT,
            weight: limits::BEGINNING_MESSAGES_PER_AGENT,
        })
    }
}

impl Known {
    pub(super) fn bounded(bounds: Bounds) -> Self {
        Self {
            openai_chat: Beginnings::new(bounds),
            background: Background::default(),
            rpc: rpc::Pending::default(),
            next: 0,
        }
    }

    /// For the next call.
    pub(super) const fn key(&mut self) -> CallKey {
        self.next += 1;
        CallKey(self.next)
    }

    /// The id under which the answer of a call will be found that is made in the background, if it is
    /// known and not too long.
    #[must_use]
    pub fn background_id(&self, key: CallKey) -> Option<Box<str>> {
        let (.., id) = self.background.0.iter().find(|(_, known, _)| *known == key)?;
        Some(id.clone()).filter(|id| !id.is_empty())
    }

    /// No answer of the call is waited for any more.
    pub fn forget(&mut self, key: CallKey) {
        self.rpc.close(key);
        self.background.0.retain(|(_, known, _)| *known != key);
    }

    /// Remembers a request, once nobody needs it any more.
    pub fn keep(&mut self, asked: Asked) {
        if let (Some(end), What::Model(prompt)) = (asked.end, asked.what) {
            openai_chat::keep(&mut self.openai_chat, end, prompt);
        }
    }
}

impl Background {
    /// The answer of the call will be found under this id.
    pub(super) fn put(&mut self, id: &str, key: CallKey) {
        if self.0.len() >= limits::BACKGROUND_ANSWERS_PER_AGENT {
            self.0.pop_front();
        }
        // One that is longer is of no use but to be found.
        let shown = if id.len() > limits::RESPONSE_ID_BYTES { "" } else { id };
        self.0.push_back((Json::text(id), key, shown.into()));
    }

    /// The call whose answer was found.
    pub(super) fn take(&mut self, id: &str) -> Option<CallKey> {
        let id = Json::text(id);
        let at = self.0.iter().position(|(known, ..)| *known == id)?;
        self.0.remove(at).map(|(_, key, _)| key)
    }
}
