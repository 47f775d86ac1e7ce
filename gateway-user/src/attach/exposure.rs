//! Ways out of an agent that hooks on IP sockets can't close, and how else to close them.

use std::fs;

use super::cgroup::Cgroup;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayOut {
    /// What it is.
    pub name: &'static str,
    /// Why no hook sees it.
    pub why: &'static str,
    /// What closes it.
    pub fix: &'static str,
    /// The capability that it takes, by bit (capabilities(7)), where it takes one.
    capability: Option<(u32, &'static str)>,
}

/// All that are known.
pub const WAYS_OUT: [WayOut; 6] = [
    WayOut {
        name: "packet sockets",
        why: "AF_PACKET and AF_XDP send frames past IP, where no hook sees them",
        fix: "drop CAP_NET_RAW: podman/docker run --cap-drop=NET_RAW, or drop: [NET_RAW] in the pod's securityContext",
        capability: Some((13, "CAP_NET_RAW")),
    },
    WayOut {
        name: "network administration",
        why: "whoever may set up interfaces, tunnels and traffic control can have packets forwarded that no socket sent, and put up a resolver of its own",
        fix: "drop CAP_NET_ADMIN, which containers have only if they were given it",
        capability: Some((12, "CAP_NET_ADMIN")),
    },
    WayOut {
        name: "vsock",
        why: "AF_VSOCK leads to the hypervisor's host and knows neither cgroup hooks nor network namespaces",
        fix: "deny socket(AF_VSOCK) by seccomp: the profiles of recent docker and podman do",
        capability: None,
    },
    WayOut {
        name: "Unix sockets from outside",
        why: "a Unix socket that is mounted into the container leads to whatever listens there",
        fix: "mount none: look for docker.sock, containerd.sock, X11 and agent sockets in the container's mounts",
        capability: None,
    },
    WayOut {
        name: "descriptors from outside",
        why: "a socket that a process outside made, and passed on, belongs to that process's cgroup",
        fix: "as for Unix sockets, by which descriptors come; and start the agent without inherited ones",
        capability: None,
    },
    WayOut {
        name: "DNS",
        why: "names that are asked for can carry data to whoever answers for them, through the resolver that is allowed",
        fix: "give the container a resolver that answers for the names it needs and no others",
        capability: None,
    },
];

/// Those that an agent's processes hold the capability for, one sentence each.
///
/// A process in a user namespace of its own counts too, though its power may end there: too many
/// are named rather than too few.
#[must_use]
pub fn notes(cgroup: &Cgroup) -> Vec<String> {
    let held: Vec<u64> = cgroup.processes().into_iter().filter_map(effective).collect();
    WAYS_OUT
        .iter()
        .filter_map(|way| {
            let (bit, name) = way.capability?;
            let count = held.iter().filter(|capabilities| *capabilities & (1 << bit) != 0).count();
            let what = format!("{count} of its processes hold {name}: {}; {}", way.why, way.fix);
            (count > 0).then_some(what)
        })
        .collect()
}

/// `None` for a process that has ended meanwhile.
fn effective(pid: u32) -> Option<u64> {
    capabilities(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// proc(5), `CapEff`.
fn capabilities(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_a_status() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t00000000a80425fb\n"), Some(0xa804_25fb));
        assert_eq!(capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn our_own_cgroup_can_be_looked_at() {
        let own = Cgroup::of_process(std::process::id()).expect("our own cgroup");
        assert!(notes(&own).len() <= WAYS_OUT.len());
    }
}
