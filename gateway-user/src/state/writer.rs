//! The journal that is written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    mem::take,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use serde::Serialize;

use super::{
    journal::{self, Header},
    recovery,
};
use crate::{call::Timestamp, ledger::Record, limits};

/// Appends to a journal.
#[derive(Debug)]
pub(super) struct Writer {
    directory: PathBuf,
    /// Absent once it has ended.
    journal: Option<Journal>,
    /// The last generation that there is a file of, or was.
    last: u64,
    /// What is still to be written.
    buffer: Vec<u8>,
    /// Why nothing can be written, if nothing can, and when that was tried last.
    failure: Option<(Unwritten, Instant)>,
    unwritten: u64,
    /// There will be no other journal.
    ended: bool,
}

#[derive(Debug)]
struct Journal {
    header: Header,
    file: Arc<File>,
    bytes: u64,
    is_synced: bool,
}

/// What is spent can't be written down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "what calls spend can't be written to {}: {error}; until it can, no call is made that a budget \
     holds: free space there, or make it writable", directory.display()
)]
pub struct Unwritten {
    directory: PathBuf,
    error: Arc<str>,
}

impl Writer {
    /// Begins a gateway's first journal, after those of the ones before.
    pub(super) fn begin(directory: &Path, last: u64, at: Timestamp) -> Self {
        let mut writer = Self {
            directory: directory.to_owned(),
            journal: None,
            last,
            buffer: Vec::new(),
            failure: None,
            unwritten: 0,
            ended: false,
        };
        let begun = writer.create().and_then(|file| {
            writer.go_on_in(Header::beginning(writer.last, at), file)?;
            writer.put()
        });
        if let Err(error) = begun {
            writer.fail(&error);
        }
        writer
    }

    /// Keeps records until they are written.
    pub(super) fn keep(&mut self, records: &[Record]) {
        if self.failure.is_some() || self.journal.is_none() {
            self.unwritten += records.len() as u64;
            return;
        }
        let appended = records.iter().try_for_each(|record| self.append(record));
        let put = appended.and_then(|()| {
            if self.buffer.len() > limits::JOURNAL_BUFFER { self.put() } else { Ok(()) }
        });
        if let Err(error) = put {
            self.unwritten += records.len() as u64;
            self.fail(&error);
        }
    }

    /// Writes what was kept.
    pub(super) fn write(&mut self) -> Result<(), Unwritten> {
        if self.ended {
            let error = "the gateway has ended".into();
            return Err(Unwritten { directory: self.directory.clone(), error });
        }
        if let Err(error) = self.put() {
            self.fail(&error);
        }
        match &self.failure {
            Some((failure, _)) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// Whether it is time to try again with all that there is.
    pub(super) fn wants_all(&self) -> bool {
        let tried = self.failure.as_ref().map(|(_, tried)| tried.elapsed());
        tried.is_some_and(|ago| ago >= limits::JOURNAL_RETRY)
    }

    /// Begins another journal with records that say everything.
    pub(super) fn begin_anew(&mut self, records: &[Record]) {
        match self.try_anew(records) {
            Ok(()) => {
                self.failure = None;
                let directory = self.directory.display();
                tracing::info!(%directory, unwritten = self.unwritten, "what is spent is written again");
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Goes on in another journal if this one has grown, unless journals wait already. The one that was
    /// written until now.
    pub(super) fn rotate(&mut self, is_behind: bool) -> Option<Arc<File>> {
        if is_behind {
            if self.bytes() >= limits::JOURNAL_READ_BYTES / 2 {
                self.fail(&io::Error::other("its journal is too long"));
            }
            return None;
        }
        self.rotate_at(limits::JOURNAL_BYTES)
    }

    /// Goes on in another journal if this one has so many bytes.
    pub(super) fn rotate_at(&mut self, bytes: u64) -> Option<Arc<File>> {
        if self.failure.is_some() || self.bytes() < bytes {
            return None;
        }
        let before = self.journal.as_ref().map(|journal| Arc::clone(&journal.file));
        let begun = self.put().and_then(|()| self.create());
        // Its header is written with what comes next: until then there is nothing in it.
        match begun.and_then(|file| self.go_on_in(Header::new(self.last), file)) {
            Ok(()) => before,
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }

    /// What is written and not yet on the disk: it will be.
    pub(super) fn unsynced(&mut self) -> Option<Arc<File>> {
        let journal = self.journal.as_mut().filter(|journal| !journal.is_synced)?;
        journal.is_synced = true;
        Some(Arc::clone(&journal.file))
    }

    /// The journal that is being written, or will be when that can be done again, which is nobody else's to
    /// read.
    pub(super) fn current(&self) -> Option<Header> {
        let header = self.journal.as_ref().map(|journal| journal.header.clone());
        let to_come = || (!self.ended).then(|| Header::whole(self.last.saturating_add(1)));
        header.or_else(to_come)
    }

    /// Writes what is left, and nothing any more.
    pub(super) fn end(&mut self) {
        let written = self.write();
        self.ended = true;
        let journal = self.journal.take();
        if let (Ok(()), Some(journal)) = (written, journal)
            && let Err(error) = journal.file.sync_data()
        {
            self.fail(&error);
        }
    }

    /// Nothing can be written. That is said once.
    pub(super) fn fail(&mut self, error: &io::Error) {
        self.buffer.clear();
        let error: Arc<str> = error.to_string().into();
        let is_news = self.failure.as_ref().is_none_or(|(before, _)| before.error != error);
        let failure = Unwritten { directory: self.directory.clone(), error };
        if is_news {
            tracing::error!(error = %failure, "budgets are not kept");
        }
        self.failure = Some((failure, Instant::now()));
    }

    pub(super) fn problem(&self) -> Option<&Unwritten> {
        self.failure.as_ref().map(|(failure, _)| failure)
    }

    pub(super) const fn unwritten(&self) -> u64 {
        self.unwritten
    }

    pub(super) fn bytes(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| journal.bytes)
    }

    /// The file of another generation.
    fn create(&mut self) -> io::Result<File> {
        self.last = self.last.saturating_add(1);
        let file = create(&recovery::path(&self.directory, self.last))?;
        self.sync_directory()?;
        Ok(file)
    }

    /// Appears under its name only when it is whole: what is read of it stands for all before it.
    fn try_anew(&mut self, records: &[Record]) -> io::Result<()> {
        self.buffer.clear();
        self.last = self.last.saturating_add(1);
        let header = Header::whole(self.last);
        let path = recovery::path(&self.directory, self.last);
        let fresh = path.with_extension("new");
        let file = create(&fresh)?;
        self.append(&header)?;
        let written = records
            .iter()
            .try_for_each(|record| self.append(record))
            .and_then(|()| (&file).write_all(&self.buffer))
            .and_then(|()| file.sync_data())
            .and_then(|()| fs::rename(&fresh, &path))
            .and_then(|()| self.sync_directory());
        let bytes = self.buffer.len() as u64;
        self.buffer = Vec::new();
        if let Err(error) = written {
            // It may be what takes the room.
            let _ = fs::remove_file(&fresh);
            return Err(error);
        }
        self.journal = Some(Journal { header, file: Arc::new(file), bytes, is_synced: true });
        Ok(())
    }

    /// That a file is there must be known after a power cut.
    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn go_on_in(&mut self, header: Header, file: File) -> io::Result<()> {
        self.append(&header)?;
        let file = Arc::new(file);
        self.journal = Some(Journal { header, file, bytes: 0, is_synced: true });
        Ok(())
    }

    fn append(&mut self, what: &impl Serialize) -> io::Result<()> {
        journal::append(&mut self.buffer, what).map_err(Into::into)
    }

    /// One write(2), unless the system takes less at a time.
    fn put(&mut self) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        (&*journal.file).write_all(&self.buffer)?;
        journal.bytes += self.buffer.len() as u64;
        journal.is_synced = false;
        self.buffer.clear();
        if self.buffer.capacity() > 2 * limits::JOURNAL_BUFFER {
            drop(take(&mut self.buffer));
        }
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}
