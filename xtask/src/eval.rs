//! `cargo xtask eval lineage`: how well workflows are put back together; and `record`, which makes the
//! recordings of real frameworks that it is measured on.

use std::ffi::OsString;

use anyhow::Result;

use crate::report::Report;
use crate::{process, setup, workspace};

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
    /// Record real frameworks at work, through the gateway
    #[command(disable_help_flag = true)]
    Record {
        /// The recorder's own: `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        options: Vec<OsString>,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.part {
        Part::Lineage { options } => {
            let mut cargo = process::cargo();
            cargo.args(["run", "--locked", "--release", "--quiet"]);
            cargo.args(["-p", "turnpike-tests", "--bin", "eval", "--"]);
            process::run(cargo.args(options))
        }
        Part::Record { options } => {
            setup::ensure_containers()?;
            REPORT.step("building turnpike and the recorder", build)?;
            let mut record = process::as_root("env")?;
            record.arg(format!("TURNPIKE_ROOTFS={}", setup::root_file_system()?.display()));
            process::run(record.arg(workspace::target().join("debug/record")).args(options))
        }
    }
}

/// As whoever we are: only running it needs root.
fn build() -> Result<()> {
    let mut command = process::cargo();
    command.args(["build", "--quiet", "--locked"]);
    command.args(["-p", "gateway-user", "-p", "turnpike-tests"]);
    process::run(command.args(["--bin", "turnpike", "--bin", "record"]))
}

const REPORT: Report = Report::of("eval");
