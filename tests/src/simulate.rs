//! `cargo xtask simulate ledger`: a ledger under calls in every order that chance makes, beside an
//! account of the same calls that is kept in the plainest way.
//!
//! Each run draws budgets, agents and workflows from its seed, and then begins calls, ends them as
//! reported, cut or lost, finds out that they were another workflow's, sets clocks back and forth, and lets
//! the gateway die, with what it has not written yet, and another one go on.
//! What must hold is looked at all along: no limit is overspent in what can be bounded before a call,
//! every figure is what the calls came to, and nothing is refused for which there was room.

mod books;
mod call;
mod kept;
mod world;

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    num::NonZeroUsize,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use clap::Parser;

use self::world::World;

/// What to simulate.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask simulate ledger", about = "Simulates calls against a ledger")]
struct Arguments {
    /// How many runs, each from a seed of its own
    #[arg(long, default_value_t = 100_000)]
    runs: u64,
    /// The first run's seed; the others have those that follow. With --runs 1 it replays a failure
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub calls: u64,
    pub denied: u64,
    pub corrections: u64,
    /// How often the gateway died and another one went on.
    pub restarts: u64,
    /// The most calls that were in flight at a time.
    pub in_flight: u64,
}

/// Something that must hold did not.
#[derive(Debug)]
pub struct Failure {
    seed: u64,
    step: u64,
    what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, what } = self;
        write!(
            f,
            "seed {seed}, step {step}: {what}\nreplay: cargo xtask simulate ledger --runs 1 --seed \
             {seed}"
        )
    }
}

/// One run.
pub fn run(seed: u64) -> Result<Figures, Failure> {
    let mut world = World::new(seed);
    for step in 0..world.steps() {
        world.act().map_err(|what| Failure { seed, step, what })?;
    }
    world.end().map_err(|what| Failure { seed, step: world.steps(), what })
}

/// All runs, on all processors. How they ended.
pub fn main() -> ExitCode {
    let Arguments { runs, seed } = Arguments::parse();
    let (next, totals) = (AtomicU64::new(0), Totals::default());
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let work = || -> Result<(), Failure> {
        loop {
            let done = next.fetch_add(1, Ordering::Relaxed);
            if done >= runs {
                return Ok(());
            }
            totals.add(&run(seed + done)?);
            if done.is_multiple_of(1000) {
                progress(done, runs);
            }
        }
    };
    let failed = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut ends = workers.into_iter().map(|worker| worker.join().expect("no worker panics"));
        ends.find_map(Result::err)
    });
    if let Some(failure) = failed {
        eprintln!("error: {failure}");
        return ExitCode::FAILURE;
    }
    println!(
        "{runs} runs from seed {seed}: {totals}; nothing was overspent, lost or refused in vain"
    );
    ExitCode::SUCCESS
}

/// Of all runs.
#[derive(Debug, Default)]
struct Totals {
    calls: AtomicU64,
    denied: AtomicU64,
    corrections: AtomicU64,
    restarts: AtomicU64,
    in_flight: AtomicU64,
}

impl Totals {
    fn add(&self, figures: &Figures) {
        self.calls.fetch_add(figures.calls, Ordering::Relaxed);
        self.denied.fetch_add(figures.denied, Ordering::Relaxed);
        self.corrections.fetch_add(figures.corrections, Ordering::Relaxed);
        self.restarts.fetch_add(figures.restarts, Ordering::Relaxed);
        self.in_flight.fetch_max(figures.in_flight, Ordering::Relaxed);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} calls made and {} denied, {} corrections, {} restarts, up to {} calls in flight",
            of(&self.calls),
            of(&self.denied),
            of(&self.corrections),
            of(&self.restarts),
            of(&self.in_flight)
        )
    }
}

fn progress(done: u64, runs: u64) {
    if io::stderr().is_terminal() {
        eprint!("\r{done} of {runs} runs ");
        // It is only shown.
        let _ = io::stderr().flush();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_of_runs_overspend_nothing() {
        for seed in 1..=2000 {
            if let Err(failure) = super::run(seed) {
                panic!("{failure}");
            }
        }
    }

    #[test]
    fn a_thousand_calls_can_be_in_flight() {
        let most =
            (1..=400).filter_map(|seed| super::run(seed).ok()).map(|run| run.in_flight).max();
        assert!(most.is_some_and(|most| most >= 900), "{most:?}");
    }
}
