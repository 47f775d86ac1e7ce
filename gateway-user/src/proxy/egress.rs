//! What the egress rules make of an agent's connections, and how often.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{agent::Agent, clock::Clock, coverage::add};
use crate::{
    config::Mode,
    limits::{self, Bound},
    names::Directory,
    policy::egress::{Decision, Egress, Flow, Wanted},
};

/// The rules of all agents, and how often each decided.
#[derive(Debug)]
pub struct Rules {
    egress: Egress,
    counts: Box<[Counts]>,
    names: Arc<Directory>,
    clock: Clock,
}

/// Of one rule.
#[derive(Debug, Default)]
struct Counts {
    allowed: AtomicU64,
    denied: AtomicU64,
    would_deny: AtomicU64,
    exceeded: AtomicU64,
}

/// A rule and its counts at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSnapshot {
    /// In short.
    pub rule: String,
    /// Connections that it let stay unread.
    pub allowed: u64,
    /// Connections that it refused (enforce).
    pub denied: u64,
    /// Connections that it would have refused (audit).
    pub would_deny: u64,
    /// Connections that carried as much as it allows: they were reset in enforce mode.
    pub exceeded: u64,
}

/// What an agent was refused, and how often; no more than so many.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<Wanted, u64>>);

/// Where a connection leads in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whither {
    /// Unspecified if only a proxy knows it.
    pub(super) to: SocketAddr,
    /// The host that a proxy was told, which is who it leads to: no client's word counts beside it.
    pub(super) proxied: Option<Box<str>>,
}

/// How much a connection that stays unread may still carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "bytes are only counted where they are spent"]
pub(super) struct Allowance {
    left: Option<u64>,
    rule: Option<usize>,
}

/// A connection may not leave, or not as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    why: Why,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    Rule {
        number: usize,
        text: String,
    },
    Unconfirmed,
    Unlisted,
    /// Its host is one that is meant to be read, which a rule that does not name it won't undo.
    Unnamed {
        number: usize,
    },
}

impl Rules {
    /// `names` are those that agents learn of addresses.
    #[must_use]
    pub fn new(egress: Egress, names: Arc<Directory>, clock: Clock) -> Self {
        let counts = egress.rules().iter().map(|_| Counts::default()).collect();
        Self { egress, counts, names, clock }
    }

    #[must_use]
    pub const fn egress(&self) -> &Egress {
        &self.egress
    }

    /// In the order of the rules.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RuleSnapshot> {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let one = |(rule, counts): (&_, &Counts)| RuleSnapshot {
            rule: ToString::to_string(rule),
            allowed: get(&counts.allowed),
            denied: get(&counts.denied),
            would_deny: get(&counts.would_deny),
            exceeded: get(&counts.exceeded),
        };
        self.egress.rules().iter().zip(&self.counts).map(one).collect()
    }

    /// Has `f` look at a connection as the rules see it.
    fn with_flow<T>(&self, agent: &Agent, to: &Whither, f: impl FnOnce(&Flow<'_>) -> T) -> T {
        let (names, names_are_learnt) = if let Some(host) = &to.proxied {
            (vec![host.to_ascii_lowercase().into_boxed_str()], true)
        } else {
            let names = self.names.of(agent.id, to.to.ip(), self.clock.now());
            (names, self.names.learns(agent.id))
        };
        f(&Flow { agent: &agent.reference().name, to: to.to, names: &names, names_are_learnt })
    }

    fn names_hosts(&self, rule: usize) -> bool {
        self.egress.rules().get(rule).is_some_and(|rule| rule.host.is_some())
    }

    fn count(&self, rule: usize, which: impl FnOnce(&Counts) -> &AtomicU64) {
        if let Some(counts) = self.counts.get(rule) {
            add(which(counts), 1);
        }
    }
}

/// No rules: nothing stays unread in enforce mode.
impl Default for Rules {
    fn default() -> Self {
        Self::new(Egress::default(), Arc::default(), Clock::start())
    }
}

impl Refusals {
    /// The rules that would allow what was refused, and how often it was.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(String, u64)> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|(wanted, count)| (wanted.to_string(), *count)).collect()
    }

    /// Counts one. Whether it is news; `None` if there is no room for it.
    fn count(&self, wanted: &Wanted) -> Option<bool> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = refused.get_mut(wanted) {
            *count += 1;
            return Some(false);
        }
        let room = refused.len() < limits::EGRESS_REFUSALS_PER_AGENT;
        room.then(|| refused.insert(wanted.clone(), 1).is_none())
    }
}

impl Agent {
    /// Before a connection is dialled.
    pub(super) fn may_connect(&self, to: &Whither) -> Result<(), Denied> {
        if self.rules.egress.rules().is_empty() {
            return Ok(());
        }
        self.rules.with_flow(self, to, |flow| match self.rules.egress.denied_at_connect(flow) {
            Some(rule) => self.deny(flow, None, Why::rule(&self.rules, rule)),
            None => Ok(()),
        })
    }

    /// Before what a connection carries is passed on, where it can be read. `host` is the one that
    /// its client asks for, if that is known yet.
    pub(super) fn may_be_read(&self, to: &Whither, host: Option<&str>) -> Result<(), Denied> {
        if self.rules.egress.rules().is_empty() {
            return Ok(());
        }
        self.rules.with_flow(self, to, |flow| match self.rules.egress.decide(flow, host) {
            Decision::Denied { rule } => self.deny(flow, host, Why::rule(&self.rules, rule)),
            Decision::Allowed { .. } | Decision::Unlisted { .. } => Ok(()),
        })
    }

    /// The same, where it can't be read or is not to be. One that was `meant` to be read, as its
    /// host is listed for that, goes on unread only by a rule that names hosts.
    pub(super) fn may_stay_unread(
        &self,
        to: &Whither,
        host: Option<&str>,
        meant: bool,
    ) -> Result<Allowance, Denied> {
        let free = Allowance::default();
        self.rules.with_flow(self, to, |flow| match self.rules.egress.decide(flow, host) {
            Decision::Allowed { rule, .. } if meant && !self.rules.names_hosts(rule) => {
                self.end_of_rules(flow, host, Why::Unnamed { number: rule }).map(|()| free)
            }
            Decision::Allowed { rule, opaque_bytes } => {
                self.rules.count(rule, |counts| &counts.allowed);
                Ok(Allowance { left: opaque_bytes, rule: Some(rule) })
            }
            Decision::Denied { rule } => {
                self.deny(flow, host, Why::rule(&self.rules, rule)).map(|()| free)
            }
            Decision::Unlisted { unconfirmed: Some(_) } => {
                add(&self.coverage.sni_unconfirmed, 1);
                self.end_of_rules(flow, host, Why::Unconfirmed).map(|()| free)
            }
            Decision::Unlisted { unconfirmed: None } => {
                self.end_of_rules(flow, host, Why::Unlisted).map(|()| free)
            }
        })
    }

    /// Whether a rule lets it stay unread that was meant to be read.
    pub(super) fn is_spared(&self, to: &Whither, host: Option<&str>) -> bool {
        if self.rules.egress.rules().is_empty() {
            return false;
        }
        self.rules.with_flow(self, to, |flow| match self.rules.egress.decide(flow, host) {
            Decision::Allowed { rule, .. } => self.rules.names_hosts(rule),
            Decision::Denied { .. } | Decision::Unlisted { .. } => false,
        })
    }

    /// What no rule fits: let through in audit, refused in enforce.
    fn end_of_rules(&self, flow: &Flow<'_>, host: Option<&str>, why: Why) -> Result<(), Denied> {
        if self.mode == Mode::Audit { Ok(()) } else { self.deny(flow, host, why) }
    }

    /// Counts a denial, which is one in enforce mode only.
    fn deny(&self, flow: &Flow<'_>, host: Option<&str>, why: Why) -> Result<(), Denied> {
        let rule = if let Why::Rule { number, .. } = &why { Some(*number) } else { None };
        if self.mode == Mode::Audit {
            add(&self.coverage.egress_would_deny, 1);
            rule.inspect(|rule| self.rules.count(*rule, |counts| &counts.would_deny));
            return Ok(());
        }
        rule.inspect(|rule| self.rules.count(*rule, |counts| &counts.denied));
        self.coverage.egress_denied();
        let denied = Denied { why, wanted: Wanted::of(flow, host) };
        match self.refusals.count(&denied.wanted) {
            Some(true) => {
                tracing::info!(agent = flow.agent, to = %flow.to, %denied, "egress_denied");
            }
            Some(false) => {}
            None => self.bounds.hit(Bound::EgressRefusals),
        }
        Err(denied)
    }

    /// So many bytes of a connection that stays unread went by. Whether it may go on.
    pub(super) fn spend(&self, allowance: &mut Allowance, bytes: u64) -> bool {
        let Some(left) = &mut allowance.left else { return true };
        *left = left.saturating_sub(bytes);
        if *left > 0 {
            return true;
        }
        let Some(rule) = allowance.rule else { return true };
        // Counted once.
        allowance.left = None;
        self.rules.count(rule, |counts| &counts.exceeded);
        add(&self.coverage.opaque_bytes_exceeded, 1);
        let text = self.rules.egress.rules().get(rule).map(ToString::to_string);
        let (agent, mode) = (self.reference(), self.mode);
        tracing::info!(agent = agent.name, rule = text, %mode, "opaque_bytes_exceeded");
        self.mode == Mode::Audit
    }
}

impl Allowance {
    /// How many bytes may be passed on at once.
    pub(super) fn at_most(&self, wanted: usize) -> usize {
        self.left
            .map_or(wanted, |left| usize::try_from(left).map_or(wanted, |left| left.min(wanted)))
    }
}

impl Why {
    fn rule(rules: &Rules, number: usize) -> Self {
        let rule = rules.egress.rules().get(number);
        Self::Rule { number, text: rule.map(ToString::to_string).unwrap_or_default() }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Rule { number, text } => {
                return write!(f, "egress rule {} denies it: {text}", number + 1);
            }
            Why::Unconfirmed => f.write_str(
                "no DNS answer of the agent's resolvers gave the name that it asks for to this \
                 address",
            )?,
            Why::Unlisted => f.write_str("it can't be read, and no egress rule allows it")?,
            Why::Unnamed { number } => write!(
                f,
                "it is meant to be read and can't be, and egress rule {} does not name its host",
                number + 1
            )?,
        }
        write!(f, "; to allow it: [[egress]] {}", self.wanted)
    }
}

impl std::error::Error for Denied {}
