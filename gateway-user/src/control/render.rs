//! What the commands print, for people; `--json` prints the documents themselves.

mod budget;
mod kill;
mod lists;
mod number;
mod table;
mod trace;
mod tree;

use std::{
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
};

use serde::Serialize;

use crate::call::Timestamp;

pub use budget::{budget, budgets, reset};
pub use kill::{killed, kills, revived};
pub use lists::{agents, attached, ca, detached, status, workflows};
pub use trace::trace;

/// Where the text goes.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Whether to colour it.
    pub color: bool,
    /// The columns of the terminal; absent in a pipe, where no line is cut and times are absolute.
    pub columns: Option<usize>,
    pub now: Timestamp,
}

impl Screen {
    /// A standard stream, as it finds itself. `color` says what is asked for; absent: colour on a
    /// terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    #[must_use]
    pub fn of(stream: &(impl IsTerminal + AsFd), color: Option<bool>, now: Timestamp) -> Self {
        let terminal = stream.is_terminal();
        let columns = terminal.then(|| {
            rustix::termios::tcgetwinsize(stream)
                .map(|size| usize::from(size.ws_col))
                .ok()
                .filter(|columns| *columns > 0)
                .unwrap_or(FALLBACK_COLUMNS)
        });
        let wanted = terminal
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { color: color.unwrap_or(wanted), columns, now }
    }

    /// How long ago something was, on a terminal; when it was, in a pipe.
    fn time(&self, time: Timestamp) -> String {
        if self.columns.is_some() {
            format!("{} ago", number::age(self.now.since(time)))
        } else {
            time.to_string()
        }
    }

    fn paint(&self, text: &str, color: Color) -> String {
        match color.code() {
            Some(code) if self.color && !text.is_empty() => {
                format!("\u{1b}[{code}m{text}\u{1b}[0m")
            }
            _ => text.to_owned(),
        }
    }
}

/// Columns of a terminal that does not say how wide it is.
const FALLBACK_COLUMNS: usize = 80;

/// Writes a document as JSON, laid out for reading.
pub fn json(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}

/// Writes a document as one line of JSON.
pub fn json_line(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, document)?;
    writeln!(out)
}

/// What a colour is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Color {
    #[default]
    Plain,
    Strong,
    Faint,
    Good,
    Busy,
    Bad,
    Tool,
}

impl Color {
    /// The parameter of the SGR control sequence (ECMA-48, section 8.3.117).
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Busy => Some("33"),
            Self::Bad => Some("31"),
            Self::Tool => Some("36"),
        }
    }
}
