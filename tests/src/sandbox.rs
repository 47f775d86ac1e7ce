//! A cgroup of the test's own, to run agents in.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{machine, network::Netns, process::Background};

/// A cgroup directly below the cgroup2 mount. What runs in it ends when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    cgroup: PathBuf,
    netns: Option<Arc<Netns>>,
}

impl Sandbox {
    /// In the network namespace that we are in.
    #[track_caller]
    pub fn new() -> Self {
        Self { cgroup: new_cgroup(), netns: None }
    }

    /// With a network namespace of its own, in which only the loopback is.
    #[track_caller]
    pub fn isolated() -> Self {
        Self { cgroup: new_cgroup(), netns: Some(Arc::new(Netns::new())) }
    }

    /// A further one in the namespace of another, which stays for as long as either does.
    #[track_caller]
    pub fn beside(other: &Self) -> Self {
        Self { cgroup: new_cgroup(), netns: other.netns.clone() }
    }

    /// The directory.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Its own namespace.
    #[track_caller]
    pub fn netns(&self) -> &Netns {
        self.netns.as_ref().expect("a sandbox made by isolated()")
    }

    /// Makes a cgroup inside. It goes with this one.
    #[track_caller]
    pub fn nested(&self, name: &str) -> PathBuf {
        let path = self.cgroup.join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// A command that joins the cgroup and then becomes the program.
    pub fn command(&self, program: &str) -> Command {
        self.command_in(&self.cgroup, program)
    }

    /// As `command`, in a cgroup that was made by `nested`.
    pub fn command_in(&self, cgroup: &Path, program: &str) -> Command {
        let mut command = match &self.netns {
            Some(netns) => netns.command("sh"),
            None => Command::new("sh"),
        };
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]);
        command.arg(cgroup).arg(program);
        command
    }

    /// Runs a command that was made by `command`, in the background.
    #[track_caller]
    pub fn spawn(&self, command: &mut Command) -> Background {
        Background::spawn("the agent", command)
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        remove(&self.cgroup);
    }
}

#[track_caller]
fn new_cgroup() -> PathBuf {
    machine::require_root();
    let cgroup = machine::cgroup_mount().join(machine::unique("agent"));
    fs::create_dir(&cgroup).unwrap_or_else(|error| panic!("{}: {error}", cgroup.display()));
    cgroup
}

/// Kills what runs in a cgroup and removes it with all that is below.
pub(crate) fn remove(cgroup: &Path) {
    // Either is gone already, or the removal below says what is wrong.
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    let start = Instant::now();
    // Processes that were killed leave their cgroup a moment later.
    while let Err(error) = remove_tree(cgroup) {
        if start.elapsed() > Duration::from_secs(5) {
            eprintln!("the cgroup {} could not be removed: {error}", cgroup.display());
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn remove_tree(cgroup: &Path) -> io::Result<()> {
    if !cgroup.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
