//! Dialling upstream, from the agent's own network namespace.

use std::{io, net::SocketAddr, time::Duration};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

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
    match socket.connect(&destination.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        _ => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    reset_on_drop(&stream);
    stream.writable().await?;
    check(&stream)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether the attempt succeeded. `SO_ERROR` would say so too, but also take away the error of a
/// server that has accepted, spoken and reset the connection since: what it said would be lost, and
/// the reset pass for an orderly end. The first byte says it and takes nothing.
fn check(stream: &TcpStream) -> io::Result<()> {
    match recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok(_) | Err(Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Has the kernel answer the other side with a reset when the stream is dropped, instead of an
/// orderly end. So it is from the beginning until [`end_on_drop`]: a connection that is cut in the
/// middle, even by the death of this process, must not pass for one that is whole.
pub(super) fn reset_on_drop(stream: &TcpStream) {
    // It fails on a connection that is gone already, which is as well.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Has the stream end in good order when it is dropped.
pub(super) fn end_on_drop(stream: &TcpStream) {
    // As above.
    let _ = SockRef::from(stream).set_linger(None);
}
