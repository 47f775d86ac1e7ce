//! Programs that are built from crates, each pinned, in the cache; and rustup's components.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Need, log};
use crate::{process, workspace};

/// A program installed by `cargo install` into a directory of its own.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    purpose: &'static str,
    features: &'static [&'static str],
    /// LLVM's installation, for programs that link it.
    llvm: Option<&'static str>,
    directory: PathBuf,
}

impl Tool {
    fn pinned(name: &'static str, version: &'static str, purpose: &'static str) -> Result<Self> {
        let directory = workspace::cache()?.join(format!("{name}-{version}"));
        Ok(Self { name, version, purpose, features: &[], llvm: None, directory })
    }

    /// The directory with the program, for `PATH`.
    pub(crate) fn bin(&self) -> PathBuf {
        self.directory.join("bin")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.bin().join(self.name)
    }
}

impl Need for Tool {
    fn name(&self) -> String {
        format!("{} {} ({})", self.name, self.version, self.purpose)
    }

    fn missing(&self) -> Result<Option<String>> {
        // Cargo puts the program there as its last act.
        Ok((!self.path().is_file()).then(|| "cargo install, takes minutes".to_owned()))
    }

    fn install(&self) -> Result<()> {
        let mut command = process::cargo();
        command
            .args(["install", self.name, "--locked", "--version", self.version, "--root"])
            .arg(&self.directory)
            .args(self.features)
            .env_remove("CARGO_TARGET_DIR")
            .envs(QUICK_BUILD.iter().copied());
        if let Some(llvm) = self.llvm {
            let bin = Path::new(llvm).join("bin");
            command.env("LLVM_PREFIX", llvm).env("PATH", process::path_with(&[&bin])?);
        }
        process::run_quietly(&mut command, &log(self.name)?)
    }
}

/// Links BPF objects. Built against the LLVM that Debian's rustc-web uses, since it reads that
/// compiler's bitcode.
pub(crate) fn bpf_linker() -> Result<Tool> {
    Ok(Tool {
        features: &["--no-default-features", "--features", "llvm-22"],
        llvm: Some(LLVM),
        ..Tool::pinned("bpf-linker", "0.13.0", "links the BPF object")?
    })
}

pub(crate) fn cargo_deny() -> Result<Tool> {
    Tool::pinned("cargo-deny", "0.20.2", "checks licences and sources")
}

pub(crate) fn cargo_fuzz() -> Result<Tool> {
    Tool::pinned("cargo-fuzz", "0.13.2", "runs the fuzz targets")
}

/// Whether rustup has a nightly toolchain, which fuzzing takes and nothing else does.
pub(crate) fn has_nightly() -> bool {
    process::output(Command::new("rustup").args(["toolchain", "list"]))
        .is_ok_and(|list| list.lines().any(|toolchain| toolchain.starts_with("nightly")))
}

/// clippy and rustfmt: a minimal rustup profile lacks them.
pub(super) struct Components;

impl Need for Components {
    fn name(&self) -> String {
        "clippy and rustfmt".to_owned()
    }

    fn missing(&self) -> Result<Option<String>> {
        let works =
            |command: &str| process::output(process::cargo().args([command, "--version"])).is_ok();
        let complete = works("clippy") && works("fmt");
        Ok((!complete).then(|| "rustup component add clippy rustfmt".to_owned()))
    }

    fn install(&self) -> Result<()> {
        let mut command = Command::new("rustup");
        command.args(["component", "add", "clippy", "rustfmt"]);
        if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
            command.arg("--toolchain").arg(toolchain);
        }
        process::run_quietly(&mut command, &log("rustup")?)
    }
}

/// These tools are run for seconds: compiling them quickly matters more than their speed.
const QUICK_BUILD: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// Debian's LLVM of the version that rustc-web has.
pub(crate) const LLVM: &str = "/usr/lib/llvm-22";
