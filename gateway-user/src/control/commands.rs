//! The commands that ask a gateway and print what it says.

use std::{
    fmt,
    io::{self, Write},
    ops::ControlFlow,
    path::Path,
};

use super::{
    cli::{AttachArgs, DetachArgs, Listing, TraceArgs, WorkflowsArgs},
    client::{Client, ClientError},
    model::{AgentInfo, Refusal},
    render::{self, Screen},
};
use crate::store::Filter;

/// What remains in the kernel of agents whose gateway is dead.
pub trait Pinned {
    fn list(&self) -> Result<Vec<AgentInfo>, Refusal>;

    /// Removes what is pinned of the agent of this name.
    fn detach(&self, name: &str) -> Result<(), Refusal>;
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

pub async fn workflows(
    console: &mut Console<'_>,
    args: &WorkflowsArgs,
) -> Result<(), CommandError> {
    let workflows = console.gateway().await?.workflows(&args.filter()).await?;
    console.print(args.json, &workflows, |out, screen| render::workflows(out, screen, &workflows))
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
