//! Where somebody says that each exchange belongs: the engine, or what it is compared with.

use std::collections::BTreeMap;

use turnpike::call::StepKind;

use super::{read::Events, record::StepRef};

/// Where an exchange is said to belong.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Equal for exchanges that are said to belong together; numbers mean nothing else.
    pub session: u128,
    pub workflow: u128,
    pub parents: Vec<StepRef>,
    pub kind: StepKind,
    /// The first try that it repeats, and why.
    pub retry: Option<(Option<u64>, String)>,
    /// Absent where none is told.
    pub confidence: Option<f32>,
}

/// All places, by exchange.
pub type Guess = BTreeMap<u64, Place>;

/// Says of each exchange where it belongs.
pub trait Guesser {
    fn name(&self) -> &'static str;
    fn guess(&self, events: &Events) -> Guess;
}
