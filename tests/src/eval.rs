//! How well workflows are put back together: the engine, on calls whose true places are known, beside
//! simple ways to do it. The calls come from a generator, or from a recording.
//!
//! ```text
//! generate ─▶ record ─▶ (strip) ─▶ read ─▶ replay, baseline ─▶ judge ─▶ metrics ─▶ report
//! ```

pub mod baseline;
pub mod generate;
pub mod guess;
pub mod judge;
pub mod metrics;
pub mod mistakes;
pub mod read;
pub mod record;
pub mod replay;
mod report;
pub mod strip;

use std::{
    io::{IsTerminal as _, stderr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, ensure};
use clap::Parser;

use self::{
    generate::Plan,
    guess::Guesser,
    metrics::Figures,
    record::Record,
    replay::Engine,
    report::{Report, Row, Trial},
};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask eval lineage",
    about = "Measures how well workflows are put back together"
)]
struct Arguments {
    /// The same seed gives the same calls, and the same figures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many workflows are under way at once
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 50, 200])]
    workflows: Vec<usize>,
    /// How often each case is in a corpus, at least
    #[arg(long, value_name = "N", default_value_t = 10)]
    times: usize,
    /// Show the engine's figures for each case and each kind of client, and its mistakes, too
    #[arg(long)]
    cases: bool,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// Judge this recording instead of what is generated
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workflows", "times"])]
    recording: Option<PathBuf>,
    /// Keep what is generated in files of this directory
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "recording")]
    keep: Option<PathBuf>,
}

/// Runs the evaluation that the arguments ask for.
pub fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut report = Report { seed: arguments.seed, trials: Vec::new() };
    if let Some(path) = &arguments.recording {
        report.trials.extend(trials(arguments.seed, None, record::read(path)?));
    } else {
        for &at_once in &arguments.workflows {
            ensure!(at_once > 0, "at least one workflow has to be under way");
            say(&format!("{at_once} workflows at once"));
            let plan = Plan { seed: arguments.seed, at_once, times: arguments.times };
            let records = generate::corpus(plan);
            if let Some(directory) = &arguments.keep {
                let name = format!("lineage-{at_once}-seed-{}.jsonl.zst", arguments.seed);
                record::write(&directory.join(name), &records)?;
            }
            report.trials.extend(trials(arguments.seed, Some(at_once), records));
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
        if arguments.cases {
            print!("{}", report.cases());
        }
    }
    Ok(())
}

/// With the ids that clients send, and without.
fn trials(seed: u64, at_once: Option<usize>, mut records: Vec<Record>) -> [Trial; 2] {
    records.sort_by_key(|record| (record.start_us, record.exchange));
    let with = trial(seed, at_once, true, &records);
    records.iter_mut().for_each(strip::strip);
    [with, trial(seed, at_once, false, &records)]
}

fn trial(seed: u64, at_once: Option<usize>, ids: bool, records: &[Record]) -> Trial {
    let events = read::read(records);
    let guess = Engine { seed }.guess(&events);
    let engine = judge::judge(records, &guess);
    let mut rows = vec![Row::new(Engine { seed }.name(), &engine)];
    for baseline in baseline::ALL {
        let verdict = judge::judge(records, &baseline.guess(&events));
        rows.push(Row::new(baseline.name(), &verdict));
    }
    Trial {
        workflows_at_once: at_once,
        ids,
        not_understood: events.not_understood,
        rows,
        reliability: metrics::reliability(&engine),
        cases: Figures::by(&engine, |group| &group.case),
        mistakes: mistakes::count(records, &guess),
        clients: Figures::by(&engine, |group| &group.client),
    }
}

/// Tells whoever watches.
fn say(what: &str) {
    if stderr().is_terminal() {
        eprintln!("eval: {what}");
    }
}
