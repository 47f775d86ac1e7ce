//! The vocabulary that every other module speaks. No I/O, no clocks.

mod answer;
mod api;
mod digest;
mod glob;
mod ids;
mod map;
mod money;
mod name;
mod prompt;
mod reason;
mod signal;
mod step;
mod time;
mod workflow;

pub use answer::{Answer, ToolCall, Usage};
pub use api::{Dialect, Operation, Unmetered};
pub use digest::{Digest, DigestParseError};
pub use glob::{Glob, GlobParseError};
pub use ids::{ConnectionId, IdParseError, SessionId, StepId, TraceId, WorkflowId};
pub use map::{Folding, Spread, SpreadMap};
pub use money::{MoneyParseError, NanoUsd};
pub use name::Name;
pub use prompt::{Anchor, Invocation, Message, Prompt, Role, Segments, Terms};
pub use reason::{Cause, Reason};
pub use signal::Signal;
pub use step::{
    CallKind, Confidence, Evidence, EvidenceKind, Retry, RetryReason, Settlement, Spent, Step,
    StepKind, Tool,
};
pub use time::{Micros, Timestamp};
pub use workflow::{AgentRef, State, Totals, Workflow, WorkflowSummary};
