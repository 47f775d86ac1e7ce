//! A machine for `turnpike run`, as far as a program can tell: the containers' root file system is
//! its `/`, and its network is a namespace. Processes and cgroups are those of the real one.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{gateway::Place, machine, network::Netns, site::Site};

/// Each command has a mount namespace to itself, so nothing is left mounted; what it writes below
/// `/` is kept for the next one.
#[derive(Debug)]
pub struct Host {
    pub site: Site,
    directory: TempDir,
}

impl Host {
    /// With servers that it trusts and finds.
    #[track_caller]
    pub fn new() -> Self {
        machine::require_root();
        let site = Site::within(Netns::new());
        let directory = TempDir::with_prefix("tp-host-").expect("room for temporary files");
        let host = Self { site, directory };
        for name in ["upper", "work", "root"] {
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o755).create(host.directory.path().join(name)).expect("room");
        }
        host.write("/etc/hosts", &host.site.hosts());
        host.write(Site::ROOT, host.site.root());
        for bundle in [Site::SYSTEM_BUNDLE, Site::CERTIFI_BUNDLE] {
            let own = fs::read_to_string(below(&machine::root_file_system(), bundle));
            host.write(bundle, &(own.expect("a bundle") + host.site.root()));
        }
        host
    }

    /// A command on this machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.site.netns().command("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-e", "-c", ENTER]);
        command.arg(self.directory.path());
        command.arg(machine::root_file_system()).arg(machine::turnpike());
        command.arg(machine::sources().join("agents")).arg(program).env_remove("SUDO_UID");
        command.env("PYTHONPATH", "/opt/agent").env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// `turnpike run` of the command that is appended, on this machine.
    pub fn run(&self, place: &Place, options: &[&str]) -> Command {
        let mut command = self.command("turnpike");
        command.arg("run").arg("--config").arg(place.config()).args(options).arg("--");
        command
    }

    /// What a command has written below `/`, but not below `/tmp`, which is the real one.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let path = below(&self.directory.path().join("upper"), path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn write(&self, path: &str, text: &str) {
        let path = below(&self.directory.path().join("upper"), path);
        let parent = path.parent().expect("a file's path");
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).expect("room");
        File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("room");
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Makes the root and enters it; the words after its own are the command.
const ENTER: &str = r#"
lower=$1 turnpike=$2 agents=$3; shift 3
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$0/upper,workdir=$0/work" "$0/root"
cd "$0/root"
for directory in dev proc sys tmp; do mount --rbind "/$directory" "$directory"; done
mkdir -p agents; mount --bind "$agents" agents
touch usr/local/bin/turnpike; mount --bind "$turnpike" usr/local/bin/turnpike
pivot_root . .
umount -l .
cd /
exec "$@"
"#;
