//! The command line.

mod budget;
mod kill;

use std::{ffi::OsString, io, net::SocketAddr, num::NonZeroU32, path::PathBuf};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser},
};

pub use self::{
    budget::{BudgetArgs, BudgetCommand, ResetArgs},
    kill::{KillArgs, ReviveArgs},
};
use super::model::{AttachRequest, Existing, Target};
use crate::{
    call::{SessionId, State},
    config::{Asked, Decrypt, Mode},
    store::Filter,
};

/// A gateway for AI-agent traffic that agents do not know is there.
///
/// turnpike redirects the connections of agents that already run, unchanged, through a proxy on
/// this machine, and puts their requests back together into workflows.
#[derive(Clone, Debug, Parser)]
#[command(name = "turnpike", version, after_help = EXAMPLES, subcommand_required = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The gateway's control socket; what a dead gateway left pinned is looked for beside it
    /// [default: the daemon's, else that of the only `turnpike run`]
    #[arg(long, global = true, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Log what happens inside
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to colour the output
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// When to colour the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless the environment forbids it
    Auto,
    Always,
    Never,
}

impl ColorChoice {
    /// Whether to colour, where the choice says so.
    #[must_use]
    pub const fn forced(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Always => Some(true),
            Self::Never => Some(false),
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a command as an agent, and show its workflows at its end
    ///
    /// Processes that outlive the command are ended with it.
    Run(RunArgs),
    /// Run the gateway that agents are attached to
    Daemon(DaemonArgs),
    /// Attach an agent that already runs
    Attach(AttachArgs),
    /// Let go of an agent; its new connections go out directly again
    Detach(DetachArgs),
    /// List the agents, and how much of what they do is seen
    Agents(Listing),
    /// Show the gateway itself
    Status(Listing),
    /// List workflows, newest first
    Workflows(WorkflowsArgs),
    /// Show the steps of a workflow
    Trace(TraceArgs),
    /// End all that is under way of a workflow, a session, an agent, a tenant, or of everything, and
    /// keep it silent
    Kill(KillArgs),
    /// Have what was killed go on
    Revive(ReviveArgs),
    /// List the kills that are in force
    Kills(Listing),
    /// List, show or reset what agents may spend
    #[command(subcommand)]
    Budget(BudgetCommand),
    /// Check whether this machine has what turnpike needs
    Doctor(Listing),
    /// Show, export or replace this node's CA, which signs what agents are shown when their TLS is
    /// decrypted
    #[command(subcommand)]
    Ca(CaCommand),
    /// Check, describe or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Connect from an agent's place, for a self-test of the gateway that runs it
    #[command(hide = true)]
    Probe(ProbeArgs),
}

#[derive(Clone, Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// What to call the agent [default: COMMAND-PID]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// The user to run the command as [default: the one who called sudo]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub user: Option<String>,
    /// What becomes of traffic that can't be handled: let through (audit) or refused (enforce)
    #[arg(long, value_parser = mode_parser())]
    pub mode: Option<Mode>,
    /// Whether TLS connections to the hosts listed under [[intercept]] are decrypted [default: on]
    #[arg(long, value_name = "WHETHER", value_parser = decrypt_parser())]
    pub decrypt: Option<Decrypt>,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What the run may spend: limits as under [[budget]], of the whole run, or of each workflow or session
    /// in it with that before the limit, as in workflow:usd=0.50. They are held to in enforce mode, and
    /// only told of in audit mode
    #[arg(long, value_name = "K=V[,K=V…]")]
    pub budget: Option<Asked>,
    /// Write each workflow to this file, one JSON document a line
    #[arg(long, value_name = "FILE")]
    pub trace_out: Option<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    /// The configuration file [default: /etc/turnpike/turnpike.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = ATTACH_EXAMPLES)]
pub struct AttachArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// What to call the agent [default: the container's name if it is given by name, else 12
    /// digits of its id, else the last part of the cgroup's path]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// What becomes of traffic that can't be handled: let through (audit) or refused (enforce)
    /// [default: what the configuration says]
    #[arg(long, value_parser = mode_parser())]
    pub mode: Option<Mode>,
    /// What becomes of the connections that are open already, inbound ones included: they stay as
    /// they are, unseen and counted (keep), or are reset, so that clients connect again (reset)
    /// [default: keep in audit mode; enforce mode always resets]
    #[arg(long, value_name = "WHAT")]
    pub existing: Option<Existing>,
    /// Whether TLS connections to the hosts listed under [[intercept]] are decrypted, for which
    /// the container is made to trust this node's CA until it is detached [default: on in enforce
    /// mode, off in audit mode, or what the configuration says]
    #[arg(long, value_name = "WHETHER", value_parser = decrypt_parser())]
    pub decrypt: Option<Decrypt>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Exactly one of them.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TargetArgs {
    /// Attach the cgroup of this directory below /sys/fs/cgroup
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Attach the cgroup of this process
    #[arg(long)]
    pub pid: Option<NonZeroU32>,
    /// Attach the container of this name or id; the beginning of the id is enough
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub container: Option<String>,
}

impl AttachArgs {
    /// The request to the gateway, whose working directory is another: the path is made absolute.
    /// Errors if the working directory is gone.
    pub fn request(&self) -> io::Result<AttachRequest> {
        let target = match &self.target {
            TargetArgs { cgroup: Some(path), .. } => Target::Cgroup(std::path::absolute(path)?),
            TargetArgs { pid: Some(pid), .. } => Target::Pid(pid.get()),
            TargetArgs { container, .. } => {
                Target::Container(container.clone().unwrap_or_default())
            }
        };
        let Self { name, mode, existing, decrypt, .. } = self;
        Ok(AttachRequest {
            target,
            name: name.clone(),
            mode: *mode,
            existing: *existing,
            decrypt: *decrypt,
            bundle: None,
            budget: None,
        })
    }
}

#[derive(Clone, Debug, Args)]
pub struct DetachArgs {
    /// The agent
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub name: String,
    /// Remove what is left of the agent in the kernel when its gateway is dead
    #[arg(long)]
    pub force: bool,
}

/// The network namespace is standard input.
#[derive(Clone, Debug, Args)]
pub struct ProbeArgs {
    /// The directory of the cgroup to connect from
    #[arg(long, value_name = "PATH")]
    pub cgroup: PathBuf,
    /// Where to connect to
    #[arg(required = true)]
    pub to: Vec<SocketAddr>,
}

/// Of commands that show something and take nothing.
#[derive(Clone, Copy, Debug, Args)]
pub struct Listing {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct WorkflowsArgs {
    /// Only those of this agent
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only those of this session
    #[arg(long, value_name = "SESSION")]
    pub session: Option<SessionId>,
    /// Only those in this state
    #[arg(long, value_parser = state_parser())]
    pub state: Option<State>,
    /// Only the newest so many
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl WorkflowsArgs {
    #[must_use]
    pub fn filter(&self) -> Filter {
        let Self { agent, session, state, limit, .. } = self;
        Filter { agent: agent.clone(), session: *session, state: *state, limit: *limit }
    }
}

#[derive(Clone, Debug, Args)]
#[command(after_help = TRACE_EXAMPLES)]
pub struct TraceArgs {
    /// The workflow's id; its beginning is enough
    #[arg(required_unless_present = "all", conflicts_with = "all", value_parser = parse_id_prefix)]
    pub workflow: Option<String>,
    /// Show every workflow
    #[arg(long)]
    pub all: bool,
    /// Show why each step was placed where it is
    #[arg(long)]
    pub why: bool,
    /// Print JSON; with --all, one document a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub enum CaCommand {
    /// Show its certificate's fingerprint, how long it holds, and where it is kept
    Show(CaArgs),
    /// Print its certificate in PEM, for whoever is to trust it by hand
    Export {
        #[command(flatten)]
        ca: CaArgs,
        /// Write it to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Replace it; what trusts the old one trusts what the new one signs for another week
    Rotate(CaArgs),
}

#[derive(Clone, Debug, Args)]
pub struct CaArgs {
    /// The configuration file [default: /etc/turnpike/turnpike.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file: everything that is wrong with it, one line each
    Check {
        /// The file [default: /etc/turnpike/turnpike.toml]
        file: Option<PathBuf>,
    },
    /// Print the JSON Schema of a configuration file, for editors that complete and check it
    Schema,
    /// Show the configuration that holds, defaults included
    Show {
        /// The configuration file [default: /etc/turnpike/turnpike.toml, if it exists]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn mode_parser() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(["audit", "enforce"]).map(|mode| match mode.as_str() {
        "enforce" => Mode::Enforce,
        _ => Mode::Audit,
    })
}

fn decrypt_parser() -> impl TypedValueParser<Value = Decrypt> {
    PossibleValuesParser::new(["on", "off"]).map(|decrypt| match decrypt.as_str() {
        "on" => Decrypt::On,
        _ => Decrypt::Off,
    })
}

fn state_parser() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(["active", "done", "cancelled", "failed"]).map(|state| {
        match state.as_str() {
            "done" => State::Done,
            "cancelled" => State::Cancelled,
            "failed" => State::Failed,
            _ => State::Active,
        }
    })
}

/// A workflow's id or its beginning, in lower case as ids are written.
fn parse_id_prefix(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits && (1..=ID_DIGITS).contains(&text.len()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(
            "a workflow's id has up to {ID_DIGITS} hexadecimal digits; `turnpike workflows` lists them"
        ))
    }
}

/// Of a [`crate::call::WorkflowId`].
const ID_DIGITS: usize = 16;

const EXAMPLES: &str = "\
Examples:
  sudo turnpike run -- python agent.py          run an agent and see what it did
  sudo turnpike daemon                          run the gateway (or: systemctl start turnpike)
  sudo turnpike attach --container research     attach a container that already runs
  sudo turnpike workflows                       list what the agents are working on
  sudo turnpike trace 3f9c                      see one workflow, step by step

Exit status: 0 done; 1 refused or failed, with one line that says what to do; 2 bad usage.";

const RUN_EXAMPLES: &str = "\
Examples:
  sudo turnpike run -- python agent.py
  sudo turnpike run --name research --trace-out trace.jsonl -- ./agent --depth 3
  sudo turnpike run --user nobody --mode enforce -- ./agent

The exit status is the command's own.";

const ATTACH_EXAMPLES: &str = "\
Examples:
  sudo turnpike attach --container research --mode enforce
  sudo turnpike attach --pid 4711 --name indexer --existing reset
  sudo turnpike attach --cgroup /sys/fs/cgroup/system.slice/agent.service";

const TRACE_EXAMPLES: &str = "\
Examples:
  sudo turnpike trace 3f9c
  sudo turnpike trace 3f9c --why
  sudo turnpike trace --all --json > traces.jsonl";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Command, ErrorKind> {
        let words = std::iter::once("turnpike").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_command_belongs_to_it() {
        for line in ["run --name a -- agent --name b -v", "run --name a agent --name b -v"] {
            let Ok(Command::Run(run)) = parse(line) else { panic!("{line}") };
            assert_eq!(run.name.as_deref(), Some("a"));
            assert_eq!(run.command, ["agent", "--name", "b", "-v"]);
        }
    }

    #[test]
    fn a_misspelt_option_is_not_taken_for_the_command() {
        assert_eq!(parse("run --nmae a -- agent").err(), Some(ErrorKind::UnknownArgument));
        assert_eq!(parse("run --name a").err(), Some(ErrorKind::MissingRequiredArgument));
    }

    #[test]
    fn exactly_one_thing_is_attached() {
        assert_eq!(parse("attach").err(), Some(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse("attach --pid 1 --container a").err(), Some(ErrorKind::ArgumentConflict));
        let Ok(Command::Attach(attach)) = parse("attach --pid 7 --mode enforce --existing reset")
        else {
            panic!("valid")
        };
        let request = attach.request().expect("a request");
        assert_eq!(request.target, Target::Pid(7));
        assert_eq!(request.mode, Some(Mode::Enforce));
        assert_eq!(request.existing, Some(Existing::Reset));
    }

    #[test]
    fn values_that_mean_nothing_are_bad_usage() {
        assert_eq!(parse("attach --pid 0").err(), Some(ErrorKind::ValueValidation));
        assert_eq!(parse("attach --pid 1 --existing drop").err(), Some(ErrorKind::InvalidValue));
        assert_eq!(parse("attach --container=").err(), Some(ErrorKind::InvalidValue));
        assert_eq!(parse("attach --pid 1 --mode off").err(), Some(ErrorKind::InvalidValue));
        assert_eq!(parse("workflows --session xyz").err(), Some(ErrorKind::ValueValidation));
        assert_eq!(parse("workflows --state gone").err(), Some(ErrorKind::InvalidValue));
        assert_eq!(parse("trace ../status").err(), Some(ErrorKind::ValueValidation));
    }

    #[test]
    fn a_relative_cgroup_is_made_absolute() {
        let Ok(Command::Attach(attach)) = parse("attach --cgroup agent.slice") else {
            panic!("valid")
        };
        let Target::Cgroup(path) = attach.request().expect("a request").target else {
            panic!("a cgroup")
        };
        assert!(path.is_absolute() && path.ends_with("agent.slice"), "{path:?}");
    }

    #[test]
    fn a_trace_is_of_one_workflow_or_of_all() {
        assert_eq!(parse("trace").err(), Some(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse("trace 3f --all").err(), Some(ErrorKind::ArgumentConflict));
        assert!(matches!(parse("trace 3F --why"), Ok(Command::Trace(TraceArgs {
            workflow: Some(id), why: true, all: false, ..
        })) if id == "3f"));
    }

    #[test]
    fn every_listed_state_is_understood() {
        for state in [State::Active, State::Done, State::Cancelled, State::Failed] {
            let name = super::super::model::state_name(state);
            let Ok(Command::Workflows(workflows)) = parse(&format!("workflows --state {name}"))
            else {
                panic!("{name}")
            };
            assert_eq!(workflows.filter().state, Some(state));
        }
    }

    #[test]
    fn the_help_of_every_command_has_no_empty_description() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
