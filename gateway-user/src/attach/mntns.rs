//! Mount namespaces: which one a process lives in, and threads that visit it.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys;

/// A mount namespace, kept alive for as long as this is held.
#[derive(Debug)]
pub struct Mntns {
    handle: OwnedFd,
    id: MntnsId,
}

/// What tells one mount namespace from another: the device and inode of its nsfs file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MntnsId(u64, u64);

impl MntnsId {
    /// The one that a process lives in.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let found = fs::metadata(format!("/proc/{pid}/ns/mnt"))?;
        Ok(Self(found.dev(), found.ino()))
    }

    /// The machine's own and that of this process: nothing is ever mounted there.
    #[must_use]
    pub fn of_host() -> Vec<Self> {
        [1, std::process::id()].into_iter().filter_map(|pid| Self::of_process(pid).ok()).collect()
    }
}

impl Mntns {
    /// The one that a process lives in.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let file = fs::File::open(format!("/proc/{pid}/ns/mnt"))?;
        let found = file.metadata()?;
        Ok(Self { id: MntnsId(found.dev(), found.ino()), handle: file.into() })
    }

    #[must_use]
    pub const fn id(&self) -> MntnsId {
        self.id
    }

    /// Moves this thread, which must be one that [`apart`] has made, into the namespace; its root and
    /// its working directory are the namespace's own then.
    pub fn enter(&self) -> io::Result<()> {
        let moved = move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Mount));
        Ok(moved?)
    }
}

/// Does something in a thread that shares neither root nor working directory with the others, and
/// so may change namespaces. Waits for its end.
pub fn apart<T: Send>(body: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let name = "turnpike-mntns".to_owned();
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, || {
            sys::leave_shared_directories()?;
            body()
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended badly")))
    })
}
