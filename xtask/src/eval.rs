//! `cargo xtask eval lineage`: how well workflows are put back together.

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
    /// Measure how well workflows are put back together, on calls whose true places are known
    #[command(disable_help_flag = true)]
    Lineage {
        /// The evaluation's own: `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        options: Vec<OsString>,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Part::Lineage { options } = &arguments.part;
    let mut cargo = process::cargo();
    cargo.args(["run", "--locked", "--release", "--quiet"]);
    cargo.args(["-p", "turnpike-tests", "--bin", "eval", "--"]);
    process::run(cargo.args(options))
}
