//! sockops: hands a redirected socket's origin to the accepting side.

use aya_ebpf::{bindings::BPF_SOCK_OPS_TCP_CONNECT_CB, macros::sock_ops, programs::SockOpsContext};
use gateway_common::{Counter, Endpoint, MAPPED_PREFIX, PeerKey};

use crate::{
    agent::Agent,
    maps::{HANDOFFS, ORIGINS, netns_cookie, socket_cookie},
};

const AF_INET: u32 = 2;

/// The kernel calls it when the source port is chosen and before the SYN is built, so the entry is
/// there before anything can be accepted.
#[sock_ops]
pub fn turnpike_handoff(ctx: SockOpsContext) -> u32 {
    if ctx.op() == BPF_SOCK_OPS_TCP_CONNECT_CB {
        hand_over(&ctx);
    }
    1
}

#[inline(always)]
fn hand_over(ctx: &SockOpsContext) {
    let cookie = socket_cookie(ctx);
    let Some(entry) = ORIGINS.get_ptr_mut(&cookie) else { return };
    let key = PeerKey { netns: netns_cookie(ctx), local: local(ctx), reserved: 0 };
    // SAFETY: `entry` points to a live map value; only this socket's own calls write it.
    let origin = unsafe {
        (*entry).handed = key;
        (*entry).origin
    };
    if HANDOFFS.insert(&key, &origin, 0).is_err() {
        Agent { id: origin.agent, enforce: false }.count(Counter::HandoffFailed);
    }
}

/// The socket's own address as the accepting side sees it: an IPv6 socket that talks to a mapped
/// address has an IPv4 peer.
#[inline(always)]
fn local(ctx: &SockOpsContext) -> Endpoint {
    // Both forms are read, each word by itself, and only then chosen from: the verifier wants
    // every access to the context at a constant offset, which the compiler undoes where it can.
    // SAFETY: the kernel gives the program a valid context; the fields are readable in this hook.
    let (v4, v6, mapped) = unsafe {
        let ops = ctx.ops;
        let v6 = &raw const (*ops).local_ip6;
        (
            (&raw const (*ops).local_ip4).read_volatile(),
            [
                (&raw const (*v6)[0]).read_volatile(),
                (&raw const (*v6)[1]).read_volatile(),
                (&raw const (*v6)[2]).read_volatile(),
                (&raw const (*v6)[3]).read_volatile(),
            ],
            (&raw const (*ops).remote_ip6[2]).read_volatile() == MAPPED_PREFIX,
        )
    };
    let port = ctx.local_port();
    if ctx.family() == AF_INET || mapped {
        Endpoint::v4(v4, port)
    } else {
        Endpoint { ip: v6, port }
    }
}
