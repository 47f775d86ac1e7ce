//! `cargo xtask tidy`: the rules of this project that no compiler checks.

mod layers;
mod lengths;
mod map;
mod paths;
mod sources;
mod table;
mod unsafe_code;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::report::Report;
use crate::workspace;
use sources::Source;

/// Where a rule is broken, and what to do.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: PathBuf,
    line: usize,
    text: String,
}

impl Finding {
    fn new(path: &Path, line: usize, text: String) -> Self {
        Self { path: path.to_path_buf(), line, text }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path.display(), self.line, self.text)
    }
}

pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let sources = sources::read_all(&root)?;
    let mut findings = check(&sources);
    findings.extend(map::check(&root, &sources)?);
    findings.extend(table::check(&root, &sources)?);
    findings.sort();
    for finding in &findings {
        REPORT.say(finding);
    }
    ensure!(findings.is_empty(), "tidy: {} findings in {} files", findings.len(), sources.len());
    REPORT.say(format_args!("{} files are in order", sources.len()));
    Ok(())
}

fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(layers::check(source));
        findings.extend(lengths::check(source));
        findings.extend(unsafe_code::check(source));
    }
    findings
}

const REPORT: Report = Report::of("tidy");
