//! cgroup_skb/egress: the backstop. It sees every packet that a socket of the agent's cgroup sends,
//! however the socket came to be: before the attach, accepted from outside, made by the kernel for
//! another, or now in the hands of another process.

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};
use gateway_common::Counter;

use crate::{
    agent::Agent,
    direct,
    packet::{Kind, Packet, TCP, UDP},
};

const DROP: i32 = 0;
const PASS: i32 = 1;

/// The loopback of every network namespace (`LOOPBACK_IFINDEX` in the kernel).
const LOOPBACK: u32 = 1;
const QUIC: u16 = 443;

#[cgroup_skb(egress)]
pub fn turnpike_egress(ctx: SkBuffContext) -> i32 {
    // What goes over the loopback stays in the namespace: redirected connections, and whatever the
    // agent's processes say to each other, on whichever of the namespace's addresses.
    // SAFETY: the kernel gives the program a valid context; the field is readable in this hook.
    if unsafe { (*ctx.skb.skb).ifindex } == LOOPBACK {
        return PASS;
    }
    let Some(agent) = Agent::of_packet(&ctx) else { return PASS };
    let Some(packet) = Packet::read(&ctx) else {
        return if agent.enforce { DROP } else { PASS };
    };
    if packet.kind == Kind::Bare || packet.kind == Kind::Neighbour {
        return PASS;
    }
    let is_killed = agent.is_killed();
    if !agent.enforce && !is_killed {
        agent.count(packet.counter(&LEFT));
        agent.add(Counter::LeftBytes, packet.payload);
        return PASS;
    }
    if !is_killed && direct::allows(&ctx, agent, &packet) {
        agent.count(Counter::DirectPackets);
        agent.add(Counter::DirectBytes, packet.payload);
        return PASS;
    }
    agent.count(packet.counter(&DROPPED));
    agent.add(Counter::DroppedBytes, packet.payload);
    DROP
}

struct ByRoute {
    tcp: Counter,
    udp: Counter,
    quic: Counter,
    other: Counter,
}

const LEFT: ByRoute = ByRoute {
    tcp: Counter::LeftTcpPackets,
    udp: Counter::LeftUdpPackets,
    quic: Counter::LeftQuicPackets,
    other: Counter::LeftOtherPackets,
};
const DROPPED: ByRoute = ByRoute {
    tcp: Counter::DroppedTcpPackets,
    udp: Counter::DroppedUdpPackets,
    quic: Counter::DroppedQuicPackets,
    other: Counter::DroppedOtherPackets,
};

impl Packet {
    #[inline(always)]
    fn counter(&self, by_route: &ByRoute) -> Counter {
        match (self.protocol, self.peer_port) {
            (TCP, _) => by_route.tcp,
            (UDP, QUIC) => by_route.quic,
            (UDP, _) => by_route.udp,
            _ => by_route.other,
        }
    }
}
