//! The vocabulary that every other module speaks. No I/O, no clocks.

mod digest;
mod facts;
mod glob;
mod ids;
mod map;
mod name;
mod step;
mod time;
mod workflow;

pub use digest::{Digest, DigestParseError};
pub use facts::{Answer, Dialect, Message, Operation, Prompt, Role, ToolCall, Usage};
pub use glob::{Glob, GlobParseError};
pub use ids::{ConnectionId, IdParseError, SessionId, StepId, TraceId, WorkflowId};
pub use map::{Folding, Spread, SpreadMap};
pub use name::Name;
pub use step::{
    CallKind, Confidence, Evidence, EvidenceKind, Retry, RetryReason, Settlement, Step, StepKind,
    Tool,
};
pub use time::{Micros, Timestamp};
pub use workflow::{AgentRef, State, Totals, Workflow, WorkflowSummary};
