//! The file that keeps who is killed: `STATE/kills.json`.
//!
//! It is small, and replaced as a whole, so that a kill is either there or not, whenever a gateway or
//! the machine ends. Commands that find no gateway change it too; a lock beside it has them wait for
//! one another.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    cancel::{Kill, Latches},
    limits,
};

/// Where kills are kept.
#[derive(Clone, Debug)]
pub(super) struct Kills {
    path: PathBuf,
}

/// Why they can't be read or kept. The state directory's fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum KillsError {
    #[error("can't use {}: {source}; run as root (sudo), or set daemon.state_dir", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} can't be read, so nobody knows who is killed: {source}; mend it, or move it away to \
         revive all", path.display()
    )]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error(
        "{} was written by a newer turnpike (format {found}, this one reads {VERSION}); use that \
         one, or move the file away to revive all", path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "{} holds more kills than can be in force; remove some, or move it away to revive all",
        path.display()
    )]
    TooMany { path: PathBuf },
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    kills: Vec<Kill>,
}

/// Read before the rest, which may have another form in another version.
#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

impl Kills {
    pub(super) fn within(state: &Path) -> Self {
        Self { path: state.join("kills.json") }
    }

    /// Those that are kept; none where there is no file.
    pub(super) fn read(&self) -> Result<Latches, KillsError> {
        let path = || self.path.clone();
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Latches::default()),
            read => read.map_err(|source| KillsError::Io { path: path(), source })?,
        };
        let damaged = |source| KillsError::Damaged { path: path(), source };
        let Version { version } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(KillsError::Newer { path: path(), found: version });
        }
        let File { kills, .. } = serde_json::from_slice(&bytes).map_err(damaged)?;
        let mut latches = Latches::default();
        for kill in kills {
            latches.latch(kill).map_err(|_| KillsError::TooMany { path: path() })?;
        }
        Ok(latches)
    }

    /// Keeps these, and no others: on the disk, when it returns.
    pub(super) fn write(&self, latches: &Latches) -> Result<(), KillsError> {
        self.replace(latches).map_err(|source| KillsError::Io { path: self.path.clone(), source })
    }

    /// Changes what is kept, with whoever else does waiting.
    pub(super) fn change<T>(&self, body: impl FnOnce(&mut Latches) -> T) -> Result<T, KillsError> {
        let lock = self.path.with_extension("lock");
        let open = || {
            fs::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
            let mut options = fs::OpenOptions::new();
            let file = options.create(true).truncate(false).write(true).mode(0o600).open(&lock)?;
            let deadline = Instant::now() + limits::RUNTIME_LOCK;
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(file),
                    Err(fs::TryLockError::Error(source)) => return Err(source),
                    Err(fs::TryLockError::WouldBlock) if Instant::now() >= deadline => {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
                }
            }
        };
        let _held = open().map_err(|source| KillsError::Io { path: lock.clone(), source })?;
        let mut latches = self.read()?;
        let result = body(&mut latches);
        self.write(&latches)?;
        Ok(result)
    }

    fn replace(&self, latches: &Latches) -> io::Result<()> {
        let state = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(state)?;
        let fresh = self.path.with_extension("json.new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        let kept = File { version: VERSION, kills: latches.iter().cloned().collect() };
        file.write_all(&serde_json::to_vec_pretty(&kept)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        fs::File::open(state)?.sync_all()
    }
}

/// Of the file's form.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Holder, Timestamp},
        cancel::Toll,
    };

    fn kill(holder: Holder) -> Kill {
        let reason = Some("why not".into());
        Kill { holder, at: Timestamp(5), by_uid: 7, reason, cut: Toll::default() }
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let state = tempfile::tempdir().expect("a directory");
        let kills = Kills::within(&state.path().join("deeper"));
        assert!(kills.read().expect("nothing yet").is_empty());
        let holders = [Holder::Node, Holder::Agent("a".into())];
        for holder in holders.clone() {
            kills.change(|latches| latches.latch(kill(holder))).expect("written").expect("room");
        }
        let latches = kills.read().expect("read");
        assert!(holders.iter().all(|holder| latches.get(holder) == Some(&kill(holder.clone()))));
        kills.write(&Latches::default()).expect("written");
        assert!(kills.read().expect("read").is_empty());
    }

    #[test]
    fn what_is_damaged_or_newer_is_refused_with_what_to_do() {
        let state = tempfile::tempdir().expect("a directory");
        let kills = Kills::within(state.path());
        for (text, expected) in [
            ("{", "mend it, or move it away"),
            (r#"{"version":1,"kills":[{}]}"#, "mend it, or move it away"),
            (r#"{"version":2,"kills":[]}"#, "a newer turnpike (format 2, this one reads 1)"),
        ] {
            fs::write(state.path().join("kills.json"), text).expect("written");
            let error = kills.read().expect_err("refused").to_string();
            assert!(error.contains(expected) && error.contains("kills.json"), "{error}");
            assert!(kills.change(|_| ()).is_err(), "it is not overwritten");
        }
    }
}
