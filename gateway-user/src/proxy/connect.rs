//! Dialling upstream, from the agent's own network namespace.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::admit::ConnectAdmission;
use crate::sys;

/// Dials what was admitted. The kernel's own time-out for a connection attempt applies.
pub(super) async fn dial(admission: &ConnectAdmission) -> io::Result<TcpStream> {
    let destination = admission.destination();
    let socket = Socket::new(
        Domain::for_address(destination),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if let Some(source) = admission.source() {
        sys::choose_port_on_connect(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    let stream = TcpSocket::from_std_stream(socket.into()).connect(destination).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Has the kernel answer the other side with a reset when the stream is dropped, instead of an
/// orderly end.
pub(super) fn reset_on_drop(stream: &TcpStream) {
    // It fails on a connection that is gone already, which is as well.
    let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}
