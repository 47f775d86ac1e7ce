//! Many workflows at once: what a call costs while all of them are live, and what lineage remembers of each.

use std::{
    fs,
    time::{Duration, Instant},
};

use allocation_counter::{AllocationInfo, measure};
use anyhow::{Context as _, Result};
use turnpike::lineage::Lineage;
use turnpike_tests::figure::{Figure, micros};

use crate::traffic::{Call, TURNS, Traffic};

/// Of 1,000, 10,000 and 100,000.
pub(crate) fn figures() -> Result<Vec<Figure>> {
    // The most first: only then is what the process holds theirs.
    let most = Rounds::run(100_000, 3)?;
    let more = Rounds::run(10_000, 5)?;
    let some = Rounds::run(1000, 9)?;
    let mut figures = some.cost(None);
    let flat = figures.first().map(|usual| (usual.median() * FLAT).round());
    figures.extend(more.cost(flat));
    figures.extend(most.cost(flat));
    figures.extend([&some, &more, &most].map(Rounds::memory));
    figures.push(Figure::new(
        format!("memory of the process for {}", most.traffic_of()),
        "MiB",
        Some(2048.0),
        most.resident.iter().take(1).copied().collect(),
    ));
    Ok(figures)
}

/// What was measured, over the rounds.
struct Rounds {
    traffic: Traffic,
    /// What half of the calls take no longer than.
    p50: Vec<f64>,
    mean: Vec<f64>,
    p99: Vec<f64>,
    allocations: Vec<f64>,
    bytes_per_step: Vec<f64>,
    resident: Vec<f64>,
}

impl Rounds {
    fn run(workflows: u64, rounds: usize) -> Result<Self> {
        let traffic = Traffic { workflows };
        let [p50, mean, p99, allocations, bytes_per_step, resident] = Default::default();
        let mut all = Self { traffic, p50, mean, p99, allocations, bytes_per_step, resident };
        for _ in 0..rounds {
            all.round()?;
        }
        Ok(all)
    }

    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn round(&mut self) -> Result<()> {
        let before = resident_mib()?;
        let mut fleet = Fleet::new(self.traffic);
        for turn in 0..TURNS {
            fleet.go_on(turn);
        }
        self.resident.push(resident_mib()? - before);
        fleet.took.sort_unstable();
        let calls = fleet.took.len();
        let at = |percent| fleet.took.get(calls * percent / 100).copied().context("calls");
        self.p50.push(micros(at(50)?, 1));
        self.mean.push(micros(fleet.took.iter().sum(), calls));
        self.p99.push(micros(at(99)?, 1));
        let steps = (self.traffic.workflows * TURNS) as f64;
        self.allocations.push(fleet.counted.count_total as f64 / steps);
        self.bytes_per_step.push(fleet.counted.bytes_current as f64 / steps);
        Ok(())
    }

    fn traffic_of(&self) -> String {
        let (workflows, agents) = (self.traffic.workflows, self.traffic.agents());
        let agents = if agents == 1 { "1 agent".to_owned() } else { format!("{agents} agents") };
        format!("{workflows} workflows of {TURNS} steps, in {agents}")
    }

    fn cost(&self, flat: Option<f64>) -> Vec<Figure> {
        let which = self.traffic_of();
        let figure = |what: &str, unit, aim, rounds: &Vec<f64>| {
            Figure::new(format!("{what}, {which}"), unit, aim, rounds.clone())
        };
        vec![
            figure("placing a call and its end, p50", "µs", flat, &self.p50),
            figure("the same, mean", "µs", None, &self.mean),
            figure("the same, p99", "µs", None, &self.p99),
            figure("allocations for that", "", None, &self.allocations),
        ]
    }

    fn memory(&self) -> Figure {
        let what = format!("memory of a step in lineage, {}", self.traffic_of());
        Figure::new(what, "B", Some(1000.0), self.bytes_per_step.clone())
    }
}

/// The agents, and what their calls cost.
struct Fleet {
    traffic: Traffic,
    agents: Vec<Lineage>,
    /// By calls of the last turns: while all workflows are live.
    took: Vec<Duration>,
    counted: AllocationInfo,
}

impl Fleet {
    fn new(traffic: Traffic) -> Self {
        let mut agents = Vec::new();
        let counted = measure(|| agents = (0..traffic.agents()).map(Lineage::new).collect());
        Self { traffic, agents, took: Vec::new(), counted }
    }

    /// Each workflow makes its next call.
    fn go_on(&mut self, turn: u64) {
        for (agent, call) in self.traffic.calls(turn) {
            let took = self.call(agent, call);
            if turn >= TURNS - LAST_TURNS {
                self.took.push(took);
            }
        }
    }

    fn call(&mut self, agent: usize, call: Call) -> Duration {
        let (prompt, outcome) = (call.prompt(), call.outcome());
        let mut took = Duration::ZERO;
        let Some(lineage) = self.agents.get_mut(agent) else { return took };
        self.counted += measure(|| {
            let start = Instant::now();
            let placement = lineage.place(call.at, &prompt);
            lineage.finish(placement.step, call.at, &outcome);
            took = start.elapsed();
        });
        took
    }
}

fn resident_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
    Ok(kib.trim().parse::<f64>()? / 1024.0)
}

/// Turns whose calls are timed.
const LAST_TURNS: u64 = 5;
/// A cost is flat if it is no more than so many times as high with a hundred times as many workflows:
/// what there are more of is further away, in slower memory.
const FLAT: f64 = 2.0;
