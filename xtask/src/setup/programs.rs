//! Programs on systems other than Debian, where only their users know what the packages are called.

use std::path::Path;

use anyhow::{Result, bail};

use super::Need;
use crate::process;

/// Each with what it is for.
type List = &'static [(&'static str, &'static str)];

/// What it takes to run agents in containers.
pub(super) const CONTAINERS: Programs = Programs {
    what: "for containers",
    list: &[
        ("cc", "linking; C sources of dependencies"),
        ("debootstrap", "making the containers' root file system"),
        ("ip", "tests: addresses, namespaces, sockets"),
        ("nsenter", "tests"),
        ("podman", "tests and demo: containers"),
        ("python3", "tests and demo: agents and scripted servers; with pip"),
        ("runc", "tests and demo: the runtime podman uses"),
        ("unshare", "tests"),
    ],
};

/// What else it takes to run every test. The BPF object is built on Debian alone.
pub(super) const EVERYTHING_ELSE: Programs = Programs {
    what: "for the tests",
    list: &[
        ("bpftool", "tests look at programs and maps from outside"),
        ("curl", "tests: an unchanged client"),
        ("git", "tests: a repository to be cloned"),
        ("haproxy", "benchmarks: the peer that turnpike is compared with"),
        ("openssl", "tests: TLS clients, servers and certificates"),
        ("ssh", "tests: a protocol in which the server speaks first"),
    ],
};

/// Programs that must be found, whatever package they come from.
pub(super) struct Programs {
    what: &'static str,
    list: List,
}

impl Need for Programs {
    fn name(&self) -> String {
        format!("{} programs {}", self.list.len(), self.what)
    }

    fn missing(&self) -> Result<Option<String>> {
        let missing = absent(self.list, is_there);
        Ok((!missing.is_empty()).then(|| format!("install {}", missing.join(", "))))
    }

    fn install(&self) -> Result<()> {
        let missing = absent(self.list, is_there);
        bail!("only Debian is set up automatically: please install {}", missing.join(", "))
    }
}

/// The wanted programs that are not there, each with what it is for.
fn absent(wanted: List, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let missing = wanted.iter().filter(|(program, _)| !is_there(program));
    missing.map(|(program, reason)| format!("{program} ({reason})")).collect()
}

/// Root's programs are run through `sudo`, which finds them where our own `PATH` may not.
fn is_there(program: &str) -> bool {
    let of_root = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
    process::find(program).is_some()
        || of_root.iter().any(|directory| Path::new(directory).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::{CONTAINERS, absent};

    #[test]
    fn what_is_not_found_is_named_with_its_reason() {
        assert!(absent(CONTAINERS.list, |_| true).is_empty());
        let missing = absent(CONTAINERS.list, |program| program != "podman");
        assert_eq!(missing, ["podman (tests and demo: containers)"]);
    }
}
