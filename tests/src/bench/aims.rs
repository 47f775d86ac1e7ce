//! What turnpike is held to. A figure is judged beside a peer's, or beside its own under another
//! load, from the same round of the same run: what the machine does meanwhile hits both alike.

use std::fmt;

use serde::Serialize;

use super::{
    load::{Bodies, Channel, Sample},
    plan::{LARGE, Results, SMALL, Scenario},
    statistics::Spread,
    subject::Subject,
    table::number,
    wire::Protocol,
};

/// One aim, and whether it is met.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Aim {
    what: String,
    unit: &'static str,
    /// In each round, as `measure` says.
    figure: Spread,
    #[serde(flatten)]
    measure: Measure,
    at_most: f64,
    met: bool,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "measure", rename_all = "snake_case")]
enum Measure {
    /// Turnpike's own.
    Plain,
    /// Turnpike's, as a multiple of a peer's.
    Ratio { peer: Subject },
    /// What turnpike's is more than under another load.
    #[serde(rename = "more_than_other_load")]
    More {
        #[serde(skip)]
        than: Scenario,
    },
}

/// Judges every aim whose figures are there.
pub(super) fn judge(results: &Results) -> Vec<Aim> {
    goals().into_iter().filter_map(|goal| goal.judge(results)).collect()
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met { "met   " } else { "MISSED" };
        let Spread { median, min, max } = self.figure;
        let range = format!("{} ({}–{})", number(median), number(min), number(max));
        let at_most = number(self.at_most);
        write!(f, "{verdict}  {}: ", self.what)?;
        match self.measure {
            Measure::Plain => write!(f, "{range} {} (aim ≤ {at_most})", self.unit),
            Measure::Ratio { peer } => {
                write!(f, "{range} × {} (aim ≤ {at_most})", peer.name())
            }
            Measure::More { .. } => write!(f, "+{range} {} (aim ≤ +{at_most})", self.unit),
        }
    }
}

/// An aim before it is measured.
struct Goal {
    what: String,
    unit: &'static str,
    scenario: Scenario,
    figure: fn(&Sample) -> Option<f64>,
    measure: Measure,
    at_most: f64,
}

impl Goal {
    fn judge(self, results: &Results) -> Option<Aim> {
        let figures = |scenario, subject| {
            let samples = results.samples.get(&(scenario, subject));
            samples.into_iter().flatten().filter_map(self.figure)
        };
        let own = figures(self.scenario, Subject::Turnpike);
        let figure = match self.measure {
            Measure::Plain => Spread::of(own),
            Measure::Ratio { peer } => {
                Spread::of(own.zip(figures(self.scenario, peer)).map(|(own, peer)| own / peer))
            }
            Measure::More { than } => {
                let other = figures(than, Subject::Turnpike);
                Spread::of(own.zip(other).map(|(own, other)| own - other))
            }
        }?;
        let Self { what, unit, measure, at_most, .. } = self;
        Some(Aim { what, unit, figure, measure, at_most, met: figure.median <= at_most })
    }
}

/// CPU time of a request is what a node pays; delay is what a user feels; memory is what decides
/// how many agents fit.
fn goals() -> Vec<Goal> {
    use Channel::{Closed, Http2, Http2Shared, Plain, Tls};
    use Protocol::{Archive, Binary, Chat};

    const SMALL_TEXT: Bodies = Bodies::Text(SMALL);
    const LARGE_TEXT: Bodies = Bodies::Text(LARGE);
    let cpu = |what: &str, load: (Protocol, Channel, Bodies), peer, at_most| {
        let scenario = Scenario::Saturate(load.0, load.1, load.2);
        let (what, measure) = (format!("CPU per {what}"), Measure::Ratio { peer });
        Goal { what, unit: "µs", scenario, figure: |it| it.cpu_us, measure, at_most }
    };
    let understanding = |what: &str, bodies, at_most| Goal {
        what: format!("CPU of understanding {what}"),
        unit: "µs",
        scenario: Scenario::Saturate(Chat, Plain, bodies),
        figure: |it| it.cpu_us,
        measure: Measure::More { than: Scenario::Saturate(Archive, Plain, bodies) },
        at_most,
    };
    let delay = |channel: Channel, peer, at_most| Goal {
        what: format!("delay of an SSE event{}, p50", channel.suffix()),
        unit: "µs",
        scenario: Scenario::Stream(channel),
        figure: |it| it.delays.map(|delays| delays.p50_us),
        measure: Measure::Ratio { peer },
        at_most,
    };
    let memory = |channel: Channel, at_most| Goal {
        what: format!("memory per open stream{}", channel.suffix()),
        unit: "kB",
        scenario: Scenario::Idle(channel),
        figure: |it| it.rss_kb,
        measure: Measure::Plain,
        at_most,
    };
    let (haproxy, relay) = (Subject::Haproxy, Subject::Relay);
    vec![
        cpu("observed request at 2 kB", (Chat, Plain, SMALL_TEXT), haproxy, 1.0),
        cpu("observed request at 2 kB over TLS", (Chat, Tls, SMALL_TEXT), haproxy, 1.0),
        cpu("observed request at 2 kB over HTTP/2", (Chat, Http2, SMALL_TEXT), haproxy, 1.0),
        cpu(
            "observed request at 2 kB over shared HTTP/2",
            (Chat, Http2Shared, SMALL_TEXT),
            haproxy,
            1.0,
        ),
        cpu("framed request at 200 kB", (Archive, Plain, LARGE_TEXT), haproxy, 1.5),
        understanding("200 kB each way", LARGE_TEXT, 300.0),
        understanding("a new history of 170 kB", Bodies::Fresh(SMALL), 300.0),
        understanding("a known history of 200 kB", Bodies::Growing(SMALL), 60.0),
        cpu("opaque request at 2 kB", (Binary, Plain, SMALL_TEXT), relay, 1.0),
        cpu("opaque request at 200 kB", (Binary, Plain, LARGE_TEXT), relay, 0.5),
        cpu("opaque request at 2 kB in TLS", (Chat, Closed, SMALL_TEXT), relay, 1.0),
        cpu("opaque request at 200 kB in TLS", (Chat, Closed, LARGE_TEXT), relay, 0.5),
        delay(Plain, relay, 1.1),
        delay(Tls, relay, 1.1),
        memory(Plain, 12.0),
        memory(Tls, 40.0),
    ]
}

/// Resident memory when idle, with one agent attached.
pub(super) fn judge_idle(results: &Results) -> Option<Aim> {
    #[allow(clippy::cast_precision_loss, reason = "memory in kB is far below 2^52")]
    let mb = results.rss_kb.get(&Subject::Turnpike).map(|kb| *kb as f64 / 1024.0)?;
    let figure = Spread { median: mb, min: mb, max: mb };
    let (what, at_most) = ("resident when idle, with one agent".to_owned(), 25.0);
    Some(Aim { what, unit: "MB", figure, measure: Measure::Plain, at_most, met: mb <= at_most })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Scenario = Scenario::Saturate(Protocol::Chat, Channel::Plain, Bodies::Text(SMALL));

    fn samples(cpu_us: [f64; 3]) -> Vec<Sample> {
        let sample = |cpu_us| Sample {
            done: 1,
            seconds: 1.0,
            delays: None,
            cpu_us: Some(cpu_us),
            rss_kb: None,
        };
        cpu_us.map(sample).to_vec()
    }

    fn verdicts(turnpike: [f64; 3]) -> Vec<String> {
        let mut results = Results::default();
        results.samples.insert((LOAD, Subject::Turnpike), samples(turnpike));
        results.samples.insert((LOAD, Subject::Haproxy), samples([20.0, 40.0, 10.0]));
        judge(&results).iter().map(Aim::to_string).collect()
    }

    #[test]
    fn an_aim_is_judged_by_rounds_and_only_when_measured() {
        let line = "CPU per observed request at 2 kB: 1.00 (0.50–3.00) × HAProxy (aim ≤ 1.00)";
        assert_eq!(verdicts([20.0, 20.0, 30.0]), [format!("met     {line}")]);
        assert!(verdicts([21.0, 20.0, 30.0])[0].starts_with("MISSED"));
    }
}
