//! Debian's packages.

use std::process::Command;

use anyhow::Result;

use super::{Need, log};
use crate::process;

/// What is installed through apt, and what for. Apt brings in what these depend on.
type List = &'static [(&'static str, &'static str)];

/// What it takes to run agents in containers.
pub(super) const CONTAINERS: Packages = Packages {
    what: "for containers",
    list: &[
        ("build-essential", "linking; C sources of dependencies"),
        ("ca-certificates", "downloads; tests of trust"),
        ("debootstrap", "making the containers' root file system"),
        ("iproute2", "tests: addresses, namespaces, sockets"),
        ("podman", "tests and demo: containers"),
        ("python3", "tests and demo: agents and scripted servers"),
        ("python3-pip", "putting clients into the root file system"),
        ("runc", "tests and demo: the runtime podman uses"),
        ("util-linux", "tests: unshare, nsenter"),
    ],
};

/// What else it takes to build the BPF object and to run every test.
pub(super) const EVERYTHING_ELSE: Packages = Packages {
    what: "for the BPF object and the tests",
    list: &[
        ("bpftool", "tests look at programs and maps from outside"),
        ("cargo-web", "building the BPF object: cargo of the same set as rustc-web"),
        ("curl", "tests: an unchanged client"),
        ("git", "tests: a repository to be cloned"),
        ("haproxy", "benchmarks: the peer that turnpike is compared with"),
        ("libstd-rust-web-dev-bpf", "building the BPF object: core for bpfel-unknown-none"),
        ("llvm-22-dev", "building bpf-linker; llvm-objcopy strips the BPF object"),
        ("openssh-client", "tests: a protocol in which the server speaks first"),
        ("openssl", "tests: TLS clients, servers and certificates"),
        ("rustc-web", "building the BPF object: a pinned compiler with a BPF target"),
        ("systemd", "tests: checking the unit"),
        ("zlib1g-dev", "building bpf-linker"),
    ],
};

/// Some of Debian's packages.
pub(super) struct Packages {
    what: &'static str,
    pub(super) list: List,
}

impl Need for Packages {
    fn name(&self) -> String {
        format!("{} Debian packages {}", self.list.len(), self.what)
    }

    fn missing(&self) -> Result<Option<String>> {
        let missing = not_installed(self.list)?;
        Ok((!missing.is_empty()).then(|| format!("apt-get install {}", missing.join(" "))))
    }

    fn install(&self) -> Result<()> {
        let missing = not_installed(self.list)?;
        if !all_known(&missing) {
            update()?;
            return install(&missing);
        }
        // Lists that are merely old name versions that the archive has dropped since.
        install(&missing).or_else(|_| {
            update()?;
            install(&missing)
        })
    }
}

fn not_installed(wanted: List) -> Result<Vec<&'static str>> {
    // Fails when a package is unknown, but still lists the others.
    let listed = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Abbrev} ${Package}\n"])
        .args(wanted.iter().map(|(package, _)| package))
        .output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(absent(wanted, &listed))
}

/// The wanted packages that dpkg-query's list does not show as installed.
fn absent(wanted: List, listed: &str) -> Vec<&'static str> {
    let installed: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(status, _)| *status == "ii")
        .map(|(_, package)| package.trim())
        .collect();
    wanted.iter().map(|(package, _)| *package).filter(|name| !installed.contains(name)).collect()
}

/// Whether apt's lists have a version of each to install.
fn all_known(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        process::output(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
            .is_ok()
    })
}

fn update() -> Result<()> {
    process::run_quietly(process::as_root("apt-get")?.arg("update"), &log("apt-update")?)
}

fn install(packages: &[&str]) -> Result<()> {
    let mut command = process::as_root("env")?;
    command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install"])
        .args(["--yes", "--no-install-recommends"])
        .args(packages);
    process::run_quietly(&mut command, &log("apt-install")?)
}

#[cfg(test)]
mod tests {
    use super::{CONTAINERS, EVERYTHING_ELSE, absent};

    #[test]
    fn only_installed_packages_count() {
        let lines: Vec<String> =
            CONTAINERS.list.iter().map(|(package, _)| format!("ii  {package}")).collect();
        let mut listed = lines.join(
            "
",
        );
        assert!(absent(CONTAINERS.list, &listed).is_empty());
        listed = listed.replace("ii  podman\n", "rc  podman\n").replace("ii  runc\n", "");
        assert_eq!(absent(CONTAINERS.list, &listed), ["podman", "runc"]);
    }

    #[test]
    fn packages_are_sorted_and_named_once() {
        for packages in [CONTAINERS, EVERYTHING_ELSE] {
            assert!(packages.list.is_sorted_by(|(one, _), (next, _)| one < next));
        }
    }
}
