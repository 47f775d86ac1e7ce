//! Mounting over single files of another mount namespace, and taking that away again.
//!
//! Nothing is ever mounted in the machine's own namespace. The files are made in a namespace that
//! one thread has for itself, on a tmpfs that no path leads to; a clone of each file's mount is then
//! moved to its place. Whatever is interrupted leaves either nothing, or mounts whose source is the
//! mark, which is how they are found again.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, StatxFlags, Timespec, Timestamps, Uid,
        XattrFlags, fchmod, fchown, fgetxattr, fsetxattr, futimens, open, openat, openat2, statx,
    },
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
        MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen, mount_change, mount_remount, move_mount, open_tree, unmount,
    },
    process::fchdir,
};

use super::mountinfo::{self, Mount};
use crate::{
    attach::{
        mntns::{Mntns, apart},
        root::{Found, Root},
    },
    sys,
};

/// What a file is to be covered with.
#[derive(Debug)]
pub(super) struct Cover<'a> {
    pub(super) root: &'a Root,
    pub(super) path: &'a Path,
    /// What is there now.
    pub(super) target: &'a Found,
    /// Whether that is a mount of ours, to be replaced.
    pub(super) is_covered: bool,
    pub(super) bytes: Vec<u8>,
    /// Of what is covered, if this machine labels files.
    pub(super) label: Option<&'a [u8]>,
}

/// Covers files in a namespace. Answers in their order; an error is that of all.
pub(super) fn place(
    namespace: &Mntns,
    mark: &str,
    covers: &[Cover<'_>],
) -> io::Result<Vec<io::Result<()>>> {
    apart(|| {
        let proc = Proc::open()?;
        let clones = make(&proc, mark, covers)?;
        namespace.enter()?;
        let placed = clones.into_iter().zip(covers).map(|(clone, cover)| {
            let clone = clone?;
            if !cover.is_covered {
                return put(&clone, cover.target);
            }
            // For a moment the file is bare. Whoever reads it then reads what the container has.
            proc.unmount(cover.target)?;
            let bare = cover.root.find(cover.path)?;
            put(&clone, &bare.ok_or_else(|| io::Error::other("it is gone"))?)
        });
        Ok(placed.collect())
    })
}

fn put(clone: &OwnedFd, target: &Found) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(clone, "", target, "", flags)?)
}

/// Takes away every mount of this mark from a namespace. How many there were.
pub(super) fn remove(namespace: &Mntns, mark: &str) -> io::Result<usize> {
    apart(|| {
        let proc = Proc::open()?;
        namespace.enter()?;
        let mut removed = 0;
        // Those that are mounted last are taken away first.
        for mount in proc.mounts()?.iter().rev().filter(|mount| mount.source == OsStr::new(mark)) {
            let found = find(mount)?;
            proc.unmount(&found)?;
            removed += 1;
        }
        Ok(removed)
    })
}

/// Makes the files. The clones of their mounts are in no namespace yet, and read-only.
fn make(proc: &Proc, mark: &str, covers: &[Cover<'_>]) -> io::Result<Vec<io::Result<OwnedFd>>> {
    sys::leave_shared_mounts()?;
    // Or what is mounted here would be mounted there.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", mark)?;
    fsconfig_set_string(&context, "mode", "0700")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let tmpfs = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    // Kernels before 6.15 clone only what is in the namespace of who asks.
    move_mount(&tmpfs, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    let written: Vec<io::Result<()>> = covers
        .iter()
        .enumerate()
        .map(|(place, cover)| write(&tmpfs, &place.to_string(), cover))
        .collect();
    let read_only = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    proc.enter()?;
    mount_remount(proc.path(&tmpfs), read_only, "")?;
    let clone = |place: usize| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(open_tree(&tmpfs, place.to_string(), flags)?)
    };
    Ok(written
        .into_iter()
        .enumerate()
        .map(|(place, written)| written.and_then(|()| clone(place)))
        .collect())
}

/// Writes one file, with the owner, mode, time and label of the one that it covers.
fn write(tmpfs: &OwnedFd, name: &str, cover: &Cover<'_>) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file: File = openat(tmpfs, name, flags, Mode::RUSR | Mode::WUSR)?.into();
    file.write_all(&cover.bytes)?;
    let stat = cover.target.stat()?;
    fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(&file, Mode::from_raw_mode(stat.st_mode))?;
    // Without the label of what it covers, a confined container could read nothing here.
    if let Some(label) = cover.label {
        fsetxattr(&file, LABEL, label, XattrFlags::empty())?;
    }
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    futimens(
        &file,
        &Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        },
    )?;
    Ok(())
}

/// The label that SELinux goes by.
pub(super) fn label(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut label = vec![0; 256];
    match fgetxattr(file, LABEL, label.as_mut_slice()) {
        Ok(length) => {
            label.truncate(length);
            Ok(Some(label))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

const LABEL: &str = "security.selinux";

/// The mount at the top of where one is mounted, which must be that one.
fn find(mount: &Mount) -> io::Result<OwnedFd> {
    let scope = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(CWD, &mount.point, flags, Mode::empty(), scope)?;
    let id = statx(&found, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id;
    if id != mount.id {
        let text = format!("something else is mounted over {}", mount.point.display());
        return Err(io::Error::other(text));
    }
    Ok(found)
}

/// The machine's own procfs, for a thread that is to move where there may be another, or none.
struct Proc(OwnedFd);

impl Proc {
    fn open() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(open("/proc", flags, Mode::empty())?))
    }

    fn unmount(&self, top: impl AsFd) -> io::Result<()> {
        self.enter()?;
        Ok(unmount(self.path(top), UnmountFlags::DETACH)?)
    }

    /// Makes it the working directory, from which [`Self::path`] leads.
    fn enter(&self) -> io::Result<()> {
        Ok(fchdir(&self.0)?)
    }

    /// A path that leads to what a descriptor stands for.
    fn path(&self, to: impl AsFd) -> String {
        format!("thread-self/fd/{}", to.as_fd().as_raw_fd())
    }

    /// What is mounted in the namespace that this thread is in.
    fn mounts(&self) -> io::Result<Vec<Mount>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.0, "thread-self/mountinfo", flags, Mode::empty())?;
        let mut text = Vec::new();
        io::Read::read_to_end(&mut File::from(file), &mut text)?;
        Ok(mountinfo::parse(&text))
    }
}
