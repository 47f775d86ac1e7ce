//! The vocabulary that every other module speaks. No I/O, no clocks.

mod answer;
mod api;
mod cancel;
mod command;
mod digest;
mod effects;
mod glob;
mod holder;
mod ids;
mod map;
mod money;
mod name;
mod process;
mod prompt;
mod reason;
mod signal;
mod step;
mod time;
mod url;
mod value;
mod workflow;

pub use answer::{Answer, ToolCall, Usage};
pub use api::{Dialect, Operation, Unmetered};
pub use cancel::{Cancel, CancelCause, CancelOutcome, CancelRequest, UpstreamTold};
pub use command::{Command, Likeness};
pub use digest::{Digest, DigestParseError};
pub use effects::SideEffects;
pub use glob::{Glob, GlobParseError};
pub use holder::Holder;
pub use ids::{ConnectionId, IdParseError, SessionId, StepId, TraceId, WorkflowId};
pub use map::{Folding, Spread, SpreadMap};
pub use money::{MoneyParseError, NanoUsd};
pub use name::Name;
pub use process::{Act, ProcessEvent};
pub use prompt::{Anchor, Invocation, Message, Prompt, Role, Segments, Terms};
pub use reason::{Cause, Reason};
pub use signal::Signal;
pub use step::{
    CallKind, Confidence, Corrected, Decision, Evidence, EvidenceKind, Retry, RetryReason, Ruling,
    Settlement, Spent, Step, StepKind, TooLong, Tool, Was,
};
pub use time::{Micros, Timestamp};
pub use url::{Mention, Url};
pub use value::{Opening, Passage, Start, Value};
pub use workflow::{AgentRef, State, Totals, Workflow, WorkflowSummary};
