//! The peers that somebody else has written, set up as somebody who knows them would.

mod haproxy;
mod mitmproxy;

use std::net::{SocketAddr, TcpListener};

use anyhow::Result;

pub(super) use haproxy::Haproxy;
pub(super) use mitmproxy::Mitmproxy;

/// Where the server listens, without TLS and with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upstream {
    pub(super) plain: SocketAddr,
    pub(super) encrypted: SocketAddr,
}

/// Peers can't tell which ports the kernel chose, so some are chosen for them.
fn free_ports<const N: usize>() -> Result<[SocketAddr; N]> {
    let held: Vec<TcpListener> = std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0"))
        .take(N)
        .collect::<Result<_, _>>()?;
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&held) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}
