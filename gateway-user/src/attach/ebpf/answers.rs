//! DNS answers that agents get, as the ingress hook shows them.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsRawFd, RawFd},
};

use aya::maps::{MapData, RingBuf};
use gateway_common::{AgentId, DNS_BYTES, DnsPacket};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// The stream of them. Whoever reads too slowly loses some, which the agents' counters say.
#[derive(Debug)]
pub struct Answers(AsyncFd<Ring>);

/// One UDP packet from port 53 to a socket that asked port 53.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub agent: AgentId,
    /// The cookie of the network namespace that the socket lives in.
    pub netns: u64,
    /// Whom it came from.
    pub from: IpAddr,
    /// Whether it came by the loopback: from inside the namespace.
    pub over_loopback: bool,
    /// The message, cut at [`DNS_BYTES`].
    pub message: Vec<u8>,
}

/// aya's ring can't be shown.
struct Ring(RingBuf<MapData>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ring").field(&self.as_raw_fd()).finish()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Answers {
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        sys::watch(Ring(ring)).map(Self)
    }

    /// The next answer, once there is one. Dropping the future loses nothing.
    pub async fn next(&mut self) -> io::Result<Answer> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            if let Some(item) = ready.get_inner_mut().0.next() {
                // What is shorter was not written by our programs.
                if let Some(answer) = Answer::read(&item) {
                    return Ok(answer);
                }
                continue;
            }
            ready.clear_ready();
        }
    }
}

impl Answer {
    /// From a `DnsPacket`.
    fn read(bytes: &[u8]) -> Option<Self> {
        fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
            bytes.get(at..)?.first_chunk().copied()
        }
        use std::mem::offset_of;
        let len = u32::from_ne_bytes(word(bytes, offset_of!(DnsPacket, len))?);
        let len = usize::try_from(len).ok()?.min(DNS_BYTES);
        let interface = u32::from_ne_bytes(word(bytes, offset_of!(DnsPacket, interface))?);
        let from = Ipv6Addr::from(word::<16>(bytes, offset_of!(DnsPacket, from))?);
        Some(Self {
            agent: u64::from_ne_bytes(word(bytes, offset_of!(DnsPacket, agent))?),
            netns: u64::from_ne_bytes(word(bytes, offset_of!(DnsPacket, netns))?),
            from: from.to_canonical(),
            over_loopback: interface == LOOPBACK,
            message: bytes.get(offset_of!(DnsPacket, message)..)?.get(..len)?.to_vec(),
        })
    }
}

/// The loopback of every network namespace (`LOOPBACK_IFINDEX` in the kernel).
const LOOPBACK: u32 = 1;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn packet() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(7_u64.to_ne_bytes());
        bytes.extend(9_u64.to_ne_bytes());
        bytes.extend(Ipv4Addr::new(10, 0, 0, 53).to_ipv6_mapped().octets());
        bytes.extend(2_u32.to_ne_bytes());
        bytes.extend(3_u32.to_ne_bytes());
        bytes.extend([1; DNS_BYTES]);
        bytes
    }

    #[test]
    fn an_answer_is_read_as_the_kernel_wrote_it_and_never_past_its_end() {
        let bytes = packet();
        assert_eq!(bytes.len(), size_of::<DnsPacket>());
        let answer = Answer::read(&bytes).expect("whole");
        assert_eq!((answer.agent, answer.netns, answer.over_loopback), (7, 9, false));
        assert_eq!(answer.from, IpAddr::from([10, 0, 0, 53]));
        assert_eq!(answer.message, [1; 3]);
        for cut in 0..bytes.len() {
            if let Some(answer) = Answer::read(&bytes[..cut]) {
                assert_eq!(answer.message.len(), 3);
            }
        }
    }
}
