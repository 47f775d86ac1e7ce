//! How well workflows are put back together: the engine, on calls whose true places are known, beside
//! simple ways to do it. The calls come from a generator, and from recordings of real frameworks.
//!
//! ```text
//! generate ─▶ record ─▶ (strip) ─▶ read ─▶ replay, baseline ─▶ judge ─▶ metrics ─▶ report
//! ```

pub mod baseline;
pub mod frameworks;
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
    guess::{Guess, Guesser},
    judge::Verdict,
    metrics::Figures,
    read::Events,
    record::Record,
    replay::Engine,
    report::{Report, Row, Source, Trial},
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
    let seed = arguments.seed;
    if let Some(path) = &arguments.recording {
        report.trials.extend(trials(seed, Source::Recording, vec![record::read(path)?]));
    } else {
        for &at_once in &arguments.workflows {
            ensure!(at_once > 0, "at least one workflow has to be under way");
            say(&format!("{at_once} workflows at once"));
            let records = generate::corpus(Plan { seed, at_once, times: arguments.times });
            if let Some(directory) = &arguments.keep {
                let name = format!("lineage-{at_once}-seed-{seed}.jsonl.zst");
                record::write(&directory.join(name), &records)?;
            }
            report.trials.extend(trials(seed, Source::Generated { at_once }, vec![records]));
            let recordings = frameworks::corpus::kept(at_once)?;
            if !recordings.is_empty() {
                report.trials.extend(trials(seed, Source::Frameworks { at_once }, recordings));
            }
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

/// With the ids that clients send, and without. Each corpus is a world of its own.
fn trials(seed: u64, source: Source, mut corpora: Vec<Vec<Record>>) -> [Trial; 2] {
    for records in &mut corpora {
        records.sort_by_key(|record| (record.start_us, record.exchange));
    }
    let with = trial(seed, source, true, &corpora);
    corpora.iter_mut().flatten().for_each(strip::strip);
    [with, trial(seed, source, false, &corpora)]
}

fn trial(seed: u64, source: Source, ids: bool, corpora: &[Vec<Record>]) -> Trial {
    let events: Vec<Events> = corpora.iter().map(|records| read::read(records)).collect();
    let guesses = |guesser: &dyn Guesser| -> Vec<Guess> {
        events.iter().map(|events| guesser.guess(events)).collect()
    };
    let judged = |guesses: &[Guess]| -> Verdict {
        let each = corpora.iter().zip(guesses);
        each.map(|(records, guess)| judge::judge(records, guess)).sum()
    };
    let of_engine = guesses(&Engine { seed });
    let engine = judged(&of_engine);
    let mut rows = vec![Row::new(Engine { seed }.name(), &engine)];
    for baseline in baseline::ALL {
        rows.push(Row::new(baseline.name(), &judged(&guesses(&baseline))));
    }
    Trial {
        source,
        ids,
        not_understood: events.iter().map(|events| events.not_understood).sum(),
        rows,
        reliability: metrics::reliability(&engine),
        cases: Figures::by(&engine, |group| &group.case),
        mistakes: mistakes::count(corpora, &of_engine),
        clients: Figures::by(&engine, |group| &group.client),
    }
}

/// Tells whoever watches.
fn say(what: &str) {
    if stderr().is_terminal() {
        eprintln!("eval: {what}");
    }
}
