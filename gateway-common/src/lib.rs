//! The contract between turnpike's BPF programs and its userspace: map keys and values.
//!
//! Every type is `repr(C)` without padding, because the kernel compares map keys byte by byte and
//! copies values out to userspace. A change to any of them is a change of [`SCHEMA`].
#![no_std]
#![allow(
    unsafe_code,
    reason = "`Pod` promises the kernel that a type is plain data; the size asserts below prove it"
)]

/// Version of the layout of all pinned maps. Pins live under a directory of this name, so that a
/// gateway never reads maps that another layout wrote.
pub const SCHEMA: u32 = 1;

/// The deepest cgroup level, counted from the root, at which an agent can be attached. The BPF
/// programs look at so many ancestors of the calling process.
pub const MAX_AGENT_LEVEL: u32 = 16;

/// An agent is named by the id of its cgroup: the inode number of its directory.
pub type AgentId = u64;

/// An IP address and a TCP port. IPv4 addresses are held as IPv4-mapped IPv6 addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address in network byte order, as four words in memory order.
    pub ip: [u32; 4],
    /// The port in host byte order.
    pub port: u32,
}

/// The third word of an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2), in memory order.
pub const MAPPED_PREFIX: u32 = 0x0000_ffff_u32.to_be();

impl Endpoint {
    /// An IPv4 endpoint; `ip` is in network byte order.
    #[must_use]
    pub const fn v4(ip: u32, port: u32) -> Self {
        Self { ip: [0, 0, MAPPED_PREFIX, ip], port }
    }

    /// Whether the address is IPv4, mapped or plain.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.ip[0] == 0 && self.ip[1] == 0 && self.ip[2] == MAPPED_PREFIX
    }
}

/// How the hooks treat an agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentEntry {
    /// One of [`MODE_AUDIT`] and [`MODE_ENFORCE`]. A `u32`, since a C enum read from a map may
    /// hold any value.
    pub mode: u32,
    /// Keeps the size a multiple of eight.
    pub reserved: u32,
}

/// Fail open: what can't be redirected connects directly, and is counted.
pub const MODE_AUDIT: u32 = 0;
/// Fail closed: what can't be redirected is refused, and is counted.
pub const MODE_ENFORCE: u32 = 1;

/// Where the gateway listens in one network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The port on 127.0.0.1, and on `::1` where `v6` says so; host byte order.
    pub port: u32,
    /// 1 if the gateway also listens on `::1`.
    pub v6: u32,
}

/// The gateway's sign of life.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// When the gateway last said that it lives: `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
    /// How old that may be before the gateway counts as dead, nanoseconds.
    pub max_age_ns: u64,
}

/// Where a redirected socket was going, and who opened it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The destination that the process asked for.
    pub dst: Endpoint,
    /// The process (thread group) that called `connect`.
    pub tgid: u32,
    /// The agent whose hook redirected the socket.
    pub agent: AgentId,
    /// The cgroup of the process itself, which may be below the agent's.
    pub cgroup: u64,
    /// The socket's cookie: the key of this entry in `ORIGINS`.
    pub cookie: u64,
    /// When it called `connect`: `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
}

/// How the accepting side sees a redirected socket: the key under which its [`Origin`] is handed
/// over.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerKey {
    /// The cookie of the network namespace (`SO_NETNS_COOKIE`).
    pub netns: u64,
    /// The socket's own address.
    pub local: Endpoint,
    /// Keeps the size a multiple of eight; always zero.
    pub reserved: u32,
}

/// A redirected socket, for as long as it lives.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirected {
    /// What is handed to the accepting side, and what `getpeername` shows.
    pub origin: Origin,
    /// The key it was handed over under; all zero before that.
    pub handed: PeerKey,
}

/// What the hooks count for each agent, in the order of [`Counters`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// TCP connects that were redirected to the gateway.
    Redirected,
    /// Left to connect directly: the gateway was dead (audit).
    LeftDead,
    /// Left to connect directly: no listener in the network namespace (audit).
    LeftNoListener,
    /// Left to connect directly: the table of redirected sockets was full (audit).
    LeftFull,
    /// Left to connect directly: tied to an interface, so that loopback can't stand in (audit).
    LeftTied,
    /// Refused: the gateway was dead (enforce).
    DeniedDead,
    /// Refused: no listener in the network namespace (enforce).
    DeniedNoListener,
    /// Refused: the table of redirected sockets was full (enforce).
    DeniedFull,
    /// Refused: tied to an interface, so that loopback can't stand in (enforce).
    DeniedTied,
    /// Refused: the agent was killed.
    DeniedKilled,
    /// Refused: the destination was the gateway's own listener.
    DeniedLoop,
    /// `connect` on a socket that is not TCP: not covered.
    NotTcp,
    /// Redirected sockets whose origin could not be handed over: recovered or reset by the gateway.
    HandoffFailed,
}

impl Counter {
    /// How many counters there are.
    pub const COUNT: usize = Self::HandoffFailed as usize + 1;
}

/// One agent's counters, indexed by [`Counter`].
pub type Counters = [u64; Counter::COUNT];

const _: () = {
    assert!(size_of::<Endpoint>() == 20);
    assert!(size_of::<AgentEntry>() == 8);
    assert!(size_of::<Listener>() == 8);
    assert!(size_of::<Heartbeat>() == 16);
    assert!(size_of::<Origin>() == 56);
    assert!(size_of::<PeerKey>() == 32);
    assert!(size_of::<Redirected>() == 88);
};

#[cfg(feature = "user")]
mod pod {
    use super::{AgentEntry, Heartbeat, Listener, Origin, PeerKey, Redirected};

    // SAFETY: `repr(C)`, `Copy`, made of integers only, and without padding: the sizes asserted
    // above are the sums of the fields' sizes. The same holds for each type below.
    unsafe impl aya::Pod for AgentEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Heartbeat {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Listener {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Origin {}
    // SAFETY: as above.
    unsafe impl aya::Pod for PeerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Redirected {}
}
