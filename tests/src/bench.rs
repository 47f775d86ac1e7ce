//! What turnpike costs, beside what others cost: every figure of one run comes from the same
//! machine, load and minutes. Subjects take turns in rounds, so that whatever else the machine
//! does meanwhile hits them alike; a figure is the median over the rounds, with the least and the
//! greatest.
//!
//! The model server, the load and each proxy are processes of their own, the first two being this
//! same program.

mod aims;
mod conversation;
mod load;
mod peer;
mod plan;
mod probe;
mod relay;
mod report;
mod serve;
mod statistics;
mod subject;
pub(crate) mod table;
mod tls;
mod wire;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use self::{load::Job, plan::Plan, report::Report, subject::Subjects};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Measures turnpike beside its peers")]
struct Arguments {
    /// Fewer and shorter rounds: rougher figures, in some minutes less
    #[arg(long)]
    quick: bool,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// Only what has these words in its title
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
    /// Measure this one too, if it is installed
    #[arg(long, value_enum)]
    with: Option<Guest>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// A peer that the bench does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Guest {
    /// `mitmdump` in its reverse mode
    Mitmproxy,
}

/// What the bench starts of itself. Each prints its addresses, or its result, on one line.
#[derive(Clone, Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    Serve { identity: PathBuf },
    #[command(hide = true)]
    Relay { upstream: SocketAddr, identity: Option<PathBuf> },
    #[command(hide = true)]
    Load { job: String },
}

/// Runs the bench, or the part of it that the arguments name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.part {
        None => measure(&arguments),
        Some(Part::Serve { identity }) => {
            listen().and_then(|[plain, encrypted]| serve::run(plain, encrypted, identity))
        }
        Some(Part::Relay { upstream, identity }) => {
            listen().and_then(|[own]| relay::run(own, *upstream, identity.as_deref()))
        }
        Some(Part::Load { job }) => load(job),
    };
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &Arguments) -> Result<()> {
    let plan = Plan::new(arguments.quick, arguments.only.as_deref());
    ensure!(!plan.scenarios.is_empty(), "no scenario has these words in its title");
    let mut subjects = Subjects::start(arguments.with)?;
    let results = plan.run(&mut subjects)?;
    subjects.check_coverage(&plan.scenarios)?;
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

/// Listens on ports that the kernel chooses, and tells them to whoever started us.
fn listen<const N: usize>() -> Result<[TcpListener; N]> {
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..N {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port on loopback")?;
        addresses.push(listener.local_addr()?.to_string());
        listeners.push(listener);
    }
    println!("{}", addresses.join(" "));
    listeners.try_into().ok().context("as many as were asked for")
}
