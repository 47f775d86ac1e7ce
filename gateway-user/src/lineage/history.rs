//! A conversation as a chain of hashes, so that equal beginnings have equal hashes.

use xxhash_rust::xxh3::xxh3_128;

use crate::call::{Message, Role};

/// The hash of a conversation up to some message, in order:
/// `chain(0) = salt`, `chain(i) = xxh3_128(chain(i - 1), hash of message i)`.
pub(super) type Chain = u128;

/// A call's messages, with the chain at each of them.
#[derive(Debug)]
pub(super) struct History<'a> {
    messages: &'a [Message],
    /// One more than there are messages: the first is the salt.
    chains: Vec<Chain>,
}

impl<'a> History<'a> {
    pub(super) fn new(salt: Chain, messages: &'a [Message]) -> Self {
        let mut chains = Vec::with_capacity(messages.len() + 1);
        let mut chain = salt;
        chains.push(chain);
        for message in messages {
            chain = extend(chain, message);
            chains.push(chain);
        }
        Self { messages, chains }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Of the whole conversation.
    pub(super) fn whole(&self) -> Chain {
        self.upto(self.messages.len())
    }

    /// Of the first `count` messages.
    pub(super) fn upto(&self, count: usize) -> Chain {
        self.chains.get(count).copied().unwrap_or_default()
    }

    /// The messages after the first `count`.
    pub(super) fn after(&self, count: usize) -> &'a [Message] {
        self.messages.get(count..).unwrap_or_default()
    }

    /// Whether message number `count`, counted from 1, is a model's.
    pub(super) fn is_answer(&self, count: usize) -> bool {
        count.checked_sub(1).and_then(|at| self.messages.get(at)).is_some_and(is_answer)
    }

    /// How many messages there are up to the last answer of a model, it included.
    pub(super) fn last_answer(&self) -> Option<usize> {
        self.messages.iter().rposition(is_answer).map(|at| at + 1)
    }

    /// How many messages there are up to the first one of the user, it included.
    pub(super) fn first_user(&self) -> Option<usize> {
        self.messages.iter().position(is_user).map(|at| at + 1)
    }

    /// Whether the user says something after the first `count` messages.
    pub(super) fn user_speaks_after(&self, count: usize) -> bool {
        self.after(count).iter().any(is_user)
    }
}

/// The chain, one message later.
pub(super) fn extend(chain: Chain, message: &Message) -> Chain {
    let mut link = [0; 32];
    link[..16].copy_from_slice(&chain.to_le_bytes());
    link[16..].copy_from_slice(&message.hash.to_le_bytes());
    xxh3_128(&link)
}

fn is_answer(message: &Message) -> bool {
    message.role == Role::Assistant
}

fn is_user(message: &Message) -> bool {
    message.role == Role::User
}
