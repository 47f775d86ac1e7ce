//! What is spent of budgets, kept on disk so that it outlasts the gateway, however that ends.
//!
//! ```text
//! STATE/ledger/journal-7    what was done since, appended to with write(2) before a call goes upstream
//! STATE/ledger/ledger.db    all accounts as they were at the end of journal 6
//! ```
//!
//! A journal that has grown is closed, and another one begun; a thread of its own goes through the closed
//! one again, as a gateway does that starts, and puts what comes of it into the database. So there is one
//! way to read what was written, and nothing is done on the way of a call but to append.

mod journal;
mod recovery;
mod store;
mod writer;

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

pub use self::{
    journal::{Contents, Damage, Header, read},
    store::StoreError,
    writer::Unwritten,
};
use self::{recovery::Recovery, store::Store, writer::Writer};
use crate::{
    call::Timestamp,
    ledger::{Record, Replay},
    limits,
};

/// Where a gateway keeps what is spent. Clones are the same.
#[derive(Clone, Debug)]
pub struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    store: Store,
    writer: Mutex<Writer>,
    upkeep: Mutex<Upkeep>,
    /// Told when the upkeep is to end.
    ending: Condvar,
    /// Locked for as long as this gateway has it.
    _lock: File,
}

/// The thread that sees to what is written.
#[derive(Debug, Default)]
struct Upkeep {
    thread: Option<JoinHandle<()>>,
    is_over: bool,
    /// Why journals can't be put into the database, if they can't.
    problem: Option<String>,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub directory: PathBuf,
    /// Bytes of the journal that is written.
    pub journal_bytes: u64,
    /// Records that could not be written when they should have been.
    pub unwritten: u64,
    /// What is wrong, if something is.
    pub problem: Option<String>,
}

/// A state can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("can't use {}: {source}; run as root (sudo), or set daemon.state_dir", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("another gateway keeps its budgets in {}; stop it, or set daemon.state_dir", .0.display())]
    InUse(PathBuf),
    #[error("what was spent can't be told from {}: {damage}; {}", path.display(), Anew(path))]
    Journal { path: PathBuf, damage: Damage },
    #[error("what was spent can't be told from {}: {error}; {}", path.display(), Anew(path))]
    Store { path: PathBuf, error: Box<StoreError> },
    #[error("what was spent can't be told: {} is missing; {}", .0.display(), Anew(.0))]
    Missing(PathBuf),
}

/// What to do with a file that can't be read.
struct Anew<'a>(&'a Path);

impl std::fmt::Display for Anew<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let directory = self.0.parent().unwrap_or(self.0).display();
        write!(f, "bring it back, or move {directory} away: every budget begins anew then")
    }
}

impl State {
    /// Opens what is kept in a state directory, for a gateway that begins now. What is to be counted on
    /// from: what was in flight when the last gateway ended is spent as it was held.
    pub fn open(state: &Path, now: Timestamp) -> Result<(Self, Replay), StateError> {
        let (state, replay) = Self::open_unattended(state, now)?;
        let thread = thread::Builder::new().name("state".to_owned()).spawn({
            let state = state.clone();
            move || state.keep_up()
        });
        let error = |source| StateError::Io { path: state.0.directory.clone(), source };
        state.upkeep().thread = Some(thread.map_err(error)?);
        Ok((state, replay))
    }

    /// Without a thread that sees to what is written.
    fn open_unattended(state: &Path, now: Timestamp) -> Result<(Self, Replay), StateError> {
        let directory = state.join(DIRECTORY);
        let error = |source| StateError::Io { path: directory.clone(), source };
        let lock = lock(&directory).map_err(error)?;
        let lock = lock.ok_or_else(|| StateError::InUse(directory.clone()))?;
        let store = Store::of(&directory);
        let Recovery { mut replay, last, .. } = recovery::recover(&directory, &store, None)?;
        if replay.is_ahead_of(now) {
            tracing::warn!(last = %replay.now(), "the clock is set back: what was spent later is spent now");
        }
        replay.begin(now);
        if let Err(error) = recovery::sweep(&directory) {
            tracing::warn!(%error, "what an earlier gateway left unfinished stays");
        }
        let writer = Writer::begin(&directory, last, replay.now());
        let inner = Inner {
            directory,
            store,
            writer: Mutex::new(writer),
            upkeep: Mutex::default(),
            ending: Condvar::new(),
            _lock: lock,
        };
        Ok((Self(Arc::new(inner)), replay))
    }

    /// Keeps records that can wait until the next ones are written, or until it is told to write.
    pub fn keep(&self, records: &[Record]) {
        self.writer().keep(records);
    }

    /// Keeps records, and has them written with all before them when it returns.
    pub fn write(&self, records: &[Record]) -> Result<(), Unwritten> {
        let mut writer = self.writer();
        writer.keep(records);
        writer.write()
    }

    /// Whether it is to be told everything anew, since it could not write what it was told.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.writer().wants_all()
    }

    /// Begins anew with records that say everything.
    pub fn begin_anew(&self, records: &[Record]) {
        self.writer().begin_anew(records);
    }

    #[must_use]
    pub fn health(&self) -> Health {
        let problem = self.upkeep().problem.clone();
        let writer = self.writer();
        Health {
            directory: self.0.directory.clone(),
            journal_bytes: writer.bytes(),
            unwritten: writer.unwritten(),
            problem: writer.problem().map(ToString::to_string).or(problem),
        }
    }

    /// Puts everything into the database. What is recorded afterwards is lost, and then charged as it was
    /// held.
    pub fn end(&self) {
        let thread = {
            let mut upkeep = self.upkeep();
            upkeep.is_over = true;
            upkeep.thread.take()
        };
        self.0.ending.notify_all();
        // It does not panic, and there is nothing to do about it if it did.
        let _ = thread.map(JoinHandle::join);
        self.writer().end();
        self.compact();
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upkeep(&self) -> MutexGuard<'_, Upkeep> {
        self.0.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until it is told to end: what is written gets to the disk, and journals into the database.
    fn keep_up(&self) {
        loop {
            self.compact();
            let is_over = self.pause(limits::JOURNAL_SYNC);
            self.sync();
            if is_over {
                return;
            }
            self.rotate();
        }
    }

    /// Waits for so long, or until it is told to end. Whether it is.
    fn pause(&self, time: Duration) -> bool {
        let upkeep = self.upkeep();
        let waited = self.0.ending.wait_timeout_while(upkeep, time, |upkeep| !upkeep.is_over);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_over
    }

    fn sync(&self) {
        // Not locked meanwhile: calls go on.
        let file = self.writer().unsynced();
        if let Some(file) = file
            && let Err(error) = file.sync_data()
        {
            self.writer().fail(&error);
        }
    }

    /// Goes on in another journal, if this one has grown and those before it are done with.
    fn rotate(&self) {
        let is_behind = self.upkeep().problem.is_some();
        let before = self.writer().rotate(is_behind);
        if let Some(file) = before
            && let Err(error) = file.sync_data()
        {
            self.writer().fail(&error);
        }
    }

    /// Goes through the journals that are closed, and puts into the database what comes of them.
    fn compact(&self) {
        let current = self.writer().current();
        let done = recovery::compact(&self.0.directory, &self.0.store, current.as_ref());
        let problem = done.err().map(|error| error.to_string());
        let mut upkeep = self.upkeep();
        if problem != upkeep.problem {
            if let Some(error) = &problem {
                tracing::error!(%error, "journals stay as they are");
            } else {
                tracing::info!("journals are put into the database again");
            }
            upkeep.problem = problem;
        }
    }
}

/// `None`: another process has it.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    if !directory.is_dir() {
        if let Some(state) = directory.parent() {
            fs::create_dir_all(state)?;
        }
        fs::DirBuilder::new().mode(0o700).create(directory)?;
    }
    let file = File::open(directory)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// In the state directory.
const DIRECTORY: &str = "ledger";

#[cfg(test)]
mod tests;
