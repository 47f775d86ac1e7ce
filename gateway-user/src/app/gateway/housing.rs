//! Agents that were attached before anything ran in them: a runtime's process enters the namespaces and
//! the root that it has made for the container, and only there can be seen what the agent will see.

use super::{
    Gateway, GatewayError,
    fleet::{Fleet, Member},
};
use crate::{
    app::{agents, netns::Threads},
    attach::{container::Stage, direct::DirectRules},
    config::Mode,
    names::Trust,
};

impl Gateway {
    /// Follows an agent to where it will live. Whether it has come there, or is gone.
    pub(super) async fn house(&self, fleet: &mut Fleet, name: &str) -> Result<bool, GatewayError> {
        let Some(member) = fleet.member(name).filter(|member| member.held.moving) else {
            return Ok(true);
        };
        let cgroup = member.cgroup.clone();
        let stage = Stage::of(&cgroup, member.is_container());
        if stage >= Stage::Entered {
            self.follow(fleet, name, true).await?;
        }
        if stage < Stage::Made {
            return Ok(false);
        }
        let resolvers = agents::resolvers(&cgroup, std::process::id()).await;
        let Some(member) = fleet.member_mut(name) else { return Ok(true) };
        (member.held.resolvers, member.held.moving) = (resolvers, false);
        let Some(member) = fleet.member(name) else { return Ok(true) };
        self.introduce(&fleet.threads, member)?;
        // Before the container's own program reads them, if it can be.
        if let Some(trust) = &member.trust {
            trust.refresh(&self.0.decrypting, true).await;
        }
        self.publish(fleet)?;
        Ok(true)
    }

    /// Tells the kernel what may pass by the gateway: DNS to the agent's resolvers, and the UDP that
    /// egress rules allow to an agent of its name.
    pub(super) fn open_direct(&self, member: &Member) -> Result<(), GatewayError> {
        let direct = DirectRules::to_resolvers(&member.held.resolvers);
        let direct = direct.and_udp(self.0.rules.egress(), &member.held.name)?;
        Ok(self.0.hooks.set_direct(member.cgroup.id(), &direct)?)
    }

    /// Tells the kernel and the directory of names which resolvers are the agent's.
    pub(super) fn introduce(&self, threads: &Threads, member: &Member) -> Result<(), GatewayError> {
        let (id, resolvers) = (member.cgroup.id(), &member.held.resolvers);
        if let Some(netns) = agents::home(&member.cgroup).or(member.namespaces.first().copied())
            && let Some(netns) = threads.cookie(netns)
        {
            let (resolvers, loopback) = (resolvers.clone(), member.held.mode == Mode::Audit);
            self.0.names.enter(id, Trust { resolvers, netns, loopback });
        }
        self.open_direct(member)
    }
}
