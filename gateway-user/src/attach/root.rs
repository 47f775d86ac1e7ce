//! Files as a process sees them: below its root, wherever its container has put that.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags, fstat, open,
        openat, openat2, statx,
    },
    io::Errno,
};

/// The root directory of a process.
///
/// What is below is the container's, which may be hostile: links are followed inside of the root
/// only, and nothing but regular files and directories is opened. A file system of the container's
/// own (FUSE) can still make any of this wait, so it is for a thread that may be left behind.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// A file below a root that was found and not opened yet.
#[derive(Debug)]
pub struct Found(OwnedFd);

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    /// And no link to one.
    pub is_directory: bool,
}

impl Root {
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Self::at(format!("/proc/{pid}/root").as_ref())
    }

    /// The root that a directory would be.
    pub fn at(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(open(directory, flags, Mode::empty())?))
    }

    /// The file of this path; `None` if there is none.
    pub fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        match openat2(&self.0, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), SCOPE) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            found => Ok(Some(Found(found?))),
        }
    }

    /// What is in a directory, at most so much; nothing if there is no such directory.
    pub fn entries(&self, directory: &Path, limit: usize) -> io::Result<Vec<Entry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match openat2(&self.0, directory, flags, Mode::empty(), SCOPE) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
            directory => directory?,
        };
        let mut entries = Vec::new();
        for entry in Dir::new(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let is_directory = entry.file_type().is_dir();
            entries.push(Entry { name: OsString::from_vec(name.to_vec()), is_directory });
            if entries.len() == limit {
                break;
            }
        }
        Ok(entries)
    }

    /// What tells one root from another.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let found = statx(&self.0, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::INO)?;
        Ok((found.stx_mnt_id, found.stx_ino))
    }
}

impl Found {
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.stat().is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_file())
    }

    pub fn stat(&self) -> io::Result<Stat> {
        Ok(fstat(&self.0)?)
    }

    /// The mount that it is on, by the number that `/proc/PID/mountinfo` has.
    pub fn mount(&self) -> io::Result<u64> {
        Ok(statx(&self.0, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
    }

    /// Opens it, if it is a regular file: opening a pipe would wait, and opening a device may do
    /// anything.
    pub fn open(&self) -> io::Result<File> {
        if !self.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let itself = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        Ok(openat(CWD, itself, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const SCOPE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
