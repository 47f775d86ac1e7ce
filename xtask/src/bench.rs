//! `cargo xtask bench`: turnpike beside its peers, measured in one run; `cargo xtask bench dialect`:
//! what it costs to read a call.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::report::Report;
use crate::{process, setup, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Fewer and shorter rounds: rougher figures, in some minutes less
    #[arg(long)]
    quick: bool,
    /// Print one JSON document, and nothing else on standard output
    #[arg(long)]
    json: bool,
    /// Only what has these words in its title
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
    /// Measure this peer too, if it is installed: `mitmproxy`
    #[arg(long, value_name = "PEER")]
    with: Option<String>,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Measure what it costs to read a call, in one process and without a network
    Dialect {
        /// Print one JSON document, and nothing else on standard output
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.part {
        None => peers(arguments),
        Some(Part::Dialect { json }) => dialect(json || arguments.json),
    }
}

fn dialect(json: bool) -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["run", "--locked", "--release", "--quiet"]);
    cargo.args(["-p", "turnpike-tests", "--bin", "bench-dialect", "--"]);
    process::run(cargo.args(json.then_some("--json")))
}

fn peers(arguments: &Arguments) -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--locked", "--release", "--quiet"]);
    cargo.args([
        "-p",
        "gateway-user",
        "--bin",
        "turnpike",
        "-p",
        "turnpike-tests",
        "--bin",
        "bench",
    ]);
    if arguments.json {
        // Nobody watches: what is missing is an error, not an installation.
        process::run(&mut cargo)?;
    } else {
        setup::ensure()?;
        REPORT.step("building", || process::run(&mut cargo))?;
    }
    process::run(bench()?.args(arguments.flags()))
}

impl Arguments {
    fn flags(&self) -> Vec<OsString> {
        let flags = [(self.quick, "--quick"), (self.json, "--json")];
        let mut all: Vec<OsString> =
            flags.iter().filter(|(set, _)| *set).map(|(_, flag)| (*flag).into()).collect();
        for (flag, value) in [("--only", &self.only), ("--with", &self.with)] {
            all.extend(value.iter().flat_map(|value| [flag.into(), value.into()]));
        }
        all
    }
}

/// The program that measures. Attaching needs root.
fn bench() -> Result<Command> {
    let program = workspace::target().join("release/bench");
    if process::is_root() {
        return Ok(Command::new(program));
    }
    let mut command = process::as_root("env")?;
    command.arg(program);
    Ok(command)
}

const REPORT: Report = Report::of("bench");
