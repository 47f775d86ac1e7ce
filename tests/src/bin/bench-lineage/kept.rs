//! What the store keeps of workflows, for the control API: not needed to place calls.

use allocation_counter::{AllocationInfo, measure};
use turnpike::{
    call::{
        AgentRef, CallKind, ConnectionId, Dialect, Digest, Name, NanoUsd, Operation, Settlement,
        Spent, Step, Timestamp, Usage,
    },
    lineage::{Completion, Lineage, Placement},
    store::Workflows,
};
use turnpike_tests::figure::Figure;

use crate::traffic::{Call, TURNS, Traffic};

/// Of 1,000 and 10,000 workflows.
pub(crate) fn figures() -> Vec<Figure> {
    let of = |workflows| {
        let bytes = bytes_per_call(Traffic { workflows });
        let what = format!(
            "memory of a model call and the tool call it ends in, in the store, {workflows} workflows"
        );
        Figure::new(what, "B", None, vec![bytes])
    };
    vec![of(1000), of(10_000)]
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn bytes_per_call(traffic: Traffic) -> f64 {
    let mut agents: Vec<Agent> = (0..traffic.agents()).map(Agent::new).collect();
    let store = Workflows::new();
    let mut counted = AllocationInfo::default();
    for (agent, call) in (0..TURNS).flat_map(|turn| traffic.calls(turn)) {
        if let Some(agent) = agents.get_mut(agent) {
            counted += agent.call(&store, call);
        }
    }
    counted.bytes_current as f64 / (traffic.workflows * TURNS) as f64
}

struct Agent {
    lineage: Lineage,
    reference: AgentRef,
}

impl Agent {
    fn new(number: u64) -> Self {
        let name = format!("agent-{number}");
        let cgroup = format!("/system.slice/{name}.scope");
        let reference = AgentRef { name, cgroup, container_id: None, pod: None };
        Self { lineage: Lineage::new(number), reference }
    }

    /// What the store allocates for it.
    fn call(&mut self, store: &Workflows, call: Call) -> AllocationInfo {
        let placement = self.lineage.place(call.at, &call.prompt());
        let outcome = call.outcome();
        let completion = self.lineage.finish(placement.step, call.at, &outcome);
        let wish = placement.opens_workflow.then(|| "0".repeat(64));
        measure(|| {
            let step = self.step(&placement, call.at);
            store.insert_placed(&self.reference, &placement, step, wish.clone());
            let ended = settlement(&placement, &completion, outcome.answer.response_id.clone());
            store.finish(&self.reference, placement.workflow, ended, &completion, call.at);
        })
    }

    fn step(&self, placement: &Placement, at: Timestamp) -> Step {
        let address = Some(([10, 0, 0, 1], 443).into());
        Step {
            parent_step_ids: placement.parents.clone(),
            confidence: placement.confidence,
            dialect: Some(Dialect::OpenaiChat),
            operation: Some(Operation::Chat),
            request_model: Some(Name::shared("gpt-4o-mini")),
            request_sha256: Some(Digest([7; 32])),
            host: Some(Name::shared("api.openai.com")),
            original_dst: address,
            upstream_local: address,
            pid: Some(4242),
            connection_id: Some(ConnectionId(7)),
            exchange_seq: Some(0),
            evidence: placement.evidence.clone(),
            retry: placement.retry,
            ..Step::new(
                placement.step,
                (placement.kind, CallKind::Model),
                Name::shared(&self.reference.name),
                at,
            )
        }
    }
}

fn settlement(
    placement: &Placement,
    completion: &Completion,
    response_id: Option<String>,
) -> Settlement {
    let usage = Some(Usage { input: 1000, output: 100, ..Usage::default() });
    Settlement {
        step_id: placement.step,
        kind: completion.kind,
        response_model: Some(Name::shared("gpt-4o-mini-2024-07-18")),
        response_id,
        finish_reasons: vec![Name::shared("tool_calls")],
        error: None,
        spent: Some(Spent { usage, usd: Some(NanoUsd(210_000)), ..Spent::default() }),
        status: Some(200),
        ttft_ms: None,
        duration_ms: None,
        cancel: None,
        too_long: None,
    }
}
