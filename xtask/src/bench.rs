//! `cargo xtask bench`: turnpike beside its peers, measured in one run; `cargo xtask bench dialect`:
//! what it costs to read a call; `cargo xtask bench lineage`: what it costs to place one; `cargo xtask
//! bench ledger`: what it costs to hold what it may spend; `cargo xtask bench kill`: how long it is from a
//! kill to silence.

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
    /// Measure what it costs to hold what a call may spend, in one process and without a network
    Ledger {
        /// Print one JSON document, and nothing else on standard output
        #[arg(long)]
        json: bool,
    },
    /// Measure how long it is from a kill to silence, with the real gateway on the real kernel
    Kill {
        /// Print one JSON document, and nothing else on standard output
        #[arg(long)]
        json: bool,
        /// How often each is measured
        #[arg(long, default_value_t = 50)]
        runs: usize,
    },
    /// Measure what it costs to place a call, and to remember it, in one process and without a network
    Lineage {
        /// Print one JSON document, and nothing else on standard output
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.part {
        None => peers(arguments),
        Some(Part::Dialect { json }) => alone("bench-dialect", json || arguments.json),
        Some(Part::Ledger { json }) => alone("bench-ledger", json || arguments.json),
        Some(Part::Kill { json, runs }) => kill(json || arguments.json, runs),
        Some(Part::Lineage { json }) => alone("bench-lineage", json || arguments.json),
    }
}

/// A program that measures in its own process.
fn alone(program: &str, json: bool) -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["run", "--locked", "--release", "--quiet"]);
    cargo.args(["-p", "turnpike-tests", "--bin", program, "--"]);
    process::run(cargo.args(json.then_some("--json")))
}

/// The gateway, and a program that measures it.
fn build(program: &str) -> Command {
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
        program,
    ]);
    cargo
}

fn kill(json: bool, runs: usize) -> Result<()> {
    process::run(&mut build("bench-kill"))?;
    let mut command = measuring("bench-kill")?;
    process::run(command.args(json.then_some("--json")).args(["--runs", &runs.to_string()]))
}

fn peers(arguments: &Arguments) -> Result<()> {
    let mut cargo = build("bench");
    if arguments.json {
        // Nobody watches: what is missing is an error, not an installation.
        process::run(&mut cargo)?;
    } else {
        setup::ensure()?;
        REPORT.step("building", || process::run(&mut cargo))?;
    }
    process::run(measuring("bench")?.args(arguments.flags()))
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

/// A program that measures. Attaching needs root.
fn measuring(program: &str) -> Result<Command> {
    let program = workspace::target().join("release").join(program);
    if process::is_root() {
        return Ok(Command::new(program));
    }
    let mut command = process::as_root("env")?;
    command.arg(program);
    Ok(command)
}

const REPORT: Report = Report::of("bench");
