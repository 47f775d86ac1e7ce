//! `cargo xtask test`: everything that must hold, quickest first, stopping at the first failure.

use std::env;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::bpf::{self, Checked};
use crate::report::Report;
use crate::{fuzz, process, setup, tidy, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only what takes a minute: formatting, lints, tidy, unit tests
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    if arguments.quick {
        quick()?;
    } else {
        setup::ensure()?;
        quick()?;
        REPORT.step("licences and sources", licences)?;
        let object = bpf_object()?;
        fuzz::check()?;
        REPORT.step("kernel and container tests", || kernel_tests(object.as_ref()))?;
    }
    REPORT.say(format_args!("all passed in {:.0} s", start.elapsed().as_secs_f64()));
    Ok(())
}

fn quick() -> Result<()> {
    REPORT.step("formatting", formatting)?;
    REPORT.step("lints", lints)?;
    REPORT.step("tidy", tidy::run)?;
    REPORT.step("unit tests", unit_tests)
}

fn formatting() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--", "--check"]))?;
    for package in ["gateway-ebpf", "fuzz"] {
        let manifest = workspace::root().join(package).join("Cargo.toml");
        if manifest.is_file() {
            let mut command = process::cargo();
            command.arg("fmt").arg("--manifest-path").arg(manifest).args(["--", "--check"]);
            process::run(&mut command)?;
        }
    }
    Ok(())
}

/// Of the workspace. `gateway-ebpf` and `fuzz` are outside of it and are not linted here: the one
/// compiles with Debian's BPF toolchain only, which has no clippy; the other is for nightly.
fn lints() -> Result<()> {
    let mut command = process::cargo();
    command.args(["clippy", "--quiet", "--locked", "--workspace", "--all-targets"]);
    process::run(command.args(["--", "-D", "warnings"]))
}

/// Of the whole workspace, here and below: dependencies have the features that all selected packages
/// want together, and would be built once more for each other selection.
fn unit_tests() -> Result<()> {
    let mut command = process::cargo();
    command.args(["test", "--quiet", "--locked", "--workspace", "--lib", "--bins"]);
    process::run(select(&mut command, "gateway-user")?)?;
    process::run(process::cargo().args(["test", "--quiet", "--locked", "--workspace", "--doc"]))
}

/// The advisory database is a git repository that not every machine reaches, and it changes by
/// itself: `cargo deny check advisories` is for a person to run, not for a gate.
fn licences() -> Result<()> {
    let mut command = Command::new(setup::cargo_deny()?.path());
    command.current_dir(workspace::root()).args(["--log-level", "error", "--workspace", "check"]);
    process::run(command.args(["licenses", "bans", "sources"]))
}

/// None where the object can't be built: the committed one is tested then.
fn bpf_object() -> Result<Option<Checked>> {
    if !setup::builds_bpf() {
        REPORT.say("BPF object: SKIPPED (it is built on Debian); testing the committed one");
        return Ok(None);
    }
    REPORT.step("BPF object", bpf::check).map(Some)
}

/// Built as whoever we are, run as root.
fn kernel_tests(object: Option<&Checked>) -> Result<()> {
    // The tests run the program itself, and no dependency of theirs builds it.
    let mut gateway = process::cargo();
    gateway.args(["build", "--locked", "--workspace", "--all-targets"]);
    let mut command = process::cargo();
    command.args(["test", "--locked", "--workspace"]);
    select(&mut command, "tests")?
        .arg("--")
        .arg(format!("--test-threads={KERNEL_TEST_THREADS}"))
        .env("TURNPIKE_ROOTFS", setup::root_file_system()?);
    if let Some(Checked::OtherTools { fresh }) = object {
        REPORT.say(format_args!("testing the fresh BPF object {}", fresh.display()));
        gateway.env("TURNPIKE_BPF_OBJECT", fresh);
        command.env("TURNPIKE_BPF_OBJECT", fresh);
    }
    process::run(&mut gateway)?;
    if !process::is_root() {
        let runner = format!("CARGO_TARGET_{}_RUNNER", host_triple()?);
        command.env(runner, "sudo --preserve-env");
    }
    process::run(&mut command)
}

/// The integration tests of the package in that directory, too.
fn select<'a>(command: &'a mut Command, package: &str) -> Result<&'a mut Command> {
    for target in workspace::tests_of(package)? {
        command.args(["--test", &target]);
    }
    Ok(command)
}

/// As cargo spells it in the names of environment variables.
fn host_triple() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = process::output(Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_uppercase().replace(['-', '.'], "_"))
}

const REPORT: Report = Report::of("test");
/// Containers, network namespaces and BPF attachments of several tests at once are fine, but each
/// brings its own processes, and some tests measure.
const KERNEL_TEST_THREADS: u32 = 2;
