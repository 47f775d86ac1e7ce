//! Debian's packages.

use std::process::Command;

use anyhow::Result;

use super::{Need, log};
use crate::process;

/// What is installed through apt, and what for. Apt brings in what these depend on.
pub(super) const PACKAGES: &[(&str, &str)] = &[
    ("bpftool", "tests look at programs and maps from outside"),
    ("build-essential", "linking; C sources of dependencies"),
    ("ca-certificates", "downloads; tests of trust"),
    ("cargo-web", "building the BPF object: cargo of the same set as rustc-web"),
    ("curl", "tests: an unchanged client"),
    ("debootstrap", "making the containers' root file system"),
    ("haproxy", "benchmarks: the peer that turnpike is compared with"),
    ("iproute2", "tests: addresses, namespaces, sockets"),
    ("libstd-rust-web-dev-bpf", "building the BPF object: core for bpfel-unknown-none"),
    ("llvm-22-dev", "building bpf-linker; llvm-objcopy strips the BPF object"),
    ("openssh-client", "tests: a protocol in which the server speaks first"),
    ("openssl", "tests: TLS clients, servers and certificates"),
    ("podman", "tests and demo: containers"),
    ("python3", "tests and demo: agents and scripted servers"),
    ("python3-pip", "putting the OpenAI SDK into the root file system"),
    ("runc", "tests and demo: the runtime podman uses"),
    ("rustc-web", "building the BPF object: a pinned compiler with a BPF target"),
    ("util-linux", "tests: unshare, nsenter"),
    ("zlib1g-dev", "building bpf-linker"),
];

pub(super) struct Packages;

impl Need for Packages {
    fn name(&self) -> String {
        format!("{} Debian packages", PACKAGES.len())
    }

    fn missing(&self) -> Result<Option<String>> {
        let missing = not_installed()?;
        Ok((!missing.is_empty()).then(|| format!("apt-get install {}", missing.join(" "))))
    }

    fn install(&self) -> Result<()> {
        let missing = not_installed()?;
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

fn not_installed() -> Result<Vec<&'static str>> {
    // Fails when a package is unknown, but still lists the others.
    let listed = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Abbrev} ${Package}\n"])
        .args(PACKAGES.iter().map(|(package, _)| package))
        .output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(absent(&listed))
}

/// The packages that dpkg-query's list does not show as installed.
fn absent(listed: &str) -> Vec<&'static str> {
    let installed: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(status, _)| *status == "ii")
        .map(|(_, package)| package.trim())
        .collect();
    PACKAGES.iter().map(|(package, _)| *package).filter(|name| !installed.contains(name)).collect()
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
    use super::{PACKAGES, absent};

    #[test]
    fn only_installed_packages_count() {
        let lines: Vec<String> =
            PACKAGES.iter().map(|(package, _)| format!("ii  {package}")).collect();
        let mut listed = lines.join(
            "
",
        );
        assert!(absent(&listed).is_empty());
        listed = listed.replace("ii  podman\n", "rc  podman\n").replace("ii  runc\n", "");
        assert_eq!(absent(&listed), ["podman", "runc"]);
    }

    #[test]
    fn packages_are_sorted_and_named_once() {
        assert!(PACKAGES.is_sorted_by(|(one, _), (next, _)| one < next));
    }
}
