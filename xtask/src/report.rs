//! What commands print: one line a step, and how long the long ones took.

use std::fmt::Display;
use std::time::Instant;

use anyhow::{Context, Result};

/// A command's voice. Its lines start with `[command]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report(&'static str);

impl Report {
    pub(crate) const fn of(command: &'static str) -> Self {
        Self(command)
    }

    pub(crate) fn say(self, line: impl Display) {
        println!("[{}] {line}", self.0);
    }

    /// Does a step that may be long: names it first, and says afterwards how long it took. The
    /// error of a step that failed starts with its name.
    pub(crate) fn step<T>(self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.say(format_args!("{name} …"));
        let start = Instant::now();
        let value = work().with_context(|| format!("{name}: failed"))?;
        self.say(format_args!("{name}: done in {:.1} s", start.elapsed().as_secs_f64()));
        Ok(value)
    }
}
