//! What turnpike costs, beside what others cost: every figure of one run comes from the same
//! machine, load and minutes. Subjects take turns in rounds, so that whatever else the machine
//! does meanwhile hits them alike; a figure is the median over the rounds, with the least and the
//! greatest.
//!
//! The model server, the load and each proxy are processes of their own, the first two being this
//! same program.

mod aims;
mod load;
mod peer;
mod plan;
mod probe;
mod relay;
mod report;
mod serve;
mod statistics;
mod subject;
mod table;
mod wire;

use std::{net::TcpListener, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use self::{load::Job, plan::Plan, report::Report, subject::Subjects};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Measures turnpike beside its peers")]
struct Arguments {
    /// Fewer and shorter rounds: under a minute, and rougher figures
    #[arg(long)]
    quick: bool,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the bench starts of itself. Each prints its port, or its result, on one line.
#[derive(Clone, Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    Serve,
    #[command(hide = true)]
    Relay { upstream: std::net::SocketAddr },
    #[command(hide = true)]
    Load { job: String },
}

/// Runs the bench, or the part of it that the arguments name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.part {
        None => measure(&arguments),
        Some(Part::Serve) => listen().and_then(serve::run),
        Some(Part::Relay { upstream }) => listen().and_then(|own| relay::run(own, *upstream)),
        Some(Part::Load { job }) => load(job),
    };
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &Arguments) -> Result<()> {
    let plan = Plan::new(arguments.quick);
    let mut subjects = Subjects::start()?;
    let results = plan.run(&mut subjects)?;
    subjects.check_coverage()?;
    let report = Report::new(&plan, &results);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn load(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job).context("the job")?;
    println!("{}", serde_json::to_string(&job.run()?)?);
    Ok(())
}

/// Listens on a port that the kernel chooses, and tells it to whoever started us.
fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").context("a port on loopback")?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}
