//! Builds everything, owns the tasks, and ends them in order. The only module that knows all
//! others.

mod agents;
mod ca;
mod daemon;
mod doctor;
mod gateway;
mod kernel;
mod kills;
mod netns;
mod node;
mod pinned;
mod probe;
mod remains;
mod run;
mod settings;

use std::io;

use anyhow::Context as _;

use crate::{
    control::cli::{Cli, Command},
    control::commands::{self, Console},
    control::render::Screen,
    proxy::Clock,
};

/// Does what the command line says. The value is the process's exit status.
pub fn main(cli: Cli) -> anyhow::Result<u8> {
    // It goes into an agent's cgroup, and must be no more than it has to be there.
    if let Command::Probe(args) = &cli.command {
        return probe::run(args).map(|()| 0);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    let status = runtime.block_on(dispatch(cli));
    // What hangs in a container's file system must not keep us.
    runtime.shutdown_background();
    status
}

/// For the control socket and the upkeep; each network namespace has a thread of its own.
const CONTROL_THREADS: usize = 2;

async fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    let Cli { global, command } = cli;
    let control = global.control.as_deref();
    let mut out = io::stdout().lock();
    let pinned = pinned::PinnedAgents::beside(control);
    let screen = Screen::of(&io::stdout(), global.color.forced(), Clock::start().now());
    let mut console = Console { control, screen, out: &mut out };
    match command {
        Command::Run(args) => return run::run(args, &global).await,
        Command::Daemon(args) => daemon::run(&args, control, global.verbose).await?,
        Command::Attach(args) => commands::attach(&mut console, &args).await?,
        Command::Detach(args) => commands::detach(&mut console, &args, &pinned).await?,
        Command::Agents(args) => commands::agents(&mut console, args, &pinned).await?,
        Command::Status(args) => commands::status(&mut console, args).await?,
        Command::Workflows(args) => commands::workflows(&mut console, &args).await?,
        Command::Budget(command) => commands::budget(&mut console, &command).await?,
        Command::Kill(args) => return Ok(commands::kill(&mut console, &args, &pinned).await?),
        Command::Revive(args) => commands::revive(&mut console, &args, &pinned).await?,
        Command::Kills(args) => commands::kills(&mut console, args, &pinned).await?,
        Command::Trace(args) => commands::trace(&mut console, &args).await?,
        Command::Doctor(args) => return doctor::run(args.json, control, console.out).await,
        Command::Probe(args) => probe::run(&args)?,
        Command::Ca(command) => ca::run(&command, &mut console).await?,
        Command::Config(command) => return settings::run(&command, console.out),
    }
    Ok(0)
}
