//! Direct rules: what may pass by the gateway.

use aya_ebpf::{helpers::generated::bpf_sk_fullsock, programs::SkBuffContext};
use gateway_common::{ANY_PROTOCOL, DIRECTION_IN, DirectRule};

use crate::{
    agent::Agent,
    maps::DIRECT,
    packet::{Kind, Packet, TCP, UDP},
};

/// Whether a rule of the agent lets the packet leave.
#[inline(always)]
pub fn allows(ctx: &SkBuffContext, agent: Agent, packet: &Packet) -> bool {
    let is_transport = packet.protocol == TCP || packet.protocol == UDP;
    if !is_transport || protocol_of_socket(ctx) != Some(u32::from(packet.protocol)) {
        return false;
    }
    // SAFETY: userspace replaces the value as a whole.
    let Some(table) = (unsafe { DIRECT.get(&agent.id) }) else { return false };
    table.rules.iter().take(table.count as usize).any(|rule| fits(rule, packet))
}

/// The protocol that the kernel speaks for the packet's socket; `None` for a raw one, whose packets
/// say whatever their sender wrote, and go elsewhere than they say.
#[inline(always)]
fn protocol_of_socket(ctx: &SkBuffContext) -> Option<u32> {
    const SOCK_RAW: u32 = 3;
    // SAFETY: the kernel gives the program a valid context; the fields are readable in this hook
    // once the pointers are known not to be null.
    unsafe {
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return None;
        }
        let socket = bpf_sk_fullsock(socket);
        if socket.is_null() || (*socket).type_ == SOCK_RAW {
            return None;
        }
        Some((*socket).protocol)
    }
}

#[inline(always)]
fn fits(rule: &DirectRule, packet: &Packet) -> bool {
    let is_in = rule.direction == DIRECTION_IN;
    let port = if is_in { packet.own_port } else { packet.peer_port };
    let masked = |word: usize| packet.peer[word] & rule.mask[word];
    (rule.protocol == ANY_PROTOCOL || rule.protocol == packet.protocol)
        && rule.first_port <= port
        && port <= rule.last_port
        // The agent does not open what it may only answer.
        && !(is_in && packet.kind == Kind::Opening)
        && masked(0) == rule.net[0]
        && masked(1) == rule.net[1]
        && masked(2) == rule.net[2]
        && masked(3) == rule.net[3]
}
