//! Conversations that a server keeps: a request that goes on from one holds only what is new, and names
//! the rest.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::call::{Anchor, Prompt};

use super::{
    history::Chain,
    known::Phase,
    memory::{Memory, Seq},
    resolve::{Basis, Doubt, Link},
};

/// A hash of what a server calls a response or a conversation.
pub(super) type ServerName = u128;

pub(super) fn response(id: &str) -> ServerName {
    xxh3_128_with_seed(id.as_bytes(), 1)
}

fn conversation(id: &str) -> ServerName {
    xxh3_128_with_seed(id.as_bytes(), 2)
}

/// What a request goes on from, if its server keeps that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchored {
    name: ServerName,
    basis: Basis,
    /// The step that answered last there, if it is known.
    pub(super) step: Option<Seq>,
}

impl Anchored {
    pub(super) fn find(memory: &Memory, prompt: &Prompt) -> Option<Self> {
        let (name, basis) = match prompt.terms.goes_on_from.as_ref()? {
            Anchor::Response(id) => (response(id), Basis::Response),
            Anchor::Conversation(id) => (conversation(id), Basis::Conversation),
        };
        let has_answered = |seq: &Seq| {
            memory.step(*seq).is_some_and(|step| matches!(step.phase, Phase::Answered { .. }))
        };
        let step = memory.named.get(name).rev().find(has_answered);
        Some(Self { name, basis, step })
    }

    /// Where the chain of what is new starts: where the chain of what the server keeps ends, so that
    /// a client that sends all of it again is understood, too; if that is not known, where no other
    /// one starts.
    pub(super) fn chain(&self, memory: &Memory, salt: Chain) -> Chain {
        let known = self.step.and_then(|seq| memory.step(seq));
        known.map_or(salt ^ self.name, |step| step.chains().next().unwrap_or(step.asked))
    }

    /// The conversation that the request's step is in.
    pub(super) fn conversation(&self) -> Option<ServerName> {
        (self.basis == Basis::Conversation).then_some(self.name)
    }

    pub(super) fn link(&self, memory: &Memory) -> Option<Link> {
        let step = self.step?;
        let goes_on = memory.step(step)?.continued;
        let doubt = if goes_on { Doubt::Repeated } else { Doubt::Sole };
        Some(Link { step, basis: self.basis, doubt, covers: 0 })
    }
}
