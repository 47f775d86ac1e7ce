//! The file that journals end up in: `ledger.db`, a database of `SQLite`'s with each account as it was
//! at the end of a generation.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, Transaction, params,
    types::ValueRef,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    call::Timestamp,
    ledger::{Held, Image, Key, Replay, Reset, Whole},
};

/// A ledger's database.
#[derive(Clone, Debug)]
pub(super) struct Store {
    path: PathBuf,
}

/// What is in it.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) replay: Replay,
    /// The last journal that it has gone through; 0 before the first one.
    pub(super) generation: u64,
}

/// It can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error(
        "it was written by a newer turnpike (version {0} of its format; this one knows {VERSION})"
    )]
    Newer(i64),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("what it is to hold has no form: {0}")]
    Form(#[from] serde_json::Error),
}

impl Store {
    pub(super) fn of(directory: &Path) -> Self {
        Self { path: directory.join(NAME) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All that it has, which is nothing if there is no file.
    pub(super) fn read(&self) -> Result<Stored, StoreError> {
        if !self.path.try_exists()? {
            return Ok(Stored::default());
        }
        let connection = Connection::open_with_flags(&self.path, FLAGS)?;
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(damaged)?;
        if version > VERSION {
            return Err(StoreError::Newer(version));
        }
        if version < VERSION {
            return Err(StoreError::Damaged("it has no version".to_owned()));
        }
        let check: String = connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(damaged)?;
        if check != "ok" {
            return Err(StoreError::Damaged(check));
        }
        stored(&connection)
    }

    /// Brings it to the end of a generation, at once or not at all.
    pub(super) fn write(&self, replay: &Replay, generation: u64) -> Result<(), StoreError> {
        let mut connection = self.open()?;
        let transaction = connection.transaction()?;
        put(&transaction, replay, generation)?;
        transaction.commit()?;
        Ok(())
    }

    fn open(&self) -> Result<Connection, StoreError> {
        if !self.path.try_exists()? {
            self.make()?;
        }
        let connection = Connection::open_with_flags(&self.path, FLAGS)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    }

    /// Appears under its name only when it has its tables: a file that has none is damaged.
    fn make(&self) -> Result<(), StoreError> {
        let fresh = self.path.with_extension("new");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(&fresh)?;
        let connection = Connection::open_with_flags(&fresh, FLAGS)?;
        connection.execute_batch(TABLES)?;
        connection.close().map_err(|(_, error)| error)?;
        fs::rename(&fresh, &self.path)?;
        let directory = self.path.parent().map(fs::File::open).transpose()?;
        directory.map_or(Ok(()), |directory| Ok(directory.sync_all()?))
    }
}

fn stored(connection: &Connection) -> Result<Stored, StoreError> {
    let number = |name: &str| -> Result<u64, StoreError> {
        let sql = "SELECT value FROM number WHERE name = ?1";
        let value: Option<i64> =
            connection.query_row(sql, [name], |row| row.get(0)).optional().map_err(damaged)?;
        Ok(value.map_or(0, i64::cast_unsigned))
    };
    let accounts = rows(connection, "SELECT key, image FROM account")?;
    let holds = rows(connection, "SELECT number, held FROM hold ORDER BY number")?;
    let resets = rows(connection, "SELECT place, reset FROM reset ORDER BY place")?;
    let whole = Whole {
        accounts: accounts
            .iter()
            .map(|(key, image)| Ok((parse::<Key>(key)?, parse::<Image>(image)?)))
            .collect::<Result<_, StoreError>>()?,
        holds: holds.iter().map(|(_, held)| parse::<Held>(held)).collect::<Result<_, _>>()?,
        resets: resets.iter().map(|(_, reset)| parse::<Reset>(reset)).collect::<Result<_, _>>()?,
        now: Timestamp(number("now")?),
        next: number("next")?,
    };
    Ok(Stored { replay: Replay::of(whole), generation: number("generation")? })
}

/// Rows of two columns, as text.
fn rows(connection: &Connection, sql: &str) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement = connection.prepare(sql).map_err(damaged)?;
    let column = |row: &Row<'_>, at| -> rusqlite::Result<String> {
        match row.get_ref(at)? {
            ValueRef::Integer(number) => Ok(number.to_string()),
            other => Ok(other.as_str()?.to_owned()),
        }
    };
    let rows =
        statement.query_map([], |row| Ok((column(row, 0)?, column(row, 1)?))).map_err(damaged)?;
    rows.collect::<Result<_, _>>().map_err(damaged)
}

/// What is not as it is written here nobody has written who was told to.
fn damaged(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        // Of the disk, or of who else uses it.
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => error.into(),
        _ => StoreError::Damaged(error.to_string()),
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn text(what: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(what)
}

fn put(to: &Transaction<'_>, replay: &Replay, generation: u64) -> Result<(), StoreError> {
    let mut insert = to.prepare("INSERT OR REPLACE INTO account (key, image) VALUES (?1, ?2)")?;
    let mut delete = to.prepare("DELETE FROM account WHERE key = ?1")?;
    for (key, image) in replay.changed() {
        match image {
            Some(image) => insert.execute([text(key)?, text(image)?])?,
            None => delete.execute([text(key)?])?,
        };
    }
    to.execute_batch("DELETE FROM hold; DELETE FROM reset;")?;
    let mut insert = to.prepare("INSERT INTO hold (number, held) VALUES (?1, ?2)")?;
    for held in replay.holds() {
        insert.execute(params![held.number.cast_signed(), text(held)?])?;
    }
    let mut insert = to.prepare("INSERT INTO reset (place, reset) VALUES (?1, ?2)")?;
    for (place, reset) in (0_i64..).zip(replay.resets()) {
        insert.execute(params![place, text(reset)?])?;
    }
    let mut insert = to.prepare("INSERT OR REPLACE INTO number (name, value) VALUES (?1, ?2)")?;
    let numbers = [("generation", generation), ("now", replay.now().0), ("next", replay.next())];
    for (name, value) in numbers {
        insert.execute(params![name, value.cast_signed()])?;
    }
    Ok(())
}

pub(super) const NAME: &str = "ledger.db";
const VERSION: i64 = 1;
/// Never made here, and one thread at a time.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
const TABLES: &str = "
    BEGIN;
    CREATE TABLE account (key TEXT PRIMARY KEY, image TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE hold (number INTEGER PRIMARY KEY, held TEXT NOT NULL) STRICT;
    CREATE TABLE reset (place INTEGER PRIMARY KEY, reset TEXT NOT NULL) STRICT;
    CREATE TABLE number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
    COMMIT;
";
