//! Kills, and the proof of what they came to.

use std::io::{self, Write};

use super::{
    Color, Screen,
    table::{Align, Cell, Column, Table},
};
use crate::{
    call::{Holder, Timestamp},
    cancel::Kill,
    control::{
        kill::{KillReport, Revived},
        text,
    },
};

/// What a kill came to: when, after it was received, and how much.
pub fn killed(out: &mut dyn Write, screen: &Screen, report: &KillReport) -> io::Result<()> {
    let who = holder(&report.holder);
    let (text, color) = match report.silent_at {
        Some(at) => (format!("{who} is silent after {}", after(report, at)), Color::Good),
        None => (format!("{who} is killed, but not silent yet"), Color::Bad),
    };
    writeln!(out, "{}", screen.paint(&text, color))?;
    let steps = [
        ("new connections denied", report.denied_at),
        ("calls told to end", report.cancelled_at),
        ("last byte of upstream read, at the latest", report.last_upstream_byte_at),
        ("written down", report.persisted_at),
    ];
    for (what, at) in steps {
        if let Some(at) = at {
            writeln!(out, "  {:>9}  {what}", after(report, at))?;
        }
    }
    writeln!(
        out,
        "  {} calls cut, {} sockets destroyed, {} processes ended",
        report.streams_cut, report.sockets_destroyed, report.processes_signalled
    )?;
    for left in &report.not_covered {
        writeln!(out, "  {} {}", screen.paint("not covered:", Color::Bad), text::escape(left))?;
    }
    Ok(())
}

pub fn revived(out: &mut dyn Write, _: &Screen, revived: &Revived) -> io::Result<()> {
    writeln!(out, "{} may go on", holder(&revived.holder))
}

/// The kills in force.
pub fn kills(out: &mut dyn Write, screen: &Screen, kills: &[Kill]) -> io::Result<()> {
    if kills.is_empty() {
        return writeln!(out, "nobody is killed");
    }
    let left = |title| Column { title, align: Align::Left, flexible: false };
    let right = |title| Column { title, align: Align::Right, flexible: false };
    let flexible = |title| Column { title, align: Align::Left, flexible: true };
    let mut table = Table::new(&[
        flexible("KILLED"),
        left("SINCE"),
        right("BY UID"),
        right("CALLS"),
        right("SOCKETS"),
        right("PROCESSES"),
        flexible("REASON"),
    ]);
    for kill in kills {
        let plain = |text: String| Cell::new(&text);
        let reason = kill.reason.as_deref().unwrap_or("-");
        table.row(vec![
            Cell::default().and(&holder(&kill.holder), Color::Bad),
            plain(screen.time(kill.at)),
            plain(kill.by_uid.to_string()),
            plain(kill.cut.streams.to_string()),
            plain(kill.cut.sockets.to_string()),
            plain(kill.cut.processes.to_string()),
            plain(text::escape(reason).into_owned()),
        ]);
    }
    table.write(out, screen)
}

fn holder(holder: &Holder) -> String {
    text::escape(&holder.to_string()).into_owned()
}

/// Milliseconds since the kill was received.
fn after(report: &KillReport, at: Timestamp) -> String {
    let micros = at.since(report.received_at).0;
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}
