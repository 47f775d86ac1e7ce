//! Every map, in one place. Userspace finds them by these names.

use aya_ebpf::{
    EbpfContext, Global,
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::SkStorage,
    helpers::generated::bpf_get_netns_cookie,
    macros::{btf_map, map},
    maps::{Array, HashMap, RingBuf},
};
use gateway_common::{
    AgentEntry, AgentId, Counters, DNS_RING_BYTES, DirectTable, Heartbeat, Listener, MAX_AGENTS,
    MAX_SOCKETS, Origin, PROCESS_RING_BYTES, PeerKey, Redirected, TaskLayout,
};

/// The attached agents.
#[map]
pub static AGENTS: HashMap<AgentId, AgentEntry> = HashMap::with_max_entries(MAX_AGENTS, 0);

/// Agents that may not connect at all, whatever their mode, until they are revived.
#[map]
pub static KILLED: HashMap<AgentId, u64> = HashMap::with_max_entries(MAX_AGENTS, 0);

/// The gateway's listener in each network namespace, by netns cookie.
#[map]
pub static LISTENERS: HashMap<u64, Listener> = HashMap::with_max_entries(MAX_AGENTS, 0);

/// The gateway's sign of life.
#[map]
pub static HEARTBEAT: Array<Heartbeat> = Array::with_max_entries(1, 0);

/// Redirected sockets by socket cookie, for as long as they live. Never an LRU: an entry that is
/// thrown out would let a live socket lose, or worse mistake, its destination.
#[map]
pub static ORIGINS: HashMap<u64, Redirected> = HashMap::with_max_entries(MAX_SOCKETS, 0);

/// How many entries of `ORIGINS` are each agent's. Entered by userspace with the agent.
#[map]
pub static HELD: HashMap<AgentId, u64> = HashMap::with_max_entries(MAX_AGENTS, 0);

/// What the accepting side looks up. As large as `ORIGINS`, and each entry there has at most one
/// here. Entries whose connection was reset before it was accepted stay until userspace sweeps
/// them; should they fill the map, the accepting side asks the kernel's socket tables instead.
#[map]
pub static HANDOFFS: HashMap<PeerKey, Origin> = HashMap::with_max_entries(MAX_SOCKETS, 0);

/// Counters of each agent.
#[map]
pub static COUNTERS: HashMap<AgentId, Counters> = HashMap::with_max_entries(MAX_AGENTS, 0);

/// What of each agent may pass by the gateway. Few agents have any, so room is taken when it is.
#[map]
pub static DIRECT: HashMap<AgentId, DirectTable> =
    HashMap::with_max_entries(MAX_AGENTS, BPF_F_NO_PREALLOC);

/// UDP sockets that have asked a DNS server: the network namespace that they live in.
#[btf_map]
pub static ASKED: SkStorage<u64> = SkStorage::new();

/// DNS answers (`DnsPacket`) on their way to userspace.
#[map]
pub static DNS: RingBuf = RingBuf::with_byte_size(DNS_RING_BYTES, 0);

/// What agents' processes do (`ProcessRecord`), on its way to userspace.
#[map]
pub static PROCESSES: RingBuf = RingBuf::with_byte_size(PROCESS_RING_BYTES, 0);

/// Where this kernel keeps what is read of a process. All zero where that is not known: then what
/// reads it is not loaded.
#[unsafe(no_mangle)]
pub static TASK: Global<TaskLayout> =
    Global::new(TaskLayout { tgid: 0, mm: 0, signal: 0, live: 0, arg_start: 0, arg_end: 0 });

/// 1 if userspace wants log messages. Constant once loaded, so the verifier removes the dead side.
#[unsafe(no_mangle)]
pub static LOG_ENABLED: Global<u8> = Global::new(0);

/// The cookie of the network namespace that the context's socket lives in.
#[inline(always)]
pub fn netns_cookie<C: EbpfContext>(ctx: &C) -> u64 {
    // SAFETY: the helper takes the program's own context, which is what `as_ptr` returns.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// The cookie of the context's socket: unique until reboot, unlike a port or a pointer.
#[inline(always)]
pub fn socket_cookie<C: EbpfContext>(ctx: &C) -> u64 {
    // SAFETY: as above.
    unsafe { aya_ebpf::helpers::generated::bpf_get_socket_cookie(ctx.as_ptr()) }
}
