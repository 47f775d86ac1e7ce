//! A workflow as `turnpike workflows --json` and `turnpike trace --json` show it.

use serde::{Deserialize, Serialize};

use super::{Micros, NanoUsd, SessionId, Spent, Step, Timestamp, TraceId, WorkflowId};

/// A workflow with all its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    #[serde(flatten)]
    pub summary: WorkflowSummary,
    /// In the order in which they started.
    pub steps: Vec<Step>,
}

/// A workflow without its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowSummary {
    pub workflow_id: WorkflowId,
    pub session_id: SessionId,
    pub trace_id: TraceId,
    /// Grows with each change of the workflow.
    pub revision: u64,
    pub agent: AgentRef,
    pub state: State,
    pub started_at: Timestamp,
    /// Absent while the workflow is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// HMAC-SHA256 of the wish under this node's key, in hex: a plain hash of a short wish could
    /// be guessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish_hmac: Option<String>,
    pub totals: Totals,
}

/// The agent that a workflow runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRef {
    pub name: String,
    /// The path below the cgroup2 mount, from `/`.
    pub cgroup: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

/// Where a workflow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A call is in flight, or a tool's result has not come back.
    Active,
    /// The last call gave a final answer.
    Done,
    Cancelled,
    /// The last call failed.
    Failed,
}

/// What a workflow has spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub model_calls: u64,
    /// Each counted once, when a model emits it.
    pub tool_calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_creation_tokens: u64,
    pub reasoning_tokens: u64,
    /// Absent while no call has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<NanoUsd>,
    /// Calls whose tokens are counted above, and whose price is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unpriced_calls: u64,
    /// From the start to the end, or to the last thing seen.
    pub wall_ms: Micros,
}

impl Totals {
    pub fn add(&mut self, spent: &Spent) {
        let usage = spent.usage.unwrap_or_default();
        let sums = [
            (&mut self.input_tokens, usage.input),
            (&mut self.output_tokens, usage.output),
            (&mut self.cache_read_tokens, usage.cache_read.unwrap_or(0)),
            (&mut self.cache_creation_tokens, usage.cache_creation.unwrap_or(0)),
            (&mut self.reasoning_tokens, usage.reasoning.unwrap_or(0)),
            (&mut self.unpriced_calls, spent.unpriced.into()),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        if let Some(usd) = spent.usd {
            *self.usd.get_or_insert_default() += usd;
        }
    }
}

impl Totals {
    /// What another one spent, too.
    pub fn merge(&mut self, other: &Self) {
        let sums = [
            (&mut self.model_calls, other.model_calls),
            (&mut self.tool_calls, other.tool_calls),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.cache_read_tokens, other.cache_read_tokens),
            (&mut self.cache_creation_tokens, other.cache_creation_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
            (&mut self.unpriced_calls, other.unpriced_calls),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        if let Some(usd) = other.usd {
            *self.usd.get_or_insert_default() += usd;
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
