//! cgroup_skb/ingress: shows userspace the DNS answers that an agent gets. It stops nothing.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::generated::{bpf_sk_storage_get, bpf_skb_load_bytes},
    macros::cgroup_skb,
    programs::{SkBuffContext, SockAddrContext},
};
use gateway_common::{Counter, DNS_BYTES, DnsPacket, Endpoint};

use crate::{
    agent::Agent,
    maps::{ASKED, DNS, netns_cookie},
    packet::UDP,
};

const PASS: i32 = 1;

const DNS_PORT: u16 = 53;
const UDP_HEADER: u32 = 8;
/// RFC 1035, section 4.1.1.
const DNS_HEADER: u32 = 12;

/// Remembers that a UDP socket asks a DNS server, and in which network namespace: this is what
/// tells an answer apart from what a process sends itself in a namespace of its own making. The
/// kernel forgets it with the socket.
#[inline(always)]
pub fn note_question(ctx: &SockAddrContext, port: u32) {
    if port != u32::from(DNS_PORT) {
        return;
    }
    let mut netns = netns_cookie(ctx);
    // SAFETY: the kernel gives the program a valid context, and its socket is readable here. The
    // map's values are of the type that is pointed to. If there is no memory, no hints come.
    unsafe {
        let socket = (*ctx.sock_addr).__bindgen_anon_1.sk;
        if !socket.is_null() {
            let flags = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
            bpf_sk_storage_get(asked(), socket.cast(), (&raw mut netns).cast(), flags);
        }
    }
}

#[cgroup_skb(ingress)]
pub fn turnpike_ingress(ctx: SkBuffContext) -> i32 {
    if let Some(netns) = netns_of_question(&ctx) {
        show(&ctx, netns);
    }
    PASS
}

/// In which namespace the packet's socket asked a DNS server, if it did.
#[inline(always)]
fn netns_of_question(ctx: &SkBuffContext) -> Option<u64> {
    // SAFETY: the kernel gives the program a valid context; the field is readable in this hook, and
    // the map's values are of the type that is read.
    unsafe {
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return None;
        }
        let netns = bpf_sk_storage_get(asked(), socket.cast(), ptr::null_mut(), 0).cast::<u64>();
        if netns.is_null() { None } else { Some(*netns) }
    }
}

#[inline(always)]
fn show(ctx: &SkBuffContext, netns: u64) -> Option<()> {
    let first: u8 = ctx.load(0).ok()?;
    let (protocol, from, start): (u8, [u32; 4], u32) = match first >> 4 {
        4 => {
            (ctx.load(9).ok()?, Endpoint::v4(ctx.load(12).ok()?, 0).ip, u32::from(first & 0xf) * 4)
        }
        6 => (ctx.load(6).ok()?, ctx.load(8).ok()?, 40),
        _ => return None,
    };
    let port = u16::from_be(ctx.load(start as usize).ok()?);
    if protocol != UDP || port != DNS_PORT {
        return None;
    }
    let agent = Agent::of_packet(ctx)?;
    let message = start + UDP_HEADER;
    let len = ctx.len().checked_sub(message)?.min(DNS_BYTES as u32);
    if len < DNS_HEADER {
        return None;
    }
    let Some(mut entry) = DNS.reserve::<DnsPacket>(0) else {
        agent.count(Counter::DnsLost);
        return None;
    };
    let packet = entry.as_mut_ptr();
    // SAFETY: `packet` points to reserved memory of that type, which is written before it is shown:
    // all fields but the end of `message`, past `len`, which is what an earlier entry left there.
    let loaded = unsafe {
        (&raw mut (*packet).agent).write(agent.id);
        (&raw mut (*packet).netns).write(netns);
        (&raw mut (*packet).from).write(from);
        (&raw mut (*packet).interface).write((*ctx.skb.skb).ifindex);
        (&raw mut (*packet).len).write(len);
        let buffer = (&raw mut (*packet).message).cast::<c_void>();
        bpf_skb_load_bytes(ctx.skb.skb.cast(), message, buffer, len)
    };
    if loaded == 0 {
        entry.submit(0)
    } else {
        entry.discard(0)
    }
    Some(())
}

#[inline(always)]
fn asked() -> *mut c_void {
    (&raw const ASKED).cast_mut().cast()
}
