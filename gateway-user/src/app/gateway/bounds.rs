//! Bounds and egress rules as they are shown: what they are, and how often they were met.

use gateway_common::{Counter, DNS_RING_BYTES, MAX_SOCKETS_PER_AGENT, PROCESS_RING_BYTES};

use super::{Gateway, health::Shown};
use crate::{
    config::Mode,
    control::model::{self, Bound, Unit},
    limits,
};

impl Gateway {
    /// Every bound that is counted when it is hit.
    pub(super) fn bounds(&self) -> Vec<Bound> {
        let bounds = &self.0.bounds;
        let of_data_path = limits::Bound::ALL.into_iter().map(|bound| Bound {
            name: bound.name().into(),
            limit: bounds.limit(bound),
            unit: match bound.unit() {
                limits::Unit::Count => Unit::Count,
                limits::Unit::Bytes => Unit::Bytes,
                limits::Unit::Milliseconds => Unit::Ms,
            },
            in_use: match bound {
                limits::Bound::Connections => Some(bounds.connections() as u64),
                limits::Bound::ConnectionsPerAgent => {
                    Some(self.0.context.agents.most_connections() as u64)
                }
                _ => None,
            },
            hits: bounds.hits(bound),
        });
        of_data_path.chain(self.of_memory()).chain(self.of_kernel()).collect()
    }

    /// Of what is remembered.
    fn of_memory(&self) -> impl Iterator<Item = Bound> {
        let store = self.0.workflows.counters();
        let lineage = self.0.context.agents.lineage();
        [
            ("workflows_per_agent", limits::WORKFLOWS_PER_AGENT, store.evicted),
            ("steps_per_workflow", limits::STEPS_PER_WORKFLOW, store.steps_dropped),
            ("steps_per_agent", limits::STEPS_PER_AGENT, lineage.evicted),
            ("processes_per_agent", limits::PROCESSES_PER_AGENT, lineage.processes_evicted),
            ("remaining_steps", limits::REMAINING_STEPS_OF_ALL, self.remembrance().left_out()),
            ("names_per_agent", limits::NAMES_PER_AGENT, self.0.names.forgotten()),
        ]
        .map(|(name, limit, hits)| Bound {
            name: name.into(),
            limit: Some(limit as u64),
            unit: Unit::Count,
            in_use: None,
            hits,
        })
        .into_iter()
    }

    /// Of the maps that the hooks share.
    fn of_kernel(&self) -> impl Iterator<Item = Bound> {
        let mut full = 0_u64;
        let (mut dns_lost, mut processes_lost) = (0_u64, 0_u64);
        for agent in self.shown() {
            let Some(counters) = self.0.hooks.counters(agent.held.cgroup_id) else { continue };
            let of = |counter| counters[counter as usize];
            full =
                full.saturating_add(of(Counter::LeftFull)).saturating_add(of(Counter::DeniedFull));
            dns_lost = dns_lost.saturating_add(of(Counter::DnsLost));
            processes_lost = processes_lost.saturating_add(of(Counter::ProcessesLost));
        }
        [
            ("redirected_sockets_per_agent", MAX_SOCKETS_PER_AGENT, Unit::Count, full),
            ("dns_ring_bytes", DNS_RING_BYTES, Unit::Bytes, dns_lost),
            ("process_ring_bytes", PROCESS_RING_BYTES, Unit::Bytes, processes_lost),
        ]
        .map(|(name, limit, unit, hits)| Bound {
            name: name.into(),
            limit: Some(limit.into()),
            unit,
            in_use: None,
            hits,
        })
        .into_iter()
    }

    pub(super) fn egress_rules(&self) -> Vec<model::EgressRule> {
        let rules = self.0.rules.snapshot().into_iter();
        let shown = rules.map(|rule| model::EgressRule {
            rule: rule.rule,
            allowed: rule.allowed,
            denied: rule.denied,
            would_deny: rule.would_deny,
            exceeded: rule.exceeded,
        });
        shown.collect()
    }

    /// Whom egress rules by host have to believe, for want of DNS answers that could be believed.
    pub(super) fn hosts_note(&self, shown: &Shown) -> Option<String> {
        let held = &shown.held;
        let by_host = self.0.rules.egress().rules().iter().any(|rule| rule.host.is_some());
        let blind = held.mode == Mode::Enforce && !self.0.names.learns(held.cgroup_id);
        (by_host && blind).then(|| {
            "its resolvers are on the loopback, where it could answer itself: egress rules by host \
             believe the name that its clients ask for; give those rules a cidr too"
                .to_owned()
        })
    }
}
