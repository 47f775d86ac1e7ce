//! The contract between turnpike's BPF programs and its userspace: map keys and values.
//!
//! Every type is `repr(C)` without padding, because the kernel compares map keys byte by byte and
//! copies values out to userspace. A change to any of them is a change of [`SCHEMA`].
#![no_std]
#![allow(
    unsafe_code,
    reason = "`Pod` promises the kernel that a type is plain data; the size asserts below prove it"
)]

/// Version of what pinned programs and maps mean to userspace. Part of the name of the directory
/// that pins live in, beside a hash of their names and sizes, so that a gateway never reads what
/// another layout wrote. To be raised when a meaning changes and no size does.
pub const SCHEMA: u32 = 2;

/// The deepest cgroup level, counted from the root, at which an agent can be attached. The BPF
/// programs look at so many ancestors of the calling process.
pub const MAX_AGENT_LEVEL: u32 = 16;

/// How many agents, and how many network namespaces, the maps have room for.
pub const MAX_AGENTS: u32 = 1024;
/// How many redirected sockets the maps have room for.
pub const MAX_SOCKETS: u32 = 65536;
/// How many of them one agent has room for.
pub const MAX_SOCKETS_PER_AGENT: u32 = MAX_SOCKETS / 4;
/// Bytes of the ring buffer that DNS answers go through.
pub const DNS_RING_BYTES: u32 = 256 * 1024;
/// Bytes of the ring buffer that tells of agents' processes.
pub const PROCESS_RING_BYTES: u32 = 512 * 1024;

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

/// Traffic that may leave an agent, or reach it, without passing the gateway.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectRule {
    /// The peer's network: IPv4 as IPv4-mapped IPv6, in network byte order, as four words in memory
    /// order. Bits outside of `mask` are zero.
    pub net: [u32; 4],
    /// Which bits of the peer's address count, in the same order.
    pub mask: [u32; 4],
    /// The first and last port, host byte order: the peer's for [`DIRECTION_OUT`], the agent's own
    /// for [`DIRECTION_IN`].
    pub first_port: u16,
    pub last_port: u16,
    /// An IP protocol number (17 is UDP), or [`ANY_PROTOCOL`].
    pub protocol: u8,
    /// One of [`DIRECTION_OUT`] and [`DIRECTION_IN`].
    pub direction: u8,
    /// Keeps the size a multiple of four; always zero.
    pub reserved: u16,
}

/// The agent may send to the peer.
pub const DIRECTION_OUT: u8 = 0;
/// The agent may answer the peer on a port of its own.
pub const DIRECTION_IN: u8 = 1;
/// TCP and UDP alike.
pub const ANY_PROTOCOL: u8 = 0;

/// How many direct rules an agent can have.
pub const DIRECT_RULES: usize = 64;

/// One agent's direct rules: the first `count` of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectTable {
    pub count: u32,
    pub rules: [DirectRule; DIRECT_RULES],
}

impl DirectTable {
    /// No rules.
    pub const EMPTY: Self = Self {
        count: 0,
        rules: [DirectRule {
            net: [0; 4],
            mask: [0; 4],
            first_port: 0,
            last_port: 0,
            protocol: 0,
            direction: 0,
            reserved: 0,
        }; DIRECT_RULES],
    };
}

/// Bytes of a DNS message that are copied to userspace: what servers and resolvers keep to over UDP
/// (DNS flag day 2020). Longer ones are cut.
pub const DNS_BYTES: usize = 1232;

/// A DNS answer as it arrived at an agent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DnsPacket {
    pub agent: AgentId,
    /// The network namespace of the socket that asked.
    pub netns: u64,
    /// Whom it came from, mapped if IPv4; in network byte order.
    pub from: [u32; 4],
    /// The interface that it came in by; 1 is the loopback of every namespace.
    pub interface: u32,
    /// How many bytes of `message` there are.
    pub len: u32,
    pub message: [u8; DNS_BYTES],
}

/// Something that a process of an agent did. A record of an exec goes on as an [`ExecRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRecord {
    pub agent: AgentId,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
    /// The process (thread group), as the host numbers it.
    pub pid: u32,
    /// The process that forked it, for [`PROCESS_FORKED`]; else zero.
    pub parent: u32,
    /// One of [`PROCESS_FORKED`], [`PROCESS_EXECUTED`] and [`PROCESS_EXITED`].
    pub what: u32,
    /// How many bytes of the command line there are in an [`ExecRecord`]; else zero.
    pub len: u32,
}

/// It was forked.
pub const PROCESS_FORKED: u32 = 0;
/// It runs another program.
pub const PROCESS_EXECUTED: u32 = 1;
/// The last of its threads is gone.
pub const PROCESS_EXITED: u32 = 2;

/// Bytes of a command line that are copied to userspace. Longer ones are cut.
pub const COMMAND_BYTES: usize = 512;

/// A [`ProcessRecord`] of an exec.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExecRecord {
    pub head: ProcessRecord,
    /// The arguments, each with a zero after it.
    pub command: [u8; COMMAND_BYTES],
}

/// Where the kernel keeps what is read of a process: offsets in its structures, in bytes. They
/// differ from kernel to kernel, and are told by its BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskLayout {
    /// `task_struct.tgid`.
    pub tgid: u32,
    /// `task_struct.mm`.
    pub mm: u32,
    /// `task_struct.signal`.
    pub signal: u32,
    /// `signal_struct.live`: how many threads are left.
    pub live: u32,
    /// `mm_struct.arg_start` and `mm_struct.arg_end`: where the command line is.
    pub arg_start: u32,
    pub arg_end: u32,
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
    /// Left to connect directly: the table of redirected sockets was full, or the agent's share of
    /// it (audit).
    LeftFull,
    /// Left to connect directly: tied to an interface, so that loopback can't stand in (audit).
    LeftTied,
    /// Refused: the gateway was dead (enforce).
    DeniedDead,
    /// Refused: no listener in the network namespace (enforce).
    DeniedNoListener,
    /// Refused: the table of redirected sockets was full, or the agent's share of it (enforce).
    DeniedFull,
    /// Refused: tied to an interface, so that loopback can't stand in (enforce).
    DeniedTied,
    /// Refused: the agent was killed.
    DeniedKilled,
    /// Refused: the destination was the gateway's own listener.
    DeniedLoop,
    /// Redirected sockets whose origin could not be handed over: recovered or reset by the gateway.
    HandoffFailed,
    /// Raw and ICMP sockets that were made (audit).
    LeftRaw,
    /// SCTP sockets that were made (audit).
    LeftSctp,
    /// MPTCP sockets that were made (audit). What they connect is redirected all the same.
    LeftMptcp,
    /// Sockets of further protocols that were made (audit).
    LeftProtocol,
    /// Raw and ICMP sockets that were refused (enforce).
    DeniedRaw,
    /// SCTP sockets that were refused (enforce).
    DeniedSctp,
    /// MPTCP sockets that were refused (enforce).
    DeniedMptcp,
    /// Sockets of further protocols that were refused (enforce).
    DeniedProtocol,
    /// Packets that left past the gateway on TCP sockets that no hook redirected: older than the
    /// attach, or accepted from outside (audit).
    LeftTcpPackets,
    /// UDP packets that left past the gateway (audit).
    LeftUdpPackets,
    /// UDP packets to port 443 that left past the gateway (audit).
    LeftQuicPackets,
    /// Packets of other protocols that left past the gateway (audit).
    LeftOtherPackets,
    /// Payload bytes of all packets that left past the gateway (audit).
    LeftBytes,
    /// TCP packets that were dropped (enforce, killed).
    DroppedTcpPackets,
    /// UDP packets that were dropped (enforce, killed).
    DroppedUdpPackets,
    /// UDP packets to port 443 that were dropped (enforce, killed).
    DroppedQuicPackets,
    /// Packets of other protocols that were dropped (enforce, killed).
    DroppedOtherPackets,
    /// Payload bytes of all packets that were dropped (enforce, killed).
    DroppedBytes,
    /// Packets that a direct rule let pass (enforce).
    DirectPackets,
    /// Payload bytes of those.
    DirectBytes,
    /// DNS answers that userspace was too slow to read: no hints come of them.
    DnsLost,
    /// What processes did that userspace was too slow to read: calls of theirs may be placed without
    /// it.
    ProcessesLost,
}

impl Counter {
    /// How many counters there are.
    pub const COUNT: usize = Self::ProcessesLost as usize + 1;
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
    assert!(size_of::<DirectRule>() == 40);
    assert!(size_of::<DirectTable>() == 4 + 40 * DIRECT_RULES);
    assert!(size_of::<DnsPacket>() == 40 + DNS_BYTES);
    assert!(size_of::<ProcessRecord>() == 32);
    assert!(size_of::<ExecRecord>() == 32 + COMMAND_BYTES);
    assert!(size_of::<TaskLayout>() == 24);
};

#[cfg(feature = "user")]
mod pod {
    use super::{
        AgentEntry, DirectTable, DnsPacket, ExecRecord, Heartbeat, Listener, Origin, PeerKey,
        ProcessRecord, Redirected, TaskLayout,
    };

    // SAFETY: `repr(C)`, `Copy`, made of integers only, and without padding: the sizes asserted
    // above are the sums of the fields' sizes. The same holds for each type below.
    unsafe impl aya::Pod for AgentEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for DirectTable {}
    // SAFETY: as above.
    unsafe impl aya::Pod for DnsPacket {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ExecRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Heartbeat {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Listener {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Origin {}
    // SAFETY: as above.
    unsafe impl aya::Pod for PeerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ProcessRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Redirected {}
    // SAFETY: as above.
    unsafe impl aya::Pod for TaskLayout {}
}
