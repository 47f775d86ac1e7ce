//! connect4 and connect6: redirect, deny or leave.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_cgroup_id, bpf_ktime_get_ns},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use aya_log_ebpf::debug;
use gateway_common::{Counter, Endpoint, Listener, MAPPED_PREFIX, Origin, PeerKey, Redirected};

use crate::{
    agent::{Agent, gateway_is_alive},
    errno::{ECONNREFUSED, EPERM, deny},
    held,
    ingress::note_question,
    maps::{HANDOFFS, LISTENERS, LOG_ENABLED, ORIGINS, netns_cookie, socket_cookie},
};

const ALLOW: i32 = 1;

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

/// 127.0.0.1 in network byte order.
const LOOPBACK_V4: u32 = 0x7f00_0001_u32.to_be();
/// The last word of `::1` in network byte order.
const LOOPBACK_V6: u32 = 1_u32.to_be();

#[cgroup_sock_addr(connect4)]
pub fn turnpike_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the kernel gives the program a valid context; the fields are readable in this hook.
    let (ip, port) = unsafe { ((*ctx.sock_addr).user_ip4, (*ctx.sock_addr).user_port) };
    let dst = Endpoint::v4(ip, u32::from(u16::from_be(port as u16)));
    match decide(&ctx, &dst) {
        Verdict::Redirect(listener) => {
            // SAFETY: both fields are writable in this hook.
            unsafe {
                (*ctx.sock_addr).user_ip4 = LOOPBACK_V4;
                (*ctx.sock_addr).user_port = u32::from((listener.port as u16).to_be());
            }
            ALLOW
        }
        Verdict::Leave => ALLOW,
        Verdict::Deny(errno) => deny(errno),
    }
}

#[cgroup_sock_addr(connect6)]
pub fn turnpike_connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: as in connect4.
    let (ip, port) = unsafe { ((*ctx.sock_addr).user_ip6, (*ctx.sock_addr).user_port) };
    let dst = Endpoint { ip, port: u32::from(u16::from_be(port as u16)) };
    match decide(&ctx, &dst) {
        Verdict::Redirect(listener) => {
            // A socket that asked for a mapped address is an IPv4 connection underneath, and must
            // stay one: its bound source address, if any, is IPv4. Without a listener on ::1 the
            // same form is the only one left.
            let mapped = dst.is_v4() || listener.v6 == 0;
            // SAFETY: all fields are writable in this hook.
            unsafe {
                (*ctx.sock_addr).user_ip6[0] = 0;
                (*ctx.sock_addr).user_ip6[1] = 0;
                (*ctx.sock_addr).user_ip6[2] = if mapped { MAPPED_PREFIX } else { 0 };
                (*ctx.sock_addr).user_ip6[3] = if mapped { LOOPBACK_V4 } else { LOOPBACK_V6 };
                (*ctx.sock_addr).user_port = u32::from((listener.port as u16).to_be());
            }
            ALLOW
        }
        Verdict::Leave => ALLOW,
        Verdict::Deny(errno) => deny(errno),
    }
}

enum Verdict {
    Redirect(Listener),
    Leave,
    Deny(i32),
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, dst: &Endpoint) -> Verdict {
    // The hook runs for sockets of the agent's cgroup. One whose descriptor was passed to a process
    // outside it is that process's.
    let Some(agent) = Agent::current() else { return Verdict::Leave };
    let cookie = socket_cookie(ctx);
    // The socket may have been connected before: whatever is decided now, the old destination is
    // no longer its own.
    forget(cookie);

    if agent.is_killed() {
        agent.count(Counter::DeniedKilled);
        return Verdict::Deny(EPERM);
    }
    // SAFETY: the fields are readable in this hook.
    let (kind, protocol) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    if kind != SOCK_STREAM || protocol != IPPROTO_TCP {
        // This sends nothing yet, and resolvers do it with UDP to learn which source address a
        // destination would get. Refusing it would make them prefer destinations without a route.
        // What is sent, the egress hook sees.
        if protocol == IPPROTO_UDP {
            note_question(ctx, dst.port);
        }
        return Verdict::Leave;
    }
    if is_tied(ctx, dst) {
        return fail(agent, Counter::LeftTied, Counter::DeniedTied);
    }
    if !gateway_is_alive() {
        return fail(agent, Counter::LeftDead, Counter::DeniedDead);
    }
    let netns = netns_cookie(ctx);
    // SAFETY: copied out at once; userspace replaces the value as a whole.
    let Some(listener) = (unsafe { LISTENERS.get(&netns) }).copied() else {
        return fail(agent, Counter::LeftNoListener, Counter::DeniedNoListener);
    };
    if dst.port == listener.port && is_loopback(dst) {
        agent.count(Counter::DeniedLoop);
        return Verdict::Deny(ECONNREFUSED);
    }
    if remember(ctx, agent, cookie, dst).is_err() {
        return fail(agent, Counter::LeftFull, Counter::DeniedFull);
    }
    agent.count(Counter::Redirected);
    if LOG_ENABLED.load() != 0 {
        debug!(ctx, "redirected socket {} of agent {}, port {}", cookie, agent.id, dst.port);
    }
    Verdict::Redirect(listener)
}

/// The destination is stored before the address is rewritten: the sockops hook, which hands it
/// over, can't refuse the connection any more.
#[inline(always)]
fn remember(ctx: &SockAddrContext, agent: Agent, cookie: u64, dst: &Endpoint) -> Result<(), i32> {
    let origin = Origin {
        dst: *dst,
        tgid: ctx.tgid(),
        agent: agent.id,
        // SAFETY: the helpers have no arguments.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        cookie,
        // SAFETY: as above.
        at_ns: unsafe { bpf_ktime_get_ns() },
    };
    held::enter(cookie, &Redirected { origin, handed: NOT_HANDED })
}

/// Drops what is known of a socket, so that neither `getpeername` nor the gateway can take an old
/// destination for the new one.
#[inline(always)]
fn forget(cookie: u64) {
    // SAFETY: copied out at once; only this socket's own calls write the entry.
    let Some(entry) = (unsafe { ORIGINS.get(&cookie) }) else { return };
    let (handed, agent) = (entry.handed, entry.origin.agent);
    // SAFETY: as above.
    if unsafe { HANDOFFS.get(&handed) }.is_some_and(|origin| origin.cookie == cookie) {
        let _ = HANDOFFS.remove(&handed);
    }
    held::leave(cookie, agent);
}

const NOT_HANDED: PeerKey =
    PeerKey { netns: 0, local: Endpoint { ip: [0; 4], port: 0 }, reserved: 0 };

#[inline(always)]
fn fail(agent: Agent, left: Counter, denied: Counter) -> Verdict {
    if agent.enforce {
        agent.count(denied);
        Verdict::Deny(ECONNREFUSED)
    } else {
        agent.count(left);
        Verdict::Leave
    }
}

/// 127.0.0.0/8, `::1`, and the unspecified addresses, which `connect` takes for loopback.
#[inline(always)]
fn is_loopback(dst: &Endpoint) -> bool {
    if dst.is_v4() {
        return u32::from_be(dst.ip[3]) >> 24 == 127 || dst.ip[3] == 0;
    }
    dst.ip[0] == 0
        && dst.ip[1] == 0
        && dst.ip[2] == 0
        && (dst.ip[3] == LOOPBACK_V6 || dst.ip[3] == 0)
}

/// Whether the connection belongs to one interface: a link-local address (fe80::/10, RFC 4291,
/// section 2.5.6), whose zone this hook can't see, or a socket that is bound to a device.
#[inline(always)]
fn is_tied(ctx: &SockAddrContext, dst: &Endpoint) -> bool {
    // SAFETY: the kernel gives the program a valid context, and its socket is readable here.
    let device = unsafe {
        let socket = (*ctx.sock_addr).__bindgen_anon_1.sk;
        if socket.is_null() { 0 } else { (*socket).bound_dev_if }
    };
    device != 0 || u32::from_be(dst.ip[0]) >> 22 == 0xfe80 >> 6
}
