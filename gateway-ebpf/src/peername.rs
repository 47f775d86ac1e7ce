//! getpeername4 and getpeername6: an agent sees whom it called, not the gateway.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

use crate::maps::{ORIGINS, socket_cookie};

const ALLOW: i32 = 1;

#[cgroup_sock_addr(getpeername4)]
pub fn turnpike_peername4(ctx: SockAddrContext) -> i32 {
    // SAFETY: copied out at once; only this socket's own calls write the entry.
    if let Some(dst) = (unsafe { ORIGINS.get(&socket_cookie(&ctx)) }).map(|entry| entry.origin.dst)
    {
        // SAFETY: both fields are writable in this hook.
        unsafe {
            (*ctx.sock_addr).user_ip4 = dst.ip[3];
            (*ctx.sock_addr).user_port = u32::from((dst.port as u16).to_be());
        }
    }
    ALLOW
}

#[cgroup_sock_addr(getpeername6)]
pub fn turnpike_peername6(ctx: SockAddrContext) -> i32 {
    // SAFETY: as above.
    if let Some(dst) = (unsafe { ORIGINS.get(&socket_cookie(&ctx)) }).map(|entry| entry.origin.dst)
    {
        // SAFETY: all fields are writable in this hook.
        unsafe {
            (*ctx.sock_addr).user_ip6[0] = dst.ip[0];
            (*ctx.sock_addr).user_ip6[1] = dst.ip[1];
            (*ctx.sock_addr).user_ip6[2] = dst.ip[2];
            (*ctx.sock_addr).user_ip6[3] = dst.ip[3];
            (*ctx.sock_addr).user_port = u32::from((dst.port as u16).to_be());
        }
    }
    ALLOW
}
