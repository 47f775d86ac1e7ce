//! `cargo xtask demo`: everything it takes, and then the demo itself.

use anyhow::Result;

use crate::report::Report;
use crate::{process, setup, workspace};

pub(crate) fn run() -> Result<()> {
    setup::ensure_containers()?;
    REPORT.step("building turnpike and the demo", build)?;
    let mut demo = process::as_root("env")?;
    demo.arg(format!("TURNPIKE_ROOTFS={}", setup::root_file_system()?.display()));
    process::run(demo.arg(workspace::target().join("debug/demo")))
}

/// As whoever we are: only running it needs root.
fn build() -> Result<()> {
    let mut command = process::cargo();
    command.args(["build", "--quiet", "--locked"]);
    command.args(["-p", "gateway-user", "-p", "turnpike-tests"]);
    process::run(command.args(["--bin", "turnpike", "--bin", "demo", "--bin", "model-server"]))
}

const REPORT: Report = Report::of("demo");
