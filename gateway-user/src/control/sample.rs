//! Documents for tests.

use std::collections::BTreeMap;

use super::{
    kill::{KillReport, Revived},
    model::{AgentInfo, AgentState, CaInfo, Coverage, Estimates, Redirect, Status},
};
use crate::{
    call::{
        AgentRef, CallKind, Confidence, Evidence, EvidenceKind, Holder, Micros, SessionId, State,
        Step, StepId, StepKind, Timestamp, Tool, Totals, TraceId, Usage, Workflow, WorkflowId,
        WorkflowSummary,
    },
    cancel::{Kill, Toll},
    config::{Decrypt, Mode},
};

/// 2023-11-14T22:13:20Z.
pub(super) const START: Timestamp = Timestamp(1_700_000_000_000_000);

pub(super) fn status() -> Status {
    Status {
        pid: std::process::id(),
        boot_id: "00ff".to_owned(),
        ready: true,
        embedded: false,
        version: "0.1.0".to_owned(),
        started_at: START,
        agents: 1,
        counters: BTreeMap::new(),
        unattached: Vec::new(),
        ledger: None,
        estimates: Estimates::default(),
        bounds: Vec::new(),
        egress: Vec::new(),
    }
}

pub(super) fn ca() -> CaInfo {
    let (not_before, not_after) = (START, START.after(Micros(86_400_000_000)));
    let json = serde_json::json!({
        "path": "/var/lib/turnpike/ca.pem", "sha256": "AB:CD", "pem": "PEM", "anchors": "PEM",
        "not_before": not_before, "not_after": not_after,
    });
    serde_json::from_value(json).expect("as it is written")
}

pub(super) fn agent(name: &str) -> AgentInfo {
    AgentInfo {
        name: name.to_owned(),
        mode: Mode::Audit,
        decrypt: Decrypt::Off,
        cgroup: format!("/machine.slice/{name}.scope"),
        cgroup_id: 4711,
        container_id: Some("0123456789abcdef0123".to_owned()),
        pod: None,
        container_name: None,
        tenant: None,
        attached_by: None,
        late_ms: None,
        state: AgentState::Attached,
        gateway_pid: Some(12),
        attached_at: Some(START),
        redirect: Some(Redirect::Ok),
        coverage: Coverage {
            connections_observed: 1_234,
            bytes_observed: 35_000_000,
            calls: 17,
            existing_sockets: Some(0),
            ..Coverage::default()
        },
        other: Vec::new(),
        egress_refused: Vec::new(),
        covered: Vec::new(),
        undecrypted: Vec::new(),
        notes: Vec::new(),
    }
}

/// A planner, two tools at a time, and the answer; each step is placed by evidence.
pub(super) fn kill(holder: Holder) -> Kill {
    let (reason, cut) = (Some("it loops".into()), Toll { streams: 2, sockets: 3, processes: 0 });
    Kill { holder, at: Timestamp(5_000_000), by_uid: 0, reason, cut }
}

pub(super) fn revived(holder: Holder) -> Revived {
    Revived { holder: holder.clone(), kill: Some(kill(holder)), resumed: false }
}

/// What a kill came to that was silent, or was not.
pub(super) fn killed(holder: Holder, silent: bool) -> KillReport {
    let at = |micros: u64| Some(Timestamp(5_000_000 + micros));
    KillReport {
        holder,
        received_at: Timestamp(5_000_000),
        persisted_at: at(9_000),
        denied_at: at(100),
        cancelled_at: at(250),
        last_upstream_byte_at: at(1_400),
        silent,
        silent_at: at(7_000).filter(|_| silent),
        streams_cut: 2,
        sockets_destroyed: 3,
        processes_signalled: 0,
        not_covered: (!silent).then(|| "open sockets of agent a".to_owned()).into_iter().collect(),
    }
}

pub(super) fn workflow(id: u64) -> Workflow {
    let mut planner = model(1, StepKind::Planner, &[]);
    planner.evidence = vec![evidence(EvidenceKind::NewHistory, None)];
    let mut last = model(4, StepKind::Final, &[2, 3]);
    last.usage = Some(Usage { cache_read: Some(800), ..usage(1_234, 340) });
    last.evidence = vec![evidence(EvidenceKind::ToolCallId, Some(3))];
    Workflow {
        summary: WorkflowSummary {
            workflow_id: WorkflowId(id),
            session_id: SessionId(7),
            trace_id: TraceId(8),
            revision: 9,
            agent: AgentRef {
                name: "research".to_owned(),
                cgroup: "/machine.slice/research.scope".to_owned(),
                container_id: None,
                pod: None,
            },
            state: State::Done,
            started_at: START,
            ended_at: Some(START.after(Micros(4_200_000))),
            wish_hmac: None,
            totals: Totals {
                model_calls: 2,
                tool_calls: 2,
                input_tokens: 1_734,
                output_tokens: 390,
                cache_read_tokens: 800,
                wall_ms: Micros(4_200_000),
                ..Totals::default()
            },
        },
        steps: vec![planner, tool(2, "search", &[1]), tool(3, "fetch", &[1]), last],
    }
}

pub(super) fn model(id: u64, kind: StepKind, parents: &[u64]) -> Step {
    Step {
        request_model: Some("gpt-4o".into()),
        usage: Some(usage(500, 50)),
        ttft_ms: Some(Micros(340_000)),
        duration_ms: Some(Micros(2_100_000)),
        status: Some(200),
        finish_reasons: vec!["stop".into()],
        ..step(id, CallKind::Model, kind, parents)
    }
}

pub(super) fn tool(id: u64, name: &str, parents: &[u64]) -> Step {
    Step {
        tool: Some(Tool { name: name.to_owned(), call_id: None, server: None }),
        duration_ms: Some(Micros(12_000)),
        ..step(id, CallKind::Tool, StepKind::Tool, parents)
    }
}

fn step(id: u64, call: CallKind, kind: StepKind, parents: &[u64]) -> Step {
    Step {
        parent_step_ids: parents.iter().map(|parent| StepId(parent << 32)).collect(),
        settled: true,
        ..Step::new(StepId(id << 32), (kind, call), "research".into(), START.after(Micros(id)))
    }
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

fn evidence(kind: EvidenceKind, from: Option<u64>) -> Evidence {
    Evidence {
        kind,
        confidence: Confidence::CERTAIN,
        from_step_id: from.map(|from| StepId(from << 32)),
    }
}
