//! What turnpike needs of the machine, checked before anything is touched.

use std::{fs, path::Path};

use super::cgroup;

/// One thing that turnpike needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is needed.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    pub verdict: Verdict,
}

/// Whether a need is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    /// Not met; says what to do about it.
    Unmet(String),
}

/// The machine lacks something. Names the first thing and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found}; {fix}")]
pub struct Unmet {
    what: &'static str,
    found: String,
    fix: String,
}

/// Everything that is needed to attach agents, in the order in which to mend it.
#[must_use]
pub fn checks() -> Vec<Check> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    vec![
        kernel(release.trim()),
        capabilities(&status),
        cgroup2(),
        feature("BPF programs", "/proc/sys/kernel/bpf_stats_enabled", "CONFIG_BPF_SYSCALL=y"),
        feature("TCP sockets", "/proc/sys/net/ipv4/tcp_rmem", "CONFIG_INET=y"),
    ]
}

/// The first need that is not met, as an error.
pub fn require() -> Result<(), Unmet> {
    for Check { what, found, verdict } in checks() {
        if let Verdict::Unmet(fix) = verdict {
            return Err(Unmet { what, found, fix });
        }
    }
    Ok(())
}

/// Linux 6.1: the first in which connect hooks may choose the error that a process sees
/// (`bpf_set_retval`), a long-term kernel, and Debian 12's.
const KERNEL: (u32, u32) = (6, 1);

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    let version = numbers.next().zip(numbers.next());
    let verdict = match version {
        Some(version) if version >= KERNEL => Verdict::Met,
        _ => Verdict::Unmet(format!("turnpike needs Linux {}.{} or later", KERNEL.0, KERNEL.1)),
    };
    Check { what: "Linux kernel", found: release.to_owned(), verdict }
}

/// capabilities(7), by bit, and what each is for.
const CAPABILITIES: [(u32, &str); 5] = [
    (12, "CAP_NET_ADMIN"),  // attach to cgroups
    (19, "CAP_SYS_PTRACE"), // read /proc of agents
    (21, "CAP_SYS_ADMIN"),  // enter network namespaces, mount a bpffs
    (38, "CAP_PERFMON"),    // programs that read kernel structures
    (39, "CAP_BPF"),        // load programs
];

fn capabilities(status: &str) -> Check {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect();
    let (found, verdict) = if missing.is_empty() {
        ("all that are needed".into(), Verdict::Met)
    } else {
        let found = format!("{} missing", missing.join(", "));
        (found, Verdict::Unmet("run as root: sudo turnpike …".into()))
    };
    Check { what: "capabilities", found, verdict }
}

fn cgroup2() -> Check {
    let what = "cgroup2";
    match cgroup::mount_point() {
        Ok(mount) => Check { what, found: mount.display().to_string(), verdict: Verdict::Met },
        Err(_) => Check {
            what,
            found: "not mounted".into(),
            verdict: Verdict::Unmet("mount it: mount -t cgroup2 none /sys/fs/cgroup".into()),
        },
    }
}

fn feature(what: &'static str, path: &str, option: &str) -> Check {
    if Path::new(path).exists() {
        return Check { what, found: "in the kernel".into(), verdict: Verdict::Met };
    }
    let fix = format!("use a kernel built with {option}");
    Check { what, found: "not in the kernel".into(), verdict: Verdict::Unmet(fix) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_named_with_what_is_needed() {
        for release in ["6.1.0-13-amd64", "6.18.44", "7.0.0-rc1"] {
            assert_eq!(kernel(release).verdict, Verdict::Met, "{release}");
        }
        for release in ["5.15.0-91-generic", "6.0.19", "", "unknown"] {
            let Verdict::Unmet(fix) = kernel(release).verdict else { panic!("{release}") };
            assert!(fix.contains("6.1"), "{fix}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(capabilities("CapEff:\t000001ffffffffff\n").verdict, Verdict::Met);
        let none = capabilities("CapEff:\t0000000000000000\n");
        assert!(none.found.contains("CAP_BPF"), "{}", none.found);
        assert!(matches!(none.verdict, Verdict::Unmet(_)));
        let no_bpf = capabilities("CapEff:\t0000017fffffffff\n");
        assert_eq!(no_bpf.found, "CAP_BPF missing");
    }
}
