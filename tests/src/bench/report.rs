//! The results, as tables for people and as one JSON document.

use std::{fmt, process::Command};

use serde::Serialize;

use super::{
    aims::{self, Aim},
    load::Sample,
    peer::Haproxy,
    plan::{Plan, Results, Scenario},
    probe,
    statistics::{Percentiles, Spread},
    subject::Subject,
    table::{Table, added, number, ratio, spread},
};
use crate::machine;

/// Everything that is reported. In figures of time µs, of memory kB.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: String,
    turnpike: String,
    haproxy: String,
    rounds: u32,
    quick: bool,
    scenarios: Vec<Measured>,
    aims: Vec<Aim>,
}

/// One scenario.
#[derive(Debug, Serialize)]
struct Measured {
    #[serde(skip)]
    scenario: Scenario,
    title: String,
    rows: Vec<Row>,
}

/// One subject in one scenario. Absent: does not apply.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Row {
    pub(super) subject: Subject,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p50_us: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p99_us: Option<Spread>,
    /// Requests, events or streams.
    pub(super) per_second: Option<Spread>,
    /// Of the proxy's process, for each request or event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_us: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream_kb: Option<Spread>,
    /// Before any load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rss_kb: Option<u64>,
}

impl Report {
    pub(super) fn new(plan: &Plan, results: &Results) -> Self {
        let measured = |scenario: &Scenario| Measured::new(*scenario, results);
        let scenarios = plan.scenarios.iter().map(measured).collect();
        let mut aims = aims::judge(results);
        aims.extend(aims::judge_idle(results));
        let turnpike = machine::run(Command::new(machine::turnpike()).arg("--version"));
        Self {
            machine: probe::machine(),
            turnpike: turnpike.trim().to_owned(),
            haproxy: Haproxy::version().unwrap_or_default(),
            rounds: plan.rounds,
            quick: plan.quick,
            scenarios,
            aims,
        }
    }
}

impl Measured {
    fn new(scenario: Scenario, results: &Results) -> Self {
        let measured = results.samples.keys().filter(|(it, _)| *it == scenario);
        let rows = measured.map(|(_, subject)| Row::new(scenario, *subject, results)).collect();
        Self { scenario, title: scenario.to_string(), rows }
    }

    fn table(&self) -> Table {
        let of = |subject| self.rows.iter().find(|row| row.subject == subject);
        let (direct, haproxy) = (of(Subject::Direct), of(Subject::Haproxy));
        let mut table = Table::new(match self.scenario {
            Scenario::Fixed(_) => {
                &["", "p50 µs", "to direct", "p99 µs", "to direct", "CPU µs/request"]
            }
            Scenario::Saturate(..) => {
                &["", "requests/s", "of direct", "CPU µs/request", "of HAProxy"]
            }
            Scenario::Stream(_) => {
                &["", "p50 µs", "of HAProxy", "p99 µs", "CPU µs/event", "of HAProxy"]
            }
            Scenario::Idle(_) => &["", "kB/stream", "of HAProxy", "kB resident before"],
        });
        for row in &self.rows {
            let more = |get: fn(&Row) -> Option<Spread>| {
                (row.subject != Subject::Direct)
                    .then(|| Some(get(row)?.median - get(direct?)?.median))
                    .flatten()
            };
            let share = |get: fn(&Row) -> Option<Spread>, other: Option<&Row>| {
                Some(get(row)?.median / get(other?)?.median)
            };
            let name = row.subject.name().to_owned();
            table.row(match self.scenario {
                Scenario::Fixed(_) => vec![
                    name,
                    spread(row.p50_us),
                    added(more(|row| row.p50_us)),
                    spread(row.p99_us),
                    added(more(|row| row.p99_us)),
                    spread(row.cpu_us),
                ],
                Scenario::Saturate(..) => vec![
                    name,
                    spread(row.per_second),
                    ratio(share(|row| row.per_second, direct)),
                    spread(row.cpu_us),
                    ratio(share(|row| row.cpu_us, haproxy)),
                ],
                Scenario::Stream(_) => vec![
                    name,
                    spread(row.p50_us),
                    ratio(share(|row| row.p50_us, haproxy)),
                    spread(row.p99_us),
                    spread(row.cpu_us),
                    ratio(share(|row| row.cpu_us, haproxy)),
                ],
                Scenario::Idle(_) => vec![
                    name,
                    row.stream_kb.map(|kb| number(kb.median)).unwrap_or_default(),
                    ratio(share(|row| row.stream_kb, haproxy)),
                    row.rss_kb.map(|kb| kb.to_string()).unwrap_or_default(),
                ],
            });
        }
        table
    }
}

impl Row {
    fn new(scenario: Scenario, subject: Subject, results: &Results) -> Self {
        let samples = results.samples.get(&(scenario, subject));
        let samples = samples.map(Vec::as_slice).unwrap_or_default();
        let spread_of =
            |get: &dyn Fn(&Sample) -> Option<f64>| Spread::of(samples.iter().filter_map(get));
        let delay = |get: fn(Percentiles) -> f64| spread_of(&|sample| sample.delays.map(get));
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let rate = |sample: &Sample| Some(sample.done as f64 / sample.seconds);
        Self {
            subject,
            p50_us: delay(|delays| delays.p50_us),
            p99_us: delay(|delays| delays.p99_us),
            per_second: spread_of(&rate),
            cpu_us: spread_of(&|sample| sample.cpu_us),
            stream_kb: spread_of(&|sample| sample.rss_kb),
            rss_kb: results
                .rss_kb
                .get(&subject)
                .copied()
                .filter(|_| matches!(scenario, Scenario::Idle(_))),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; {}; HAProxy {}", self.machine, self.turnpike, self.haproxy)?;
        let quick = if self.quick { " (quick: rough figures)" } else { "" };
        writeln!(f, "Median (min–max) of {} rounds{quick}. Lower is better.", self.rounds)?;
        for measured in &self.scenarios {
            write!(f, "\n{}\n{}", measured.title, measured.table())?;
        }
        writeln!(f, "\nAims")?;
        self.aims.iter().try_for_each(|aim| writeln!(f, "  {aim}"))
    }
}
