//! Containers that get another name: their agents do too.

use tokio::task::spawn_blocking;

use super::consider::name_by;
use crate::{
    app::gateway::{Gateway, GatewayError},
    attach::container::{Inquiry, Names, Places},
    config::agent::{Choice, choose},
};

impl Gateway {
    /// Looks whether containers of agents that a rule attached are called otherwise now.
    pub(super) async fn follow_renames(&self, places: &Places) {
        let held: Vec<(String, String, String)> = {
            let fleet = self.0.fleet.lock().await;
            let by_rule = fleet.held().into_iter().filter(|agent| agent.rule.is_some());
            by_rule.filter_map(|a| Some((a.name, a.container_id?, a.container_name?))).collect()
        };
        if held.is_empty() {
            return;
        }
        let places = places.clone();
        let renamed = spawn_blocking(move || {
            let names = Names::read(&places);
            let is_renamed = |(agent, id, before): (String, String, String)| {
                let now = names.of(&id).filter(|now| *now != before)?;
                Some((agent, now, places.clone()))
            };
            held.into_iter().filter_map(is_renamed).collect::<Vec<_>>()
        });
        for (agent, now, places) in renamed.await.unwrap_or_default() {
            if let Err(error) = self.rename(&agent, &now, &places).await {
                tracing::error!(agent, %error, "can't follow its container's new name");
            }
        }
    }

    async fn rename(&self, agent: &str, now: &str, places: &Places) -> Result<(), GatewayError> {
        let mut fleet = self.0.fleet.lock().await;
        let Some(member) = fleet.member_mut(agent) else { return Ok(()) };
        member.held.container_name = Some(now.to_owned());
        let place = member.held.rule.map(|number| number - 1);
        let mut inquiry = Inquiry::new(member.cgroup.clone());
        inquiry.look(places);
        // The configuration may be another by now than when it was attached.
        let is_the_rule_s = match choose(&self.0.config.agents, &inquiry.workload()) {
            Choice::Rule(chosen) => Some(chosen) == place,
            Choice::Open => true,
            Choice::NoRule => false,
        };
        let rule = place.and_then(|place| self.0.config.agents.get(place));
        let name = name_by(rule.filter(|_| is_the_rule_s), &inquiry)?;
        if name.as_str() != agent {
            let name = name.free(|name| name != agent && fleet.holds(name));
            fleet.rename(agent, &name);
            self.show(&fleet);
            // After it is shown: a kill meets it under the old name or under the new one.
            self.follow_kill(agent, name.as_str());
            tracing::info!(agent, name = name.as_str(), "its container was renamed");
            if let Some(member) = fleet.member(name.as_str()) {
                // Rules go by names.
                self.open_direct(member)?;
            }
        }
        let _lock = self.0.instance.lock()?;
        Ok(self.publish(&fleet)?)
    }
}
