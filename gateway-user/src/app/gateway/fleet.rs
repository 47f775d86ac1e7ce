//! Attaching, step by step. Whatever fails half-way is taken back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use gateway_common::{Counter, MODE_AUDIT, MODE_ENFORCE};
use tokio::task::block_in_place;

use super::{
    Gateway, GatewayError,
    everywhere::Everywhere,
    health::{Health, Shown},
    trust::Trust as Trusted,
};
use crate::{
    app::{
        agents::{self, AgentName, Candidate, Terms, namespaces},
        netns::Threads,
    },
    attach::{
        cgroup::Cgroup,
        container::{Stage, running_for},
        ebpf::{Links, remove_agent_pins},
        netns::{Netns, NetnsId},
        pins::HeldAgent,
    },
    config::{Existing, Mode},
    limits::{self, Bound, Bounds},
    proxy,
};

/// The agents, and the threads that serve them.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) threads: Threads,
    pub(super) members: BTreeMap<String, Member>,
    /// An earlier gateway's, which could not be taken over yet. They are listed with the others, and
    /// what is pinned of them stays pinned.
    pub(super) waiting: Vec<HeldAgent>,
    /// The gateway is ending: nothing is attached or detached any more.
    pub(super) over: bool,
}

/// One agent.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) held: HeldAgent,
    pub(super) cgroup: Cgroup,
    pub(super) proxy: Arc<proxy::Agent>,
    pub(super) health: Arc<Health>,
    pub(super) namespaces: BTreeSet<NetnsId>,
    /// `None` before they are attached, and once they are detached.
    pub(super) links: Option<Links>,
    /// Connects that found no listener, when that was last looked into.
    missed: u64,
    /// `None` where nothing is decrypted.
    pub(super) trust: Option<Arc<Trusted>>,
}

impl Fleet {
    pub(super) fn new(threads: Threads) -> Self {
        Self { threads, members: BTreeMap::new(), waiting: Vec::new(), over: false }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Those that are attached, and those that wait to be.
    pub(super) fn held(&self) -> Vec<HeldAgent> {
        let attached = self.members.values().map(|member| &member.held);
        attached.chain(self.still_waiting()).cloned().collect()
    }

    /// Without the one that is just being taken over.
    fn still_waiting(&self) -> impl Iterator<Item = &HeldAgent> {
        self.waiting.iter().filter(|agent| !self.members.contains_key(&agent.name))
    }

    /// Whether something of an agent is pinned.
    pub(super) fn pins(&self) -> bool {
        self.members.values().map(|m| &m.held).chain(&self.waiting).any(|held| held.pinned)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.members.iter()
    }

    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    pub(super) fn member_mut(&mut self, name: &str) -> Option<&mut Member> {
        self.members.get_mut(name)
    }

    /// Whether there is an agent of this name, or one that waits to be attached again.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.members.contains_key(name) || self.waiting.iter().any(|agent| agent.name == name)
    }

    /// Refuses more agents by rule than the bound allows.
    fn require_room(&self, bounds: &Bounds) -> Result<(), GatewayError> {
        let by_rule = self.members.values().filter(|member| member.held.rule.is_some()).count();
        let room = bounds.limits().agents_by_rule;
        if by_rule < room {
            return Ok(());
        }
        bounds.hit(Bound::AgentsByRule);
        Err(GatewayError::NoRoom(room))
    }

    /// Gives a member another name, which is free.
    pub(super) fn rename(&mut self, name: &str, to: &AgentName) {
        let Some(mut member) = self.members.remove(name) else { return };
        to.as_str().clone_into(&mut member.held.name);
        member.proxy.rename(to.as_str());
        self.members.insert(to.as_str().to_owned(), member);
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        let attached = self.members.values().map(Member::shown);
        let waiting = self.still_waiting().map(|agent| Shown {
            held: agent.clone(),
            proxy: None,
            health: Arc::default(),
            trust: None,
        });
        attached.chain(waiting).collect()
    }

    pub(super) fn trusts(&self) -> impl Iterator<Item = Arc<Trusted>> {
        self.members.values().filter_map(|member| member.trust.clone())
    }

    /// Agents whose cgroup is gone.
    pub(super) fn orphans(&self) -> Vec<String> {
        let members = self.members.iter();
        members.filter(|(_, m)| !m.cgroup.is_alive()).map(|(name, _)| name.clone()).collect()
    }
}

impl Member {
    /// Or another cgroup.
    pub(super) fn is_container(&self) -> bool {
        self.held.container_id.is_some()
    }

    fn shown(&self) -> Shown {
        Shown {
            held: self.held.clone(),
            proxy: Some(Arc::clone(&self.proxy)),
            health: Arc::clone(&self.health),
            trust: self.trust.clone(),
        }
    }
}

impl Gateway {
    /// Attaches an agent for the process `caller`; `here` are namespaces that it will live in, beside
    /// those that its processes live in already. For a rule its name is made to be free.
    pub(in crate::app) async fn enlist(
        &self,
        caller: u32,
        mut candidate: Candidate,
        mut terms: Terms,
        here: Vec<Netns>,
    ) -> Result<Shown, GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        if fleet.over {
            return Err(GatewayError::Ending);
        }
        // It may be one of them, started again.
        for orphan in fleet.orphans() {
            if let Err(error) = self.dismiss_from(&mut fleet, &orphan).await {
                tracing::error!(agent = orphan, %error, "can't let go of an agent that is gone");
            }
        }
        if terms.rule.is_some() {
            fleet.require_room(&self.0.bounds)?;
            candidate.name = candidate.name.free(|name| fleet.holds(name));
        }
        let _lock = self.0.instance.lock()?;
        let held = fleet.held();
        let own: Vec<&str> = held.iter().map(|agent| agent.name.as_str()).collect();
        let Everywhere { cgroups, gateways } = self.everywhere()?;
        candidate.check(caller, &gateways, &own, &cgroups)?;
        let stage = Stage::of(&candidate.cgroup, candidate.container.is_some());
        terms.moving = terms.rule.is_some() && stage < Stage::Made;
        let resolvers = match stage {
            // They would be the runtime's.
            Stage::Making | Stage::Entered => Vec::new(),
            _ => agents::resolvers(&candidate.cgroup, caller).await,
        };
        let joined = self.join(&mut fleet, candidate, terms, here, resolvers).await;
        if let Err((name, _)) = &joined
            && let Err(further) = self.expel(&mut fleet, name).await
        {
            tracing::error!(agent = name, error = %further, "can't take an attach back");
        }
        joined.map_err(|(_, error)| error)
    }

    /// Makes it a member and attaches it. If that fails it stays a member, half attached, for the
    /// caller to take back.
    pub(super) async fn join(
        &self,
        fleet: &mut Fleet,
        candidate: Candidate,
        terms: Terms,
        here: Vec<Netns>,
        resolvers: Vec<IpAddr>,
    ) -> Result<Shown, (String, GatewayError)> {
        let Candidate { name, cgroup, container } = candidate;
        let (name, existing) = (name.as_str().to_owned(), terms.existing);
        let now = self.0.context.recording.clock.now();
        let mut held = terms.held(&name, &cgroup, container, (now, resolvers));
        held.pinned |= !self.0.embedded && self.is_killed(&name, held.tenant.as_deref());
        let proxy = proxy::Agent::new(cgroup.id(), held.reference(), self.seed(&held));
        let proxy = proxy.in_mode(held.mode).within(Arc::clone(&self.0.bounds));
        let proxy = proxy.under(Arc::clone(&self.0.rules)).metered(held.on_unmetered);
        let proxy = proxy.latched(self.0.latch.clone(), held.tenant.as_deref().map(Into::into));
        let proxy = proxy.retrying(held.on_retry).replaying(held.replay_aborted);
        let proxy = self.recalling(proxy.asking(Arc::clone(&self.0.upstreams)), &name);
        let proxy = match self.held_to_budgets(proxy, &held) {
            Ok(proxy) => proxy,
            Err(error) => return Err((name, error)),
        };
        let (proxy, trust) = self.trusting(proxy, &held, &cgroup).await;
        let member = Member {
            held: held.clone(),
            cgroup,
            proxy: Arc::clone(&proxy),
            health: Arc::default(),
            namespaces: BTreeSet::new(),
            links: None,
            missed: 0,
            trust,
        };
        self.0.context.agents.insert(proxy);
        fleet.members.insert(name.clone(), member);
        // Written down before anything is pinned: whatever is pinned is listed.
        let joined = match self.publish(fleet) {
            Ok(()) => self.establish(fleet, &name, existing, here).await,
            Err(error) => Err(error.into()),
        };
        let joined = joined.and_then(|()| {
            if let Some(member) = fleet.members.get_mut(&name) {
                member.held.settled = true;
            }
            Ok(self.publish(fleet)?)
        });
        if let Err(error) = joined {
            return Err((name, error));
        }
        tracing::info!(agent = name, cgroup = held.cgroup, mode = %held.mode, "attached");
        fleet.member(&name).map(Member::shown).ok_or((name, GatewayError::Ending))
    }

    async fn establish(
        &self,
        fleet: &mut Fleet,
        name: &str,
        existing: Existing,
        here: Vec<Netns>,
    ) -> Result<(), GatewayError> {
        self.listen(fleet, name, here).await?;
        // Written down by now: what is covered is found again. Before anything is decrypted.
        if let Some(trust) = fleet.members.get(name).and_then(|member| member.trust.clone()) {
            trust.cover(self.anchors()).await;
        }
        let Some(member) = fleet.members.get_mut(name) else { return Ok(()) };
        let (id, mode) = (member.cgroup.id(), member.held.mode);
        // Before anything is dropped.
        self.introduce(&fleet.threads, member)?;
        self.0.hooks.set_killed(id, || member.proxy.is_killed().is_some())?;
        self.0.hooks.set_agent(id, kernel_mode(mode))?;
        if member.held.pinned {
            self.0.instance.prepare_pins()?;
            if let Some(adopted) = self.0.hooks.adopt(id)? {
                member.links = Some(adopted);
                if fleet.waiting.iter().any(|agent| agent.cgroup_id == id && agent.settled) {
                    // It was never let go since, so there is nothing older.
                    member.health.set_older(Some(BTreeSet::new()));
                    return Ok(());
                }
                return self.settle(fleet, name, existing).await;
            }
        }
        // The kernel does it one at a time with whatever else changes cgroups; who asks meanwhile is
        // to be answered.
        let directory = member.cgroup.handle()?;
        let links = block_in_place(|| self.0.hooks.attach(directory))?;
        if member.held.rule.is_some() && !fleet.waiting.iter().any(|a| a.cgroup_id == id) {
            member.held.late_ms = running_for(&member.cgroup, member.is_container()).map(in_ms);
        }
        let links = member.links.insert(links);
        if member.held.pinned || !self.0.embedded && member.proxy.is_killed().is_some() {
            member.held.pinned = true;
            self.0.instance.prepare_pins()?;
            self.0.hooks.pin(id, links)?;
        } else {
            // A kill that was revoked without a gateway has left some.
            remove_agent_pins(&self.0.instance.pins(), id)?;
        }
        // Only now: until here they kept the agent closed.
        if self.0.instance.remove_pins_of_others(id)? {
            tracing::info!(agent = name, "hooks of another version of turnpike are replaced");
        }
        self.settle(fleet, name, existing).await
    }

    /// Listens in every namespace that the agent's processes live in, and in those given; in the
    /// gateway's own if there are none. Stops listening where they have left.
    async fn listen(
        &self,
        fleet: &mut Fleet,
        name: &str,
        here: Vec<Netns>,
    ) -> Result<(), GatewayError> {
        let Some(member) = fleet.members.get_mut(name) else { return Ok(()) };
        let mut wanted = namespaces(&member.cgroup);
        wanted.extend(here);
        if wanted.is_empty() && member.namespaces.is_empty() {
            wanted.push(Netns::current().map_err(GatewayError::Listen)?);
        }
        if wanted.len() > limits::NAMESPACES_PER_AGENT {
            tracing::warn!(agent = name, count = wanted.len(), "too many network namespaces");
            wanted.truncate(limits::NAMESPACES_PER_AGENT);
        }
        let mut entered = BTreeSet::new();
        for netns in wanted {
            let id = netns.id();
            let (cookie, listener) = fleet.threads.ensure(netns).map_err(GatewayError::Listen)?;
            entered.insert(id);
            self.0.hooks.set_listener(cookie, listener)?;
        }
        if entered.is_empty() {
            return Ok(());
        }
        let left: Vec<NetnsId> = member.namespaces.difference(&entered).copied().collect();
        member.namespaces = entered;
        for netns in left {
            self.leave(fleet, netns, false).await?;
        }
        Ok(())
    }

    /// Stops listening in a namespace, unless another agent lives there. Whether it did. If the agent
    /// is gone, nothing of it is yet to be accepted.
    pub(super) async fn leave(
        &self,
        fleet: &mut Fleet,
        netns: NetnsId,
        is_gone: bool,
    ) -> Result<bool, GatewayError> {
        if fleet.members.values().any(|member| member.namespaces.contains(&netns)) {
            return Ok(false);
        }
        if let Some(cookie) = fleet.threads.cookie(netns) {
            self.0.hooks.remove_listener(cookie)?;
        }
        if is_gone {
            fleet.threads.abandon(netns);
        } else {
            fleet.threads.close(netns).await;
        }
        Ok(true)
    }

    /// Looks again where the agent's processes live, if a connect found no listener, if one of its
    /// threads has ended, or `anyway`.
    pub(super) async fn follow(
        &self,
        fleet: &mut Fleet,
        name: &str,
        anyway: bool,
    ) -> Result<(), GatewayError> {
        let Some(member) = fleet.members.get_mut(name) else { return Ok(()) };
        let Some(counters) = self.0.hooks.counters(member.cgroup.id()) else { return Ok(()) };
        let missed = counters[Counter::LeftNoListener as usize]
            + counters[Counter::DeniedNoListener as usize];
        let served = member.namespaces.iter().all(|netns| fleet.threads.serves(*netns));
        let moved = anyway
            && member.namespaces.len() < limits::NAMESPACES_PER_AGENT
            && namespaces(&member.cgroup).iter().any(|n| !member.namespaces.contains(&n.id()));
        if missed == member.missed && served && !moved {
            return Ok(());
        }
        member.missed = missed;
        self.listen(fleet, name, Vec::new()).await
    }

    /// Ids differ between agents and between starts of the gateway.
    fn seed(&self, held: &HeldAgent) -> u64 {
        u64::from_ne_bytes(self.0.boot) ^ held.cgroup_id.rotate_left(32) ^ held.attached_at.0
    }
}

fn in_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

const fn kernel_mode(mode: Mode) -> u32 {
    match mode {
        Mode::Audit => MODE_AUDIT,
        Mode::Enforce => MODE_ENFORCE,
    }
}
