//! `cargo xtask simulate ledger`: the simulation of which CI runs some thousands, for as many as you like.

use std::ffi::OsString;

use anyhow::Result;

use crate::process;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Make calls against a ledger in every order, and look whether it overspends
    #[command(disable_help_flag = true)]
    Ledger {
        /// The simulation's own: `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        options: Vec<OsString>,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Part::Ledger { options } = &arguments.part;
    let mut cargo = process::cargo();
    cargo.args(["run", "--locked", "--release", "--quiet"]);
    cargo.args(["-p", "turnpike-tests", "--bin", "simulate", "--"]);
    process::run(cargo.args(options))
}
