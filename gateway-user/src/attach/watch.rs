//! Watching cgroups come.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fmt, fs, io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::io::unix::AsyncFd;

use crate::{limits, sys};

/// A tree of directories in which new ones are noticed as they are made.
pub struct Tree<C> {
    root: PathBuf,
    inotify: AsyncFd<OwnedFd>,
    watched: HashMap<i32, PathBuf>,
    /// Directories that are watched at most.
    bound: usize,
    is_closed: C,
    unwatched: u64,
}

/// What was noticed.
#[derive(Debug, PartialEq, Eq)]
pub enum Noticed {
    /// Directories that were made; some perhaps twice, and some perhaps gone by now.
    Made(Vec<PathBuf>),
    /// More happened than the kernel kept for us: only [`Tree::scan`] can tell what there is.
    TooMuch,
}

impl<C: Fn(&Path) -> bool> Tree<C> {
    /// The tree below `root`, of which nothing is watched before the first [`scan`](Self::scan).
    /// Nothing is looked for below directories that are closed.
    pub fn new(root: PathBuf, is_closed: C) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let inotify = sys::watch(inotify)?;
        let (watched, bound) = (HashMap::new(), limits::WATCHED_CGROUPS);
        Ok(Self { root, inotify, watched, bound, is_closed, unwatched: 0 })
    }

    /// Every directory that there is below the root, those above others first. Watches what is not
    /// watched yet.
    pub fn scan(&mut self) -> Vec<PathBuf> {
        self.unwatched = 0;
        let root = self.root.clone();
        self.watch(&root);
        let mut found = subdirectories(&root);
        let mut next = 0;
        while let Some(directory) = found.get(next).cloned() {
            next += 1;
            found.extend(self.enter(&directory));
        }
        found
    }

    /// The next directories that are made. Nothing is lost if it is dropped half-way.
    pub async fn next(&mut self) -> io::Result<Noticed> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let taken = ready.try_io(|inotify| take(inotify.get_ref()));
            let Ok(taken) = taken else { continue };
            let Taken { made, gone, is_too_much } = taken?;
            if is_too_much {
                return Ok(Noticed::TooMuch);
            }
            let in_its_place = |(watch, name): (i32, Vec<u8>)| {
                Some(self.watched.get(&watch)?.join(OsStr::from_bytes(&name)))
            };
            let mut found: Vec<PathBuf> = made.into_iter().filter_map(in_its_place).collect();
            for watch in gone {
                self.watched.remove(&watch);
            }
            let mut next = 0;
            while let Some(directory) = found.get(next).cloned() {
                next += 1;
                found.extend(self.enter(&directory));
            }
            if !found.is_empty() {
                return Ok(Noticed::Made(found));
            }
        }
    }

    /// Directories that were not watched, and not looked into, since the last scan: over the bound, or
    /// over the kernel's (`fs.inotify.max_user_watches`).
    #[must_use]
    pub const fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// Watches a directory, unless it is closed. What was made in it before it was watched.
    fn enter(&mut self, directory: &Path) -> Vec<PathBuf> {
        if !(self.is_closed)(directory) && self.watch(directory) {
            subdirectories(directory)
        } else {
            Vec::new()
        }
    }

    /// Whether it is watched.
    fn watch(&mut self, directory: &Path) -> bool {
        let flags = WatchFlags::CREATE | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
        let is_full = self.watched.len() >= self.bound;
        match inotify::add_watch(self.inotify.get_ref(), directory, flags) {
            Ok(watch) if is_full && !self.watched.contains_key(&watch) => {
                // It fails only for one that has gone meanwhile.
                let _ = inotify::remove_watch(self.inotify.get_ref(), watch);
            }
            Ok(watch) => {
                self.watched.insert(watch, directory.to_owned());
                return true;
            }
            Err(Errno::NOENT) => return false,
            Err(error) => tracing::debug!(directory = %directory.display(), %error, "not watched"),
        }
        self.unwatched += 1;
        false
    }
}

impl<C> fmt::Debug for Tree<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("root", &self.root).finish_non_exhaustive()
    }
}

/// What one read tells.
#[derive(Debug, Default)]
struct Taken {
    /// In which watched directory, and under which name.
    made: Vec<(i32, Vec<u8>)>,
    /// Directories that are watched no longer.
    gone: Vec<i32>,
    is_too_much: bool,
}

/// Errors with `WouldBlock` if there is nothing.
fn take(inotify: &OwnedFd) -> io::Result<Taken> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut taken = Taken::default();
    loop {
        let event = reader.next()?;
        let flags = event.events();
        taken.is_too_much |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
        if flags.contains(ReadFlags::IGNORED) {
            taken.gone.push(event.wd());
        } else if flags.contains(ReadFlags::CREATE | ReadFlags::ISDIR)
            && let Some(name) = event.file_name()
        {
            taken.made.push((event.wd(), name.to_bytes().to_owned()));
        }
        if reader.is_buffer_empty() {
            return Ok(taken);
        }
    }
}

/// The directories in a directory; none if it is gone.
fn subdirectories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|found| found.is_dir());
    entries.filter(is_dir).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tempfile::TempDir;

    use super::*;

    fn is_closed(path: &Path) -> bool {
        path.ends_with("closed")
    }

    type Test = Tree<fn(&Path) -> bool>;

    fn tree(directories: &[&str]) -> (TempDir, Test) {
        // In memory: some of this makes many.
        let root = TempDir::new_in("/dev/shm").expect("room");
        for directory in directories {
            fs::create_dir_all(root.path().join(directory)).expect("room");
        }
        let tree = Test::new(root.path().into(), is_closed).expect("inotify");
        (root, tree)
    }

    fn below(root: &TempDir, paths: Vec<PathBuf>) -> BTreeSet<String> {
        let below = |path: PathBuf| {
            path.strip_prefix(root.path()).expect("below").to_str().expect("ours").to_owned()
        };
        paths.into_iter().map(below).collect()
    }

    /// Collects what is noticed until all of it was.
    async fn notice(root: &TempDir, tree: &mut Test, all: &[&str]) {
        let mut missing: BTreeSet<String> = all.iter().map(|path| (*path).to_owned()).collect();
        while !missing.is_empty() {
            let Noticed::Made(made) = tree.next().await.expect("read") else { panic!("too much") };
            missing = &missing - &below(root, made);
        }
    }

    #[tokio::test]
    async fn what_is_there_is_scanned_and_what_comes_is_noticed() {
        let (root, mut tree) = tree(&["a/b", "c"]);
        let all = ["a", "a/b", "c"].map(str::to_owned);
        assert_eq!(below(&root, tree.scan()), BTreeSet::from(all));
        assert_eq!(tree.watched.len(), 4);
        for directory in ["a/b/new", "d/e/f"] {
            fs::create_dir_all(root.path().join(directory)).expect("room");
        }
        fs::write(root.path().join("file"), "").expect("room");
        notice(&root, &mut tree, &["a/b/new", "d", "d/e", "d/e/f"]).await;
        // What was there before its parent was watched is as good as new.
        fs::create_dir(root.path().join("d/e/f/g")).expect("room");
        notice(&root, &mut tree, &["d/e/f/g"]).await;
    }

    #[tokio::test]
    async fn nothing_is_looked_for_below_what_is_closed() {
        let (root, mut tree) = tree(&["closed/inside"]);
        assert_eq!(below(&root, tree.scan()), BTreeSet::from(["closed".to_owned()]));
        fs::create_dir(root.path().join("closed/later")).expect("room");
        fs::create_dir(root.path().join("seen")).expect("room");
        let Noticed::Made(made) = tree.next().await.expect("read") else { panic!("too much") };
        assert_eq!(below(&root, made), BTreeSet::from(["seen".to_owned()]));
    }

    #[tokio::test]
    async fn what_goes_is_watched_no_longer() {
        let (root, mut tree) = tree(&["a/b"]);
        tree.scan();
        fs::remove_dir_all(root.path().join("a")).expect("removed");
        fs::create_dir(root.path().join("a")).expect("room");
        notice(&root, &mut tree, &["a"]).await;
        assert_eq!(tree.watched.len(), 2);
    }

    #[tokio::test]
    async fn more_than_the_bound_are_not_watched_and_counted_until_there_is_room() {
        let (root, mut tree) = tree(&["a/b", "c"]);
        tree.bound = 2;
        let found = below(&root, tree.scan());
        assert!(found.contains("a") && found.contains("c"), "{found:?}");
        assert_eq!((tree.watched.len(), tree.unwatched()), (2, 1));
        // What comes in a watched one is noticed all the same.
        fs::create_dir(root.path().join("d")).expect("room");
        notice(&root, &mut tree, &["d"]).await;
        assert_eq!(tree.unwatched(), 2);
        tree.bound = 10;
        assert!(below(&root, tree.scan()).contains("a/b"));
        assert_eq!(tree.unwatched(), 0);
    }

    #[tokio::test]
    async fn more_than_the_kernel_keeps_is_found_by_a_scan() {
        let kept = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("a bound");
        let kept: usize = kept.trim().parse().expect("a number");
        let (root, mut tree) = tree(&["a", "b"]);
        tree.scan();
        // Equal events in a row are kept once.
        for round in 0..=kept {
            let directory = root.path().join(if round % 2 == 0 { "a/x" } else { "b/x" });
            fs::create_dir(&directory).expect("room");
            fs::remove_dir(&directory).expect("removed");
        }
        fs::create_dir(root.path().join("c")).expect("room");
        while tree.next().await.expect("read") != Noticed::TooMuch {}
        assert!(below(&root, tree.scan()).contains("c"));
    }
}
