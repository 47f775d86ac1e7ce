//! Which agent is calling, and what it may do.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_get_current_ancestor_cgroup_id, bpf_skb_ancestor_cgroup_id},
    },
    programs::SkBuffContext,
};
use gateway_common::{AgentId, Counter, MAX_AGENT_LEVEL, MODE_ENFORCE};

use crate::maps::{AGENTS, COUNTERS, HEARTBEAT, KILLED};

/// The calling process's agent.
#[derive(Clone, Copy)]
pub struct Agent {
    pub id: AgentId,
    pub enforce: bool,
}

impl Agent {
    /// Finds the agent among the ancestors of the current cgroup, nearest the root first. Agents
    /// never nest (attaching refuses it), so the first hit is the only one.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        for level in 1..=MAX_AGENT_LEVEL {
            // SAFETY: the helper takes a number and returns 0 beyond the process's own level.
            let id = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
            if id == 0 {
                return None;
            }
            // SAFETY: the value is read at once; userspace replaces it as a whole.
            if let Some(entry) = unsafe { AGENTS.get(&id) } {
                return Some(Self { id, enforce: entry.mode == MODE_ENFORCE });
            }
        }
        None
    }

    /// Finds the agent among the ancestors of the cgroup of the packet's socket: who happens to run
    /// while it is sent, or received, is another matter.
    #[inline(always)]
    pub fn of_packet(ctx: &SkBuffContext) -> Option<Self> {
        for level in 1..=MAX_AGENT_LEVEL {
            // SAFETY: the helper takes the program's own context and a number, and returns 0
            // beyond the cgroup's own level.
            let id = unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, level as i32) };
            if id == 0 {
                return None;
            }
            // SAFETY: the value is read at once; userspace replaces it as a whole.
            if let Some(entry) = unsafe { AGENTS.get(&id) } {
                return Some(Self { id, enforce: entry.mode == MODE_ENFORCE });
            }
        }
        None
    }

    #[inline(always)]
    pub fn is_killed(self) -> bool {
        // SAFETY: only the entry's presence is looked at.
        unsafe { KILLED.get(&self.id) }.is_some()
    }

    #[inline(always)]
    pub fn count(self, counter: Counter) {
        self.add(counter, 1);
    }

    #[inline(always)]
    pub fn add(self, counter: Counter, more: u32) {
        let Some(counters) = COUNTERS.get_ptr_mut(&self.id) else { return };
        // `AtomicU64::fetch_add` does not exist on this target; the instruction below it does.
        // SAFETY: the pointer is to a live map value of `Counter::COUNT` words, and `counter` is
        // below that; all writers add atomically.
        unsafe {
            let word = counters.cast::<u64>().add(counter as usize);
            atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, u64::from(more));
        }
    }
}

/// Whether the gateway has shown life lately.
#[inline(always)]
pub fn gateway_is_alive() -> bool {
    let Some(beat) = HEARTBEAT.get(0) else { return false };
    // SAFETY: the helper has no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    now.saturating_sub(beat.at_ns) <= beat.max_age_ns && beat.at_ns != 0
}
