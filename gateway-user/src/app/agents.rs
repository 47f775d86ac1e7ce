//! What may be attached, and under which name.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use crate::{
    attach::{
        cgroup::{self, Cgroup, CgroupError, CgroupPath},
        container::{self, ContainerError, ContainerRef},
        netns::{Netns, NetnsId},
        pins::HeldAgent,
        resolvers,
    },
    call::Timestamp,
    config::{Asked, Decrypt, Existing, Mode},
    control::model::{AttachRequest, Target},
    limits,
    policy::{metering::OnUnmetered, retries::OnRetry},
};

/// On which terms a cgroup becomes an agent.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) mode: Mode,
    /// As the mode allows it.
    pub(super) existing: Existing,
    pub(super) decrypt: Decrypt,
    pub(super) on_unmetered: OnUnmetered,
    pub(super) on_retry: OnRetry,
    pub(super) replay_aborted: bool,
    /// The certificates by which upstream is verified, if not those of the agent itself.
    pub(super) bundle: Option<PathBuf>,
    /// Budgets for it alone.
    pub(super) budget: Option<Asked>,
    pub(super) tenant: Option<String>,
    pub(super) container_name: Option<String>,
    /// The number of the rule that asks for it, from 1; `None` if a command does.
    pub(super) rule: Option<usize>,
    /// How late a rule was when an earlier gateway attached it.
    pub(super) late_ms: Option<u64>,
    /// Its processes are yet to come to where they will live.
    pub(super) moving: bool,
}

impl Terms {
    /// Of an agent that a command asks for, whose workload nobody has looked at.
    pub(super) const fn asked(
        mode: Mode,
        existing: Existing,
        decrypt: Decrypt,
        on_unmetered: OnUnmetered,
        bundle: Option<PathBuf>,
    ) -> Self {
        let (tenant, container_name, rule, late_ms) = (None, None, None, None);
        Self {
            mode,
            existing,
            decrypt,
            on_unmetered,
            on_retry: OnRetry::Allow,
            replay_aborted: false,
            bundle,
            budget: None,
            tenant,
            container_name,
            rule,
            late_ms,
            moving: false,
        }
    }

    /// An agent of this name, held from now on, with the DNS servers that it was told of.
    pub(super) fn held(
        self,
        name: &str,
        cgroup: &Cgroup,
        container: Option<ContainerRef>,
        (now, resolvers): (Timestamp, Vec<IpAddr>),
    ) -> HeldAgent {
        HeldAgent {
            name: name.to_owned(),
            mode: self.mode,
            cgroup: cgroup.path().as_str().into(),
            cgroup_id: cgroup.id(),
            container_id: container.as_ref().map(|container| container.id.clone()),
            pod: container.and_then(|container| container.pod),
            decrypt: self.decrypt,
            on_unmetered: self.on_unmetered,
            on_retry: self.on_retry,
            replay_aborted: self.replay_aborted,
            bundle: self.bundle,
            budget: self.budget,
            container_name: self.container_name,
            tenant: self.tenant,
            rule: self.rule,
            late_ms: self.late_ms,
            moving: self.moving,
            attached_at: now,
            pinned: self.mode == Mode::Enforce,
            settled: false,
            resolvers,
        }
    }
}

/// A cgroup that is to become an agent.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) name: AgentName,
    pub(super) cgroup: Cgroup,
    pub(super) container: Option<ContainerRef>,
}

/// An agent's name: letters, digits, `.`, `_` and `-`, so that it can be written anywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AgentName(String);

/// Why something can't become an agent. The caller's fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(
        "{0:?} can't be an agent's name; use 1 to 64 letters, digits, dots, dashes or underscores"
    )]
    Name(String),
    #[error("another agent is called {0}; choose a name with --name, or detach that one first")]
    NameTaken(String),
    #[error(
        "the root cgroup holds every process of the machine; give the agent a cgroup of its own: turnpike run -- CMD, or: systemd-run --scope CMD"
    )]
    Root,
    #[error(
        "the cgroup {0} holds a gateway; give the agent a cgroup of its own: turnpike run -- CMD, or: systemd-run --scope CMD"
    )]
    HoldsGateway(CgroupPath),
    #[error(
        "the cgroup {0} holds the shell that you are calling from; give the agent a cgroup of its own: turnpike run -- CMD, or: systemd-run --scope CMD"
    )]
    HoldsCaller(CgroupPath),
    #[error(
        "the cgroup {path} overlaps with that of the agent {agent} ({agent_path}); detach that one first: turnpike detach {agent}"
    )]
    Overlaps { path: CgroupPath, agent: String, agent_path: String },
}

impl AgentName {
    pub(super) fn parse(text: &str) -> Result<Self, Unfit> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(Unfit::Name(text.into()))
        }
    }

    /// The nearest to a text that may be anything; `None` if nothing of it is left.
    pub(super) fn near(text: &str) -> Option<Self> {
        let legal = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let name: String = text.trim_matches('-').chars().take(LONGEST_NAME).map(legal).collect();
        Self::parse(&name).ok()
    }

    /// The same, or the first that is free among `name-2`, `name-3` and so on.
    pub(super) fn free(self, taken: impl Fn(&str) -> bool) -> Self {
        if !taken(&self.0) {
            return self;
        }
        let numbered = |number: u32| {
            let suffix = format!("-{number}");
            let room = self.0.len().min(LONGEST_NAME - suffix.len());
            format!("{}{suffix}", &self.0[..room])
        };
        (2..u32::MAX).map(numbered).find(|name| !taken(name)).map_or(self.clone(), Self)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

const LONGEST_NAME: usize = 64;

impl Candidate {
    /// Finds what the request means.
    pub(super) fn find(request: &AttachRequest) -> Result<Self, Unfit> {
        let (cgroup, container, given) = match &request.target {
            Target::Cgroup(path) => (Cgroup::open(path)?, None, None),
            Target::Pid(pid) => (Cgroup::of_process(*pid)?, None, None),
            Target::Container(text) => {
                let (cgroup, container) = container::resolve(text)?;
                let is_name = !container.id.starts_with(text.as_str());
                (cgroup, Some(container), is_name.then(|| text.clone()))
            }
        };
        cgroup.check_depth()?;
        let container = container.or_else(|| container::of_cgroup(cgroup.path().as_str()));
        let name = match (&request.name, given) {
            (Some(name), _) => AgentName::parse(name)?,
            (None, Some(name)) => AgentName::parse(&name)?,
            (None, None) => default_name(&cgroup, container.as_ref())?,
        };
        Ok(Self { name, cgroup, container })
    }

    /// Refuses what would catch more than an agent, or the same agent twice. `gateways` are the
    /// processes of all gateways that live; `own` the names of this one's agents; `others` the
    /// cgroups of all gateways' agents, with their names.
    pub(super) fn check(
        &self,
        caller: u32,
        gateways: &[u32],
        own: &[&str],
        others: &BTreeMap<String, String>,
    ) -> Result<(), Unfit> {
        let path = self.cgroup.path();
        if path.is_root() {
            return Err(Unfit::Root);
        }
        // A process that is gone holds nothing.
        let holds = |pid| cgroup::path_of_process(pid).is_ok_and(|found| path.holds(&found));
        if holds(std::process::id()) || gateways.iter().any(|gateway| holds(*gateway)) {
            return Err(Unfit::HoldsGateway(path.clone()));
        }
        if holds(caller) {
            return Err(Unfit::HoldsCaller(path.clone()));
        }
        if own.contains(&self.name.as_str()) {
            return Err(Unfit::NameTaken(self.name.0.clone()));
        }
        for (agent_path, agent) in others {
            if overlap(path.as_str(), agent_path) {
                let (agent, agent_path) = (agent.clone(), agent_path.clone());
                return Err(Unfit::Overlaps { path: path.clone(), agent, agent_path });
            }
        }
        Ok(())
    }
}

fn overlap(a: &str, b: &str) -> bool {
    cgroup::path_holds(a, b) || cgroup::path_holds(b, a)
}

/// The beginning of a container's id, as its runtime shows it; else the cgroup's own name, with
/// what a name can't have replaced.
pub(super) fn default_name(
    cgroup: &Cgroup,
    container: Option<&ContainerRef>,
) -> Result<AgentName, Unfit> {
    let text = match container {
        Some(container) => container.id.chars().take(12).collect(),
        None => cgroup.path().as_str().rsplit('/').next().unwrap_or_default().to_owned(),
    };
    AgentName::near(&text).ok_or(Unfit::Name(text))
}

/// The network namespaces that a cgroup's processes live in, but not those of a runtime that makes
/// it.
pub(super) fn namespaces(cgroup: &Cgroup) -> Vec<Netns> {
    let mut found: BTreeMap<NetnsId, Netns> = BTreeMap::new();
    for pid in cgroup.processes().into_iter().filter(|pid| !container::is_making(*pid)) {
        // A process may have ended since it was listed.
        if let Ok(netns) = Netns::of_process(pid) {
            found.entry(netns.id()).or_insert(netns);
        }
    }
    found.into_values().collect()
}

/// The network namespace of a cgroup's first process: a container's own, whatever others its
/// processes have made since.
pub(super) fn home(cgroup: &Cgroup) -> Option<NetnsId> {
    let first = cgroup.processes().into_iter().min()?;
    Netns::of_process(first).ok().map(|netns| netns.id())
}

/// The DNS servers that an agent was told to ask: as its first process sees them, or, where there is
/// none yet, whoever is about to start it.
pub(super) async fn resolvers(cgroup: &Cgroup, caller: u32) -> Vec<IpAddr> {
    let pid = cgroup.processes().into_iter().min().unwrap_or(caller);
    let reading = tokio::task::spawn_blocking(move || resolvers::of_process(pid));
    let found = match tokio::time::timeout(limits::RESOLV_CONF_TIME, reading).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    };
    found.unwrap_or_else(|error| {
        tracing::warn!(pid, %error, "no DNS servers are known: its resolv.conf can't be read");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_written_anywhere() {
        assert!(AgentName::parse("research-1.2_x").is_ok());
        for text in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(AgentName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn any_text_has_a_name_near_it() {
        let near = |text: &str| AgentName::near(text).map(|name| name.0);
        assert_eq!(near("web").as_deref(), Some("web"));
        assert_eq!(near("a b/c").as_deref(), Some("a-b-c"));
        assert_eq!(near("-planner").as_deref(), Some("planner"));
        assert_eq!(near(&"x".repeat(80)).map(|name| name.len()), Some(64));
        assert_eq!(near(""), None);
        assert_eq!(near("--"), None);
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let free = |name: &str, taken: &[&str]| {
            AgentName::parse(name).expect("a name").free(|name| taken.contains(&name)).0
        };
        assert_eq!(free("web", &[]), "web");
        assert_eq!(free("web", &["web", "web-2"]), "web-3");
        let long = "x".repeat(64);
        assert_eq!(free(&long, &[&long]), format!("{}-2", "x".repeat(62)));
    }

    #[test]
    fn cgroups_overlap_when_one_holds_the_other() {
        assert!(overlap("/a", "/a"));
        assert!(overlap("/a/b", "/a"));
        assert!(overlap("/a", "/a/b"));
        assert!(!overlap("/a", "/ab"));
        assert!(!overlap("/a/b", "/a/c"));
    }
}
