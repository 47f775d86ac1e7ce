//! Recordings of frameworks at work, as they are kept.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;

use super::{
    interleave,
    perform::{Performance, Plan, perform},
    profile::{self, Profile},
};
use crate::{
    bench::table::Table,
    eval::{
        guess::{Guess, Guesser as _},
        judge, read,
        record::{self, Record},
        replay::Engine,
        report,
    },
    machine,
};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask eval record",
    about = "Records real frameworks at work, through the gateway, and says how it placed what they did"
)]
struct Arguments {
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many sessions are under way at once
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 50])]
    sessions: Vec<usize>,
    /// Only those whose names hold this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Where the recordings are kept [default: tests/corpus]
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
}

/// Makes the recordings that the arguments ask for, and prints how well the gateway did.
pub fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let directory = arguments.keep.unwrap_or_else(directory);
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let mut table = Table::new(&report::HEADER);
    let chosen = profile::ALL.iter().filter(|profile| profile.name().contains(&arguments.only));
    for profile in chosen {
        for &at_once in arguments.sessions.iter().filter(|count| **count <= profile.most) {
            let sessions = sessions(at_once);
            let plan = Plan { seed: arguments.seed, at_once, sessions };
            let name = format!("{} ({at_once})", profile.name());
            eprintln!("eval: {name}");
            let Performance { records, reported } =
                perform(profile, plan).with_context(|| name.clone())?;
            record::write(&directory.join(file_name(profile, at_once)), &records)?;
            table.row(report::cells(&format!("{name}, reported"), &figures(&records, &reported)));
            let replayed = Engine { seed: arguments.seed }.guess(&read::read(&records));
            table.row(report::cells(&format!("{name}, replayed"), &figures(&records, &replayed)));
        }
    }
    println!("{table}");
    Ok(())
}

/// The recordings that are kept of so many sessions at once, each by itself. Of more than were recorded
/// at once: several that are made one.
pub fn kept(at_once: usize) -> Result<Vec<Vec<Record>>> {
    if !AT_ONCE.contains(&at_once) {
        let most = AT_ONCE[AT_ONCE.len() - 1];
        let all = kept(most)?;
        let together = at_once / most;
        return Ok(interleave::groups(all, together).collect());
    }
    let path = |profile: &Profile| directory().join(file_name(profile, at_once));
    let paths = profile::ALL.iter().map(path).filter(|path| path.is_file());
    paths.map(|path| record::read(&path)).collect()
}

fn figures(records: &[Record], guess: &Guess) -> crate::eval::metrics::Figures {
    crate::eval::metrics::Figures::of(&judge::judge(records, guess))
}

/// One at a time takes long, and many at once take many.
fn sessions(at_once: usize) -> usize {
    24.max(at_once + at_once / 2)
}

fn directory() -> PathBuf {
    machine::sources().join("corpus")
}

fn file_name(profile: &Profile, at_once: usize) -> String {
    format!("{}-{at_once}.jsonl.zst", profile.file_name())
}

const AT_ONCE: [usize; 3] = [1, 10, 50];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::frameworks::check;

    #[test]
    fn what_is_kept_holds_together_and_names_nobody() {
        for at_once in AT_ONCE {
            let recordings = kept(at_once).expect("recordings");
            let expected = profile::ALL.iter().filter(|profile| at_once <= profile.most);
            assert_eq!(recordings.len(), expected.count(), "of {at_once} at once");
            for records in recordings {
                check::check(&records).expect("a truth");
                for (name, _) in records.iter().flat_map(|record| &record.request.headers) {
                    assert!(!["authorization", "x-api-key"].contains(&name.as_str()), "{name}");
                }
                assert!(!read::read(&records).events.is_empty());
            }
        }
    }

    #[test]
    fn more_at_once_than_were_recorded_are_several_recordings() {
        let together = kept(200).expect("recordings");
        let apart = kept(50).expect("recordings");
        assert_eq!(together.len(), apart.len().div_ceil(4));
        assert!(kept(7).expect("none").is_empty());
    }
}
