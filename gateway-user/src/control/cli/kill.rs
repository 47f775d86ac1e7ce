//! `turnpike kill` and `turnpike revive`.

use std::time::Duration;

use clap::{Args, builder::NonEmptyStringValueParser};

use super::parse_id_prefix;
use crate::{
    call::SessionId,
    config::Span,
    control::kill::{KillRequest, ReviveRequest, Victim},
    limits,
};

#[derive(Clone, Debug, Args)]
#[command(after_help = KILL_EXAMPLES)]
pub struct KillArgs {
    #[command(flatten)]
    victim: VictimArgs,
    /// Why, for the record, and for the clients whose calls end
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: Option<String>,
    /// End its processes too, with SIGKILL: all of an agent; of a workflow or a session those that carry
    /// its tool calls out
    #[arg(long)]
    signal: bool,
    /// How long to wait until it is silent
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: Span,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = REVIVE_EXAMPLES)]
pub struct ReviveArgs {
    #[command(flatten)]
    victim: VictimArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Exactly one of them.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct VictimArgs {
    /// The workflow's id; its beginning is enough
    #[arg(value_parser = parse_id_prefix)]
    workflow: Option<String>,
    /// A session, by its id
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// An agent, by its name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    agent: Option<String>,
    /// All agents of a tenant, by its name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    tenant: Option<String>,
    /// Every agent
    #[arg(long)]
    all: bool,
}

impl VictimArgs {
    fn victim(&self) -> Victim {
        let Self { workflow, session, agent, tenant, all: _ } = self;
        let named = |name: &Option<String>| name.as_deref().map(Into::into);
        let victim = workflow.clone().map(Victim::Workflow);
        victim
            .or_else(|| session.map(Victim::Session))
            .or_else(|| named(agent).map(Victim::Agent))
            .or_else(|| named(tenant).map(Victim::Tenant))
            .unwrap_or(Victim::Node)
    }
}

impl KillArgs {
    #[must_use]
    pub fn request(&self) -> KillRequest {
        KillRequest {
            victim: self.victim.victim(),
            reason: self.reason.clone(),
            signal: self.signal,
            timeout_ms: u64::try_from(self.timeout().as_millis()).unwrap_or(u64::MAX),
        }
    }

    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.0.min(limits::KILL_WAIT)
    }
}

impl ReviveArgs {
    #[must_use]
    pub fn request(&self) -> ReviveRequest {
        ReviveRequest { victim: self.victim.victim() }
    }
}

/// One line, which is passed on to clients.
fn parse_reason(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("a reason is one line of text".into());
    }
    if text.len() > limits::REASON_BYTES {
        return Err(format!("a reason has at most {} bytes", limits::REASON_BYTES));
    }
    Ok(text.to_owned())
}

const KILL_EXAMPLES: &str = "\
Examples:
  sudo turnpike kill 3f9c --reason \"it mails customers\"
  sudo turnpike kill --agent research --signal
  sudo turnpike kill --all

It holds, over restarts of the gateway too, until `turnpike revive`. The exit status is 1 if there was
no silence in time: then look at what is printed under \"not covered\".";

const REVIVE_EXAMPLES: &str = "\
Examples:
  sudo turnpike revive 3f9c
  sudo turnpike revive --agent research
  sudo turnpike kills";
