//! `turnpike budget`.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

use crate::{
    call::{SessionId, WorkflowId},
    control::budget::ResetRequest,
    ledger::Holder,
};

#[derive(Clone, Debug, Subcommand)]
pub enum BudgetCommand {
    /// List what is spent of each budget: of those who hold it the fullest first
    List(BudgetArgs),
    /// Show one budget: its terms, who holds it, and when it was reset
    Show {
        /// Its name, as `turnpike budget list` shows it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        #[command(flatten)]
        listing: BudgetArgs,
    },
    /// Let somebody spend anew, and go on if a budget had stopped it
    #[command(after_help = RESET_EXAMPLES)]
    Reset(ResetArgs),
}

#[derive(Clone, Copy, Debug, Args)]
pub struct BudgetArgs {
    /// Show so many holders of each budget
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub limit: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ResetArgs {
    #[command(flatten)]
    holder: HolderArgs,
    /// Only of this budget [default: all that it is held to itself]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    budget: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Who.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct HolderArgs {
    /// The workflow's id, all of it
    workflow: Option<WorkflowId>,
    /// A session, by its id
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// An agent, by its name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    agent: Option<String>,
    /// A tenant, by its name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    tenant: Option<String>,
    /// This node as a whole
    #[arg(long)]
    node: bool,
}

impl ResetArgs {
    #[must_use]
    pub fn request(&self) -> ResetRequest {
        let HolderArgs { workflow, session, agent, tenant, node: _ } = &self.holder;
        let named = |name: &Option<String>| name.as_deref().map(Into::into);
        let holder = workflow
            .map(Holder::Workflow)
            .or_else(|| session.map(Holder::Session))
            .or_else(|| named(agent).map(Holder::Agent))
            .or_else(|| named(tenant).map(Holder::Tenant));
        ResetRequest {
            holder: holder.unwrap_or(Holder::Node),
            budget: self.budget.clone(),
            reason: self.reason.clone(),
        }
    }
}

const RESET_EXAMPLES: &str = "\
Examples:
  turnpike budget reset 00c0ffee00c0ffee --reason \"it was the test run\"
  turnpike budget reset --agent research --budget agent";
