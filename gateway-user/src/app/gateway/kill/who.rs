//! Who is meant by a kill.

use crate::{
    app::gateway::{Gateway, GatewayError, fleet::Fleet, health::Shown},
    call::Holder,
    cancel::Whose,
    config::agent::AgentRule,
    control::{kill::Victim, model::Refusal},
    store::Filter,
};

impl Gateway {
    /// Refuses to let go of an agent that is killed, as long as there is one.
    pub(in crate::app::gateway) fn require_revived(
        &self,
        fleet: &Fleet,
        name: &str,
    ) -> Result<(), GatewayError> {
        let held = fleet.held().into_iter().find(|held| held.name == name);
        let is_killed = held.is_some_and(|held| self.is_killed(name, held.tenant.as_deref()));
        let lives = fleet.member(name).is_none_or(|member| member.cgroup.is_alive());
        if is_killed && lives { Err(GatewayError::Killed(name.into())) } else { Ok(()) }
    }

    /// The agents that a kill silences as a whole.
    pub(super) fn victims(&self, holder: &Holder) -> Vec<Shown> {
        let mut shown = self.shown();
        shown.retain(|Shown { held, .. }| {
            Whose { agent: &held.name, tenant: held.tenant.as_deref() }.is_held_by(holder)
        });
        shown
    }

    /// Who is meant, if there is such a one.
    pub(super) fn holder(&self, victim: &Victim) -> Result<Holder, Refusal> {
        let unknown = |what: String, see: &str| Err(Refusal::new(what).fix(see));
        match victim {
            Victim::Workflow(prefix) => {
                let found = self.workflows().get(prefix);
                let found = found.map_err(|error| {
                    Refusal::new(error.to_string()).fix("see `turnpike workflows`")
                })?;
                Ok(Holder::Workflow(found.summary.workflow_id))
            }
            Victim::Session(id) => {
                let (session, limit) = (Some(*id), Some(1));
                let filter = Filter { session, limit, ..Filter::default() };
                if self.workflows().list(&filter).is_empty() {
                    return unknown(
                        format!("there is no session {id}"),
                        "see `turnpike workflows`",
                    );
                }
                Ok(Holder::Session(*id))
            }
            Victim::Agent(name) if self.victims(&Holder::Agent(name.clone())).is_empty() => {
                unknown(format!("no agent is called {name:?}"), "see `turnpike agents`")
            }
            Victim::Agent(name) => Ok(Holder::Agent(name.clone())),
            Victim::Tenant(name) => {
                let of_rule = |rule: &AgentRule| rule.tenant.as_deref() == Some(name);
                let is_known = self.0.config.agents.iter().any(of_rule);
                if !is_known && self.victims(&Holder::Tenant(name.clone())).is_empty() {
                    return unknown(
                        format!("no agent is of tenant {name:?}"),
                        "see `turnpike agents`",
                    );
                }
                Ok(Holder::Tenant(name.clone()))
            }
            Victim::Node => Ok(Holder::Node),
        }
    }

    /// Who is meant among those that are killed.
    pub(super) fn killed_holder(&self, victim: &Victim) -> Result<Holder, Refusal> {
        let prefix = match victim {
            Victim::Workflow(prefix) => prefix.to_ascii_lowercase(),
            Victim::Session(id) => return Ok(Holder::Session(*id)),
            Victim::Agent(name) => return Ok(Holder::Agent(name.clone())),
            Victim::Tenant(name) => return Ok(Holder::Tenant(name.clone())),
            Victim::Node => return Ok(Holder::Node),
        };
        let latches = self.0.latch.read();
        let mut found = latches.iter().filter_map(|kill| match &kill.holder {
            Holder::Workflow(id) if id.to_string().starts_with(&prefix) => Some(*id),
            _ => None,
        });
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(Holder::Workflow(id)),
            // One that a budget has stopped is known by its whole id.
            (None, _) => prefix.parse().map(Holder::Workflow).map_err(|_| {
                Refusal::new(format!("no workflow that begins with {prefix} is killed"))
                    .fix("see `turnpike kills`")
            }),
            (Some(_), Some(_)) => {
                Err(Refusal::new(format!("several killed workflows begin with {prefix}"))
                    .fix("give more of the id"))
            }
        }
    }

    /// Whether an agent is killed as a whole.
    pub(in crate::app::gateway) fn is_killed(&self, name: &str, tenant: Option<&str>) -> bool {
        self.0.latch.read().of_agent(Whose { agent: name, tenant }).is_some()
    }
}
