//! `cargo xtask bench`: turnpike beside its peers, measured in one run.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::report::Report;
use crate::{process, setup, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Fewer and shorter rounds: under a minute, and rougher figures
    #[arg(long)]
    quick: bool,
    /// Print one JSON document, and nothing else on standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
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
        flags.iter().filter(|(set, _)| *set).map(|(_, flag)| (*flag).into()).collect()
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
