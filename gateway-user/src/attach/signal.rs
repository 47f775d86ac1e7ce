//! Ending an agent's processes.

use std::{fs, io};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::{self, Cgroup};

/// Ends every process in a cgroup and below, with SIGKILL (`cgroup.kill`, Linux 5.14). How many there
/// were, about.
pub fn kill_all(cgroup: &Cgroup) -> io::Result<u64> {
    let count = cgroup.processes().len() as u64;
    fs::write(cgroup.directory().join("cgroup.kill"), "1")?;
    Ok(count)
}

/// Ends one process with SIGKILL, if it is in that cgroup or below. Whether it was there.
pub fn kill_one(pid: u32, within: &Cgroup) -> io::Result<bool> {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
    // Opened before it is looked at: from here on no other process can take its number.
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(error) if error == rustix::io::Errno::SRCH => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let is_within = cgroup::path_of_process(pid)
        .is_ok_and(|path| cgroup::path_holds(within.path().as_str(), path.as_str()));
    if !is_within {
        return Ok(false);
    }
    match pidfd_send_signal(process, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(error) if error == rustix::io::Errno::SRCH => Ok(false),
        Err(error) => Err(error.into()),
    }
}
