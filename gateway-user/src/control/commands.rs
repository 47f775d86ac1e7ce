//! The commands that ask a gateway and print what it says.

use std::{
    fmt,
    io::{self, Write},
    ops::ControlFlow,
    path::Path,
};

use super::{
    cli::{
        AttachArgs, BudgetCommand, DetachArgs, KillArgs, Listing, ReviveArgs, TraceArgs,
        WorkflowsArgs,
    },
    client::{Client, ClientError},
    kill::{KillReport, KillRequest, ReviveRequest, Revived},
    model::{AgentInfo, Refusal},
    render::{self, Screen},
};
use crate::{cancel::Kill, store::Filter};

/// What remains in the kernel of agents whose gateway is dead.
pub trait Pinned {
    fn list(&self) -> Result<Vec<AgentInfo>, Refusal>;

    /// Removes what is pinned of the agent of this name.
    fn detach(&self, name: &str) -> Result<(), Refusal>;

    /// Kills an agent, or a holder of several, as far as that can be done without a gateway.
    fn kill(&self, request: &KillRequest) -> Result<KillReport, Refusal>;

    /// Has what was killed go on.
    fn revive(&self, request: &ReviveRequest) -> Result<Revived, Refusal>;

    /// The kills in force.
    fn kills(&self) -> Result<Vec<Kill>, Refusal>;
}

/// Which gateway a command asks, and where it prints.
pub struct Console<'a> {
    /// The control socket that the user named.
    pub control: Option<&'a Path>,
    pub screen: Screen,
    pub out: &'a mut dyn Write,
}

impl fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("control", &self.control)
            .field("screen", &self.screen)
            .finish_non_exhaustive()
    }
}

/// Why a command did not do its work. Displayed as one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("can't write the output: {0}; free some space or write elsewhere")]
    Output(io::Error),
    #[error("can't tell which cgroup is meant: {0}; give its absolute path")]
    Path(io::Error),
}

pub async fn status(console: &mut Console<'_>, args: Listing) -> Result<(), CommandError> {
    let status = console.gateway().await?.status().await?;
    console.print(args.json, &status, |out, screen| render::status(out, screen, &status))
}

/// Lists the agents of every gateway that lives, and what dead ones left pinned.
pub async fn agents(
    console: &mut Console<'_>,
    args: Listing,
    pinned: &dyn Pinned,
) -> Result<(), CommandError> {
    let gateways = Client::discover_all(console.control).await?;
    let mut agents = Vec::new();
    for gateway in &gateways {
        match gateway.agents().await {
            Ok(more) => agents.extend(more),
            // It has ended meanwhile.
            Err(ClientError::NotRunning { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match pinned.list() {
        Ok(more) => agents.extend(more),
        Err(refusal) if gateways.is_empty() => return Err(refusal.into()),
        Err(refusal) => tracing::warn!(%refusal, "what dead gateways left is not listed"),
    }
    console.print(args.json, &agents, |out, screen| render::agents(out, screen, &agents))
}

pub async fn attach(console: &mut Console<'_>, args: &AttachArgs) -> Result<(), CommandError> {
    let request = args.request().map_err(CommandError::Path)?;
    let agent = console.gateway().await?.attach(&request).await?;
    console.print(args.json, &agent, |out, screen| render::attached(out, screen, &agent))
}

/// With `--force`, removes what is pinned of an agent that no live gateway holds.
pub async fn detach(
    console: &mut Console<'_>,
    args: &DetachArgs,
    pinned: &dyn Pinned,
) -> Result<(), CommandError> {
    match console.gateway().await {
        Ok(gateway) => detach_from(&gateway, args, pinned).await?,
        Err(ClientError::NotRunning { .. }) if args.force => pinned.detach(&args.name)?,
        Err(ClientError::NotRunning { path }) => {
            let error = format!("no turnpike daemon answers at {}", path.display());
            return Err(Refusal::new(error).fix(FORCE).into());
        }
        Err(error) => return Err(error.into()),
    }
    console.write(|out, screen| render::detached(out, screen, &args.name))
}

/// A dead gateway's agent is looked for only if the live one holds none of that name.
async fn detach_from(
    gateway: &Client,
    args: &DetachArgs,
    pinned: &dyn Pinned,
) -> Result<(), CommandError> {
    let refusal = match gateway.detach(&args.name, args.force).await {
        Err(ClientError::Refused(refusal)) => refusal,
        done => return Ok(done?),
    };
    let is_named = |agents: &[AgentInfo]| agents.iter().any(|agent| agent.name == args.name);
    if is_named(&gateway.agents().await?) {
        return Err(refusal.into());
    }
    if args.force {
        return Ok(pinned.detach(&args.name)?);
    }
    if pinned.list().is_ok_and(|agents| is_named(&agents)) {
        let error = format!("the gateway of {} is dead", args.name);
        return Err(Refusal::new(error).fix(FORCE).into());
    }
    Err(refusal.into())
}

const FORCE: &str = "add --force to remove what a dead one left pinned";

/// Without a daemon that answers, by what it left. The value is the exit status: 1 if there was no
/// silence in time.
pub async fn kill(
    console: &mut Console<'_>,
    args: &KillArgs,
    pinned: &dyn Pinned,
) -> Result<u8, CommandError> {
    let request = args.request();
    let report = match console.gateway().await {
        Ok(gateway) => gateway.kill(&request).await?,
        Err(ClientError::NotRunning { .. }) => pinned.kill(&request)?,
        Err(error) => return Err(error.into()),
    };
    console.print(args.json, &report, |out, screen| render::killed(out, screen, &report))?;
    Ok(u8::from(!report.silent))
}

pub async fn revive(
    console: &mut Console<'_>,
    args: &ReviveArgs,
    pinned: &dyn Pinned,
) -> Result<(), CommandError> {
    let request = args.request();
    let revived = match console.gateway().await {
        Ok(gateway) => gateway.revive(&request).await?,
        Err(ClientError::NotRunning { .. }) => pinned.revive(&request)?,
        Err(error) => return Err(error.into()),
    };
    console.print(args.json, &revived, |out, screen| render::revived(out, screen, &revived))
}

pub async fn kills(
    console: &mut Console<'_>,
    args: Listing,
    pinned: &dyn Pinned,
) -> Result<(), CommandError> {
    let kills = match console.gateway().await {
        Ok(gateway) => gateway.kills().await?,
        Err(ClientError::NotRunning { .. }) => pinned.kills()?,
        Err(error) => return Err(error.into()),
    };
    console.print(args.json, &kills, |out, screen| render::kills(out, screen, &kills))
}

pub async fn workflows(
    console: &mut Console<'_>,
    args: &WorkflowsArgs,
) -> Result<(), CommandError> {
    let workflows = console.gateway().await?.workflows(&args.filter()).await?;
    console.print(args.json, &workflows, |out, screen| render::workflows(out, screen, &workflows))
}

pub async fn budget(
    console: &mut Console<'_>,
    command: &BudgetCommand,
) -> Result<(), CommandError> {
    let gateway = console.gateway().await?;
    match command {
        BudgetCommand::List(args) => {
            let all = gateway.budgets(args.limit).await?;
            console.print(args.json, &all, |out, screen| render::budgets(out, screen, &all))
        }
        BudgetCommand::Show { name, listing } => {
            let all = gateway.budgets(listing.limit).await?;
            let Some(one) = all.iter().find(|budget| budget.name == *name) else {
                let error = format!("no budget is called {name:?}");
                return Err(Refusal::new(error).fix("see `turnpike budget list`").into());
            };
            console.print(listing.json, one, |out, screen| render::budget(out, screen, one))
        }
        BudgetCommand::Reset(args) => {
            let reset = gateway.reset_budget(&args.request()).await?;
            console.print(args.json, &reset, |out, screen| render::reset(out, screen, &reset))
        }
    }
}

pub async fn trace(console: &mut Console<'_>, args: &TraceArgs) -> Result<(), CommandError> {
    let gateway = console.gateway().await?;
    if let Some(id) = &args.workflow {
        let workflow = gateway.workflow(id).await?;
        return console.print(args.json, &workflow, |out, screen| {
            render::trace(out, screen, &workflow, args.why)
        });
    }
    let mut traces = gateway.traces(&Filter::default()).await?;
    let mut first = true;
    while let Some(workflow) = traces.next().await? {
        let printed = console.try_write(|out, screen| {
            if args.json {
                return render::json_line(out, &workflow);
            }
            if !first {
                writeln!(out)?;
            }
            render::trace(out, screen, &workflow, args.why)
        })?;
        if printed.is_break() {
            return Ok(());
        }
        first = false;
    }
    if first && !args.json {
        console.write(|out, screen| render::workflows(out, screen, &[]))?;
    }
    Ok(())
}

impl Console<'_> {
    async fn gateway(&self) -> Result<Client, ClientError> {
        Client::discover(self.control).await
    }

    /// Prints a document: as JSON, or as `text` does it.
    pub fn print(
        &mut self,
        json: bool,
        document: &impl serde::Serialize,
        text: impl FnOnce(&mut dyn Write, &Screen) -> io::Result<()>,
    ) -> Result<(), CommandError> {
        self.write(|out, screen| if json { render::json(out, document) } else { text(out, screen) })
    }

    fn write(
        &mut self,
        text: impl FnOnce(&mut dyn Write, &Screen) -> io::Result<()>,
    ) -> Result<(), CommandError> {
        self.try_write(text).map(drop)
    }

    /// Breaks if nobody reads any more, which is no error: `turnpike trace --all | head`.
    fn try_write(
        &mut self,
        text: impl FnOnce(&mut dyn Write, &Screen) -> io::Result<()>,
    ) -> Result<ControlFlow<()>, CommandError> {
        match text(self.out, &self.screen).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(CommandError::Output(error)),
        }
    }
}
