//! cgroup2: where it is mounted, and which processes sit where.

use std::{
    fmt, fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Component, Path, PathBuf},
};

use gateway_common::{AgentId, MAX_AGENT_LEVEL};

use crate::limits;

/// A cgroup of the unified hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Below the mount, from `/`.
    path: CgroupPath,
    directory: PathBuf,
    id: AgentId,
}

/// How the names of the cgroups that `turnpike run` makes begin.
pub const RUN_PREFIX: &str = "turnpike-run-";

/// A cgroup's path below the mount, as `/proc/PID/cgroup` shows it: absolute and normal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CgroupPath(String);

/// Why a cgroup can't be used. The caller's fault, except where it says the system's.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("no cgroup2 file system is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup")]
    NotMounted,
    #[error("{} is not a cgroup below {}; see `systemd-cgls` or /proc/PID/cgroup", path.display(), mount.display())]
    NotACgroup { path: PathBuf, mount: PathBuf },
    #[error("no process has pid {0}; see `ps -e`")]
    NoProcess(u32),
    #[error("the cgroup {0} is gone; was the container restarted?")]
    Gone(CgroupPath),
    #[error(
        "the cgroup {path} is {level} levels deep, and agents are found at most {MAX_AGENT_LEVEL} deep; attach one of its ancestors"
    )]
    TooDeep { path: CgroupPath, level: usize },
    #[error(
        "there are more than {} cgroups below {path}; attach one of them",
        limits::CGROUPS_PER_AGENT
    )]
    TooMany { path: CgroupPath },
    #[error("can't read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl CgroupPath {
    /// The root cgroup.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// Whether `self` is `other` or one of its ancestors.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        path_holds(&self.0, &other.0)
    }

    /// From `/`, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn level(&self) -> usize {
        self.0.split('/').filter(|part| !part.is_empty()).count()
    }

    /// From a path that is absolute and has no `..`.
    fn parse(text: &str) -> Option<Self> {
        let mut path = String::new();
        for component in Path::new(text).components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    path.push('/');
                    path.push_str(name.to_str()?);
                }
                Component::ParentDir | Component::Prefix(_) => return None,
            }
        }
        Some(Self(if path.is_empty() { "/".into() } else { path }))
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Cgroup {
    /// By the path of its directory, or by its path below the mount.
    pub fn open(path: &Path) -> Result<Self, CgroupError> {
        let mount = mount_point()?;
        let below = path.strip_prefix(&mount).unwrap_or(path);
        let not_a_cgroup = || CgroupError::NotACgroup { path: path.into(), mount: mount.clone() };
        let text = below.to_str().ok_or_else(not_a_cgroup)?;
        let path = CgroupPath::parse(text).ok_or_else(not_a_cgroup)?;
        let directory = mount.join(path.0.trim_start_matches('/'));
        let is_cgroup = directory.join("cgroup.procs").exists();
        let metadata = fs::metadata(&directory).ok().filter(|_| is_cgroup);
        Ok(Self { path, directory, id: metadata.ok_or_else(not_a_cgroup)?.ino() })
    }

    /// The one that a process sits in.
    pub fn of_process(pid: u32) -> Result<Self, CgroupError> {
        Self::open(Path::new(path_of_process(pid)?.as_str()))
    }

    /// Makes one directly below the root, with a name of its own.
    pub fn create(name: &str) -> Result<Self, CgroupError> {
        let directory = mount_point()?.join(name);
        fs::create_dir(&directory).map_err(|source| io_error(&directory, source))?;
        Self::open(&directory)
    }

    /// Removes it and every cgroup below. Their processes must be gone.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut all = vec![self.directory.clone()];
        let mut seen = 0;
        while let Some(directory) = all.get(seen) {
            let below = directories(directory);
            all.extend(below);
            seen += 1;
        }
        all.iter().rev().try_for_each(|directory| {
            fs::remove_dir(directory).map_err(|source| io_error(directory, source))
        })
    }

    /// Whether it was made for a `turnpike run`.
    #[must_use]
    pub fn is_a_run_s(&self) -> bool {
        self.path.0.strip_prefix('/').is_some_and(|name| name.starts_with(RUN_PREFIX))
    }

    /// The number by which BPF programs know it.
    #[must_use]
    pub const fn id(&self) -> AgentId {
        self.id
    }

    /// Its path below the mount.
    #[must_use]
    pub const fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Its directory in the file system.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Refuses one that the BPF programs would not find among a process's ancestors.
    pub fn check_depth(&self) -> Result<(), CgroupError> {
        let level = self.path.level();
        if level > MAX_AGENT_LEVEL as usize {
            return Err(CgroupError::TooDeep { path: self.path.clone(), level });
        }
        Ok(())
    }

    /// Whether it is still there, and not another of the same name.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        fs::metadata(&self.directory).is_ok_and(|metadata| metadata.ino() == self.id)
    }

    /// The ids of this cgroup and of all below it, this one's first. What is made or removed
    /// meanwhile may be missing or still there.
    pub fn family(&self) -> Result<Vec<AgentId>, CgroupError> {
        let mut ids = vec![self.id];
        let mut pending = directories(&self.directory);
        while let Some(directory) = pending.pop() {
            if ids.len() >= limits::CGROUPS_PER_AGENT {
                return Err(CgroupError::TooMany { path: self.path.clone() });
            }
            ids.extend(fs::metadata(&directory).ok().map(|metadata| metadata.ino()));
            pending.extend(directories(&directory));
        }
        Ok(ids)
    }

    /// Open, to attach programs to.
    pub fn handle(&self) -> Result<fs::File, CgroupError> {
        fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(&self.directory)
            .map_err(|source| io_error(&self.directory, source))
    }

    /// Its `cgroup.procs`, open for a process to join.
    pub fn procs_for_joining(&self) -> Result<OwnedFd, CgroupError> {
        let path = self.directory.join("cgroup.procs");
        let file = fs::OpenOptions::new().write(true).open(&path);
        Ok(file.map_err(|source| io_error(&path, source))?.into())
    }

    /// The directory of this cgroup or of one below it in which processes live; `None` if there are
    /// none, or if they are frozen.
    #[must_use]
    pub fn inhabited(&self) -> Option<PathBuf> {
        let mut pending = vec![self.directory.clone()];
        while let Some(directory) = pending.pop() {
            let read = |name| fs::read_to_string(directory.join(name)).unwrap_or_default();
            // cgroup-v2.rst, "cgroup.events".
            let is_frozen = read("cgroup.events").lines().any(|line| line == "frozen 1");
            if !is_frozen && !read("cgroup.procs").is_empty() {
                return Some(directory);
            }
            pending.extend(directories(&directory));
        }
        None
    }

    /// The processes in it and in all cgroups below, as this process sees their pids. What ends
    /// meanwhile may be missing or still there.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut pending = vec![self.directory.clone()];
        while let Some(directory) = pending.pop() {
            if let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) {
                // 0 stands for a process of another pid namespace.
                pids.extend(
                    text.lines().filter_map(|l| l.parse::<u32>().ok()).filter(|pid| *pid != 0),
                );
            }
            pending.extend(directories(&directory));
        }
        pids
    }
}

/// Whether the cgroup at `outer` is the one at `inner` or one of its ancestors.
#[must_use]
pub fn path_holds(outer: &str, inner: &str) -> bool {
    let below = inner.strip_prefix(outer.trim_end_matches('/'));
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The path of the cgroup that a process sits in.
pub fn path_of_process(pid: u32) -> Result<CgroupPath, CgroupError> {
    let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CgroupError::NoProcess(pid));
        }
        Err(source) => return Err(io_error(&file, source)),
    };
    // cgroups(7), "/proc/pid/cgroup": the unified hierarchy has number 0 and no controllers.
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or(CgroupError::NotMounted)?;
    // A removed cgroup is shown with a suffix.
    CgroupPath::parse(path.trim_end_matches(" (deleted)")).ok_or(CgroupError::NotMounted)
}

/// Every cgroup, as the paths of their directories, in no order.
pub fn walk() -> Result<Vec<PathBuf>, CgroupError> {
    let mut found = Vec::new();
    let mut pending = vec![mount_point()?];
    while let Some(directory) = pending.pop() {
        let below = directories(&directory);
        found.extend_from_slice(&below);
        pending.extend(below);
    }
    Ok(found)
}

/// The directories in a directory; none if it is gone.
fn directories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|found| found.is_dir());
    entries.flatten().filter(is_dir).map(|entry| entry.path()).collect()
}

/// Where cgroup2 is mounted: `/sys/fs/cgroup` on most systems, a directory below it on hybrid ones.
pub fn mount_point() -> Result<PathBuf, CgroupError> {
    let file = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(file).map_err(|source| io_error(file, source))?;
    find_cgroup2(&text).ok_or(CgroupError::NotMounted)
}

/// proc(5), "/proc/pid/mountinfo": the mount point is the fifth field, the file system's type
/// the first after the separator.
fn find_cgroup2(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        (filesystem.split(' ').next()? == "cgroup2" && root == "/").then(|| point.into())
    })
}

fn io_error(path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io { path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> CgroupPath {
        CgroupPath::parse(text).expect("a path")
    }

    #[test]
    fn a_path_holds_itself_and_what_is_below_it() {
        assert!(path("/a").holds(&path("/a")));
        assert!(path("/a").holds(&path("/a/b/c")));
        assert!(path("/").holds(&path("/a")));
        assert!(!path("/a").holds(&path("/ab")));
        assert!(!path("/a/b").holds(&path("/a")));
    }

    #[test]
    fn a_path_is_made_normal_and_never_climbs() {
        assert_eq!(path("/a//b/./c/").as_str(), "/a/b/c");
        assert_eq!(CgroupPath::parse("/a/../b"), None);
        assert_eq!(CgroupPath::parse("/.."), None);
    }

    #[test]
    fn the_mount_is_found_on_unified_and_hybrid_systems() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";
        let hybrid = "24 23 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      25 24 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      26 24 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(find_cgroup2(unified), Some("/sys/fs/cgroup".into()));
        assert_eq!(find_cgroup2(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(find_cgroup2("24 23 0:22 / / rw - ext4 /dev/vda rw"), None);
    }

    #[test]
    fn what_is_no_cgroup_is_refused_with_the_mount_named() {
        let error = Cgroup::open(Path::new("/no/such/cgroup")).expect_err("not there");
        assert!(matches!(error, CgroupError::NotACgroup { .. }), "{error}");
        assert!(matches!(Cgroup::of_process(u32::MAX), Err(CgroupError::NoProcess(_))));
    }
}
