//! Why a call does not go on, as its client is told.

use std::{fmt, sync::Arc};

use super::{CancelCause, StepId, Unmetered};

/// Why a call is refused, or cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub cause: Cause,
    text: Arc<str>,
}

/// What stands against a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It can't be said what it costs.
    Unmetered,
    /// It would cost more than may be spent.
    Budget,
    /// What it is a part of has lasted as long as it may.
    Deadline,
    /// It was made too often.
    Loop,
    /// A rule forbids it.
    Policy,
    /// Somebody has ended it, or what it is a part of.
    Cancelled,
    /// The tool call that it is made for was cancelled.
    ParentCancelled,
    /// Its agent has exited.
    AgentExited,
    /// The gateway ends. The only cause that is gone when the call is made again.
    Ending,
}

impl Cause {
    /// As programs are told it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unmetered => "turnpike_unmetered",
            // Limits of a budget, too.
            Self::Budget | Self::Deadline | Self::Loop => "turnpike_budget_exceeded",
            Self::Policy => "turnpike_denied",
            Self::Cancelled | Self::ParentCancelled | Self::AgentExited => "turnpike_cancelled",
            Self::Ending => "turnpike_ending",
        }
    }

    /// Whether a budget stands against it.
    #[must_use]
    pub const fn is_budget(self) -> bool {
        matches!(self, Self::Budget | Self::Deadline | Self::Loop)
    }
}

impl From<Cause> for CancelCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Budget => Self::Budget,
            Cause::Deadline => Self::Deadline,
            Cause::Loop => Self::Loop,
            Cause::Unmetered | Cause::Policy => Self::Policy,
            Cause::Cancelled => Self::Kill,
            Cause::ParentCancelled => Self::ParentCancelled,
            Cause::AgentExited => Self::AgentExited,
            Cause::Ending => Self::GatewayEnding,
        }
    }
}

impl Reason {
    /// `text` says what is wrong and what to do about it, in one line.
    pub fn new(cause: Cause, text: impl Into<Arc<str>>) -> Self {
        Self { cause, text: text.into() }
    }

    /// Of what is beneath a tool call that was cancelled.
    #[must_use]
    pub fn beneath(step: StepId) -> Self {
        let text = format!(
            "step {step}, the tool call that this call is made for, was cancelled; nobody waits for \
             the answer any more"
        );
        Self::new(Cause::ParentCancelled, text)
    }

    /// Of an agent that has exited.
    #[must_use]
    pub fn exited() -> Self {
        Self::new(Cause::AgentExited, "the agent has exited; nobody waits for the answer any more")
    }

    /// Of a gateway that ends.
    #[must_use]
    pub fn ending() -> Self {
        Self::new(Cause::Ending, "the gateway is ending; send the request again")
    }
}

impl From<Unmetered> for Reason {
    fn from(why: Unmetered) -> Self {
        let text = format!(
            "it can't be said what this call costs: {why}; send it in another form, or have the \
             operator allow it with on_unmetered = \"allow\""
        );
        Self::new(Cause::Unmetered, text)
    }
}

/// As people are told it.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turnpike: {}", self.text)
    }
}
