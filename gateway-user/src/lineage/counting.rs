//! Clients that count: some SDKs say of each request how often they have sent it before, others say
//! always that they haven't.

use crate::{call::Prompt, limits};

use super::{history::History, recent::Recent, resolve};

/// The clients of an agent that were seen to count, by what they ask with.
#[derive(Debug, Default)]
pub(super) struct Counting(Recent<Client, (), { limits::COUNTING_CLIENTS_PER_AGENT }>);

/// The model, hashed, and the instructions.
type Client = (Option<u64>, u64);

impl Counting {
    /// Takes note of what the call says; whether its client counts.
    pub(super) fn note(&mut self, prompt: &Prompt, history: &History<'_>) -> bool {
        let Some(count) = prompt.client_retry else { return false };
        let client = (resolve::hash_model(prompt), history.instructions);
        if count > 0 {
            self.0.learn(client, ());
        }
        self.0.contains(&client)
    }

    pub(super) const fn evicted(&self) -> u64 {
        self.0.evicted()
    }
}
