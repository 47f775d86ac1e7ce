//! How many redirected sockets each agent holds, so that none can take the places of all.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use gateway_common::{AgentId, MAX_SOCKETS_PER_AGENT, Redirected};

use crate::maps::{HELD, ORIGINS};

/// Enters a redirected socket, which must not be there yet, if its agent has room for it.
#[inline(always)]
pub fn enter(cookie: u64, redirected: &Redirected) -> Result<(), i32> {
    const NO_ROOM: i32 = -28;

    let agent = redirected.origin.agent;
    // Who asks at the same time on another processor may still see the last place free.
    if held(agent) >= u64::from(MAX_SOCKETS_PER_AGENT) {
        return Err(NO_ROOM);
    }
    ORIGINS.insert(&cookie, redirected, 0)?;
    add(agent, 1);
    Ok(())
}

/// Removes it again.
#[inline(always)]
pub fn leave(cookie: u64, agent: AgentId) {
    if ORIGINS.remove(&cookie).is_ok() {
        add(agent, u64::MAX);
    }
}

/// An agent without a count is just being attached or removed.
#[inline(always)]
fn held(agent: AgentId) -> u64 {
    // SAFETY: one word, read at once.
    unsafe { HELD.get(&agent) }.copied().unwrap_or(0)
}

/// Wraps around.
#[inline(always)]
fn add(agent: AgentId, more: u64) {
    let Some(held) = HELD.get_ptr_mut(&agent) else { return };
    // SAFETY: the pointer is to a live map value, one word; all writers add atomically.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(held, more) };
}
