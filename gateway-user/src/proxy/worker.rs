//! The data path of one network namespace: a thread of its own that accepts, dials and relays.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    agent::Agents,
    carry::{Arrival, carry},
    countermand::Errands,
    origin::Origins,
    recording::Recording,
    selftest::SelfTests,
};
use crate::{
    drain::{Phase, Watch},
    limits,
    names::Directory,
    sys,
};

/// What the data path needs from outside, the same in every network namespace.
#[derive(Debug)]
pub struct Context<O> {
    pub origins: O,
    pub agents: Agents,
    pub selftests: SelfTests,
    /// What the agents' addresses are called.
    pub names: Arc<Directory>,
    pub recording: Arc<Recording>,
}

/// The gateway's listening sockets in one network namespace.
#[derive(Debug)]
pub struct Listeners {
    v4: std::net::TcpListener,
    v6: Option<std::net::TcpListener>,
    netns: u64,
}

impl Listeners {
    /// Listens on loopback, on a port that the kernel chooses, in the namespace of this thread.
    /// Without IPv6 there, on 127.0.0.1 alone.
    pub fn bind() -> io::Result<Self> {
        /// The port that is free for IPv4 may be taken for IPv6, now and then.
        const ATTEMPTS: usize = 16;

        let mut outcome = Self::try_bind();
        for _ in 1..ATTEMPTS {
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    outcome = Self::try_bind();
                }
                outcome => return outcome,
            }
        }
        outcome
    }

    fn try_bind() -> io::Result<Self> {
        let v4 = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let port = v4.local_addr()?.port();
        let v6 = match listen(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) {
            Ok(listener) => Some(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "no IPv6 on loopback");
                None
            }
        };
        Ok(Self { netns: sys::netns_cookie(&v4)?, v4, v6 })
    }

    pub fn port(&self) -> io::Result<u16> {
        Ok(self.v4.local_addr()?.port())
    }

    #[must_use]
    pub const fn has_v6(&self) -> bool {
        self.v6.is_some()
    }

    /// The cookie of the namespace.
    #[must_use]
    pub const fn netns(&self) -> u64 {
        self.netns
    }
}

/// Accepts and relays until told to close, then relays until every connection has ended, or until
/// told to cut them, and they have had time for their last words. `closed` is dropped when nothing is accepted any more.
pub async fn serve<O: Origins>(
    context: Arc<Context<O>>,
    listeners: Listeners,
    mut phase: Watch,
    closed: oneshot::Sender<()>,
) -> io::Result<()> {
    let netns = listeners.netns;
    let v4 = TcpListener::from_std(listeners.v4)?;
    let v6 = listeners.v6.map(TcpListener::from_std).transpose()?;
    // Each connection holds a sender: the channel closes with the last of them.
    let (alive, mut ended) = mpsc::channel::<Infallible>(1);
    let errands = Errands::here(&alive);
    let door = Door { context, netns, phase: phase.clone(), alive, errands };
    let accepting = async {
        match v6 {
            Some(v6) => drop(tokio::join!(door.accept_all(v4), door.accept_all(v6))),
            None => door.accept_all(v4).await,
        }
    };
    tokio::select! {
        () = accepting => {}
        () = async { phase.reached(Phase::Closing).await; sleep(LAST_CALL).await } => {}
    }
    drop(closed);
    drop(door);
    tokio::select! {
        _ = ended.recv() => {}
        () = async { phase.reached(Phase::Cut).await; sleep(limits::LAST_WORDS).await } => {}
    }
    Ok(())
}

/// A process may have passed the connect hook and not sent its SYN when the hook is detached.
pub const LAST_CALL: Duration = Duration::from_millis(100);

/// What every accepted connection is given.
#[derive(Debug)]
struct Door<O> {
    context: Arc<Context<O>>,
    netns: u64,
    phase: Watch,
    alive: mpsc::Sender<Infallible>,
    errands: Errands,
}

impl<O: Origins> Door<O> {
    async fn accept_all(&self, listener: TcpListener) {
        /// Out of descriptors, most likely: others must end first.
        const PAUSE: Duration = Duration::from_millis(10);

        let Ok(own) = listener.local_addr() else { return };
        loop {
            match listener.accept().await {
                Ok((stream, client)) => {
                    let context = Arc::clone(&self.context);
                    let errands = self.errands.clone();
                    let netns = self.netns;
                    let arrival = Arrival { stream, client, listener: own, netns, errands };
                    let (phase, alive) = (self.phase.clone(), self.alive.clone());
                    tokio::spawn(async move {
                        carry(context, arrival, phase).await;
                        drop(alive);
                    });
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "can't accept connections");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// accept(2): errors that were pending on the connection itself.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(limits::ACCEPT_BACKLOG)?;
    Ok(socket.into())
}
