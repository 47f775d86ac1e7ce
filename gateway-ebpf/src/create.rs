//! sock_create: which kinds of socket there can be.
//!
//! It sees AF_INET and AF_INET6 only. What TCP and UDP sockets send is for later hooks to judge;
//! whatever else carries payload over IP is counted (audit) or not made at all (enforce).

use aya_ebpf::{macros::cgroup_sock, programs::SockContext};
use gateway_common::Counter;

use crate::{
    agent::Agent,
    errno::{ENOPROTOOPT, EPERM, deny},
};

const ALLOW: i32 = 1;

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;

const IPPROTO_ICMP: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_ICMPV6: u32 = 58;
const IPPROTO_SCTP: u32 = 132;
const IPPROTO_MPTCP: u32 = 262;

#[cgroup_sock(sock_create)]
pub fn turnpike_create(ctx: SockContext) -> i32 {
    // SAFETY: the kernel gives the program a valid context; the fields are readable in this hook.
    let (kind, protocol) = unsafe { ((*ctx.sock).type_, (*ctx.sock).protocol) };
    let (left, denied, errno) = match (kind, protocol) {
        (SOCK_STREAM, IPPROTO_TCP) | (SOCK_DGRAM, IPPROTO_UDP) => return ALLOW,
        (SOCK_RAW, _) | (_, IPPROTO_ICMP | IPPROTO_ICMPV6) => {
            (Counter::LeftRaw, Counter::DeniedRaw, EPERM)
        }
        (_, IPPROTO_SCTP) => (Counter::LeftSctp, Counter::DeniedSctp, EPERM),
        // What a kernel says whose MPTCP is switched off, so that clients fall back to TCP.
        (_, IPPROTO_MPTCP) => (Counter::LeftMptcp, Counter::DeniedMptcp, ENOPROTOOPT),
        _ => (Counter::LeftProtocol, Counter::DeniedProtocol, EPERM),
    };
    let Some(agent) = Agent::current() else { return ALLOW };
    if agent.enforce {
        agent.count(denied);
        deny(errno)
    } else {
        agent.count(left);
        ALLOW
    }
}
