//! What processes do, as far as lineage needs it.

use super::{Command, Timestamp};

/// Something that a process of an agent did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    pub at: Timestamp,
    /// As the host numbers it.
    pub pid: u32,
    pub act: Act,
}

/// What a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It was forked, by this process.
    Forked { by: u32 },
    /// It runs another program; by which command line, if that could be read.
    Executed { command: Option<Command> },
    /// The last of its threads is gone.
    Exited,
}
