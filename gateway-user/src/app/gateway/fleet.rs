//! Attaching and detaching, step by step. Whatever fails half-way is taken back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gateway_common::{AgentId, Counter, MODE_AUDIT, MODE_ENFORCE};

use super::{Gateway, GatewayError};
use crate::{
    app::{
        agents::{Candidate, namespaces},
        netns::Threads,
    },
    attach::{
        cgroup::Cgroup,
        ebpf::Links,
        netns::{Netns, NetnsId},
        pins::{HeldAgent, Instance, PinsError, StateFile},
    },
    call::AgentRef,
    config::Mode,
    proxy,
};

/// The agents, and the threads that serve them.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) threads: Threads,
    members: BTreeMap<String, Member>,
}

/// One agent.
#[derive(Debug)]
pub(super) struct Member {
    held: HeldAgent,
    cgroup: Cgroup,
    proxy: Arc<proxy::Agent>,
    namespaces: BTreeSet<NetnsId>,
    /// `None` before they are attached, and once they are detached.
    links: Option<Links>,
    /// Connects that found no listener, when that was last looked into.
    missed: u64,
}

impl Fleet {
    pub(super) fn new(threads: Threads) -> Self {
        Self { threads, members: BTreeMap::new() }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn held(&self) -> Vec<HeldAgent> {
        self.members.values().map(|member| member.held.clone()).collect()
    }

    pub(super) fn shown(&self) -> Vec<(HeldAgent, Arc<proxy::Agent>)> {
        let members = self.members.values();
        members.map(|member| (member.held.clone(), Arc::clone(&member.proxy))).collect()
    }

    /// The agents whose cgroup is there.
    pub(super) fn living(&self) -> Vec<HeldAgent> {
        let living = self.members.values().filter(|member| member.cgroup.is_alive());
        living.map(|member| member.held.clone()).collect()
    }

    /// Agents whose cgroup is gone.
    pub(super) fn orphans(&self) -> Vec<String> {
        let members = self.members.iter();
        members.filter(|(_, m)| !m.cgroup.is_alive()).map(|(name, _)| name.clone()).collect()
    }
}

impl Gateway {
    /// Attaches an agent for the process `caller`. `here` are namespaces that it will live in,
    /// beside those that its processes live in already.
    pub(in crate::app) async fn enlist(
        &self,
        caller: u32,
        candidate: Candidate,
        mode: Mode,
        here: Vec<Netns>,
    ) -> Result<HeldAgent, GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        let _lock = self.0.instance.lock()?;
        let own: Vec<&str> = fleet.members.keys().map(String::as_str).collect();
        candidate.check(caller, &own, &self.attached_anywhere()?)?;
        self.join(&mut fleet, candidate, mode, here).await
    }

    /// The cgroups of every agent of every gateway, with their names: of this one, of others that
    /// live, and what dead ones left pinned.
    pub(super) fn attached_anywhere(&self) -> Result<BTreeMap<String, String>, PinsError> {
        let mut found = BTreeMap::new();
        for instance in Instance::all(self.runtime_dir())? {
            let Some(state) = instance.read()? else { continue };
            let pins = |agent: &HeldAgent| agent.pinned || state.is_alive();
            found.extend(
                state.agents.iter().filter(|a| pins(a)).map(|a| (a.cgroup.clone(), a.name.clone())),
            );
        }
        Ok(found)
    }

    pub(super) async fn join(
        &self,
        fleet: &mut Fleet,
        candidate: Candidate,
        mode: Mode,
        here: Vec<Netns>,
    ) -> Result<HeldAgent, GatewayError> {
        let Candidate { name, cgroup, container } = candidate;
        let name = name.as_str().to_owned();
        let held = HeldAgent {
            name: name.clone(),
            mode,
            cgroup: cgroup.path().as_str().into(),
            cgroup_id: cgroup.id(),
            container_id: container.as_ref().map(|container| container.id.clone()),
            pod: container.and_then(|container| container.pod),
            attached_at: self.0.context.recording.clock.now(),
            pinned: mode == Mode::Enforce,
        };
        let proxy = Arc::new(proxy::Agent::new(cgroup.id(), reference(&held), self.seed(&held)));
        let member = Member {
            held: held.clone(),
            cgroup,
            proxy: Arc::clone(&proxy),
            namespaces: BTreeSet::new(),
            links: None,
            missed: 0,
        };
        self.0.context.agents.insert(proxy);
        fleet.members.insert(name.clone(), member);
        // Written down before anything is pinned: whatever is pinned is listed.
        let joined = match self.publish(fleet) {
            Ok(()) => self.establish(fleet, &name, here),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = joined {
            if let Err(further) = self.expel(fleet, &name).await {
                tracing::error!(agent = name, error = %further, "can't take an attach back");
            }
            return Err(error);
        }
        tracing::info!(agent = name, cgroup = held.cgroup, %mode, "attached");
        Ok(held)
    }

    fn establish(
        &self,
        fleet: &mut Fleet,
        name: &str,
        here: Vec<Netns>,
    ) -> Result<(), GatewayError> {
        self.listen(fleet, name, here)?;
        let Some(member) = fleet.members.get_mut(name) else { return Ok(()) };
        let (id, mode) = (member.cgroup.id(), member.held.mode);
        self.0.hooks.set_agent(id, kernel_mode(mode))?;
        if member.held.pinned {
            self.0.instance.prepare_pins()?;
            if let Some(adopted) = self.0.hooks.adopt(id)? {
                member.links = Some(adopted);
                return Ok(());
            }
        }
        let links = self.0.hooks.attach(member.cgroup.handle()?)?;
        member.links = Some(if member.held.pinned { self.0.hooks.pin(id, links)? } else { links });
        Ok(())
    }

    /// Listens in every namespace that the agent's processes live in, and in those given. Without
    /// any, in the gateway's own: an empty cgroup's first process most likely starts there.
    fn listen(&self, fleet: &mut Fleet, name: &str, here: Vec<Netns>) -> Result<(), GatewayError> {
        let Some(member) = fleet.members.get_mut(name) else { return Ok(()) };
        let mut wanted = namespaces(&member.cgroup);
        wanted.extend(here);
        if wanted.is_empty() && member.namespaces.is_empty() {
            wanted.push(Netns::current().map_err(GatewayError::Listen)?);
        }
        for netns in wanted {
            let id = netns.id();
            let (cookie, listener) = fleet.threads.ensure(netns).map_err(GatewayError::Listen)?;
            member.namespaces.insert(id);
            self.0.hooks.set_listener(cookie, listener)?;
        }
        Ok(())
    }

    /// Looks again where the agent's processes live, if a connect found no listener.
    pub(super) fn follow(&self, fleet: &mut Fleet, name: &str) -> Result<(), GatewayError> {
        let Some(member) = fleet.members.get_mut(name) else { return Ok(()) };
        let Some(counters) = self.0.hooks.counters(member.cgroup.id()) else { return Ok(()) };
        let missed = counters[Counter::LeftNoListener as usize]
            + counters[Counter::DeniedNoListener as usize];
        if missed == member.missed {
            return Ok(());
        }
        member.missed = missed;
        self.listen(fleet, name, Vec::new())
    }

    /// Detaches an agent on request.
    pub(super) async fn dismiss(&self, name: &str) -> Result<(), GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        let _lock = self.0.instance.lock()?;
        self.expel(&mut fleet, name).await
    }

    /// Detaches an agent, with the runtime directory locked: its new connections go out directly, those it has go on through us.
    pub(super) async fn expel(&self, fleet: &mut Fleet, name: &str) -> Result<(), GatewayError> {
        let Some(member) = fleet.members.get_mut(name) else {
            return Err(GatewayError::NoAgent(name.into()));
        };
        if let Some(links) = member.links.take() {
            links.detach()?;
        }
        let id = member.cgroup.id();
        if member.held.pinned {
            crate::attach::ebpf::remove_agent_pins(&self.0.instance.pins(), id)?;
        }
        self.retire(fleet, name, id).await?;
        fleet.members.remove(name);
        if !fleet.members.values().any(|member| member.held.pinned) {
            self.0.instance.remove_pins()?;
        }
        self.publish(fleet)?;
        tracing::info!(agent = name, "detached");
        Ok(())
    }

    /// Closes the namespaces that no other agent lives in, and forgets the agent.
    async fn retire(&self, fleet: &mut Fleet, name: &str, id: AgentId) -> Result<(), GatewayError> {
        let namespaces = fleet.members.get(name).map(|m| m.namespaces.clone()).unwrap_or_default();
        let mut shared = false;
        for netns in namespaces {
            let others = fleet.members.iter().filter(|(other, _)| *other != name);
            if others.into_iter().any(|(_, member)| member.namespaces.contains(&netns)) {
                shared = true;
                continue;
            }
            if let Some(cookie) = fleet.threads.cookie(netns) {
                self.0.hooks.remove_listener(cookie)?;
            }
            fleet.threads.close(netns).await;
        }
        if shared {
            // What was redirected before the hooks were detached is yet to be accepted, by a
            // thread that stays.
            tokio::time::sleep(proxy::LAST_CALL).await;
        }
        self.0.context.agents.remove(id);
        Ok(self.0.hooks.remove_agent(id)?)
    }

    /// Attaches again what an earlier gateway held, and only then says that it lives: until then
    /// no connection is sent to a listener that is not there.
    pub(super) async fn pick_up(&self, earlier: Option<StateFile>) -> Result<(), GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        let _lock = self.0.instance.lock()?;
        for held in earlier.map(|state| state.agents).unwrap_or_default() {
            let name = held.name.clone();
            if let Err(error) = self.resume(&mut fleet, held).await {
                tracing::error!(agent = name, %error, "can't attach an agent again");
            }
        }
        if fleet.held().iter().all(|agent| !agent.pinned) {
            self.0.instance.remove_pins()?;
        }
        self.publish(&fleet)?;
        let begun = self.0.heartbeat.begin();
        begun.map_err(|source| GatewayError::System { what: "a thread", source })
    }

    async fn resume(&self, fleet: &mut Fleet, held: HeldAgent) -> Result<(), GatewayError> {
        let cgroup = Cgroup::open(held.cgroup.as_ref());
        let Some(cgroup) = cgroup.ok().filter(|cgroup| cgroup.id() == held.cgroup_id) else {
            tracing::info!(agent = held.name, "gone meanwhile");
            let pins = self.0.instance.pins();
            return Ok(crate::attach::ebpf::remove_agent_pins(&pins, held.cgroup_id)?);
        };
        let name = crate::app::agents::AgentName::parse(&held.name)?;
        let container = crate::attach::container::of_cgroup(&held.cgroup);
        let candidate = Candidate { name, cgroup, container };
        self.join(fleet, candidate, held.mode, Vec::new()).await.map(drop)
    }

    /// Ids differ between agents and between starts of the gateway.
    fn seed(&self, held: &HeldAgent) -> u64 {
        u64::from_ne_bytes(self.0.boot) ^ held.cgroup_id.rotate_left(32) ^ held.attached_at.0
    }
}

const fn kernel_mode(mode: Mode) -> u32 {
    match mode {
        Mode::Audit => MODE_AUDIT,
        Mode::Enforce => MODE_ENFORCE,
    }
}

fn reference(held: &HeldAgent) -> AgentRef {
    AgentRef {
        name: held.name.clone(),
        cgroup: held.cgroup.clone(),
        container_id: held.container_id.clone(),
        pod: held.pod.clone(),
    }
}
