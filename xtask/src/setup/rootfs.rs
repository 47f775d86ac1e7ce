//! The root file system of the containers in tests and demo: a minimal Debian with Python, curl
//! and, in `/opt/agent`, the `openai` SDK as it is published.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{Need, log};
use crate::{process, workspace};

pub(super) struct RootFileSystem;

impl Need for RootFileSystem {
    fn name(&self) -> String {
        "containers' root file system".to_owned()
    }

    fn missing(&self) -> Result<Option<String>> {
        let path = path()?;
        Ok((!path.is_dir()).then(|| format!("debootstrap {}, takes two minutes", path.display())))
    }

    /// Builds beside the final path and renames at the end: an interrupted run leaves nothing
    /// that looks finished.
    fn install(&self) -> Result<()> {
        let path = path()?;
        let partial = path.with_extension("partial");
        process::run(process::as_root("rm")?.args(["-rf", "--one-file-system"]).arg(&partial))?;
        debootstrap(&partial)?;
        install_sdk(&partial)?;
        fs::rename(&partial, &path).with_context(|| path.display().to_string())
    }
}

/// Where it is. The name has a hash of the recipe, so that a changed recipe makes a new one.
pub(crate) fn path() -> Result<PathBuf> {
    let mut recipe = Sha256::new();
    for word in [SUITE, VARIANT, INCLUDE].iter().chain(SDK).chain(SDK_PLATFORM) {
        recipe.update(word);
        recipe.update("\n");
    }
    let mut name = "rootfs-".to_owned();
    for byte in recipe.finalize().iter().take(6) {
        write!(name, "{byte:02x}")?;
    }
    Ok(workspace::cache()?.join(name))
}

fn debootstrap(target: &Path) -> Result<()> {
    let mut command = process::as_root("debootstrap")?;
    command.args([VARIANT, INCLUDE, SUITE]).arg(target);
    process::run_quietly(&mut command, &log("debootstrap")?)
}

/// Runs the host's pip for the root file system's Python, which has none of its own.
fn install_sdk(root: &Path) -> Result<()> {
    let mut command = process::as_root("/usr/bin/python3")?;
    command
        .args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:"])
        .arg("--target")
        .arg(root.join("opt/agent"))
        .args(SDK_PLATFORM)
        .args(SDK)
        // Whatever Python environment the caller is in, this is about another one.
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME");
    process::run_quietly(&mut command, &log("openai-sdk")?)
}

const SUITE: &str = "bookworm";
const VARIANT: &str = "--variant=minbase";
const INCLUDE: &str = "--include=python3,ca-certificates,curl,iproute2,python3-certifi";
/// Bookworm's Python.
const SDK_PLATFORM: &[&str] =
    &["--implementation=cp", "--python-version=3.11", "--platform=manylinux2014_x86_64"];
/// The SDK and all it depends on, so that every machine gets the same.
const SDK: &[&str] = &[
    "openai==3.54.0",
    "annotated-types==0.8.0",
    "anyio==4.16.0",
    "h11==0.16.0",
    "httpcore2==2.16.2",
    "httpx2==2.16.2",
    "idna==3.20",
    "jiter==0.19.0",
    "pydantic==2.14.3",
    "pydantic-core==2.50.4",
    "sniffio==1.3.1",
    "truststore==0.10.5",
    "typing-extensions==4.16.0",
    "typing-inspection==0.4.5",
];
