//! A conversation as a chain of hashes, so that equal beginnings have equal hashes.

use xxhash_rust::xxh3::xxh3_128;

use crate::call::{Message, Role};

use super::{manners::Kind, traces::Trace};

/// The hash of a conversation up to some message, in order:
/// `chain(0) = salt`, `chain(i) = xxh3_128(chain(i - 1), hash of message i)`.
pub(super) type Chain = u128;

/// A call's messages, with the chain at each of them. The instructions that lead them stand apart:
/// they are another agent's when one hands over to it, and some tell the time.
#[derive(Debug)]
pub(super) struct History<'a> {
    /// A hash of them.
    pub(super) instructions: u64,
    /// The kind of agent that it is of: who has these instructions, and these tools.
    pub(super) kind: Kind,
    /// The trace that its client says it is in.
    pub(super) trace: Option<Trace>,
    messages: &'a [Message],
    salt: Chain,
    /// One more than there are messages: the first is the start.
    chains: Vec<Chain>,
}

impl<'a> History<'a> {
    /// `start` is where its chain starts.
    pub(super) fn new(salt: Chain, start: Chain, messages: &'a [Message]) -> Self {
        let leading = messages.iter().take_while(|message| message.role == Role::System).count();
        // Where nothing follows them, they are what is said.
        let leading = if leading == messages.len() { 0 } else { leading };
        let (instructions, messages) = messages.split_at(leading);
        #[allow(clippy::cast_possible_truncation, reason = "a hash of a hash")]
        let hashed = instructions.iter().fold(salt, extend) as u64;
        let instructions = if instructions.is_empty() { 0 } else { hashed };
        let mut chains = Vec::with_capacity(messages.len() + 1);
        let mut chain = start;
        chains.push(chain);
        for message in messages {
            chain = extend(chain, message);
            chains.push(chain);
        }
        Self { instructions, kind: instructions, trace: None, messages, salt, chains }
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

    /// Of the last answer of a model, alone.
    pub(super) fn last_answer_alone(&self) -> Option<u128> {
        let answer = self.messages.iter().rfind(|message| is_answer(message));
        answer.map(|message| extend(self.salt, message))
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
