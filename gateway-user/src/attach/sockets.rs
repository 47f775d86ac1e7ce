//! The sockets that an agent has already: found by its cgroups, and ended if need be.
//!
//! The connect hooks see a socket when it connects. One that is connected by then goes on past them
//! for as long as it lives, so it is either counted, or destroyed so that its owner connects again.
//!
//! A socket belongs to the cgroup of the process that made it, for ever, and the kernel's filter
//! matches that cgroup alone: so all cgroups below the agent's are asked for too. Who opened a
//! connection can't be told from its socket: those that came in are found like those that went out.
//! Not found are sockets in network namespaces in which no process of the agent lives any more.
//!
//! Everything here blocks, on threads that live in the namespaces in question.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use super::{
    cgroup::{Cgroup, CgroupError},
    diag::{self, Diag, Found, Protocol},
    netns::Netns,
};
use crate::limits;

/// Why sockets could not be listed or destroyed.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("can't enter a network namespace: {0}")]
    Enter(#[source] io::Error),
    #[error(
        "the kernel can't list {protocol:?} sockets ({source}); use one built with {}=y or =m",
        protocol.option()
    )]
    List { protocol: Protocol, source: io::Error },
    #[error(
        "the kernel can't destroy sockets; use one built with CONFIG_INET_DIAG_DESTROY=y, or attach \
         in audit mode with --existing keep"
    )]
    NoDestroy,
    #[error("the kernel refused to destroy a socket to {peer}: {source}")]
    Destroy { peer: std::net::SocketAddr, source: io::Error },
    #[error("can't make a socket to try the kernel with: {0}")]
    Trial(#[source] io::Error),
    #[error("a thread that looks at sockets ended badly")]
    Thread,
}

/// Sockets that are left as they are: those that lead to the gateway's own listeners in the
/// namespace, by the listeners' ports.
pub type Spared = BTreeSet<u16>;

/// The cookies of the connected sockets of a cgroup, and of those below it, in a namespace. At most
/// [`limits::SOCKETS_LISTED`].
pub fn list(netns: Netns, cgroup: &Cgroup, spared: Spared) -> Result<BTreeSet<u64>, SocketsError> {
    let cgroups = cgroup.family()?;
    within(netns, move || Ok(connected(&cgroups, &spared)?.iter().map(Found::cookie).collect()))
}

/// Destroys every connected socket of a cgroup, and of those below it, in a namespace; never a
/// listener. Goes on until it finds none, or as often as [`limits::DESTROY_ROUNDS`] allows: sockets
/// that are made meanwhile may be left. Gives how many were destroyed.
pub fn destroy_all(netns: Netns, cgroup: &Cgroup) -> Result<u64, SocketsError> {
    destroy_but(netns, cgroup, Spared::new())
}

/// As [`destroy_all`], with some spared.
pub fn destroy_but(netns: Netns, cgroup: &Cgroup, spared: Spared) -> Result<u64, SocketsError> {
    let cgroup = cgroup.clone();
    within(netns, move || {
        let mut destroyed = 0;
        for _ in 0..limits::DESTROY_ROUNDS {
            // Looked up each time: cgroups come and go.
            let found = connected(&cgroup.family()?, &spared)?;
            if found.is_empty() {
                break;
            }
            destroyed += destroy(&found)?;
        }
        Ok(destroyed)
    })
}

/// Finds out whether this kernel destroys sockets, on one of our own.
pub fn require_destroy() -> Result<(), SocketsError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(SocketsError::Trial)?;
    let client = listener.local_addr().and_then(TcpStream::connect).map_err(SocketsError::Trial)?;
    let ends = client.local_addr().and_then(|own| Ok((own, client.peer_addr()?)));
    let (own, peer) = ends.map_err(SocketsError::Trial)?;
    let found = diag::find(own, peer)
        .map_err(|source| SocketsError::List { protocol: Protocol::Tcp, source })?;
    let found = found.ok_or_else(|| SocketsError::Trial(io::ErrorKind::NotFound.into()))?;
    destroy(&[found]).map(drop)
}

fn connected(cgroups: &[u64], spared: &Spared) -> Result<Vec<Found>, SocketsError> {
    let mut all = Vec::new();
    for protocol in Protocol::ALL {
        let room = limits::SOCKETS_LISTED - all.len();
        let mut found = Diag::connected(protocol, cgroups, room)
            .map_err(|source| SocketsError::List { protocol, source })?;
        found.retain(|socket| !is_spared(protocol, socket, spared));
        all.append(&mut found);
    }
    if all.len() >= limits::SOCKETS_LISTED {
        tracing::warn!(listed = all.len(), "more sockets than are listed at a time");
    }
    Ok(all)
}

fn is_spared(protocol: Protocol, socket: &Found, spared: &Spared) -> bool {
    let remote = socket.remote();
    protocol == Protocol::Tcp && remote.ip().is_loopback() && spared.contains(&remote.port())
}

fn destroy(sockets: &[Found]) -> Result<u64, SocketsError> {
    let failed = |socket: &Found, source: io::Error| match source.raw_os_error() {
        Some(libc::EOPNOTSUPP) => SocketsError::NoDestroy,
        _ => SocketsError::Destroy { peer: socket.remote(), source },
    };
    let diag = Diag::open().map_err(SocketsError::Trial)?;
    let mut destroyed = 0;
    for socket in sockets {
        destroyed += u64::from(diag.destroy(socket).map_err(|error| failed(socket, error))?);
    }
    Ok(destroyed)
}

/// Runs something on a thread that lives in the namespace.
fn within<T: Send + 'static>(
    netns: Netns,
    body: impl FnOnce() -> Result<T, SocketsError> + Send + 'static,
) -> Result<T, SocketsError> {
    let thread = netns.spawn("turnpike-socks".into(), |entered| {
        entered.map_err(SocketsError::Enter)?;
        body()
    });
    let thread = thread.map_err(SocketsError::Enter)?;
    thread.join().map_err(|_| SocketsError::Thread)?
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_kernel_is_tried_on_a_socket_of_our_own() {
        // Not every machine that builds this may destroy sockets; no other outcome is right.
        match require_destroy() {
            Ok(()) | Err(SocketsError::NoDestroy) => {}
            Err(SocketsError::Destroy { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_kernel_that_can_t_destroy_is_refused_with_what_to_do() {
        let text = SocketsError::NoDestroy.to_string();
        assert!(text.contains("CONFIG_INET_DIAG_DESTROY=y") && text.contains("--existing keep"));
    }

    #[test]
    fn sockets_of_another_cgroup_are_not_listed() {
        let Ok(own) = Cgroup::of_process(std::process::id()) else { return };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (server, _) = listener.accept().expect("one came");
        let cookie = rustix::net::sockopt::socket_cookie(&client).expect("it has one");
        let is_listed = |cgroups: &[u64], spared: &[u16]| {
            let spared = spared.iter().copied().collect();
            let found = connected(cgroups, &spared).expect("the kernel lists sockets");
            found.iter().any(|socket| socket.cookie() == cookie)
        };
        assert!(is_listed(&[own.id()], &[]));
        assert!(is_listed(&[1 << 40, own.id(), 1 << 41], &[]));
        assert!(!is_listed(&[1 << 40], &[]), "the kernel ignores the filter");
        assert!(!is_listed(&[own.id()], &[address.port()]));
        drop(server.shutdown(std::net::Shutdown::Both));
        drop(client.read(&mut [0; 1]));
        drop((client, server));
        assert!(!is_listed(&[own.id()], &[]), "it is closed");
    }
}
