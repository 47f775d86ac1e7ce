//! `cargo xtask fuzz`: the parsers against what nobody wrote for them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::report::Report;
use crate::{process, setup, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these targets
    targets: Vec<String>,
    /// How long each target looks for what fails
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u32,
}

/// Looks where nobody has looked before: each run starts from another seed, and goes on from what
/// earlier runs have found worth keeping (`fuzz/corpus`).
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        setup::has_nightly(),
        "fuzzing takes a nightly toolchain: rustup toolchain install nightly"
    );
    let known = targets()?;
    for target in &arguments.targets {
        ensure!(known.contains(target), "no fuzz target {target}: there are {}", known.join(", "));
    }
    let chosen = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    for target in chosen {
        let time = format!("-max_total_time={}", arguments.seconds);
        REPORT.step(target, || fuzz(target, &[&time]))?;
    }
    Ok(())
}

/// The same tries each time, as a gate's must be that is to say something about a change: that the
/// targets run, and that nothing easy to hit is wrong.
pub(crate) fn check() -> Result<()> {
    if !setup::has_nightly() {
        REPORT.say("SKIPPED (it takes a nightly toolchain: rustup toolchain install nightly)");
        return Ok(());
    }
    let (runs, time) = (format!("-runs={RUNS}"), format!("-max_total_time={SECONDS}"));
    for target in targets()? {
        REPORT.step(&target, || fuzz(&target, &["-seed=1", &runs, &time]))?;
    }
    Ok(())
}

fn fuzz(target: &str, options: &[&str]) -> Result<()> {
    let mut command = Command::new("rustup");
    command
        .current_dir(workspace::root())
        .args(["run", "nightly", "cargo", "fuzz", "run", target, "--", "-verbosity=0"])
        .args(options)
        .env("PATH", process::path_with(&[&setup::cargo_fuzz()?.bin()])?)
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN");
    process::run(&mut command)
}

fn targets() -> Result<Vec<String>> {
    let manifest = workspace::root().join("fuzz/Cargo.toml");
    let shown = || manifest.display().to_string();
    targets_of(&fs::read_to_string(&manifest).with_context(shown)?).with_context(shown)
}

fn targets_of(manifest: &str) -> Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse()?;
    let bins = manifest.get("bin").and_then(toml::Value::as_array);
    let names = bins.into_iter().flatten().filter_map(|bin| bin.get("name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

const REPORT: Report = Report::of("fuzz");
/// Of each target, as far as there is time: a slow machine makes fewer of the same.
const RUNS: u32 = 30_000;
const SECONDS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::targets_of;

    #[test]
    fn each_bin_of_the_fuzz_manifest_is_a_target() {
        let manifest = "[package]\nname = \"f\"\n[[bin]]\nname = \"a\"\n[[bin]]\nname = \"b\"\n";
        assert_eq!(targets_of(manifest).expect("parses"), ["a", "b"]);
        assert!(targets_of("[package]").expect("parses").is_empty());
    }
}
