//! What a packet on its way out is.

use aya_ebpf::programs::SkBuffContext;
use gateway_common::Endpoint;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// An IP packet with what rules ask for. IPv4 options and IPv6 extension headers are not followed: such
/// a packet is of a protocol that no rule names.
pub struct Packet {
    /// The protocol number; [`UNKNOWN`] where the ports are not to be had.
    pub protocol: u8,
    /// The other end's address, mapped if IPv4, in network byte order.
    pub peer: [u32; 4],
    /// Both in host byte order.
    pub peer_port: u16,
    pub own_port: u16,
    /// Bytes after the transport header.
    pub payload: u32,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first packet of a TCP connection.
    Opening,
    /// TCP without payload that opens nothing: what an end of a connection takes.
    Bare,
    /// IPv6 neighbour discovery of the kernel's own, as far as one can tell.
    Neighbour,
    Other,
}

/// No rule can name it: number 255 is reserved.
pub const UNKNOWN: u8 = 255;

const FIN_SYN_RST_ACK: u8 = 0x17;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

impl Packet {
    /// `None` if it is not IP.
    #[inline(always)]
    pub fn read(ctx: &SkBuffContext) -> Option<Self> {
        let first: u8 = ctx.load(0).ok()?;
        match first >> 4 {
            4 => Self::v4(ctx),
            6 => Self::v6(ctx),
            _ => None,
        }
    }

    /// RFC 791, section 3.1.
    #[inline(always)]
    fn v4(ctx: &SkBuffContext) -> Option<Self> {
        let head: [u8; 20] = ctx.load(0).ok()?;
        let words = u32::from(head[0] & 0xf);
        let peer = Endpoint::v4(ctx.load(16).ok()?, 0).ip;
        // A fragment but the first has no transport header, and options may name another
        // destination (source routes).
        let is_later_fragment = u16::from_be_bytes([head[6], head[7]]) & 0x1fff != 0;
        let protocol = if is_later_fragment || words != 5 { UNKNOWN } else { head[9] };
        Some(Self::transport(ctx, protocol, peer, words * 4, false))
    }

    /// RFC 8200, section 3.
    #[inline(always)]
    fn v6(ctx: &SkBuffContext) -> Option<Self> {
        const LEN: u32 = 40;
        let head: [u8; 8] = ctx.load(0).ok()?;
        let peer: [u32; 4] = ctx.load(24).ok()?;
        let (protocol, hop_limit) = (head[6], head[7]);
        let is_neighbour = protocol == ICMPV6 && hop_limit == 255 && is_discovery(ctx, LEN);
        Some(Self::transport(ctx, protocol, peer, LEN, is_neighbour))
    }

    #[inline(always)]
    fn transport(
        ctx: &SkBuffContext,
        protocol: u8,
        peer: [u32; 4],
        start: u32,
        is_neighbour: bool,
    ) -> Self {
        let rest = ctx.len().saturating_sub(start);
        let whole = Self {
            protocol: UNKNOWN,
            peer,
            peer_port: 0,
            own_port: 0,
            payload: rest,
            kind: if is_neighbour { Kind::Neighbour } else { Kind::Other },
        };
        if protocol != TCP && protocol != UDP {
            return Self { protocol, ..whole };
        }
        let Ok([own_high, own_low, peer_high, peer_low]) = ctx.load::<[u8; 4]>(start as usize)
        else {
            return whole;
        };
        let own_port = u16::from_be_bytes([own_high, own_low]);
        let peer_port = u16::from_be_bytes([peer_high, peer_low]);
        if protocol == UDP {
            let payload = rest.saturating_sub(8);
            return Self { protocol, peer_port, own_port, payload, ..whole };
        }
        // RFC 9293, section 3.1: the data offset and the flags.
        let Ok([offset, flags]) = ctx.load::<[u8; 2]>(start as usize + 12) else { return whole };
        let payload = rest.saturating_sub(u32::from(offset >> 4) * 4);
        let kind = if flags & (SYN | ACK) == SYN {
            Kind::Opening
        } else if payload == 0 && flags & SYN == 0 && flags & FIN_SYN_RST_ACK != 0 {
            Kind::Bare
        } else {
            Kind::Other
        };
        Self { protocol, peer_port, own_port, payload, kind, ..whole }
    }
}

/// Router and neighbour solicitation and advertisement (RFC 4861, section 4) without room for more
/// than a link-layer address. They come from a socket of the kernel that belongs to whoever made
/// the namespace; without them nobody there has IPv6. A raw socket older than the attach could send
/// the like, to neighbours only, with a few bytes that nobody asked for.
#[inline(always)]
fn is_discovery(ctx: &SkBuffContext, start: u32) -> bool {
    const LONGEST: u32 = 40 + 24 + 8;
    let kind: u8 = ctx.load(start as usize).unwrap_or(0);
    (133..=136).contains(&kind) && ctx.len() <= LONGEST
}
