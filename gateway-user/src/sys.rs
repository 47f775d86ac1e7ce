//! The system calls that no crate wraps safely: the only unsafe code of this crate.
#![allow(unsafe_code, reason = "see each SAFETY comment; everything else is forbidden to use it")]

use std::{
    ffi::{CStr, CString},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
    ptr,
    sync::OnceLock,
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{UnshareFlags, unshare_unsafe},
};
use tokio::io::unix::AsyncFd;

/// Gives memory that is free back to the kernel: after a large piece was freed the allocator keeps much
/// more of what is freed later than before (mallopt(3), `M_TRIM_THRESHOLD`).
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers, and any thread may call it at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The cookie of the network namespace that a socket lives in (`SO_NETNS_COOKIE`, Linux 5.14):
/// what BPF programs see as `bpf_get_netns_cookie`.
pub fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie = 0_u64;
    let mut len = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(8);
    // SAFETY: the pointers are to live variables of the sizes that `len` and the option say.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the choice of a port to `connect` on a socket that is bound to an address alone
/// (`IP_BIND_ADDRESS_NO_PORT`, ip(7)). Choosing it at `bind`, before the destination is known, runs
/// out of ports long before the pairs of addresses run out.
pub fn choose_port_on_connect(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a live variable of the size given.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4),
        )
    })
}

/// Gives this thread a root and a working directory that it shares with no other, without which it
/// may not enter a mount namespace.
pub fn leave_shared_directories() -> io::Result<()> {
    // SAFETY: descriptors stay shared.
    Ok(unsafe { unshare_unsafe(UnshareFlags::FS) }?)
}

/// Moves this thread into a mount namespace of its own, a copy of the one that it is in.
pub fn leave_shared_mounts() -> io::Result<()> {
    // SAFETY: as above.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?)
}

/// Watches a descriptor for being readable.
pub fn watch<T: AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the value given away owns its descriptor and keeps it, unchanged, until it is
    // dropped, which the `AsyncFd` that it moves into does last.
    unsafe { AsyncFd::register(owner) }.map_err(|error| error.into_parts().1)
}

/// The bound on open files as this process found it: what its children are given back.
static OPEN_FILES: OnceLock<Rlimit> = OnceLock::new();

/// Raises this process's bound on open files as far as it may: each connection takes two, and up to
/// four more while it carries bulk.
pub fn allow_many_files() {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, maximum: found.maximum };
    OPEN_FILES.get_or_init(|| found);
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the bound on open files stays where it is");
    }
}

/// A user as the system's user database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: CString,
    pub uid: u32,
    pub gid: u32,
    pub home: CString,
}

/// Looks a user up by number.
pub fn user_numbered(uid: u32) -> io::Result<Option<User>> {
    passwd_entry(|entry, buffer, found| {
        // SAFETY: all pointers are to live variables; the buffer's length is its own.
        unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), found) }
    })
}

/// Looks a user up by name, or by number.
pub fn find_user(text: &str) -> io::Result<Option<User>> {
    let name = CString::new(text).map_err(|_| io::ErrorKind::InvalidInput)?;
    let by_name = passwd_entry(|entry, buffer, found| {
        // SAFETY: all pointers are to live variables; the buffer's length is its own.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer.as_mut_ptr(), buffer.len(), found) }
    })?;
    if by_name.is_some() {
        return Ok(by_name);
    }
    text.parse().map_or(Ok(None), user_numbered)
}

fn passwd_entry(
    look_up: impl FnOnce(*mut libc::passwd, &mut [libc::c_char], *mut *mut libc::passwd) -> libc::c_int,
) -> io::Result<Option<User>> {
    const BUFFER: usize = 64 * 1024;
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut buffer: Vec<libc::c_char> = vec![0; BUFFER];
    let mut found = ptr::null_mut();
    let result = look_up(entry.as_mut_ptr(), &mut buffer, &raw mut found);
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    if found.is_null() {
        return Ok(None);
    }
    // SAFETY: `found` is not null, so the call filled `entry`; its strings point into `buffer`.
    unsafe {
        let entry = entry.assume_init();
        Ok(Some(User {
            name: CStr::from_ptr(entry.pw_name).to_owned(),
            uid: entry.pw_uid,
            gid: entry.pw_gid,
            home: CStr::from_ptr(entry.pw_dir).to_owned(),
        }))
    }
}

/// Has the command join a cgroup and become a user before it runs a line of its own.
///
/// `cgroup_procs` is the cgroup's `cgroup.procs`, open for writing.
pub fn confine(command: &mut Command, cgroup_procs: OwnedFd, user: Option<User>) {
    let groups = user.as_ref().map(groups_of).unwrap_or_default();
    // SAFETY: between fork and exec the closure makes plain system calls only: nothing in it
    // allocates or takes a lock (`initgroups` reads a database and does not qualify, so the
    // groups are looked up before).
    unsafe {
        command.pre_exec(move || {
            rustix::io::write(&cgroup_procs, b"0")?;
            if let Some(limit) = OPEN_FILES.get() {
                setrlimit(Resource::Nofile, *limit)?;
            }
            if let Some(user) = &user {
                check(libc::setgroups(groups.len(), groups.as_ptr()))?;
                check(libc::setresgid(user.gid, user.gid, user.gid))?;
                check(libc::setresuid(user.uid, user.uid, user.uid))?;
            }
            Ok(())
        });
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The user's supplementary groups; its own group alone if the database can't be read.
fn groups_of(user: &User) -> Vec<libc::gid_t> {
    const GROUPS: usize = 1024;
    let mut groups: Vec<libc::gid_t> = vec![0; GROUPS];
    let mut count = libc::c_int::try_from(GROUPS).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointers are to live variables; `count` is the length of `groups`.
    let result = unsafe {
        libc::getgrouplist(user.name.as_ptr(), user.gid, groups.as_mut_ptr(), &raw mut count)
    };
    if result < 0 {
        return vec![user.gid];
    }
    groups.truncate(usize::try_from(count).unwrap_or(0));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root = find_user("root").expect("the database is there").expect("root exists");
        assert_eq!(root.uid, 0);
        assert_eq!(find_user("0").expect("the database is there"), Some(root));
        assert_eq!(find_user("no-such-user-here").expect("the database is there"), None);
    }

    #[test]
    fn all_sockets_of_a_namespace_have_one_cookie() {
        let socket = || std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        let cookie = netns_cookie(socket()).expect("the kernel has the option");
        assert_eq!(netns_cookie(socket()).expect("as above"), cookie);
        assert_ne!(cookie, 0);
    }
}
