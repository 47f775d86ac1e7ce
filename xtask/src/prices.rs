//! `cargo xtask prices`: the price table that turnpike ships, made anew from the newest public data.

mod pattern;
mod source;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::report::Report;
use crate::{process, workspace};

pub(crate) fn run() -> Result<()> {
    let cache = workspace::cache()?.join("prices");
    let wheel = REPORT.step("downloading genai-prices", || download(&cache))?;
    let source = source::read(&wheel)?;
    let table = table::Table::of(&source)?;
    let target = workspace::root().join("gateway-user/data/prices");
    let write = |name: &str, text: &str| {
        let path = target.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    write("prices.json", &table.json()?)?;
    write("LICENSE", &source.licence)?;
    write("SOURCE", &table.notice())?;
    for left_out in &table.left_out {
        REPORT.say(format_args!("left out: {left_out}"));
    }
    REPORT.say(format_args!("{}: {}", target.display(), table.size()));
    Ok(())
}

/// The newest wheel, alone in its directory.
fn download(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest"]);
    pip.arg(directory).arg("genai-prices");
    process::run_quietly(&mut pip, &workspace::cache()?.join("log/prices.log"))?;
    let wheel = fs::read_dir(directory)?.next().context("pip downloaded nothing")?;
    Ok(wheel?.path())
}

const REPORT: Report = Report::of("prices");
