//! Where an accepted connection was going.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gateway_common::{Endpoint, Origin, PeerKey};
use tokio::net::TcpStream;

use crate::limits;

/// What the kernel side knows of redirected sockets. Called from the network namespace that the
/// connection lives in.
pub trait Origins: Send + Sync + 'static {
    /// What was handed over under this key. It stays there.
    fn handoff(&self, key: &PeerKey) -> Option<Origin>;
    /// Takes the entry away.
    fn take_handoff(&self, key: &PeerKey);
    /// The long way round, for a connection whose entry is missing: asks the kernel for the
    /// client's socket.
    fn recover(&self, client: SocketAddr, listener: SocketAddr) -> Option<Origin>;
    /// `CLOCK_MONOTONIC` in nanoseconds, as the origins' times are.
    fn now_ns(&self) -> u64;
}

/// What the kernel side knows of the clients' sockets. Called from the data path: it must not block.
pub trait Sockets: Send + Sync {
    /// Whether the redirected socket with this cookie is still somebody's. One that is closed on both
    /// sides says no more on the wire than one that has only ended what it sends.
    fn is_open(&self, cookie: u64) -> bool;
}

/// Finds out where an accepted connection was going.
///
/// The entry is looked up by the client's address and port, which stand for one connection only
/// while that lives. A client that resets its connection before we accept it frees its port, and
/// the next connection from that port writes its own entry. So the entry is read first, then the
/// connection checked, and only then the entry taken: a connection that is still alive after the
/// look-up had the port to itself at the look-up.
pub(super) fn find(
    origins: &impl Origins,
    netns: u64,
    stream: &TcpStream,
    client: SocketAddr,
    listener: SocketAddr,
) -> Option<Origin> {
    let key = PeerKey { netns, local: endpoint(client), reserved: 0 };
    let handed = origins.handoff(&key);
    // The kernel answers with an error for a connection that was reset.
    stream.peer_addr().ok()?;
    let oldest = origins.now_ns().saturating_sub(nanos(limits::HANDOFF_AGE));
    match handed {
        Some(origin) if origin.at_ns >= oldest => {
            origins.take_handoff(&key);
            Some(origin)
        }
        _ => origins.recover(client, listener),
    }
}

fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// An address in the form in which it crosses to the kernel and back.
pub(super) fn endpoint(address: SocketAddr) -> Endpoint {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(ip.octets().as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    Endpoint { ip: words, port: address.port().into() }
}

/// An IPv4-mapped address becomes plain IPv4.
pub(super) fn socket_addr(endpoint: &Endpoint) -> SocketAddr {
    let mut octets = [0; 16];
    for (bytes, word) in octets.as_chunks_mut::<4>().0.iter_mut().zip(endpoint.ip) {
        *bytes = word.to_ne_bytes();
    }
    let ip = Ipv6Addr::from(octets).to_canonical();
    // Ports come from the kernel, which has no larger ones.
    SocketAddr::new(ip, u16::try_from(endpoint.port).unwrap_or_default())
}

/// Whether the address is what a socket gets that did not choose one.
pub(super) fn is_default_loopback(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use proptest::prelude::*;
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    /// A kernel that holds one handoff, and can recover another.
    #[derive(Debug)]
    struct Fake {
        handoff: Mutex<Option<Origin>>,
        recovered: Option<Origin>,
        now: Duration,
    }

    impl Origins for Fake {
        fn handoff(&self, _: &PeerKey) -> Option<Origin> {
            *self.handoff.lock().expect("not poisoned")
        }

        fn take_handoff(&self, _: &PeerKey) {
            *self.handoff.lock().expect("not poisoned") = None;
        }

        fn recover(&self, _: SocketAddr, _: SocketAddr) -> Option<Origin> {
            self.recovered
        }

        fn now_ns(&self) -> u64 {
            nanos(self.now)
        }
    }

    /// One that was opened at a time.
    fn origin(cookie: u64, at: Duration) -> Origin {
        let dst = Endpoint::v4(0, 80);
        Origin { dst, tgid: 1, agent: 1, cgroup: 1, cookie, at_ns: nanos(at) }
    }

    const HANDED: u64 = 1;
    const RECOVERED: u64 = 2;

    /// Asks for the origin of a connection whose client did something after connecting. Gives the
    /// cookie of the answer, and whether the handoff is still there.
    async fn asked(
        handed: Option<Duration>,
        recovered: bool,
        after: impl FnOnce(std::net::TcpStream),
    ) -> (Option<u64>, bool) {
        let now = Duration::from_secs(1000);
        let fake = Fake {
            handoff: Mutex::new(handed.map(|age| origin(HANDED, now.saturating_sub(age)))),
            recovered: recovered.then(|| origin(RECOVERED, now)),
            now,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        after(std::net::TcpStream::connect(address).expect("it listens"));
        let (stream, client) = listener.accept().await.expect("one came");
        let found = find(&fake, 1, &stream, client, address);
        (found.map(|origin| origin.cookie), fake.handoff(&key()).is_some())
    }

    fn key() -> PeerKey {
        PeerKey { netns: 1, local: Endpoint::v4(0, 0), reserved: 0 }
    }

    const RECENT: Option<Duration> = Some(Duration::from_secs(1));
    const STALE: Option<Duration> = Some(Duration::from_secs(61));

    fn stays(client: std::net::TcpStream) {
        // Until the process ends.
        std::mem::forget(client);
    }

    fn resets(client: std::net::TcpStream) {
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
        drop(client);
    }

    #[tokio::test]
    async fn a_handoff_is_taken_once() {
        assert_eq!(asked(RECENT, true, stays).await, (Some(HANDED), false));
        // An orderly end leaves the connection its port.
        assert_eq!(asked(RECENT, true, drop).await, (Some(HANDED), false));
    }

    #[tokio::test]
    async fn what_is_missing_or_stale_is_recovered() {
        assert_eq!(asked(None, true, stays).await, (Some(RECOVERED), false));
        assert_eq!(asked(STALE, true, stays).await.0, Some(RECOVERED));
        assert_eq!(asked(STALE, false, stays).await.0, None);
        assert_eq!(asked(None, false, stays).await.0, None);
    }

    #[tokio::test]
    async fn a_connection_that_was_reset_leaves_the_entry_to_the_next_from_its_port() {
        assert_eq!(asked(RECENT, true, resets).await, (None, true));
        assert_eq!(asked(None, true, resets).await, (None, false));
    }

    proptest! {
        #[test]
        fn an_address_survives_the_way_to_the_kernel_and_back(v4: [u8; 4], v6: [u8; 16], port: u16) {
            for ip in [IpAddr::from(v4), Ipv6Addr::from(v6).to_canonical()] {
                let address = SocketAddr::new(ip, port);
                prop_assert_eq!(socket_addr(&endpoint(address)), address);
                prop_assert_eq!(endpoint(address).is_v4(), ip.is_ipv4());
            }
        }
    }
}
