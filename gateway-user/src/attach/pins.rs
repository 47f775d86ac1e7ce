//! What outlives a gateway: pinned BPF objects, and the file that says whose they are.
//!
//! ```text
//! RUNTIME/bpf/                     a bpffs of our own
//!   VERSION/INSTANCE/maps/NAME     of `ebpf::version`; an instance is `daemon` or `run-PID`
//!   VERSION/INSTANCE/agents/ID/HOOK
//! RUNTIME/INSTANCE.json            which agents the instance holds: a `StateFile`
//! ```
//!
//! What is pinned under another version stays in force, and is never read: an agent's is removed when
//! this version's hooks are attached to it, or when it is detached.
//!
//! Only enforced and killed agents are pinned. The file names the others too, so that a restarted
//! daemon can attach them again.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use gateway_common::AgentId;
use rustix::{
    fs::statfs,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};
use serde::{Deserialize, Serialize};

use super::ebpf;
use crate::{
    call::{AgentRef, Timestamp},
    config::{Asked, Decrypt, Mode},
    limits,
    policy::{metering::OnUnmetered, retries::OnRetry},
};

/// One gateway's place in the runtime directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    runtime: PathBuf,
    name: String,
}

/// The right to change what is pinned below a runtime directory.
#[derive(Debug)]
#[must_use = "dropping it lets others in"]
pub struct Locked(#[expect(dead_code, reason = "held, and let go when it is dropped")] fs::File);

/// What an instance holds, kept up to date with each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// The gateway's process, and when it started in clock ticks since boot (field 22 of
    /// `/proc/PID/stat`): a pid alone may be another's by now.
    pub pid: u32,
    pub pid_started: u64,
    /// Where it keeps what outlives the machine's run. Absent: a gateway's that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    pub agents: Vec<HeldAgent>,
}

/// An agent as the state file keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct HeldAgent {
    pub name: String,
    pub mode: Mode,
    pub cgroup: String,
    pub cgroup_id: AgentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// What its container was called when that was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The number of the rule that attached it, from 1. Absent: a command did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// How long its processes had been running, at most, when a rule attached it. Absent: none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<u64>,
    /// A rule attached it before its processes had come to where they will live.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moving: bool,
    #[serde(default)]
    pub decrypt: Decrypt,
    #[serde(default)]
    pub on_unmetered: OnUnmetered,
    #[serde(default)]
    pub on_retry: OnRetry,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replay_aborted: bool,
    /// The file of certificates by which upstream is verified, if not the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<PathBuf>,
    /// Budgets for it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Asked>,
    pub attached_at: Timestamp,
    pub pinned: bool,
    /// Whether the sockets that it had before were dealt with. A gateway that is killed between that
    /// and attaching leaves it to the next one.
    #[serde(default)]
    pub settled: bool,
    /// The DNS servers that it was told to ask when it was attached. Kept, since it may have told
    /// itself otherwise by the time that a gateway takes it over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolvers: Vec<IpAddr>,
}

/// Why the runtime directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    #[error("can't use {}: {source}; run as root (sudo), or set daemon.runtime_dir", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} has been locked for {} s by another turnpike; see which hangs: fuser -v {}", path.display(), limits::RUNTIME_LOCK.as_secs(), path.display())]
    Locked { path: PathBuf },
    #[error("can't mount a BPF file system on {}: {source}; pinning needs CAP_SYS_ADMIN", path.display())]
    Mount { path: PathBuf, source: io::Error },
    #[error("{} is not a state file of this version: {source}; move it away to start afresh", path.display())]
    Corrupt { path: PathBuf, source: serde_json::Error },
}

impl Instance {
    /// The daemon's.
    #[must_use]
    pub fn daemon(runtime: &Path) -> Self {
        Self { runtime: runtime.into(), name: "daemon".into() }
    }

    /// The one embedded in a `turnpike run`.
    #[must_use]
    pub fn run(runtime: &Path, pid: u32) -> Self {
        Self { runtime: runtime.into(), name: format!("run-{pid}") }
    }

    /// Every instance that has left a state file.
    pub fn all(runtime: &Path) -> Result<Vec<Self>, PinsError> {
        let entries = match fs::read_dir(runtime) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| io_error(runtime, source))?,
        };
        let mut found: Vec<Self> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_str()?.strip_suffix(".json")?.to_owned();
                let known = name == "daemon" || name.starts_with("run-");
                known.then(|| Self { runtime: runtime.into(), name })
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Whether it is the one embedded in a `turnpike run`.
    #[must_use]
    pub fn is_run(&self) -> bool {
        self.name.starts_with("run-")
    }

    /// Where its maps and links are pinned. The directory is there once something is.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        bpffs(&self.runtime).join(ebpf::version()).join(&self.name)
    }

    /// The same, of other versions of turnpike that have left something.
    pub fn pins_of_others(&self) -> Result<Vec<PathBuf>, PinsError> {
        let (bpffs, own) = (bpffs(&self.runtime), ebpf::version());
        let entries = match fs::read_dir(&bpffs) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| io_error(&bpffs, source))?,
        };
        let others = entries.flatten().filter(|entry| entry.file_name() != own.as_str());
        Ok(others.map(|entry| entry.path().join(&self.name)).filter(|pins| pins.exists()).collect())
    }

    /// Removes what other versions of turnpike have pinned for an agent, which detaches their hooks;
    /// and their maps, once they hold no agent. Whether there was anything.
    pub fn remove_pins_of_others(&self, agent: AgentId) -> Result<bool, PinsError> {
        let mut found = false;
        for pins in self.pins_of_others()? {
            let agents = pins.join("agents");
            let removed = fs::remove_dir_all(agents.join(agent.to_string()));
            found |= removed.is_ok();
            ignore_missing(removed).map_err(|source| io_error(&agents, source))?;
            // Fails while they hold other agents, as it should.
            if fs::remove_dir(&agents).is_ok() || !agents.exists() {
                fs::remove_dir_all(&pins).map_err(|source| io_error(&pins, source))?;
                // Fails while another instance has pins there.
                let _ = pins.parent().map(fs::remove_dir);
            }
        }
        Ok(found)
    }

    /// What it holds; `None` if it left nothing.
    pub fn read(&self) -> Result<Option<StateFile>, PinsError> {
        let path = self.state_path();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| PinsError::Corrupt { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error(&path, source)),
        }
    }

    /// Replaces the state file as a whole: a reader sees the old or the new one.
    pub fn write(&self, state: &StateFile) -> Result<(), PinsError> {
        let path = self.state_path();
        let fresh = path.with_extension("json.new");
        let bytes = serde_json::to_vec_pretty(state)
            .map_err(|source| PinsError::Corrupt { path: path.clone(), source })?;
        fs::write(&fresh, bytes).map_err(|source| io_error(&fresh, source))?;
        fs::rename(&fresh, &path).map_err(|source| io_error(&path, source))
    }

    /// Keeps every other gateway of this runtime directory from attaching or detaching an agent
    /// until it is dropped. Waits for one that does, but not for ever.
    pub fn lock(&self) -> Result<Locked, PinsError> {
        let path = self.runtime.join("lock");
        let error = |source| io_error(&path, source);
        fs::create_dir_all(&self.runtime).map_err(error)?;
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(error)?;
        // Whoever can open it can hold it.
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(error)?;
        let deadline = Instant::now() + limits::RUNTIME_LOCK;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked(file)),
                Err(fs::TryLockError::Error(source)) => return Err(error(source)),
                Err(fs::TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(PinsError::Locked { path });
                }
                Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Removes the state file, and every pin.
    pub fn remove(&self) -> Result<(), PinsError> {
        let path = self.state_path();
        ignore_missing(fs::remove_file(&path)).map_err(|source| io_error(&path, source))?;
        self.remove_pins()
    }

    /// Removes the pins, and the BPF file system when nothing is left in it.
    pub fn remove_pins(&self) -> Result<(), PinsError> {
        let pins = self.pins();
        if pins.exists() {
            fs::remove_dir_all(&pins).map_err(|source| io_error(&pins, source))?;
        }
        // Fails while something else is pinned there, as it should.
        let _ = pins.parent().map(fs::remove_dir);
        let bpffs = bpffs(&self.runtime);
        // The kernel may have put files of its own there (`maps.debug`), but no directories.
        let is_ours = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_empty =
            fs::read_dir(&bpffs).is_ok_and(|found| !found.flatten().any(|e| is_ours(&e)));
        if is_bpffs(&bpffs) && is_empty {
            unmount(&bpffs, UnmountFlags::DETACH)
                .map_err(|source| io_error(&bpffs, source.into()))?;
            fs::remove_dir(&bpffs).map_err(|source| io_error(&bpffs, source))?;
        }
        Ok(())
    }

    /// Makes sure that there is a BPF file system to pin in. It is our own: many systems have none
    /// mounted, and nobody else looks into this one.
    pub fn prepare_pins(&self) -> Result<PathBuf, PinsError> {
        let path = bpffs(&self.runtime);
        fs::create_dir_all(&path).map_err(|source| io_error(&path, source))?;
        if !is_bpffs(&path) {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount("turnpike", &path, "bpf", flags, Some(c"mode=0700"))
                .map_err(|source| PinsError::Mount { path: path.clone(), source: source.into() })?;
        }
        Ok(self.pins())
    }

    fn state_path(&self) -> PathBuf {
        self.runtime.join(format!("{}.json", self.name))
    }
}

impl HeldAgent {
    /// As its workflows name it.
    #[must_use]
    pub fn reference(&self) -> AgentRef {
        AgentRef {
            name: self.name.clone(),
            cgroup: self.cgroup.clone(),
            container_id: self.container_id.clone(),
            pod: self.pod.clone(),
        }
    }
}

impl StateFile {
    /// Of this process, with no agents yet.
    #[must_use]
    pub fn own() -> Self {
        let pid = std::process::id();
        let pid_started = process_started(pid).unwrap_or(0);
        Self { pid, pid_started, state_dir: None, agents: Vec::new() }
    }

    /// Whether the gateway that wrote it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        process_started(self.pid) == Some(self.pid_started)
    }
}

/// Field 22 of `/proc/PID/stat` (proc(5)); `None` if there is no such process, or only what is left
/// of it until its parent looks.
pub(super) fn process_started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let is_dead = matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| !is_dead)
}

fn bpffs(runtime: &Path) -> PathBuf {
    runtime.join("bpf")
}

fn is_bpffs(path: &Path) -> bool {
    /// `BPF_FS_MAGIC` (linux/magic.h).
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(BPF_FS_MAGIC))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn io_error(path: &Path, source: io::Error) -> PinsError {
    PinsError::Io { path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_pinned_goes_agent_by_agent_and_its_maps_with_the_last() {
        let directory = tempfile::tempdir().expect("a directory");
        let instance = Instance::daemon(directory.path());
        let make = |path: &str| {
            fs::create_dir_all(directory.path().join("bpf").join(path)).expect("made");
        };
        let own = ebpf::version();
        make(&format!("{own}/daemon/agents/1"));
        for path in ["v1/daemon/maps", "v1/daemon/agents/1", "v1/daemon/agents/2", "v1/run-7/maps"]
        {
            make(path);
        }
        let old = directory.path().join("bpf/v1/daemon");
        assert_eq!(instance.pins_of_others().expect("read"), std::slice::from_ref(&old));
        assert!(instance.remove_pins_of_others(1).expect("removed"));
        assert!(!old.join("agents/1").exists() && old.join("agents/2").exists());
        assert!(!instance.remove_pins_of_others(1).expect("nothing to do"));
        assert!(instance.remove_pins_of_others(2).expect("removed"));
        assert!(!old.exists(), "its maps went with its last agent");
        assert!(directory.path().join("bpf/v1/run-7").exists(), "another instance's stay");
        assert!(instance.pins().join("agents/1").exists(), "our own stay");
    }

    #[test]
    fn a_state_file_tells_its_own_process_from_a_later_one_with_its_pid() {
        let own = StateFile::own();
        assert!(own.is_alive());
        assert!(!StateFile { pid_started: own.pid_started + 1, ..own }.is_alive());
    }
}
