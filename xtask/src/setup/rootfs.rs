//! The root file system of the containers in tests and demo: a minimal Debian with Python, curl and
//! git, and the clients of model servers as they are published: `python`, `node` and `go` say which.

mod go;
mod node;
mod python;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{Need, REPORT, log};
use crate::{process, workspace};

pub(super) struct RootFileSystem;

impl Need for RootFileSystem {
    fn name(&self) -> String {
        "containers' root file system".to_owned()
    }

    fn missing(&self) -> Result<Option<String>> {
        let path = path()?;
        Ok((!path.is_dir()).then(|| format!("{}, takes four minutes", path.display())))
    }

    /// Builds beside the final path and renames at the end: an interrupted run leaves nothing
    /// that looks finished.
    fn install(&self) -> Result<()> {
        let path = path()?;
        let partial = path.with_extension("partial");
        remove(&partial)?;
        REPORT.step("- Debian, by debootstrap", || debootstrap(&partial))?;
        REPORT.step("- Python's clients, and node, by pip", || python::install(&partial))?;
        REPORT.step("- node's clients, by npm", || node::install(&partial))?;
        REPORT.step("- a client in Go, by a compiler that pip has", || go::install(&partial))?;
        fs::rename(&partial, &path).with_context(|| path.display().to_string())
    }
}

/// Where it is. The name has a hash of the recipe, so that a changed recipe makes a new one.
pub(crate) fn path() -> Result<PathBuf> {
    let mut recipe = Sha256::new();
    let debian = [SUITE, VARIANT, INCLUDE];
    let pinned = [python::RECIPE, node::RECIPE, go::RECIPE].concat();
    for word in debian.iter().chain(pinned.iter().copied().flatten()) {
        recipe.update(word);
        recipe.update("\n");
    }
    recipe.update(go::source()?);
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

fn remove(path: &Path) -> Result<()> {
    process::run(process::as_root("rm")?.args(["-rf", "--one-file-system"]).arg(path))
}

const SUITE: &str = "bookworm";
const VARIANT: &str = "--variant=minbase";
const INCLUDE: &str =
    "--include=python3,ca-certificates,curl,git,iproute2,python3-certifi,libgomp1";
