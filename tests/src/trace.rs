//! Workflows as other programs read them from `turnpike … --json`. Written apart from the
//! gateway's own types, so that a field that is renamed there fails here.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
pub struct WorkflowSummary {
    pub workflow_id: String,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    #[serde(default)]
    pub cache_read_tokens: u64,
    #[serde(default)]
    pub reasoning_tokens: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    pub step_id: String,
    pub parent_step_ids: Vec<String>,
    pub kind: String,
    pub call: String,
    pub response_id: Option<String>,
    pub request_sha256: Option<String>,
    pub tool: Option<Tool>,
    pub original_dst: Option<SocketAddr>,
    pub upstream_local: Option<SocketAddr>,
    pub status: Option<u16>,
    pub usage: Option<Usage>,
    pub settled: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Tool {
    pub name: String,
    pub call_id: Option<String>,
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
