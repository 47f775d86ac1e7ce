//! `cargo xtask bpf`: the BPF object that is kept in the repository.
//!
//! Users build turnpike with stable Rust and nothing else, so the object is committed, beside a
//! note of what made it. The same tools make the same bytes on every machine: paths are mapped
//! away, names do not depend on where the checkout is (`bpf/rustc.sh`), and debug information is
//! stripped (BTF stays). `--check` holds the repository to that.

mod sidecar;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::report::Report;
use crate::{process, setup, workspace};
use sidecar::{Sidecar, Tools};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Rebuild and compare; change nothing in the repository
    #[arg(long)]
    check: bool,
}

/// What a check of the committed object found, when it found nothing wrong.
#[derive(Debug)]
pub(crate) enum Checked {
    /// The same tools made the same bytes.
    Identical,
    /// Other tools make other bytes, which only running them can judge: here they are.
    OtherTools { fresh: PathBuf },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.check { check().map(drop) } else { rebuild() }
}

/// Compares the committed object with a fresh one.
pub(crate) fn check() -> Result<Checked> {
    let note = Sidecar::read(&sidecar_path())?;
    let committed = committed_path();
    let bytes = fs::read(&committed).with_context(|| committed.display().to_string())?;
    ensure!(
        sidecar::sha256(&bytes) == note.object_sha256,
        "the BPF object is not the one that its note describes: run `cargo xtask bpf` and commit both"
    );
    ensure!(
        sidecar::sources_sha256(&workspace::root())? == note.sources_sha256,
        "the BPF sources have changed: run `cargo xtask bpf` and commit the object"
    );
    let tools = Tools::installed()?;
    let fresh = build()?;
    if tools != note.tools {
        REPORT.say("other tools than those that made the committed object, so bytes may differ:");
        for line in note.tools.differences(&tools) {
            REPORT.say(format_args!("    {line}"));
        }
        REPORT.say(format_args!("the fresh object is {}", fresh.display()));
        return Ok(Checked::OtherTools { fresh });
    }
    ensure!(
        fs::read(&fresh)? == bytes,
        "the same sources and tools made other bytes ({}): the build is not reproducible here",
        fresh.display()
    );
    REPORT.say(format_args!("identical: {} bytes, sha256 {}", bytes.len(), note.object_sha256));
    Ok(Checked::Identical)
}

fn rebuild() -> Result<()> {
    let tools = Tools::installed()?;
    let bytes = fs::read(build()?)?;
    let note = Sidecar {
        object_sha256: sidecar::sha256(&bytes),
        sources_sha256: sidecar::sources_sha256(&workspace::root())?,
        target: TARGET.to_owned(),
        flags: flags(Path::new("WORKSPACE"), Path::new("CARGO_HOME")),
        tools,
    };
    let committed = committed_path();
    if let Some(directory) = committed.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(&committed, &bytes).with_context(|| committed.display().to_string())?;
    note.write(&sidecar_path())?;
    REPORT.say(format_args!("wrote {} ({} bytes)", committed.display(), bytes.len()));
    Ok(())
}

/// Builds and strips; gives the object's path.
fn build() -> Result<PathBuf> {
    let target = workspace::target().join("bpf");
    REPORT.step("building gateway-ebpf", || process::run(&mut cargo_build(&target)?))?;
    let linked = target.join(TARGET).join("release/turnpike");
    let object = target.join("turnpike.bpf.o");
    let mut strip = Command::new(objcopy_path());
    process::run(strip.arg("--strip-debug").arg(linked).arg(&object))?;
    Ok(object)
}

fn cargo_build(target: &Path) -> Result<Command> {
    let root = workspace::root();
    let home = workspace::cargo_home()?;
    let mut all_flags = flags(&root, &home);
    // The last that fits is the one that counts.
    all_flags.extend(registry_flags(&home));
    let mut command = Command::new(CARGO);
    // What the caller's cargo and rustup say is about another compiler.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let about_the_network = ["CARGO_HOME", "CARGO_HTTP", "CARGO_NET", "CARGO_REGISTR"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if (text.starts_with("CARGO") || text.starts_with("RUST")) && !about_the_network {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(root.join("gateway-ebpf"))
        .args(["build", "--quiet", "--release", "--locked", "--target", TARGET])
        .env_remove("LD_LIBRARY_PATH")
        .env("PATH", process::path_with(&[&setup::bpf_linker()?.bin()])?)
        .env("RUSTC", RUSTC)
        .env("RUSTC_WRAPPER", root.join("xtask/src/bpf/rustc.sh"))
        .env("RUSTC_BOOTSTRAP", UNSTABLE_CRATES)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", all_flags.join("\x1f"));
    Ok(command)
}

/// The compiler's flags: the target's kernel types, BTF, and no path of this machine.
fn flags(root: &Path, cargo_home: &Path) -> Vec<String> {
    vec![
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--remap-path-prefix={}=/turnpike", root.display()),
        format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
    ]
}

/// Has every registry's sources appear under one name, whatever it is called on this machine.
fn registry_flags(cargo_home: &Path) -> Vec<String> {
    let registries = fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten().flatten();
    registries
        .map(|registry| format!("--remap-path-prefix={}=/cargo/src", registry.path().display()))
        .collect()
}

fn committed_path() -> PathBuf {
    workspace::root().join("gateway-ebpf/object/turnpike.bpf.o")
}

fn sidecar_path() -> PathBuf {
    workspace::root().join("gateway-ebpf/object/turnpike.bpf.toml")
}

fn objcopy_path() -> PathBuf {
    Path::new(setup::LLVM).join("bin/llvm-objcopy")
}

const REPORT: Report = Report::of("bpf");
const TARGET: &str = "bpfel-unknown-none";
/// Debian's, by path: the `cargo` and `rustc` in `PATH` are rustup's.
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
/// The crates that use unstable features of a stable compiler: BPF's intrinsics are behind them.
const UNSTABLE_CRATES: &str = "aya_ebpf,turnpike";
