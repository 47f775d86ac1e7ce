//! Dialling upstream, from the agent's own network namespace.

use std::{io, net::SocketAddr, time::Duration};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use super::admit::Admitted;
use crate::sys;

/// Dials what was admitted. The kernel's own time-out for a connection attempt applies.
pub(super) async fn dial(admitted: &Admitted) -> io::Result<TcpStream> {
    let destination = admitted.destination();
    let socket = Socket::new(
        Domain::for_address(destination),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if let Some(source) = admitted.source() {
        sys::choose_port_on_connect(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&destination.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        _ => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    reset_on_drop(&stream);
    // A client that keeps its connection alive reaches no further than us.
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    stream.writable().await?;
    check(&stream)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Below the times after which firewalls and load balancers forget an idle connection.
fn keepalive() -> TcpKeepalive {
    const PERIOD: Duration = Duration::from_mins(1);
    TcpKeepalive::new().with_time(PERIOD).with_interval(PERIOD)
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

/// Resets a connection that is still to be dropped.
pub(super) fn reset_now(stream: &TcpStream) {
    // As above. A socket that is connected to nothing again has its peer reset (connect(2)).
    let _ = rustix::net::connect_unspec(stream);
}

/// Has the stream end in good order when it is dropped.
pub(super) fn end_on_drop(stream: &TcpStream) {
    // As above.
    let _ = SockRef::from(stream).set_linger(None);
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, pin::pin, task::Poll};

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::proxy::admit::tests::admission;

    #[tokio::test]
    async fn a_server_that_speaks_and_resets_before_we_look_is_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let admission = admission(listener.local_addr().expect("bound"));
        let mut dialling = pin!(dial(admission.admitted()));
        // The kernel has done its part of the connection when the first poll returns.
        assert!(poll_once(&mut dialling).await.is_pending());
        let (mut server, _) = listener.accept().expect("it was dialled");
        server.write_all(b"busy").expect("it is open");
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).expect("an option");
        drop(server);
        let mut stream = dialling.await.expect("there was a connection");
        let mut heard = Vec::new();
        let end = stream.read_to_end(&mut heard).await;
        assert_eq!(heard, b"busy");
        assert_eq!(end.expect_err("a reset").kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_refusal_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let admission = admission(listener.local_addr().expect("bound"));
        drop(listener);
        let error = dial(admission.admitted()).await.expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// One poll, and its outcome.
    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
    }
}
