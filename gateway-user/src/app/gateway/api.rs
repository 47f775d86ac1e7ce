//! The gateway as the control socket sees it.

use std::{collections::BTreeMap, sync::PoisonError};

use gateway_common::Counters;
use tokio::runtime::Handle;

use super::{Gateway, GatewayError, distrust, everywhere::Everywhere, health::Shown, older, watch};
use crate::{
    app::agents::{Candidate, Terms},
    attach::{
        cgroup::{self, Cgroup},
        exposure,
        netns::Netns,
    },
    call::{Workflow, WorkflowSummary},
    cancel::Kill,
    control::{
        api::{self, Peer},
        budget::{BudgetInfo, Reset, ResetRequest},
        kill::{KillReport, KillRequest, ReviveRequest, Revived},
        model::{
            Accuracy, AgentInfo, AgentState, AttachRequest, CaInfo, Coverage, EgressRefused,
            EstimatedModel, Estimates, OtherTraffic, Refusal, Status, attached_by,
        },
    },
    proxy::{Decryption, Kind, Others, Tally},
    store::Filter,
};

impl api::Gateway for Gateway {
    fn runtime(&self) -> Handle {
        self.0.runtime.clone()
    }

    fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            boot_id: format!("{:016x}", u64::from_be_bytes(self.0.boot)),
            ready: true,
            embedded: self.0.embedded,
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.0.started_at,
            agents: self.0.shown.read().unwrap_or_else(PoisonError::into_inner).len(),
            counters: self.counters(),
            unattached: self.0.watched.unattached(),
            ledger: self.kept(),
            bounds: self.bounds(),
            estimates: self.estimates(),
            egress: self.egress_rules(),
        }
    }

    fn agents(&self) -> Vec<AgentInfo> {
        let shown = self.0.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown
            .iter()
            .map(|agent| self.info(agent, self.0.hooks.counters(agent.held.cgroup_id).as_ref()))
            .collect()
    }

    async fn attach(&self, peer: Peer, request: AttachRequest) -> Result<AgentInfo, Refusal> {
        // It may ask a container runtime for a name, which takes as long as it takes.
        let asked = request.clone();
        let gateway = self.clone();
        let found = tokio::task::spawn_blocking(move || gateway.find(&asked)).await;
        let (candidate, terms) = found.map_err(|error| Refusal::new(error.to_string()))??;
        older::require(terms.existing).await?;
        // Most likely what is started in an empty cgroup lives where its starter does.
        let empty = candidate.cgroup.processes().is_empty();
        let here = empty.then(|| Netns::of_process(peer.pid).ok()).flatten();
        let here = here.into_iter().collect();
        let shown = self.enlist(peer.pid, candidate, terms, here).await?;
        self.try_redirects_of(&shown.held.name).await;
        Ok(self.info(&shown, None))
    }

    async fn detach(&self, name: &str, _force: bool) -> Result<(), Refusal> {
        self.dismiss(name).await?;
        // Whoever detaches it reads its workflows next.
        self.settled().await;
        Ok(())
    }

    fn ca(&self) -> CaInfo {
        self.ca()
    }

    async fn rotate_ca(&self) -> Result<CaInfo, Refusal> {
        Ok(self.rotate_ca().await?)
    }

    fn budgets(&self, limit: usize) -> Vec<BudgetInfo> {
        self.budgets(limit)
    }

    fn reset_budget(&self, peer: Peer, request: ResetRequest) -> Result<Reset, Refusal> {
        self.reset_budget(peer, request)
    }

    fn kills(&self) -> Vec<Kill> {
        self.kills()
    }

    async fn kill(&self, peer: Peer, request: KillRequest) -> Result<KillReport, Refusal> {
        self.kill(peer, request).await
    }

    async fn revive(&self, peer: Peer, request: ReviveRequest) -> Result<Revived, Refusal> {
        self.revive(peer, request).await
    }

    fn workflows(&self, filter: &Filter) -> Vec<WorkflowSummary> {
        self.0.workflows.list(filter)
    }

    fn workflow(&self, id_prefix: &str) -> Result<Workflow, Refusal> {
        self.0
            .workflows
            .get(id_prefix)
            .map_err(|error| Refusal::new(error.to_string()).fix("see `turnpike workflows`"))
    }

    fn all_workflows(&self, filter: &Filter) -> Vec<Workflow> {
        self.0.workflows.all(filter)
    }

    fn admits(&self, peer: &Peer) -> bool {
        // Who can't be placed is not trusted.
        let Ok(cgroup) = cgroup::path_of_process(peer.pid) else { return false };
        let shown = self.0.shown.read().unwrap_or_else(PoisonError::into_inner);
        let own = shown.iter().map(|agent| agent.held.cgroup.clone());
        let others = self.everywhere().unwrap_or_else(|error| {
            tracing::error!(%error, "other gateways' agents are not known");
            Everywhere::default()
        });
        own.chain(others.cgroups.into_keys())
            .all(|agent| !cgroup::path_holds(&agent, cgroup.as_str()))
    }
}

impl Gateway {
    /// What a request means, and on which terms: where it says nothing, a rule that matches does.
    fn find(&self, request: &AttachRequest) -> Result<(Candidate, Terms), GatewayError> {
        let mut candidate = Candidate::find(request)?;
        let ruled = self.rule_for(&candidate.cgroup);
        let rule = ruled.as_ref().and_then(|(place, _)| self.0.config.agents.get(*place));
        if let Some((_, inquiry)) = &ruled {
            candidate.container = candidate.container.or_else(|| inquiry.container().cloned());
            if request.name.is_none() && rule.is_some_and(|rule| rule.name.is_some()) {
                candidate.name = watch::name_by(rule, inquiry)?;
            }
        }
        let mode = request.mode.or_else(|| rule?.mode).unwrap_or(self.0.config.defaults.mode);
        let asked = request.existing.or_else(|| watch::existing_by(rule?, mode));
        let decrypt = request.decrypt.or_else(|| rule?.decrypt);
        let on_unmetered = rule.and_then(|rule| rule.on_unmetered);
        let on_retry = rule.and_then(|rule| rule.on_retry);
        let replay_aborted = rule.and_then(|rule| rule.replay_aborted);
        let terms = Terms {
            mode,
            on_unmetered: on_unmetered.unwrap_or(self.0.config.defaults.on_unmetered),
            on_retry: on_retry.unwrap_or(self.0.config.defaults.on_retry),
            replay_aborted: replay_aborted.unwrap_or(self.0.config.defaults.replay_aborted),
            decrypt: decrypt.unwrap_or_else(|| self.0.config.defaults.decrypt(mode)),
            bundle: request.bundle.clone(),
            budget: request.budget.clone(),
            existing: older::policy(mode, asked)?,
            tenant: rule.and_then(|rule| rule.tenant.clone()),
            container_name: ruled.and_then(|(_, inquiry)| inquiry.told().name.clone()),
            rule: None,
            late_ms: None,
            moving: false,
        };
        Ok((candidate, terms))
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let (agents, store) = (&self.0.context.agents, self.0.workflows.counters());
        let lineage = agents.lineage();
        let counters = [
            ("connections_of_unknown_origin", agents.unknown_origin()),
            ("lineage_steps_forgotten", lineage.evicted),
            ("lineage_processes_forgotten", lineage.processes_evicted),
            ("workflows_evicted", store.evicted),
            ("steps_dropped", store.steps_dropped),
            ("calls_ended_too_late", store.late),
            ("names_forgotten", self.0.names.forgotten()),
            ("calls_not_learned_from", self.0.context.recording.estimates().beyond),
            ("leaves_forgotten", self.0.decrypting.authority.forgotten()),
            ("budget_events_lost", self.0.purse.with(|ledger| ledger.lost_events())),
        ];
        let counters = counters.into_iter().chain(self.0.watched.counters());
        counters.filter(|(_, n)| *n > 0).map(|(name, n)| (name.into(), n)).collect()
    }

    fn estimates(&self) -> Estimates {
        let known = self.0.context.recording.estimates();
        let models = known.accuracy.into_iter().map(|(model, it)| EstimatedModel {
            model: model.to_string(),
            input: Accuracy { samples: it.inputs, error_permille: it.input_error },
            output: Accuracy { samples: it.outputs, error_permille: it.output_error },
        });
        Estimates { calls: known.calls, by_size: known.by_size, models: models.collect() }
    }

    fn info(&self, shown: &Shown, kernel: Option<&Counters>) -> AgentInfo {
        let mut info = info(shown, kernel);
        info.notes.extend(self.hosts_note(shown));
        info.notes.extend(self.0.blind.clone());
        info
    }
}

fn other(others: &Others) -> Vec<OtherTraffic> {
    let line = |(kind, tally): (Kind, Tally)| OtherTraffic {
        host: kind.host.map(String::from),
        method: kind.method.into(),
        path: kind.path.into(),
        rpc_method: kind.rpc_method.map(str::to_owned),
        unmetered: kind.unmetered,
        exchanges: tally.exchanges,
        request_bytes: tally.request_bytes,
        response_bytes: tally.response_bytes,
        status: tally.status,
    };
    others.snapshot().into_iter().map(line).collect()
}

fn info(shown: &Shown, kernel: Option<&Counters>) -> AgentInfo {
    let Shown { held, proxy, health, trust } = shown;
    let report = trust.as_ref().map(|trust| trust.report()).unwrap_or_default();
    let covered = report.covered();
    let distrusts = proxy.as_ref().and_then(|agent| agent.decryption.as_ref());
    let distrusts = distrusts.map(Decryption::distrusts).unwrap_or_default();
    let mut undecrypted = if trust.is_some() { report.notes() } else { Vec::new() };
    undecrypted.extend(distrusts.iter().map(|distrust| distrust::note(distrust, &covered)));
    let seen = proxy.as_ref().map(|agent| agent.seen()).unwrap_or_default();
    let mut coverage = Coverage {
        connections_observed: seen.connections_observed,
        connections_opaque: seen.connections_opaque,
        connections_reset: seen.connections_reset,
        bytes_observed: seen.bytes_observed,
        bytes_opaque: seen.bytes_opaque,
        calls: seen.calls,
        calls_not_understood: seen.calls_not_understood,
        calls_unmetered: seen.calls_unmetered,
        calls_estimated: seen.calls_estimated,
        calls_unpriced: seen.calls_unpriced,
        tls_names: seen.tls_names,
        reasons: seen.reasons.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
        existing_sockets: health.older(),
        existing_reset: health.reset(),
        ..Coverage::default()
    };
    if let Some(counters) = kernel {
        coverage.add_kernel(counters);
        // Our own are not the agent's.
        coverage.redirected = coverage.redirected.saturating_sub(health.tests());
    }
    let cgroup = Cgroup::open(held.cgroup.as_ref());
    let refused = proxy.as_ref().map(|agent| agent.refusals.snapshot()).unwrap_or_default();
    let refused = refused.into_iter();
    AgentInfo {
        name: held.name.clone(),
        mode: held.mode,
        decrypt: held.decrypt,
        cgroup: held.cgroup.clone(),
        cgroup_id: held.cgroup_id,
        container_id: held.container_id.clone(),
        pod: held.pod.clone(),
        container_name: held.container_name.clone(),
        tenant: held.tenant.clone(),
        attached_by: Some(attached_by(held.rule)),
        late_ms: held.late_ms,
        state: match proxy {
            Some(agent) if agent.is_killed().is_some() => AgentState::Killed,
            Some(_) => AgentState::Attached,
            None => AgentState::Pinned,
        },
        redirect: health.redirect(),
        gateway_pid: Some(std::process::id()),
        attached_at: Some(held.attached_at),
        coverage,
        other: proxy.as_ref().map(|agent| other(&agent.others)).unwrap_or_default(),
        egress_refused: refused
            .map(|(allow, connections)| EgressRefused { allow, connections })
            .collect(),
        covered,
        undecrypted,
        notes: cgroup.map(|cgroup| exposure::notes(&cgroup)).unwrap_or_default(),
    }
}
