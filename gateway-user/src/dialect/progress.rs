//! How far a streamed answer has come, as far as it can be held to something.

use super::Answering;
use crate::call::Usage;

/// What has come of an answer so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The fewest tokens that its text can have: what was said, thought in sight, and called.
    pub fewest: u64,
    /// Tokens of output that its server has reported.
    pub reported: u64,
    /// Whether nothing more is generated.
    pub finished: bool,
}

impl Progress {
    pub(super) fn new(said: &Answering, usage: Option<Usage>, finished: bool) -> Self {
        let reported = usage.map_or(0, |usage| usage.output);
        Self { fewest: said.fewest(), reported, finished }
    }
}
