//! Connections that the gateway makes to itself, to prove that a redirect works.
//!
//! A test connects, from the agent's place, to an address that is kept for documentation and that
//! nothing else uses (RFC 5737, RFC 3849). Redirected, it arrives here with that address as its
//! origin: it is answered with a word that only the test knows, and nothing is dialled, admitted or
//! counted. An agent's own connect to such an address is like any other, unless it guesses the address
//! of a test during the milliseconds that the test takes; then the test fails.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use gateway_common::Origin;
use tokio::{net::TcpStream, sync::oneshot};

use super::{connect::end_on_drop, origin::socket_addr};

/// What a test is answered with.
pub type Word = [u8; 16];

/// The tests that are under way, by where they connect to.
#[derive(Debug, Default)]
pub struct SelfTests(Mutex<HashMap<SocketAddr, Expected>>);

/// How a test arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub origin: Origin,
    /// The namespace of the listener, by its cookie.
    pub netns: u64,
}

#[derive(Debug)]
struct Expected {
    word: Word,
    arrived: oneshot::Sender<Arrived>,
}

impl SelfTests {
    /// Expects one connection to an address, which must be one kept for documentation.
    pub fn expect(&self, to: SocketAddr, word: Word) -> oneshot::Receiver<Arrived> {
        let (arrived, arrival) = oneshot::channel();
        self.lock().insert(to, Expected { word, arrived });
        arrival
    }

    /// Expects it no longer.
    pub fn forget(&self, to: SocketAddr) {
        self.lock().remove(&to);
    }

    /// Answers the connection if it is an expected one. Whether it was.
    pub(super) async fn answers(&self, origin: &Origin, netns: u64, stream: &TcpStream) -> bool {
        let to = socket_addr(&origin.dst);
        if !is_for_documentation(to.ip()) {
            return false;
        }
        let Some(expected) = self.lock().remove(&to) else { return false };
        end_on_drop(stream);
        // Whether the answer went out, the other end knows best; nobody waits for a test that is over.
        if stream.writable().await.is_ok() {
            let _ = stream.try_write(&expected.word);
        }
        let _ = expected.arrived.send(Arrived { origin: *origin, netns });
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 192.0.2.0/24 (RFC 5737) and `2001:db8::/32` (RFC 3849).
fn is_for_documentation(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets().starts_with(&[192, 0, 2]),
        IpAddr::V6(ip) => ip.segments().starts_with(&[0x2001, 0xdb8]),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;
    use crate::proxy::origin::endpoint;

    const WORD: Word = *b"sixteen letters!";

    fn origin(to: SocketAddr) -> Origin {
        Origin { dst: endpoint(to), tgid: 1, agent: 7, cgroup: 7, cookie: 9, at_ns: 1 }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).await.expect("it listens");
        (client, listener.accept().await.expect("one came").0)
    }

    #[tokio::test]
    async fn an_expected_connection_is_answered_once_and_told_of() {
        let tests = SelfTests::default();
        let to = "192.0.2.77:4711".parse().expect("an address");
        let arrival = tests.expect(to, WORD);
        let (mut client, server) = pair().await;
        assert!(tests.answers(&origin(to), 5, &server).await);
        drop(server);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.expect("an orderly end");
        assert_eq!(heard, WORD);
        let arrived = arrival.await.expect("told");
        assert_eq!((arrived.origin.cookie, arrived.netns), (9, 5));
        let (_client, server) = pair().await;
        assert!(!tests.answers(&origin(to), 5, &server).await, "once");
    }

    #[tokio::test]
    async fn what_is_not_expected_is_left_alone() {
        let tests = SelfTests::default();
        let to = |text: &str| text.parse::<SocketAddr>().expect("an address");
        drop(tests.expect(to("[2001:db8::1]:9"), WORD));
        let (_client, server) = pair().await;
        for other in ["192.0.2.1:9", "[2001:db8::1]:10", "[2001:db8::2]:9", "203.0.113.1:9"] {
            assert!(!tests.answers(&origin(to(other)), 5, &server).await, "{other}");
        }
        tests.forget(to("[2001:db8::1]:9"));
        assert!(!tests.answers(&origin(to("[2001:db8::1]:9")), 5, &server).await);
    }
}
