//! The gateway as the control socket sees it.

use std::{collections::BTreeMap, sync::PoisonError};

use gateway_common::Counters;

use super::{
    Gateway, GatewayError, distrust, everywhere::Everywhere, fleet::Terms, health::Shown, older,
};
use crate::{
    app::agents::Candidate,
    attach::{
        cgroup::{self, Cgroup},
        exposure,
        netns::Netns,
    },
    call::{Workflow, WorkflowSummary},
    control::{
        api::{self, Peer},
        model::{AgentInfo, AgentState, AttachRequest, CaInfo, Coverage, Refusal, Status},
    },
    proxy::Decryption,
    store::Filter,
};

impl api::Gateway for Gateway {
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
        }
    }

    fn agents(&self) -> Vec<AgentInfo> {
        let shown = self.0.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown
            .iter()
            .map(|agent| info(agent, self.0.hooks.counters(agent.held.cgroup_id).as_ref()))
            .collect()
    }

    async fn attach(&self, peer: Peer, request: AttachRequest) -> Result<AgentInfo, Refusal> {
        // It may ask a container runtime for a name, which takes as long as it takes.
        let asked = request.clone();
        let found = tokio::task::spawn_blocking(move || Candidate::find(&asked)).await;
        let candidate =
            found.map_err(|error| Refusal::new(error.to_string()))?.map_err(GatewayError::from)?;
        let defaults = &self.0.config.defaults;
        let mode = request.mode.unwrap_or(defaults.mode);
        let decrypt = request.decrypt.unwrap_or_else(|| defaults.decrypt(mode));
        let existing = older::policy(mode, request.existing)?;
        older::require(existing).await?;
        // Most likely what is started in an empty cgroup lives where its starter does.
        let empty = candidate.cgroup.processes().is_empty();
        let here = empty.then(|| Netns::of_process(peer.pid).ok()).flatten();
        let here = here.into_iter().collect();
        let terms = Terms { mode, existing, decrypt, bundle: request.bundle };
        let shown = self.enlist(peer.pid, candidate, terms, here).await?;
        self.try_redirects_of(&shown.held.name).await;
        Ok(info(&shown, None))
    }

    async fn detach(&self, name: &str, _force: bool) -> Result<(), Refusal> {
        Ok(self.dismiss(name).await?)
    }

    fn ca(&self) -> CaInfo {
        self.ca()
    }

    async fn rotate_ca(&self) -> Result<CaInfo, Refusal> {
        Ok(self.rotate_ca().await?)
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
    fn counters(&self) -> BTreeMap<String, u64> {
        let (agents, store) = (&self.0.context.agents, self.0.workflows.counters());
        let counters = [
            ("connections_of_unknown_origin", agents.unknown_origin()),
            ("lineage_steps_forgotten", agents.forgotten_steps()),
            ("workflows_evicted", store.evicted),
            ("steps_dropped", store.steps_dropped),
            ("calls_ended_too_late", store.late),
            ("names_forgotten", self.0.names.forgotten()),
            ("leaves_forgotten", self.0.decrypting.authority.forgotten()),
        ];
        counters.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.into(), n)).collect()
    }
}

fn info(shown: &Shown, kernel: Option<&Counters>) -> AgentInfo {
    let Shown { held, proxy, health, trust } = shown;
    let report = trust.as_ref().map(|trust| trust.report()).unwrap_or_default();
    let covered = report.covered();
    let distrusts = proxy.as_ref().and_then(|agent| agent.decryption.as_ref());
    let distrusts = distrusts.map(Decryption::distrusts).unwrap_or_default();
    let mut undecrypted = if trust.is_some() { report.notes() } else { Vec::new() };
    undecrypted.extend(distrusts.iter().map(|distrust| distrust::note(distrust, &covered)));
    let seen = proxy.as_ref().map(|agent| agent.coverage.snapshot()).unwrap_or_default();
    let mut coverage = Coverage {
        connections_observed: seen.connections_observed,
        connections_opaque: seen.connections_opaque,
        connections_reset: seen.connections_reset,
        bytes_observed: seen.bytes_observed,
        bytes_opaque: seen.bytes_opaque,
        calls: seen.calls,
        calls_not_understood: seen.calls_not_understood,
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
    AgentInfo {
        name: held.name.clone(),
        mode: held.mode,
        decrypt: held.decrypt,
        cgroup: held.cgroup.clone(),
        cgroup_id: held.cgroup_id,
        container_id: held.container_id.clone(),
        pod: held.pod.clone(),
        state: if proxy.is_some() { AgentState::Attached } else { AgentState::Pinned },
        redirect: health.redirect(),
        gateway_pid: Some(std::process::id()),
        attached_at: Some(held.attached_at),
        coverage,
        covered,
        undecrypted,
        notes: cgroup.map(|cgroup| exposure::notes(&cgroup)).unwrap_or_default(),
    }
}
