//! Running other programs.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// Runs a command whose output the user should see.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| not_started(command))?;
    ensure!(status.success(), "{} ({status})", shown(command));
    Ok(())
}

/// Runs a command whose output only matters when it fails: then the end of it is shown.
pub(crate) fn run_quietly(command: &mut Command, log: &Path) -> Result<()> {
    if let Some(directory) = log.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let file = File::create(log).with_context(|| log.display().to_string())?;
    let status = command
        .stdin(Stdio::null())
        .stderr(file.try_clone()?)
        .stdout(file)
        .status()
        .with_context(|| not_started(command))?;
    if !status.success() {
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
            eprintln!("    {line}");
        }
        bail!("{} ({status}; all of its output: {})", shown(command), log.display());
    }
    Ok(())
}

/// What a command prints to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| not_started(command))?;
    ensure!(
        output.status.success(),
        "{} ({}): {}",
        shown(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Cargo of the toolchain that runs us, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    command
}

/// A command that needs root: through `sudo` when we are not.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    ensure!(find("sudo").is_some(), "`{program}` needs root, and there is no sudo: run it as root");
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program in `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// `PATH` with these directories in front.
pub(crate) fn path_with(first: &[&Path]) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let first = first.iter().map(|directory| directory.to_path_buf());
    env::join_paths(first.chain(env::split_paths(&path)))
        .context("a directory's name has a colon, so it can't be in PATH")
}

fn not_started(command: &Command) -> String {
    format!("{} did not start", shown(command))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    format!("`{text}`")
}

/// Lines of a failed command's output that are shown.
const LAST_LINES: usize = 30;
