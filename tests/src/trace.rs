//! Workflows as other programs read them from `turnpike … --json`. Written apart from the
//! gateway's own types, so that a field that is renamed there fails here.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize)]
pub struct WorkflowSummary {
    pub workflow_id: String,
    pub session_id: String,
    pub agent: AgentRef,
    pub state: String,
    pub totals: Totals,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Workflow {
    #[serde(flatten)]
    pub summary: WorkflowSummary,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AgentRef {
    pub name: String,
    pub cgroup: String,
    pub container_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Totals {
    pub model_calls: u64,
    pub tool_calls: u64,
    #[serde(flatten)]
    pub usage: Usage,
}

/// What calls cost: input counts what was read from or written to a cache, output counts reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names in the JSON")]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    #[serde(default)]
    pub cache_read_tokens: u64,
    #[serde(default)]
    pub cache_creation_tokens: u64,
    /// Those of them that are kept for an hour.
    #[serde(default)]
    pub cache_creation_1h_tokens: u64,
    #[serde(default)]
    pub reasoning_tokens: u64,
}

/// What one call cost, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Spent {
    #[serde(flatten)]
    pub usage: Usage,
    /// Whether it is the gateway's own figure.
    pub estimated: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    pub step_id: String,
    pub parent_step_ids: Vec<String>,
    pub kind: String,
    pub call: String,
    pub dialect: Option<String>,
    pub operation: Option<String>,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    pub response_id: Option<String>,
    pub request_sha256: Option<String>,
    pub tool: Option<Tool>,
    pub confidence: Option<f32>,
    pub retry: Option<Retry>,
    pub exchange_seq: Option<u64>,
    pub pid: Option<u32>,
    pub original_dst: Option<SocketAddr>,
    pub upstream_local: Option<SocketAddr>,
    pub status: Option<u16>,
    #[serde(default)]
    pub finish_reasons: Vec<String>,
    pub error: Option<String>,
    pub usage: Option<Spent>,
    pub unmetered: Option<String>,
    pub settled: bool,
    pub cancel: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Tool {
    pub name: String,
    pub call_id: Option<String>,
    pub server: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Retry {
    pub of_step_id: String,
    pub reason: String,
    #[serde(default)]
    pub replayed: bool,
}

impl Workflow {
    pub fn model_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.call == "model")
    }

    pub fn tool_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.call == "tool")
    }

    /// In the order of the calls.
    pub fn response_ids(&self) -> Vec<&str> {
        self.model_steps().filter_map(|step| step.response_id.as_deref()).collect()
    }

    /// The tool-call ids, each once.
    pub fn call_ids(&self) -> BTreeSet<&str> {
        self.tool_steps().filter_map(|step| step.tool.as_ref()?.call_id.as_deref()).collect()
    }
}
