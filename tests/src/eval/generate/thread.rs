//! One conversation of an agent.

use turnpike::call::StepKind;

use super::{
    framework::{Framework, Names},
    wire::{Call, Turn},
};
use crate::eval::record::StepRef;

/// One conversation of an agent, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub(super) framework: &'static Framework,
    pub(super) names: Names,
    pub(super) agent: usize,
    pub(super) pid: u32,
    pub(super) session: u64,
    pub(super) workflow: u64,
    pub(super) case: &'static str,
    /// Of its calls whose answers call tools: planner, or worker in a sub-agent.
    pub(super) role: StepKind,
    pub(super) turns: Vec<Turn>,
    /// What its next call follows.
    pub(super) parents: Vec<StepRef>,
    pub(super) now: u64,
    pub(super) model: &'static str,
    /// The response that it goes on from by id, and how many turns that holds.
    pub(super) previous: Option<(String, usize)>,
    /// How much later than their consequences the ends of its exchanges are noticed.
    pub(super) skew_us: u64,
    pub(super) failed: Option<Failed>,
}

/// Tries that have failed.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) first: u64,
    pub(super) reason: &'static str,
    pub(super) tries: u32,
}

impl Thread {
    /// What fails is tried again by who has no part in the counting.
    pub(super) fn counts_anew(&mut self) {
        if let Some(failed) = &mut self.failed {
            failed.tries = 0;
        }
    }

    /// Says something in the user's place, and notes nothing else.
    pub(super) fn hears(&mut self, text: impl Into<String>) {
        self.turns.push(Turn::User(text.into()));
    }

    /// Goes on in another conversation: what was said so far is not sent again.
    pub(super) fn begins_anew(&mut self, turns: Vec<Turn>) {
        (self.previous, self.turns) = (None, turns);
    }
}

/// The tool calls of the last answer.
pub(super) fn last_calls(thread: &Thread) -> Vec<Call> {
    let mut replies = thread.turns.iter().rev();
    let last = replies.find_map(|turn| match turn {
        Turn::Assistant(reply) => Some(reply.calls.clone()),
        _ => None,
    });
    last.unwrap_or_default()
}
