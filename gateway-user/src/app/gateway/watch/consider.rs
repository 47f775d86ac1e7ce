//! One cgroup: what it is, which rule matches it, and attaching it in time.

use std::time::Duration;

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::watched::Outcome;
use crate::{
    app::{
        agents::{AgentName, Candidate, Terms, Unfit, default_name},
        gateway::{Gateway, GatewayError, health::Shown, older},
    },
    attach::{
        cgroup::Cgroup,
        container::{Inquiry, Places, Stage},
    },
    config::{
        Existing, Mode,
        agent::{AgentRule, Choice, choose},
    },
    limits,
};

impl Gateway {
    /// Finds out whether a rule matches a cgroup, and attaches it then.
    pub(super) async fn consider(&self, cgroup: Cgroup, places: Places) {
        let id = cgroup.id();
        let outcome = match self.find_rule(cgroup, places).await {
            None => return self.0.watched.forget(id),
            Some((inquiry, None)) => Outcome::Unmatched(shown_name(&inquiry)),
            Some((inquiry, Some(rule))) => match self.attach_by(rule, &inquiry).await {
                Ok(shown) => {
                    self.0.watched.end(id, Outcome::Attached);
                    self.report_lateness(&shown);
                    return self.settle_in(&shown.held.name).await;
                }
                Err(GatewayError::Ending) => return,
                Err(_) if !inquiry.cgroup().is_alive() => return self.0.watched.forget(id),
                Err(error) => Outcome::Refused(error.to_string()),
            },
        };
        let is_news = self.0.watched.end(id, outcome.clone());
        if let Outcome::Refused(why) = outcome
            && is_news
        {
            tracing::error!(cgroup = id, why, "a rule matches, but it can't be attached");
        }
    }

    /// The place of the rule that matches, once that is known and the cgroup can be attached; `None`
    /// inside if none does, and outside if the cgroup is gone.
    async fn find_rule(&self, cgroup: Cgroup, places: Places) -> Option<(Inquiry, Option<usize>)> {
        let rules = &self.0.config.agents;
        let mut inquiry = Inquiry::new(cgroup);
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut chosen = Choice::Open;
        loop {
            let is_nameless = !inquiry.is_no_container() && inquiry.told().name.is_none();
            if chosen == Choice::Open || is_nameless {
                inquiry = self.look(inquiry, &places).await?;
                chosen = choose(rules, &inquiry.workload());
            }
            let stage = Stage::of(inquiry.cgroup(), !inquiry.is_no_container());
            let is_late = begun.elapsed() >= limits::LOOKUP_TIME;
            match chosen {
                Choice::NoRule => return Some((inquiry, None)),
                Choice::Rule(_) if inquiry.told().is_sandbox => return Some((inquiry, None)),
                Choice::Rule(rule)
                    if is_late || stage >= Stage::Entered || inquiry.is_no_container() =>
                {
                    return Some((inquiry, Some(rule)));
                }
                Choice::Open if is_late => inquiry.give_up(),
                // Its files are complete by now, as far as they ever are.
                Choice::Open if stage == Stage::Running && begun.elapsed() >= PATIENCE => {
                    inquiry = self.ask(inquiry).await?;
                    continue;
                }
                Choice::Open if stage >= Stage::Made && inquiry.told().name.is_some() => {
                    inquiry = self.ask(inquiry).await?;
                    continue;
                }
                Choice::Rule(_) | Choice::Open => {}
            }
            if !inquiry.cgroup().is_alive() {
                return None;
            }
            sleep(pause).await;
            pause = longer(pause, begun);
        }
    }

    /// `None` if the thread that looks ended badly.
    async fn look(&self, mut inquiry: Inquiry, places: &Places) -> Option<Inquiry> {
        let _room = self.0.watched.room().await?;
        let places = places.clone();
        spawn_blocking(move || {
            inquiry.look(&places);
            inquiry
        })
        .await
        .ok()
    }

    /// As `look`, for `ask`.
    async fn ask(&self, mut inquiry: Inquiry) -> Option<Inquiry> {
        let _room = self.0.watched.room().await?;
        spawn_blocking(move || {
            inquiry.ask();
            inquiry
        })
        .await
        .ok()
    }

    async fn attach_by(&self, place: usize, inquiry: &Inquiry) -> Result<Shown, GatewayError> {
        let rule = self.0.config.agents.get(place);
        let candidate = Candidate {
            name: name_by(rule, inquiry)?,
            cgroup: inquiry.cgroup().clone(),
            container: inquiry.container().cloned(),
        };
        candidate.cgroup.check_depth()?;
        let mode = rule.and_then(|rule| rule.mode).unwrap_or(self.0.config.defaults.mode);
        let existing = older::policy(mode, rule.and_then(|rule| rule.existing))?;
        older::require(existing).await?;
        let terms = Terms {
            mode,
            existing,
            decrypt: rule
                .and_then(|rule| rule.decrypt)
                .unwrap_or_else(|| self.0.config.defaults.decrypt(mode)),
            on_unmetered: rule
                .and_then(|rule| rule.on_unmetered)
                .unwrap_or(self.0.config.defaults.on_unmetered),
            on_retry: rule
                .and_then(|rule| rule.on_retry)
                .unwrap_or(self.0.config.defaults.on_retry),
            replay_aborted: rule
                .and_then(|rule| rule.replay_aborted)
                .unwrap_or(self.0.config.defaults.replay_aborted),
            bundle: None,
            budget: None,
            tenant: rule.and_then(|rule| rule.tenant.clone()),
            container_name: inquiry.told().name.clone(),
            rule: Some(place + 1),
            late_ms: None,
            moving: false,
        };
        self.enlist(std::process::id(), candidate, terms, Vec::new()).await
    }

    fn report_lateness(&self, shown: &Shown) {
        let Some(late_ms) = shown.held.late_ms else { return };
        self.0.watched.count_late();
        let (agent, older) = (&shown.held.name, shown.health.older());
        tracing::warn!(agent, late_ms, older, "attached after its first process had begun");
    }

    /// Follows an agent that has just been attached, closely at first; then upkeep does.
    async fn settle_in(&self, name: &str) {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        while begun.elapsed() < limits::LOOKUP_TIME {
            let mut fleet = self.0.fleet.lock().await;
            if fleet.is_over() {
                return;
            }
            match self.house(&mut fleet, name).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(agent = name, %error, "can't follow an agent to its place");
                    return;
                }
            }
            drop(fleet);
            sleep(pause).await;
            pause = longer(pause, begun);
        }
    }

    /// What a rule says of a workload that a command attaches: for where the command says nothing.
    pub(in crate::app::gateway) fn rule_for(&self, cgroup: &Cgroup) -> Option<(usize, Inquiry)> {
        let rules = &self.0.config.agents;
        if rules.is_empty() {
            return None;
        }
        let mut inquiry = Inquiry::new(cgroup.clone());
        inquiry.look(&Places::of_machine());
        if choose(rules, &inquiry.workload()) == Choice::Open {
            inquiry.ask();
        }
        match choose(rules, &inquiry.workload()) {
            Choice::Rule(place) => Some((place, inquiry)),
            Choice::NoRule | Choice::Open => None,
        }
    }
}

/// As the rule's template has it; else the container's name, or the beginning of its id, or the last
/// part of the cgroup's path.
pub(in crate::app::gateway) fn name_by(
    rule: Option<&AgentRule>,
    inquiry: &Inquiry,
) -> Result<AgentName, Unfit> {
    let template = rule.and_then(|rule| rule.name.as_ref());
    let filled = template.map(|template| template.fill(&inquiry.workload()));
    let named = filled.or_else(|| inquiry.told().name.clone());
    match named.and_then(|name| AgentName::near(&name)) {
        Some(name) => Ok(name),
        None => default_name(inquiry.cgroup(), inquiry.container()),
    }
}

/// What a rule says of older connections, as far as the mode allows it.
pub(in crate::app::gateway) fn existing_by(rule: &AgentRule, mode: Mode) -> Option<Existing> {
    rule.existing.filter(|existing| (mode, *existing) != (Mode::Enforce, Existing::Keep))
}

/// A container's name, or the beginning of its id; `None` for what holds nothing of an owner's.
fn shown_name(inquiry: &Inquiry) -> Option<String> {
    let container = inquiry.container().filter(|_| !inquiry.told().is_sandbox)?;
    let name = inquiry.told().name.clone();
    Some(name.unwrap_or_else(|| container.id.chars().take(12).collect()))
}

fn longer(pause: Duration, begun: Instant) -> Duration {
    let longest = if begun.elapsed() < HURRY { LONGEST_PAUSE } else { LONGEST_PAUSE * 8 };
    (pause * 2).min(longest)
}

/// A container is made within some ten milliseconds, the last of which decide.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(8);
/// After that it is one that takes its time.
const HURRY: Duration = Duration::from_secs(1);
/// How long a running container's files may take to tell who it is before its runtime is asked.
const PATIENCE: Duration = Duration::from_millis(500);
