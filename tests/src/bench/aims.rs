//! What turnpike is held to: figures beside a peer's from the same run, or a plain bound.

use std::fmt;

use serde::Serialize;

use super::{
    plan::{LARGE, SMALL, Scenario},
    report::Row,
    subject::Subject,
    table::number,
    wire::Protocol,
};

/// One aim, and whether it is met.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Aim {
    what: &'static str,
    unit: &'static str,
    turnpike: f64,
    /// Whose figure it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_figure: Option<f64>,
    /// At most this many times the peer's figure; without a peer, at most this.
    at_most: f64,
    met: bool,
}

/// Judges every aim whose figures are there.
pub(super) fn judge<'a>(rows: impl Fn(Scenario) -> &'a [Row]) -> Vec<Aim> {
    let against = |goal: &Goal| {
        let figure = |subject| {
            let row = rows(goal.scenario).iter().find(|row| row.subject == subject)?;
            (goal.figure)(row)
        };
        let turnpike = figure(Subject::Turnpike)?;
        let peer_figure = match goal.peer {
            Some(peer) => Some(figure(peer)?),
            None => None,
        };
        Some(Aim {
            what: goal.what,
            unit: goal.unit,
            turnpike,
            peer: goal.peer.map(Subject::name),
            peer_figure,
            at_most: goal.at_most,
            met: turnpike <= goal.at_most * peer_figure.unwrap_or(1.0),
        })
    };
    GOALS.iter().filter_map(against).collect()
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, turnpike, at_most, .. } = self;
        write!(f, "{}  {what}: turnpike {} {unit}", self.verdict(), number(*turnpike))?;
        match self.peer.zip(self.peer_figure) {
            Some((peer, figure)) => {
                let ratio = turnpike / figure;
                write!(f, ", {peer} {} {unit} → ratio {ratio:.2}", number(figure))?;
                write!(f, " (aim ≤ {at_most:.1})")
            }
            None => write!(f, " (aim ≤ {})", number(*at_most)),
        }
    }
}

impl Aim {
    const fn verdict(&self) -> &'static str {
        if self.met { "met   " } else { "MISSED" }
    }
}

/// An aim before it is measured.
struct Goal {
    what: &'static str,
    unit: &'static str,
    scenario: Scenario,
    figure: fn(&Row) -> Option<f64>,
    peer: Option<Subject>,
    at_most: f64,
}

const CPU: fn(&Row) -> Option<f64> = |row| row.cpu_us.map(|spread| spread.median);
const P50: fn(&Row) -> Option<f64> = |row| row.p50_us.map(|spread| spread.median);
const STREAM_KB: fn(&Row) -> Option<f64> = |row| row.stream_kb.map(|spread| spread.median);
#[allow(clippy::cast_precision_loss, reason = "memory in kB is far below 2^52")]
const RSS_MB: fn(&Row) -> Option<f64> = |row| row.rss_kb.map(|kb| kb as f64 / 1024.0);

const GOALS: [Goal; 8] = [
    Goal {
        what: "CPU per observed request at 2 kB",
        unit: "µs",
        scenario: Scenario::Saturate(Protocol::Chat, SMALL),
        figure: CPU,
        peer: Some(Subject::Haproxy),
        at_most: 1.0,
    },
    Goal {
        what: "CPU per observed request at 200 kB",
        unit: "µs",
        scenario: Scenario::Saturate(Protocol::Chat, LARGE),
        figure: CPU,
        peer: Some(Subject::Haproxy),
        at_most: 1.5,
    },
    Goal {
        what: "CPU per opaque request at 2 kB",
        unit: "µs",
        scenario: Scenario::Saturate(Protocol::Binary, SMALL),
        figure: CPU,
        peer: Some(Subject::Relay),
        at_most: 1.0,
    },
    Goal {
        what: "CPU per opaque request at 200 kB",
        unit: "µs",
        scenario: Scenario::Saturate(Protocol::Binary, LARGE),
        figure: CPU,
        peer: Some(Subject::Relay),
        at_most: 0.5,
    },
    Goal {
        what: "SSE event p50",
        unit: "µs",
        scenario: Scenario::Stream,
        figure: P50,
        peer: Some(Subject::Haproxy),
        at_most: 1.0,
    },
    Goal {
        what: "SSE event p50",
        unit: "µs",
        scenario: Scenario::Stream,
        figure: P50,
        peer: Some(Subject::Relay),
        at_most: 1.1,
    },
    Goal {
        what: "memory per open stream",
        unit: "kB",
        scenario: Scenario::Idle,
        figure: STREAM_KB,
        peer: None,
        at_most: 12.0,
    },
    Goal {
        what: "resident when idle, with one agent",
        unit: "MB",
        scenario: Scenario::Idle,
        figure: RSS_MB,
        peer: None,
        at_most: 25.0,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::statistics::Spread;

    fn row(subject: Subject, cpu_us: f64) -> Row {
        let cpu_us = Spread::of([cpu_us]);
        let (p50_us, p99_us, per_second, stream_kb, rss_kb) = (None, None, None, None, None);
        Row { subject, p50_us, p99_us, per_second, cpu_us, stream_kb, rss_kb }
    }

    fn verdicts(turnpike: f64) -> Vec<Aim> {
        let rows = [row(Subject::Turnpike, turnpike), row(Subject::Haproxy, 20.0)];
        judge(|scenario| {
            let measured = scenario == Scenario::Saturate(Protocol::Chat, SMALL);
            if measured { &rows } else { &[] }
        })
        .into_iter()
        .collect()
    }

    #[test]
    fn an_aim_is_met_up_to_its_bound_and_only_judged_when_measured() {
        let line = |turnpike| verdicts(turnpike).iter().map(Aim::to_string).collect::<Vec<_>>();
        assert_eq!(
            line(20.0),
            [
                "met     CPU per observed request at 2 kB: turnpike 20.0 µs, HAProxy 20.0 µs → ratio \
              1.00 (aim ≤ 1.0)"
            ]
        );
        assert!(line(21.0)[0].starts_with("MISSED"));
    }
}
