//! Network namespaces: which one a process lives in, and threads that live there too.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, kept alive for as long as this is held.
#[derive(Debug)]
pub struct Netns {
    handle: OwnedFd,
    id: NetnsId,
}

/// What tells one network namespace from another: the device and inode of its nsfs file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId(u64, u64);

impl Netns {
    /// The one that a process lives in.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Self::open(format!("/proc/{pid}/ns/net").as_ref())
    }

    /// The one that this thread lives in.
    pub fn current() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/net".as_ref())
    }

    fn open(path: &Path) -> io::Result<Self> {
        let file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { id: NetnsId(metadata.dev(), metadata.ino()), handle: file.into() })
    }

    #[must_use]
    pub const fn id(&self) -> NetnsId {
        self.id
    }

    /// Starts a thread that lives in the namespace: every socket that it makes does too. `body`
    /// gets the outcome of moving there, and must not go on if that failed.
    pub fn spawn<T: Send + 'static>(
        self,
        name: String,
        body: impl FnOnce(io::Result<()>) -> T + Send + 'static,
    ) -> io::Result<thread::JoinHandle<T>> {
        thread::Builder::new().name(name).spawn(move || {
            let moved =
                move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network));
            // The thread itself keeps the namespace alive from here on.
            drop(self);
            body(moved.map_err(io::Error::from))
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_process_share_its_namespace() {
        let own = Netns::current().expect("procfs is there").id();
        assert_eq!(Netns::of_process(std::process::id()).expect("it is alive").id(), own);
        assert!(Netns::of_process(u32::MAX).is_err());
    }
}
