//! What was kept, read again: the database, and the journals after it.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    StateError,
    journal::{self, Contents, Damage, Header},
    store::{self, Store, Stored},
};
use crate::{ledger::Replay, limits};

/// What was found.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) replay: Replay,
    /// The generation that the database has.
    stored: u64,
    /// The last one of all.
    pub(super) last: u64,
}

/// A line of a journal has no end.
#[derive(Debug)]
struct Torn {
    path: PathBuf,
    offset: usize,
}

/// Reads it all. With a journal that is being written: all before that one.
pub(super) fn recover(
    directory: &Path,
    store: &Store,
    current: Option<&Header>,
) -> Result<Recovery, StateError> {
    let error = |error| StateError::Store { path: store.path().to_owned(), error: Box::new(error) };
    let Stored { replay, generation } = store.read().map_err(error)?;
    let mut recovery = Recovery { replay, stored: generation, last: generation };
    let is_before = |generation: &u64| current.is_none_or(|it| *generation < it.generation);
    let mut torn = None;
    for generation in generations(directory)?.into_iter().filter(is_before) {
        if generation > recovery.stored {
            torn = recovery.go_through(directory, generation, torn)?;
        }
    }
    match (torn, current) {
        (Some(torn), Some(current)) if !current.starts_over() => Err(torn.into()),
        (Some(Torn { path, offset }), None) => {
            tracing::warn!(path = %path.display(), offset, "the last record is not whole: it is left out");
            Ok(recovery)
        }
        _ => Ok(recovery),
    }
}

/// Puts the journals before the one that is written into the database, and removes them.
pub(super) fn compact(
    directory: &Path,
    store: &Store,
    current: Option<&Header>,
) -> Result<(), StateError> {
    let is_over = |generation: &u64| current.is_none_or(|it| *generation < it.generation);
    if !generations(directory)?.iter().any(is_over) {
        return Ok(());
    }
    let Recovery { replay, stored, last } = recover(directory, store, current)?;
    if last > stored {
        let error =
            |error| StateError::Store { path: store.path().to_owned(), error: Box::new(error) };
        store.write(&replay, last).map_err(error)?;
    }
    for generation in generations(directory)?.into_iter().filter(|it| *it <= last) {
        let path = path(directory, generation);
        fs::remove_file(&path).map_err(|source| StateError::Io { path, source })?;
    }
    Ok(())
}

/// Removes what was not yet under its name when its gateway died. It counts for nothing.
pub(super) fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Where a generation's journal is.
pub(super) fn path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{generation}"))
}

impl Recovery {
    /// Where it is torn, or one before it that it did not begin over from.
    fn go_through(
        &mut self,
        directory: &Path,
        generation: u64,
        torn: Option<Torn>,
    ) -> Result<Option<Torn>, StateError> {
        let path = path(directory, generation);
        let error = |damage| StateError::Journal { path: path.clone(), damage };
        let bytes = read(&path).map_err(|source| StateError::Io { path: path.clone(), source })?;
        let Contents { header, records, torn: torn_here } = journal::read(&bytes).map_err(error)?;
        let torn_here = torn_here.map(|offset| Torn { path: path.clone(), offset });
        let Some(header) = header else {
            // Nothing was written to it.
            self.last = generation;
            return Ok(torn.or(torn_here));
        };
        if header.generation != generation {
            let what = format!("it says that it is journal {}", header.generation);
            return Err(error(Damage::Damaged { offset: 0, what }));
        }
        if let Some(torn) = torn.filter(|_| !header.starts_over()) {
            return Err(torn.into());
        }
        if generation != self.last.saturating_add(1) && !header.is_whole {
            let before = self::path(directory, self.last.saturating_add(1));
            let missing = if self.last == 0 { directory.join(store::NAME) } else { before };
            return Err(StateError::Missing(missing));
        }
        if header.is_whole {
            self.replay.clear();
        }
        if let Some(at) = header.begins() {
            self.replay.begin(at);
        }
        for record in records {
            self.replay.apply(record);
        }
        self.last = generation;
        Ok(torn_here)
    }
}

impl From<Torn> for StateError {
    fn from(torn: Torn) -> Self {
        let Torn { path, offset } = torn;
        let what = "a line has no end, and another journal goes on from it".to_owned();
        Self::Journal { path, damage: Damage::Damaged { offset, what } }
    }
}

/// Those of which there are journals, the oldest first.
fn generations(directory: &Path) -> Result<Vec<u64>, StateError> {
    let list = || -> io::Result<Vec<u64>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            all.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        all.sort_unstable();
        Ok(all)
    };
    list().map_err(|source| StateError::Io { path: directory.to_owned(), source })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?.take(limits::JOURNAL_READ_BYTES + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits::JOURNAL_READ_BYTES {
        return Err(io::Error::other("it is longer than any journal that a gateway writes"));
    }
    Ok(bytes)
}

const PREFIX: &str = "journal-";
