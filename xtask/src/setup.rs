//! `cargo xtask setup`: what contributors need. Doing it again is quick: each need is looked at
//! first, and only what is missing is installed. Packages are installed on Debian only; elsewhere
//! their programs must be there.

mod packages;
mod programs;
mod rootfs;
mod tools;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::report::Report;
use crate::workspace;

pub(crate) use rootfs::path as root_file_system;
pub(crate) use tools::{LLVM, bpf_linker, cargo_deny, cargo_fuzz, has_nightly};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Say what is missing and install nothing; exit 1 if something is
    #[arg(long)]
    check: bool,
}

/// One thing that must be there.
trait Need {
    fn name(&self) -> String;
    /// What is missing, in words; none when the need is met.
    fn missing(&self) -> Result<Option<String>>;
    fn install(&self) -> Result<()>;
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let needs = needs()?;
    if arguments.check { check(&needs) } else { install(&needs) }
}

/// Installs what is missing.
pub(crate) fn ensure() -> Result<()> {
    run(&Arguments { check: false })
}

/// Installs what is missing to run agents in containers, and no more.
pub(crate) fn ensure_containers() -> Result<()> {
    install(&container_needs())
}

/// Whether the BPF object can be built here: with the compiler and the LLVM that Debian packages.
pub(crate) fn builds_bpf() -> bool {
    is_debian(&os_release())
}

fn container_needs() -> Vec<Box<dyn Need>> {
    let programs: Box<dyn Need> = if is_debian(&os_release()) {
        Box::new(packages::CONTAINERS)
    } else {
        Box::new(programs::CONTAINERS)
    };
    vec![programs, Box::new(rootfs::RootFileSystem)]
}

fn needs() -> Result<Vec<Box<dyn Need>>> {
    let mut needs = container_needs();
    if builds_bpf() {
        needs.push(Box::new(packages::EVERYTHING_ELSE));
        needs.push(Box::new(bpf_linker()?));
    } else {
        needs.push(Box::new(programs::EVERYTHING_ELSE));
    }
    needs.push(Box::new(tools::Components));
    needs.push(Box::new(cargo_deny()?));
    if has_nightly() {
        needs.push(Box::new(cargo_fuzz()?));
    }
    Ok(needs)
}

fn os_release() -> String {
    fs::read_to_string("/etc/os-release").unwrap_or_default()
}

fn install(needs: &[Box<dyn Need>]) -> Result<()> {
    let _lock = lock()?;
    for need in needs {
        match need.missing()? {
            None => REPORT.say(format_args!("{}: ready", need.name())),
            Some(missing) => {
                REPORT.step(&format!("{}: {missing}", need.name()), || need.install())?;
            }
        }
    }
    Ok(())
}

fn check(needs: &[Box<dyn Need>]) -> Result<()> {
    let mut complete = true;
    for need in needs {
        match need.missing()? {
            None => REPORT.say(format_args!("{}: ready", need.name())),
            Some(missing) => {
                complete = false;
                REPORT.say(format_args!("{}: MISSING: {missing}", need.name()));
            }
        }
    }
    if !complete {
        bail!("something is missing: run `cargo xtask setup`");
    }
    Ok(())
}

/// Two set-ups at once would install over each other.
fn lock() -> Result<File> {
    let cache = workspace::cache()?;
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let path = cache.join("setup.lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    file.lock().with_context(|| path.display().to_string())?;
    Ok(file)
}

/// Where the output of an installation goes.
fn log(name: &str) -> Result<PathBuf> {
    Ok(workspace::cache()?.join("log").join(Path::new(name).with_extension("log")))
}

/// Whether an os-release(5) file is Debian's, or that of a system made from it.
fn is_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| matches!(*key, "ID" | "ID_LIKE"))
        .flat_map(|(_, value)| value.trim_matches('"').split_whitespace())
        .any(|id| id == "debian")
}

const REPORT: Report = Report::of("setup");

#[cfg(test)]
mod tests {
    use super::is_debian;

    #[test]
    fn debian_and_what_is_made_from_it_are_recognised() {
        assert!(is_debian("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(is_debian("ID=pop\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nHOME_URL=https://debian.example\n"));
        assert!(!is_debian(""));
    }
}
