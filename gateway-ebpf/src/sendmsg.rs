//! sendmsg4 and sendmsg6: UDP sends that name their destination.
//!
//! Whether they may leave is for the egress hook: it sees connected sockets too, and knows what
//! stays inside the namespace.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use gateway_common::Counter;

use crate::{
    agent::Agent,
    errno::{EPERM, deny},
    ingress::note_question,
};

const ALLOW: i32 = 1;

#[cgroup_sock_addr(sendmsg4)]
pub fn turnpike_sendmsg4(ctx: SockAddrContext) -> i32 {
    decide(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn turnpike_sendmsg6(ctx: SockAddrContext) -> i32 {
    decide(&ctx)
}

#[inline(always)]
fn decide(ctx: &SockAddrContext) -> i32 {
    let Some(agent) = Agent::current() else { return ALLOW };
    if agent.is_killed() {
        agent.count(Counter::DeniedKilled);
        return deny(EPERM);
    }
    // SAFETY: the kernel gives the program a valid context; the field is readable in this hook.
    let port = unsafe { (*ctx.sock_addr).user_port };
    note_question(ctx, u32::from(u16::from_be(port as u16)));
    ALLOW
}
